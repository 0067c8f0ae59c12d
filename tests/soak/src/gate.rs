//! Lets all actors act, or stops them all between two actions.
//!
//! Owner: `soak`. Also tells them when it is over; an actor that fails ends the run at once.

use std::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Result, bail, ensure};
use serialfleet_bench::interrupt;

/// Closed at first.
#[derive(Default)]
pub(crate) struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    open: bool,
    ended: bool,
    /// Actors between [`Gate::pass`] and the drop of its [`Passage`].
    acting: usize,
    failed: Option<String>,
}

/// While it lives its actor acts.
pub(crate) struct Passage<'a>(&'a Gate);

impl Gate {
    /// Waits until it is open; `None` when it is over.
    pub(crate) fn pass(&self) -> Option<Passage<'_>> {
        let mut state = self.state();
        while !state.open && !state.ended {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.ended {
            return None;
        }
        state.acting += 1;
        Some(Passage(self))
    }

    /// Whether an actor that takes its time should come to an end.
    pub(crate) fn is_closing(&self) -> bool {
        !self.state().open
    }

    /// Whether it is over.
    pub(crate) fn has_ended(&self) -> bool {
        self.state().ended
    }

    /// Open for so long.
    pub(crate) fn open_for(&self, time: Duration) -> Result<()> {
        self.state().open = true;
        self.changed.notify_all();
        let end = Instant::now() + time;
        while Instant::now() < end {
            interrupt::check()?;
            let state = self.state();
            let (state, _) = self.changed.wait_timeout(state, TURN).unwrap_or_else(PoisonError::into_inner);
            if let Some(failed) = &state.failed {
                bail!("{failed}");
            }
        }
        Ok(())
    }

    /// Closes it, and waits until nobody acts.
    pub(crate) fn close(&self) -> Result<()> {
        let mut state = self.state();
        state.open = false;
        self.changed.notify_all();
        let deadline = Instant::now() + ACTION;
        while state.acting > 0 {
            interrupt::check()?;
            ensure!(Instant::now() < deadline, "{} actors have not come to an end", state.acting);
            state = self.changed.wait_timeout(state, TURN).unwrap_or_else(PoisonError::into_inner).0;
        }
        match &state.failed {
            Some(failed) => bail!("{failed}"),
            None => Ok(()),
        }
    }

    /// It is over.
    pub(crate) fn end(&self) {
        self.state().ended = true;
        self.changed.notify_all();
    }

    /// Something went wrong that must not.
    pub(crate) fn fail(&self, what: String) {
        self.state().failed.get_or_insert(what);
        self.changed.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Passage<'_> {
    fn drop(&mut self) {
        self.0.state().acting -= 1;
        self.0.changed.notify_all();
    }
}

const TURN: Duration = Duration::from_millis(100);
/// No action takes longer.
const ACTION: Duration = Duration::from_secs(60);
