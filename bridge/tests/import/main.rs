//! ser2net's files and the fleets that they become: golden files, and any text.
#![allow(clippy::unwrap_used, reason = "a test: also in its helpers")]

mod command;
mod golden;
mod properties;
