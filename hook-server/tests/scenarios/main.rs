//! What a fleet goes through: sequences of syncs that start from a recorded request.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod arbitration;
mod bridges;
mod conditions;
mod drift;
mod names;
mod objects;
mod wire;
mod world;
