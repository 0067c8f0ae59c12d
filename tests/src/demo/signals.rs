//! The wish that it end: Ctrl-C, a hang-up of the terminal, SIGTERM.

use std::future::Future;

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};

/// Listens from now on; done at the first of them.
pub(super) fn termination() -> Result<impl Future<Output = ()>> {
    let listen = |kind| signal(kind).context("waiting for signals");
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    let mut hang_up = listen(SignalKind::hangup())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hang_up.recv() => {}
        }
    })
}
