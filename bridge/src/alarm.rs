//! Interrupts whatever system call a thread blocks in: by a timer of its own, or from outside.
//!
//! For the few calls that nothing else ends: close(2) of a tty whose output does not drain, and TIOCMIWAIT. Used by
//! the threads of [`crate::closer`] and of [`crate::port::LineThread`]; must not be used on the data thread.
#![allow(
    unsafe_code,
    reason = "timer_create(2) with SIGEV_THREAD_ID, sigaction(2) and pthread_kill(3) have no safe wrapper"
)]

use std::{mem, os::unix::thread::JoinHandleExt, thread::JoinHandle, time::Duration};

/// How often a call that blocks again is interrupted again.
pub const INTERVAL: Duration = Duration::from_millis(500);

extern "C" fn nothing(_signal: libc::c_int) {}

/// From now on the signal interrupts and does nothing else; what it is.
fn signal() -> libc::c_int {
    let signal = libc::SIGRTMIN() + 1;
    // SAFETY: the handler does nothing, so it is async-signal-safe; the structure is zeroed, then filled as sigaction(2)
    // asks; SA_RESTART is left out on purpose, it would resume the call.
    unsafe {
        let mut action: libc::sigaction = mem::zeroed();
        action.sa_sigaction = nothing as extern "C" fn(libc::c_int) as usize;
        libc::sigaction(signal, &raw const action, std::ptr::null_mut());
    }
    signal
}

/// Whatever system call `thread` blocks in at this moment fails with EINTR. One that it is about to enter is missed:
/// where that matters, the thread has an [`Alarm`] too.
pub fn interrupt<T>(thread: &JoinHandle<T>) {
    // SAFETY: nobody has joined or detached the thread while there is its handle, so its number is its own.
    unsafe { libc::pthread_kill(thread.as_pthread_t() as libc::pthread_t, signal()) };
}

/// While it lives, and from its time on, whatever system call this thread blocks in fails with EINTR, then every
/// [`INTERVAL`]. Where no timer can be had, nothing is interrupted.
pub struct Alarm {
    timer: Option<libc::timer_t>,
}

impl Alarm {
    /// For the calling thread; `grace` is below a second.
    pub fn after(grace: Duration) -> Self {
        let signal = signal();
        // SAFETY: all structures are zeroed, then filled as timer_create(2) asks.
        unsafe {
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

    #[test]
    fn a_thread_that_blocks_is_interrupted_from_outside() {
        let sleeping = std::thread::spawn(|| {
            rustix::thread::nanosleep(&rustix::time::Timespec { tv_sec: 600, tv_nsec: 0 })
        });
        while !sleeping.is_finished() {
            interrupt(&sleeping);
            std::thread::yield_now();
        }
        // Nor does it harm one that has ended.
        interrupt(&sleeping);
        assert!(matches!(sleeping.join().unwrap(), rustix::thread::NanosleepRelativeResult::Interrupted(_)));
    }

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
