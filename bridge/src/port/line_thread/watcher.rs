//! Watches a device's modem lines while somebody wants to know: where the driver can wait for a change (TIOCMIWAIT) it
//! is waited for, elsewhere the lines are read forty times a second.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU16, Ordering},
    },
    task::{Context, Poll},
    thread::{JoinHandle, sleep},
    time::Duration,
};

use futures_util::task::AtomicWaker;
use tokio::sync::mpsc;

use super::{Report, spawn};
use crate::{
    alarm::{Alarm, INTERVAL, interrupt},
    tty::{Tty, is_unsupported},
};

/// Pause between readings where the driver cannot wait: each is a USB transfer (cp210x).
const PAUSE: Duration = Duration::from_millis(25);

/// Owner of the watching thread; dropped, it waits for nobody: the thread ends at once, or at its next look.
pub(super) struct Watcher {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Watcher {
    /// `None`, and a line in the log, if no thread can be had.
    pub(super) fn start(
        tty: &Arc<Tty>,
        modem: &Arc<ModemState>,
        failed: &mpsc::Sender<Report>,
    ) -> Option<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, modem, failed) = (Arc::clone(&stop), Arc::clone(modem), failed.clone());
        let handle = Arc::downgrade(tty);
        let watching = move || {
            if catch_unwind(AssertUnwindSafe(|| watch(&handle, &modem, &stopped))).is_err() {
                tracing::error!("the thread that watches modem lines has failed: please report this");
                failed.blocking_send(Report::Gone).ok();
            }
        };
        match spawn("modem", tty.name(), watching) {
            Ok(thread) => Some(Self { stop, thread }),
            Err(error) => {
                tracing::warn!(tty = tty.name(), %error, "no thread to watch modem lines on");
                None
            }
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Else each client that comes and goes would leave a thread behind, and the tty open, for half a second.
        interrupt(&self.thread);
    }
}

/// Ends when it is stopped, when nobody has the tty any more, or when the device has no modem lines.
fn watch(tty: &Weak<Tty>, modem: &ModemState, stop: &AtomicBool) {
    // Interrupts the waiting, so that a stop is noticed; and a change between reading and waiting is seen then.
    let mut alarm = Some(Alarm::after(INTERVAL));
    let mut last = None;
    while !stop.load(Ordering::Relaxed)
        && let Some(tty) = tty.upgrade()
    {
        match tty.modem() {
            Ok(state) if last == Some(state) => {}
            Ok(state) => {
                last = Some(state);
                modem.set(state);
            }
            Err(errno) if is_unsupported(errno) => return,
            // A transfer that went wrong, or the end: whoever has the tty will let go of it then.
            Err(_) => {}
        }
        if alarm.is_some() {
            match tty.wait_for_modem() {
                Ok(()) => continue,
                Err(errno) if is_unsupported(errno) => alarm = None,
                Err(_) => {}
            }
        }
        drop(tty);
        sleep(PAUSE);
    }
}

/// The newest state of the modem lines, if nobody has looked at it yet.
#[derive(Default)]
pub(super) struct ModemState {
    /// The state and [`NEW`], or 0.
    newest: AtomicU16,
    waker: AtomicWaker,
}

const NEW: u16 = 0x100;

impl ModemState {
    fn set(&self, state: u8) {
        self.newest.store(NEW | u16::from(state), Ordering::Release);
        self.waker.wake();
    }

    pub(super) fn poll_new(&self, cx: &Context<'_>) -> Poll<u8> {
        self.waker.register(cx.waker());
        match self.newest.swap(0, Ordering::AcqRel).to_be_bytes() {
            [0, _] => Poll::Pending,
            [_, state] => Poll::Ready(state),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    #[test]
    fn only_the_newest_state_is_told_and_only_once() {
        let state = ModemState::default();
        let cx = Context::from_waker(Waker::noop());
        assert_eq!(state.poll_new(&cx), Poll::Pending);
        state.set(0x30);
        state.set(0);
        assert_eq!(state.poll_new(&cx), Poll::Ready(0));
        assert_eq!(state.poll_new(&cx), Poll::Pending);
    }
}
