//! Closing ttys on threads of their own.
//!
//! close(2) of a USB serial device whose output queue does not drain blocks for up to 30 s (`closing_wait`,
//! drivers/tty/tty_port.c), and no flush shortens that; a signal to the closing thread does. Each closing thread
//! arms a timer that signals itself: first after the grace time, then every half second until close returns.
#![allow(unsafe_code, reason = "timer_create(2) with SIGEV_THREAD_ID and sigaction(2) have no safe wrapper")]

use std::{
    collections::BTreeMap,
    mem,
    os::fd::OwnedFd,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

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

    /// Waits until all closes are done or `limit` has passed; whether they are done.
    pub fn wait(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        let mut state = self.state();
        while state.closing > 0 {
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

extern "C" fn nothing(_signal: libc::c_int) {}

/// While it lives, and from its time on, whatever system call this thread blocks in is interrupted every half second.
struct Alarm {
    timer: Option<libc::timer_t>,
}

impl Alarm {
    fn after(grace: Duration) -> Self {
        let signal = libc::SIGRTMIN() + 1;
        // SAFETY: the handler does nothing, so it is async-signal-safe; all structures are zeroed, then filled as
        // timer_create(2) and sigaction(2) ask; SA_RESTART is left out on purpose, it would resume close(2).
        unsafe {
            let mut action: libc::sigaction = mem::zeroed();
            action.sa_sigaction = nothing as extern "C" fn(libc::c_int) as usize;
            libc::sigaction(signal, &raw const action, std::ptr::null_mut());

            let mut event: libc::sigevent = mem::zeroed();
            event.sigev_notify = libc::SIGEV_THREAD_ID;
            event.sigev_signo = signal;
            event.sigev_notify_thread_id = libc::gettid();
            let mut timer: libc::timer_t = mem::zeroed();
            if libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut timer) != 0 {
                return Self { timer: None };
            }
            let mut when: libc::itimerspec = mem::zeroed();
            when.it_value.tv_nsec = grace.subsec_nanos().into();
            when.it_interval.tv_nsec = 500_000_000;
            libc::timer_settime(timer, 0, &raw const when, std::ptr::null_mut());
            Self { timer: Some(timer) }
        }
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if let Some(timer) = self.timer {
            // SAFETY: the timer was made by timer_create(2) and is deleted once.
            unsafe { libc::timer_delete(timer) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    /// Blocks as close(2) does: in a system call that a signal ends.
    #[test]
    fn a_blocked_thread_is_interrupted() {
        let interrupted = std::thread::spawn(|| {
            let _alarm = Alarm::after(Duration::from_millis(10));
            rustix::thread::nanosleep(&rustix::time::Timespec { tv_sec: 600, tv_nsec: 0 })
        });
        let result = interrupted.join().unwrap();
        assert!(matches!(result, rustix::thread::NanosleepRelativeResult::Interrupted(_)));
    }
}
