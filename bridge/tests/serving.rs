//! The bridge in process, on simulated sticks: supervisor, opener and data thread as `run` joins them, with real
//! ttys (PTYs) and real TCP.
#![allow(clippy::unwrap_used, reason = "a broken bench must stop the test at once")]

#[path = "support/fake_api.rs"]
mod fake_api;

mod serving {
    mod binary;
    mod clients;
    mod com_port;
    mod edits;
    mod faults;
    mod frames;
    mod in_a_cluster;
    mod letting_go;
    mod limits;
    mod line;
    mod purge;
    mod rig;
    mod share;
    mod unplug;
}
