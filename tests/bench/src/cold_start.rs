//! From the start of the process to a byte each way.
//!
//! Owner: the measures.

use std::time::Duration;

use anyhow::Result;

use crate::peer::{Peer, Programs};
use crate::serving::Serving;

/// Starts the peer on one port; returns how long that took.
pub(crate) fn run(programs: &Programs, peer: Peer) -> Result<Duration> {
    let mut serving = Serving::start(programs, peer, 1)?;
    let client = serving.client(0)?;
    serving.answer(0, &client)?;
    Ok(serving.started().elapsed())
}
