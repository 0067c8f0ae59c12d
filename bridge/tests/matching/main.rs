//! Which tty goes to which device: situations with the sentences that a person would read, and the properties that
//! hold in every situation.
#![allow(clippy::unwrap_used, reason = "a test: also in its helpers")]

mod assignment;
mod properties;
mod sentences;
mod world;
