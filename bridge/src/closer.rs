//! Closing ttys on threads of their own.
//!
//! close(2) of a USB serial device whose output queue does not drain blocks for up to 30 s (`closing_wait`,
//! drivers/tty/tty_port.c), and no flush shortens that; a signal to the closing thread does. Each closing thread
//! arms an [`Alarm`]: first after the grace time, then every half second until close returns.

use std::{
    collections::BTreeMap,
    os::fd::OwnedFd,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::alarm::Alarm;

/// How long close(2) may wait for queued output before it is interrupted.
const GRACE: Duration = Duration::from_millis(500);

/// Closes descriptors without making anybody wait, and knows which ttys this process holds; clones share both.
#[derive(Clone, Default)]
pub struct Closer {
    shared: Arc<(Mutex<State>, Condvar)>,
}

#[derive(Default)]
struct State {
    closing: usize,
    /// How many descriptors of ours each tty has, those that are being closed included.
    held: BTreeMap<String, usize>,
}

impl Closer {
    /// Notes that this process holds a descriptor of the tty `name`, until it has been closed by [`Self::close`].
    pub fn hold(&self, name: &str) {
        *self.state().held.entry(name.to_owned()).or_default() += 1;
    }

    /// Whether this process itself holds the tty: then it is not another program's.
    pub fn holds(&self, name: &str) -> bool {
        self.state().held.contains_key(name)
    }

    /// Closes `fd` on a thread of its own; on this one only if no thread can be had.
    pub fn close(&self, fd: OwnedFd, name: &str) {
        self.state().closing += 1;
        let (closer, tty) = (self.clone(), name.to_owned());
        let closing = move || {
            let alarm = Alarm::after(GRACE);
            drop(fd);
            drop(alarm);
            closer.closed(&tty);
        };
        let thread = format!("close-{name}").chars().take(15).collect();
        // When no thread can be had, `closing` and with it the descriptor is dropped here.
        if let Err(error) = std::thread::Builder::new().name(thread).stack_size(64 * 1024).spawn(closing) {
            tracing::warn!(%error, "no thread to close a tty on");
            self.closed(name);
        }
    }

    /// How many closes are under way.
    pub fn under_way(&self) -> usize {
        self.state().closing
    }

    /// Waits until every tty that this process holds is closed, or `limit` has passed; whether they are closed.
    pub fn wait(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        let mut state = self.state();
        while !state.held.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self.shared.1.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    fn closed(&self, name: &str) {
        let mut state = self.state();
        state.closing -= 1;
        if let Some(count) = state.held.get_mut(name) {
            *count -= 1;
            if *count == 0 {
                state.held.remove(name);
            }
        }
        self.shared.1.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Somebody may have to set a line before it can be closed.
    #[test]
    fn what_is_still_held_is_waited_for() {
        let closer = Closer::default();
        closer.hold("null");
        assert!(!closer.wait(Duration::from_millis(10)));
        let other = closer.clone();
        let closing = std::thread::spawn(move || {
            other.close(std::fs::File::open("/dev/null").unwrap().into(), "null");
        });
        assert!(closer.wait(Duration::from_secs(10)));
        closing.join().unwrap();
    }

    #[test]
    fn closes_are_counted_until_they_are_done() {
        let closer = Closer::default();
        for _ in 0..8 {
            closer.hold("null");
            closer.close(std::fs::File::open("/dev/null").unwrap().into(), "null");
        }
        assert!(closer.wait(Duration::from_secs(10)));
        assert_eq!(closer.under_way(), 0);
        assert!(!closer.holds("null"));
    }
}
