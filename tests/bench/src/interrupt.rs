//! Ctrl-C and SIGTERM: every child is told to end, and whoever waits for bytes stops waiting.
//!
//! Owner: one thread. It only signals; children are waited for by whoever started them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::signal::unix::{SignalKind, signal};

static STOPPED: AtomicBool = AtomicBool::new(false);
static CHILDREN: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

/// Starts to listen for signals.
pub fn watch() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let (mut interrupt, mut terminate) = {
        let _inside = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    let wait = async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    let work = move || {
        runtime.block_on(wait);
        STOPPED.store(true, Ordering::Release);
        let children = CHILDREN.lock().unwrap_or_else(PoisonError::into_inner);
        for child in children.iter() {
            // It may have ended by itself; it is still ours, as it is waited for only after it is forgotten here.
            kill_process_group(*child, Signal::TERM).ok();
        }
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(work).context("no thread for signals")?;
    Ok(())
}

/// Whether the run is to end.
pub fn stopped() -> bool {
    STOPPED.load(Ordering::Acquire)
}

/// For every loop that waits.
pub fn check() -> Result<()> {
    ensure!(!stopped(), "interrupted");
    Ok(())
}

/// A child that a signal has to reach, with all of the process group that it leads.
pub fn remember(child: Pid) {
    CHILDREN.lock().unwrap_or_else(PoisonError::into_inner).push(child);
}

/// To be called before the child is waited for: afterwards its number may be another's.
pub fn forget(child: Pid) {
    CHILDREN.lock().unwrap_or_else(PoisonError::into_inner).retain(|known| *known != child);
}
