//! SerialFleet's node agent: finds serial devices, matches them to the fleet, and forwards bytes between each tty
//! and TCP.

pub mod discover;
pub mod discovery;
pub mod matching;
