//! What both benches stand on: processes and what `/proc` says of them, free addresses, Ctrl-C, figures.
//!
//! Owner: `serialfleet-bench` and `serialfleet-bench-hook`. Knows of nothing that is measured.

pub mod figures;
pub mod interrupt;
pub mod loopback;
pub mod process;
pub mod procfs;
