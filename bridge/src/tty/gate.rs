//! Keeps the data thread out of a tty while its termios are being set.
//!
//! The kernel sets termios, USB transfers and all, under a lock that read(2) and write(2) of the same tty wait for,
//! O_NONBLOCK or not (`termios_rwsem`: `tty_set_termios` in tty_ioctl.c, `n_tty_read` and `n_tty_write` in n_tty.c). So
//! the data thread asks before it goes in, and is woken when it may; whoever sets waits until it is out, which takes
//! one system call that does not block. The data thread itself never waits here.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    task::{Context, Poll},
    thread::yield_now,
};

use futures_util::task::AtomicWaker;

/// One per tty. Only one task may enter, and only one thread at a time may close.
#[derive(Default)]
pub(super) struct Gate {
    closed: AtomicBool,
    inside: AtomicBool,
    waker: AtomicWaker,
}

impl Gate {
    /// Goes in, until the guard is dropped; pending, and woken later, while it is closed.
    pub(super) fn poll_enter(&self, cx: &Context<'_>) -> Poll<Inside<'_>> {
        if let Some(inside) = self.enter() {
            return Poll::Ready(inside);
        }
        self.waker.register(cx.waker());
        // It may have been opened before the waker was there.
        self.enter().map_or(Poll::Pending, Poll::Ready)
    }

    fn enter(&self) -> Option<Inside<'_>> {
        // Each side says first what it is about to do, then looks at the other: at least one sees the other.
        self.inside.store(true, Ordering::SeqCst);
        let inside = Inside(self);
        (!self.closed.load(Ordering::SeqCst)).then_some(inside)
    }

    /// Closes, until the guard is dropped; waits until nobody is inside.
    pub(super) fn close(&self) -> Closed<'_> {
        self.closed.store(true, Ordering::SeqCst);
        while self.inside.load(Ordering::SeqCst) {
            yield_now();
        }
        Closed(self)
    }
}

/// Leave to read and write without waiting for the driver; to be given back before the task yields.
#[must_use]
pub struct Inside<'a>(&'a Gate);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.inside.store(false, Ordering::SeqCst);
    }
}

pub(super) struct Closed<'a>(&'a Gate);

impl Drop for Closed<'_> {
    fn drop(&mut self) {
        self.0.closed.store(false, Ordering::SeqCst);
        self.0.waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{Arc, atomic::AtomicU32, mpsc},
        task::{Wake, Waker},
        thread,
    };

    use super::*;

    #[derive(Default)]
    struct Count(AtomicU32);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn who_comes_while_it_is_closed_is_woken_when_it_opens() {
        let (gate, woken) = (Gate::default(), Arc::new(Count::default()));
        let waker = Waker::from(Arc::clone(&woken));
        let cx = Context::from_waker(&waker);
        let closed = gate.close();
        assert!(gate.poll_enter(&cx).is_pending());
        drop(closed);
        assert_eq!(woken.0.load(Ordering::SeqCst), 1);
        assert!(gate.poll_enter(&cx).is_ready());
    }

    #[test]
    fn it_closes_only_when_nobody_is_inside() {
        let gate = Gate::default();
        let cx = Context::from_waker(Waker::noop());
        let inside = gate.poll_enter(&cx);
        assert!(inside.is_ready());
        thread::scope(|scope| {
            let (closing, closed) = mpsc::channel();
            let gate = &gate;
            scope.spawn(move || {
                let _closed = gate.close();
                closing.send(()).unwrap();
            });
            while !gate.closed.load(Ordering::SeqCst) {
                yield_now();
            }
            assert_eq!(closed.try_recv(), Err(mpsc::TryRecvError::Empty));
            drop(inside);
            closed.recv().unwrap();
        });
    }

    /// Both sides as fast as they can: never both in.
    #[test]
    fn nobody_reads_while_it_is_set() {
        let (gate, setting) = (Gate::default(), AtomicBool::new(false));
        thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..20_000 {
                    let closed = gate.close();
                    setting.store(true, Ordering::SeqCst);
                    setting.store(false, Ordering::SeqCst);
                    drop(closed);
                }
            });
            let cx = Context::from_waker(Waker::noop());
            let mut entered = 0;
            while entered < 20_000 {
                if let Poll::Ready(inside) = gate.poll_enter(&cx) {
                    assert!(!setting.load(Ordering::SeqCst));
                    entered += 1;
                    drop(inside);
                }
            }
        });
    }
}
