//! From the start of the process to a byte each way, and the memory that it then keeps.
//!
//! Owner: the plan.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::peer::{Peer, Programs};
use crate::procfs;
use crate::serving::Serving;

/// One start.
pub(crate) struct Start {
    /// Until a byte had gone each way.
    pub(crate) took: Duration,
    /// With one client that is silent, in MiB.
    pub(crate) pss: f64,
}

/// Starts the peer on one port.
pub(crate) fn run(programs: &Programs, peer: Peer) -> Result<Start> {
    let mut serving = Serving::start(programs, peer, 1)?;
    let client = serving.client(0)?;
    serving.answer(0, &client)?;
    let took = serving.started().elapsed();
    Ok(Start { took, pss: procfs::settled_pss(serving.pid().context("nobody forwards")?)? })
}
