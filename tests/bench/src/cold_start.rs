//! From the start of the process to a byte each way, and the memory that it then keeps.
//!
//! Owner: the plan.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::Pid;

use crate::interrupt;
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
    Ok(Start { took, pss: settled_pss(serving.pid().context("nobody forwards")?)? })
}

/// Once it does not change any more, in MiB.
#[allow(clippy::cast_precision_loss, reason = "KiB of one process")]
pub(crate) fn settled_pss(pid: Pid) -> Result<f64> {
    let deadline = Instant::now() + SETTLED;
    let mut last = procfs::pss(pid)?;
    loop {
        interrupt::check()?;
        std::thread::sleep(PAUSE);
        let now = procfs::pss(pid)?;
        if now == last || Instant::now() > deadline {
            return Ok(now as f64 / 1024.0);
        }
        last = now;
    }
}

const PAUSE: Duration = Duration::from_millis(300);
const SETTLED: Duration = Duration::from_secs(3);
