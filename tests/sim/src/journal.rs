//! What a stick has seen: events, and per port who has it open, its line settings and the bytes received.
//!
//! Owner: `stick`, whose thread writes; tests read and wait. No sleeping: waiters are woken by each change.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde::Serialize;

pub use crate::pty::Line;

/// What happened. Names are those of the kernel: `ttyUSB0`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[allow(missing_docs, reason = "each variant says what its fields are")]
pub enum Event {
    /// All of it is there: tree, nodes, kernel events.
    Plugged { usb_path: String, names: Vec<String> },
    /// All of it is gone.
    Unplugged { usb_path: String, names: Vec<String> },
    /// Somebody opened a port; `users` files are open now. On hardware this raises DTR and RTS.
    Opened { name: String, users: u32 },
    /// Somebody closed it, maybe after the unplug.
    Closed { name: String, users: u32 },
    /// Nobody holds the dead device any more: its number is free again.
    Released { name: String },
    /// The program set the line.
    Line {
        name: String,
        #[serde(flatten)]
        line: Line,
    },
    /// The program dropped a queue (tcflush).
    Flushed { name: String, input: bool, output: bool },
    /// The device sent while nobody had the port open: lost, as on a wire.
    Dropped { name: String, bytes: usize },
    /// The simulation itself failed.
    Error { text: String },
}

/// An event and when it was seen.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Monotonic.
    pub at: Instant,
    /// What happened.
    pub event: Event,
}

/// One port, from the first plug on.
#[derive(Clone, Debug, Default)]
pub struct PortRecord {
    /// How often it was opened in all.
    pub opens: u64,
    /// How many files are open on the device that is plugged in now.
    pub users: u32,
    /// Settings now; `None` before the first plug.
    pub line: Option<Line>,
    /// How many bytes the device received in all.
    pub received_bytes: u64,
    /// How many bytes it put onto the line in all.
    pub sent_bytes: u64,
    /// The last of what it received, at most [`RECEIVED_KEPT`] bytes.
    pub received: Vec<u8>,
}

/// Everything seen so far.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// Oldest first.
    pub entries: Vec<Entry>,
    /// By index: 0 for a stick with one port.
    pub ports: Vec<PortRecord>,
}

impl Record {
    /// How many events satisfy `wanted`.
    pub fn count(&self, wanted: impl Fn(&Event) -> bool) -> usize {
        self.entries.iter().filter(|entry| wanted(&entry.event)).count()
    }
}

/// The last this many received bytes are kept per port.
pub const RECEIVED_KEPT: usize = 64 * 1024;

/// Shared between a stick's thread and whoever holds the stick.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    record: Mutex<Record>,
    changed: Condvar,
    waiting: AtomicUsize,
}

impl Journal {
    pub(crate) fn new(ports: usize) -> Self {
        let record = Record { entries: Vec::new(), ports: vec![PortRecord::default(); ports] };
        Self { record: Mutex::new(record), ..Self::default() }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn push(&self, event: Event) {
        self.lock().entries.push(Entry { at: Instant::now(), event });
        self.changed.notify_all();
    }

    pub(crate) fn port(&self, index: usize, change: impl FnOnce(&mut PortRecord)) {
        let mut record = self.lock();
        if record.ports.len() <= index {
            record.ports.resize_with(index + 1, PortRecord::default);
        }
        change(&mut record.ports[index]);
        drop(record);
        self.changed.notify_all();
    }

    /// Somebody waits: the thread then also looks for what the kernel tells nobody.
    pub(crate) fn is_awaited(&self) -> bool {
        self.waiting.load(Ordering::Acquire) > 0
    }

    /// Waits until `probe` gives something; `wake` is called once the thread can see that somebody waits.
    pub(crate) fn wait_for<T>(
        &self,
        timeout: Duration,
        wake: impl FnOnce(),
        mut probe: impl FnMut(&Record) -> Option<T>,
    ) -> Result<T> {
        let deadline = Instant::now() + timeout;
        let _waiting = Waiting::new(&self.waiting);
        wake();
        let mut record = self.lock();
        loop {
            if let Some(found) = probe(&record) {
                return Ok(found);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let last: Vec<_> = record.entries.iter().rev().take(20).map(|entry| &entry.event).collect();
                bail!(
                    "not seen within {timeout:?}; ports: {:?}; last events, newest first: {last:#?}",
                    Brief(&record.ports)
                );
            }
            record = self.changed.wait_timeout(record, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// A waiter, counted while it lives.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(counter: &'a AtomicUsize) -> Self {
        counter.fetch_add(1, Ordering::AcqRel);
        Self(counter)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Ports without the bytes, for an error message.
struct Brief<'a>(&'a [PortRecord]);

impl std::fmt::Debug for Brief<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let brief = |port: &PortRecord| (port.opens, port.users, port.received_bytes, port.sent_bytes);
        f.write_str("(opens, users, received, sent) ")?;
        f.debug_list().entries(self.0.iter().map(brief)).finish()
    }
}
