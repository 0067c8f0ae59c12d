//! SerialFleet's node agent: finds serial devices, matches them to the fleet, and forwards bytes between each tty
//! and TCP.
//!
//! | thread | modules | must not |
//! |---|---|---|
//! | opener | [`opener`] | see the network |
//! | data | [`data`], [`port`] | block, read sysfs, talk to the API |
//! | line, modem | [`port::LineThread`], one pair for each port with RFC 2217 clients | see a byte that is forwarded |
//! | tls | [`tls`]: handshakes, while a device asks for TLS | see a byte of a device |
//! | control | all others | touch a byte that is forwarded |
//!
//! [`run`] starts the threads. [`supervisor`] joins the parts: [`fleet_source`] and [`discovery`] -> [`matching`]
//! -> [`opener`], [`tty`] -> [`port`] -> [`report`].

pub mod admin;
pub mod alarm;
pub mod args;
pub mod closer;
pub mod cluster;
pub mod data;
pub mod discover;
pub mod discovery;
pub mod fleet_source;
pub mod holder;
pub mod import;
pub mod import_command;
pub mod matching;
pub mod memory;
pub mod metrics;
pub mod opener;
pub mod overlay;
pub mod port;
pub mod ports_command;
pub mod report;
pub mod rfc2217;
pub mod run;
pub mod start_pages;
pub mod supervisor;
pub mod tls;
pub mod tty;
