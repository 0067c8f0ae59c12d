//! What a forwarder keeps: with its ports open and nobody connected, and after it was flooded both ways.
//!
//! Owner: the measures.

use std::time::Duration;

use anyhow::Result;

use crate::flood::{self, Direction, Load};
use crate::peer::{Peer, Programs};
use crate::serving::Serving;

/// Proportional set size of all its processes, in MiB.
pub(crate) struct Memory {
    pub(crate) idle: f64,
    /// Clients still connected, all quiet.
    pub(crate) after_load: f64,
}

/// Starts the peer on so many ports.
pub(crate) fn run(programs: &Programs, peer: Peer, ports: usize) -> Result<Memory> {
    let mut serving = Serving::start(programs, peer, ports)?;
    serving.wait_listening()?;
    if peer == Peer::Bridge {
        // Gives back then what only its start needed; the others do nothing of the kind.
        serving.wait_age(STARTED)?;
    }
    let idle = serving.settled_pss()?;
    let clients = serving.clients()?;
    let load = Load { direction: Direction::Both, write: 16 * 1024, ramp: Duration::ZERO, window: LOAD };
    flood::run(&serving.devices(), &clients.iter().collect::<Vec<_>>(), load, &serving.processes()?)?;
    Ok(Memory { idle, after_load: serving.settled_pss()? })
}

const STARTED: Duration = Duration::from_millis(2500);
const LOAD: Duration = Duration::from_millis(700);
