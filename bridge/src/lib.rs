//! SerialFleet's node agent: finds serial devices, matches them to the fleet, and forwards bytes between each tty
//! and TCP.

pub mod closer;
pub mod cluster;
pub mod data;
pub mod discover;
pub mod discovery;
pub mod fleet_source;
pub mod holder;
pub mod matching;
pub mod metrics;
pub mod opener;
pub mod port;
pub mod report;
pub mod tty;
