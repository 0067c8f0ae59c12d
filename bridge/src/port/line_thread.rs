//! The thread that sets a port's line for its RFC 2217 clients, and a second one that watches modem lines.
//!
//! Setting a line takes USB transfers, and before a new rate may come up to half a second of waiting for queued
//! output, so none of it runs on the data thread. Owned by the port's task, from the first client that speaks RFC 2217
//! to the last; must not know of clients, nor touch a byte of data. Neither thread keeps the tty open while it has
//! nothing to do with it, so a device that was unplugged gives its number back at once.

mod watcher;

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, OnceLock, Weak,
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    task::{Context, Poll},
    thread::{Builder, JoinHandle},
};

use tokio::sync::mpsc;

use self::watcher::{ModemState, Watcher};
use crate::{
    overlay::{Change, Overlay, Values},
    tty::{Gone, Queues, Tty},
};

/// Orders that wait at most; one more is [`Full`].
pub const ORDERS: usize = 16;
/// Of each thread: deep enough for the formatting of a log line in a debug build.
const STACK: usize = 128 * 1024;

/// What the line is to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// One setting of a client.
    Change(Change),
    /// A break of the usual length: telnet's BRK.
    SendBreak,
    /// Drop what the kernel has queued. What the port itself has queued is the port's to drop.
    Purge(Queues),
    /// Mark breaks and bad characters in what is read: see [`Tty::mark_errors`].
    MarkErrors(bool),
    /// Report modem lines: once now, then whenever they change.
    WatchModem(bool),
    /// Read everything back, modem lines included.
    Values,
    /// A device that was plugged in again: set what its clients had set before.
    Adopt(Overlay),
    /// The last client has gone: `line` in force again, nothing marked, nothing watched.
    Restore,
}

/// What the line tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// An order was carried out, as far as the driver lets it.
    Done {
        /// As [`LineThread::try_order`] returned it.
        order: u64,
        /// What is in force now.
        values: Values,
    },
    /// Modem lines, laid out as [`Values::modem`]: the newest state, not each one.
    Modem(u8),
    /// The device went away, or a thread has failed: nothing more will be reported, orders under way are lost.
    Gone,
}

/// The queue of orders is full, or nobody carries them out any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the line takes no more orders")]
pub struct Full;

/// Handle of both threads.
///
/// Dropped, it waits for nobody: orders that were given are still carried out while somebody else holds the tty, and the
/// watcher ends at once or, where it was just about to wait, within half a second.
pub struct LineThread {
    orders: SyncSender<(u64, Order)>,
    given: u64,
    reports: mpsc::Receiver<Report>,
    modem: Arc<ModemState>,
    handed_back: Arc<OnceLock<Arc<Tty>>>,
}

impl LineThread {
    /// Starts the thread; takes the time of a clone(2), some 50 microseconds. Another one for the same tty waits for
    /// its turn at each order, so the last order of the former must be reported before the first of the latter.
    ///
    /// # Errors
    /// If no thread can be had.
    pub fn start(tty: &Arc<Tty>) -> io::Result<Self> {
        let (orders, given) = sync_channel(ORDERS);
        // A port that does not listen is waited for, without holding the tty.
        let (reported, reports) = mpsc::channel(ORDERS);
        let modem = Arc::new(ModemState::default());
        let handed_back = Arc::default();
        let mut line = Line {
            tty: Arc::downgrade(tty),
            reported,
            modem: Arc::clone(&modem),
            watcher: None,
            handed_back: Arc::clone(&handed_back),
        };
        spawn("line", tty.name(), move || line.run(given))?;
        Ok(Self { orders, given: 0, reports, modem, handed_back })
    }

    /// Gives an order; returns its number, which its report will bear. Orders are carried out one after another.
    /// Never waits.
    ///
    /// # Errors
    /// [`Full`] if [`ORDERS`] are waiting, or the device is gone.
    pub fn try_order(&mut self, order: Order) -> Result<u64, Full> {
        let number = self.given;
        match self.orders.try_send((number, order)) {
            Ok(()) => {
                self.given += 1;
                Ok(number)
            }
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => Err(Full),
        }
    }

    /// Lets go of a tty that is still there: what clients have set is undone, in place of the orders that wait, and
    /// then it is closed. Never waits: a device that hangs keeps the thread, and nobody else.
    pub fn hand_back(self, tty: Arc<Tty>) {
        // It is not handed back twice.
        self.handed_back.set(tty).ok();
    }

    /// The next report. After [`Report::Gone`] there is no other: drop the handle.
    pub fn poll_report(&mut self, cx: &mut Context<'_>) -> Poll<Report> {
        if let Poll::Ready(report) = self.reports.poll_recv(cx) {
            return Poll::Ready(report.unwrap_or(Report::Gone));
        }
        self.modem.poll_new(cx).map(Report::Modem)
    }
}

/// What the thread owns.
struct Line {
    tty: Weak<Tty>,
    reported: mpsc::Sender<Report>,
    modem: Arc<ModemState>,
    watcher: Option<Watcher>,
    /// Closed with the thread's end.
    handed_back: Arc<OnceLock<Arc<Tty>>>,
}

impl Line {
    fn run(&mut self, orders: Receiver<(u64, Order)>) {
        let carried_out = catch_unwind(AssertUnwindSafe(|| {
            while let Ok((number, order)) = orders.recv()
                && self.handed_back.get().is_none()
            {
                let Some(tty) = self.tty.upgrade() else { break };
                let Ok(values) = self.carry_out(&tty, order) else { break };
                drop(tty);
                // Nobody listens any more: whatever was ordered is done all the same.
                self.reported.blocking_send(Report::Done { order: number, values }).ok();
            }
            if let Some(tty) = self.handed_back.get().cloned() {
                // Where the device is gone by now, so is what was set.
                self.carry_out(&tty, Order::Restore).ok();
            }
        }));
        if carried_out.is_err() {
            tracing::error!("the thread that sets a line has failed: please report this");
        }
        self.watcher = None;
        // Whoever has heard of the end gets no order in any more.
        drop(orders);
        self.reported.blocking_send(Report::Gone).ok();
    }

    fn carry_out(&mut self, tty: &Arc<Tty>, order: Order) -> Result<Values, Gone> {
        match order {
            Order::Change(change) => tty.change(change),
            Order::SendBreak => tty.send_break(),
            Order::Purge(queues) => tty.purge(queues),
            Order::MarkErrors(marked) => tty.mark_errors(marked),
            Order::Values => tty.values(),
            Order::Adopt(overlay) => tty.adopt_overlay(overlay),
            Order::WatchModem(false) => {
                self.watcher = None;
                Ok(tty.last_values())
            }
            Order::WatchModem(true) => {
                if self.watcher.is_none() {
                    self.watcher = Watcher::start(tty, &self.modem, &self.reported);
                }
                Ok(tty.last_values())
            }
            Order::Restore => {
                self.watcher = None;
                tty.restore()
            }
        }
    }
}

fn spawn(what: &str, tty: &str, run: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    // The kernel shows 15 characters.
    let name = format!("{what}-{tty}").chars().take(15).collect();
    Builder::new().name(name).stack_size(STACK).spawn(run)
}

#[cfg(test)]
mod tests;
