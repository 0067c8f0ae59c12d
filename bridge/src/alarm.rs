//! A timer that interrupts whatever system call its own thread blocks in.
//!
//! For the few calls that nothing else ends: close(2) of a tty whose output does not drain, and TIOCMIWAIT. Used by
//! the threads of [`crate::closer`] and of [`crate::port::LineThread`]; must not be used on the data thread.
#![allow(unsafe_code, reason = "timer_create(2) with SIGEV_THREAD_ID and sigaction(2) have no safe wrapper")]

use std::{mem, time::Duration};

/// How often a call that blocks again is interrupted again.
pub const INTERVAL: Duration = Duration::from_millis(500);

extern "C" fn nothing(_signal: libc::c_int) {}

/// While it lives, and from its time on, whatever system call this thread blocks in fails with EINTR, then every
/// [`INTERVAL`]. Where no timer can be had, nothing is interrupted.
pub struct Alarm {
    timer: Option<libc::timer_t>,
}

impl Alarm {
    /// For the calling thread; `grace` is below a second.
    pub fn after(grace: Duration) -> Self {
        let signal = libc::SIGRTMIN() + 1;
        // SAFETY: the handler does nothing, so it is async-signal-safe; all structures are zeroed, then filled as
        // timer_create(2) and sigaction(2) ask; SA_RESTART is left out on purpose, it would resume the call.
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
            when.it_interval.tv_nsec = INTERVAL.subsec_nanos().into();
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

    /// Blocks as close(2) does: in a system call that a signal ends.
    #[test]
    fn a_blocked_thread_is_interrupted_again_and_again() {
        let interrupted = std::thread::spawn(|| {
            let _alarm = Alarm::after(Duration::from_millis(10));
            [(); 2].map(|()| rustix::thread::nanosleep(&rustix::time::Timespec { tv_sec: 600, tv_nsec: 0 }))
        });
        for result in interrupted.join().unwrap() {
            assert!(matches!(result, rustix::thread::NanosleepRelativeResult::Interrupted(_)));
        }
    }
}
