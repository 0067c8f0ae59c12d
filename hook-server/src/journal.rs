//! What this replica remembers of its calls, for people: the last of all of them without their bodies, and of each fleet
//! the last request with its answer, in bounds. Filled as the [`Witness`] of [`crate::app`], which costs a lock and a
//! few reference counts; read by [`crate::debug`] and [`crate::foresight`]. Nothing in here ever has a part in an answer.

mod fleets;

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use bytes::Bytes;

use self::fleets::Fleets;
pub use self::fleets::{Bodies, Fleet, Repeats};
use crate::{
    app::Witness,
    calls::{Call, Unchanged},
    metrics::Hook,
};

/// Calls that are remembered.
pub const CALLS: usize = 64;
/// Fleets whose last request and answer are kept.
pub const FLEETS: usize = 16;
/// All bodies that are kept, in bytes, unless told otherwise.
pub const BYTES: usize = 8 << 20;

/// Remembers calls. Clones share what they remember.
#[derive(Clone)]
pub struct Journal(Arc<Shared>);

struct Shared {
    clock: fn() -> SystemTime,
    state: Mutex<State>,
    news: Condvar,
}

struct State {
    calls: VecDeque<Record>,
    fleets: Fleets,
    number: u64,
    closed: bool,
}

/// One call.
#[derive(Clone, Debug)]
pub struct Record {
    /// Counts calls from 1.
    pub number: u64,
    /// When it was over.
    pub at: SystemTime,
    /// Which hook.
    pub hook: Hook,
    /// The HTTP status.
    pub code: u16,
    /// `Answered`, or why not.
    pub reason: &'static str,
    /// The line that the caller got instead of an answer.
    pub refusal: Option<String>,
    /// Name of the fleet, or empty.
    pub fleet: String,
    /// The fleet's generation.
    pub generation: Option<i64>,
    /// The fleet's resource version, or empty.
    pub resource_version: String,
    /// Observed children.
    pub observed: usize,
    /// Desired children, or related rules.
    pub desired: usize,
    /// Size of the request's body.
    pub bytes_in: usize,
    /// Size of what was sent back.
    pub bytes_out: usize,
    /// From the request's first byte after its headers to the answer.
    pub time: Duration,
    /// From the whole request to the answer.
    pub work: Option<Duration>,
    /// Why no answer had to be sent.
    pub unchanged: Option<Unchanged>,
    /// What Metacontroller will do with it, once that is known.
    pub predicted: Option<String>,
}

/// What is remembered at one time.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The last calls, newest first.
    pub calls: Vec<Record>,
    /// The fleets that were called last, by name.
    pub fleets: Vec<Fleet>,
    /// Fleets that were called as well and are not kept.
    pub forgotten: u64,
    /// Bytes of all bodies together.
    pub bytes: usize,
}

/// An answer that somebody is to look at.
#[derive(Clone, Debug)]
pub struct Job {
    /// The fleet.
    pub fleet: String,
    /// The call.
    pub number: u64,
    /// The bodies.
    pub request: Bytes,
    /// The answer.
    pub answer: Bytes,
}

impl Journal {
    /// An empty one that keeps bodies of at most so many bytes, all together.
    pub fn new(bytes: usize, clock: fn() -> SystemTime) -> Self {
        Self::with(Fleets::new(bytes, true), clock)
    }

    /// One for nobody to read: it lets go of bodies as soon as somebody has taken them to look at.
    pub fn passing(bytes: usize, clock: fn() -> SystemTime) -> Self {
        Self::with(Fleets::new(bytes, false), clock)
    }

    fn with(fleets: Fleets, clock: fn() -> SystemTime) -> Self {
        let state = State { calls: VecDeque::new(), fleets, number: 0, closed: false };
        Self(Arc::new(Shared { clock, state: Mutex::new(state), news: Condvar::new() }))
    }

    /// What [`crate::app`] is to tell of its calls.
    pub fn witness(&self) -> Witness {
        let journal = self.clone();
        Arc::new(move |call| journal.write(call))
    }

    fn write(&self, call: &Call) {
        let at = (self.0.clock)();
        let mut state = self.lock();
        state.number += 1;
        let record = Record::new(state.number, at, call);
        if state.fleets.called(&record, call) {
            self.0.news.notify_one();
        }
        if state.calls.len() >= CALLS {
            state.calls.pop_front();
        }
        state.calls.push_back(record);
    }

    /// All that is remembered. Bodies are shared, not copied.
    pub fn snapshot(&self) -> Snapshot {
        let state = self.lock();
        Snapshot {
            calls: state.calls.iter().rev().cloned().collect(),
            fleets: state.fleets.iter().cloned().collect(),
            forgotten: state.fleets.forgotten(),
            bytes: state.fleets.bytes(),
        }
    }

    /// What is remembered of one fleet.
    pub fn fleet(&self, name: &str) -> Option<Fleet> {
        self.lock().fleets.iter().find(|it| it.name == name).cloned()
    }

    /// Waits for an answer that nobody has looked at. Of several of one fleet only the last counts.
    pub fn wait(&self) -> Option<Job> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return None;
            }
            if let Some(job) = state.fleets.take_waiting() {
                return Some(job);
            }
            state = self.0.news.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits for so long, or until [`Self::close`].
    pub fn rest(&self, time: Duration) {
        let state = self.lock();
        let waited = self.0.news.wait_timeout_while(state, time, |state| !state.closed);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// Notes what an answer does, and gives back what was predicted several times in a row. `summary` in a few words;
    /// `writes`: a number and a name for each single thing that is written.
    pub fn predicted(&self, job: &Job, summary: String, writes: Vec<(u64, String)>) -> Vec<(u32, String)> {
        let mut state = self.lock();
        if let Some(record) = state.calls.iter_mut().find(|it| it.number == job.number) {
            record.predicted = Some(summary);
        }
        state.fleets.predicted(job, writes)
    }

    /// Nobody is to wait any more.
    pub fn close(&self) {
        self.lock().closed = true;
        self.0.news.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal").finish_non_exhaustive()
    }
}

impl Record {
    fn new(number: u64, at: SystemTime, call: &Call) -> Self {
        let subject = call.subject.as_deref();
        Self {
            number,
            at,
            hook: call.hook,
            code: call.code,
            reason: call.reason,
            refusal: call.refusal.clone(),
            fleet: subject.map(|it| it.fleet.clone()).unwrap_or_default(),
            generation: subject.and_then(|it| it.generation),
            resource_version: subject.map(|it| it.resource_version.clone()).unwrap_or_default(),
            observed: subject.map_or(0, |it| it.observed),
            desired: subject.map_or(0, |it| it.desired),
            bytes_in: call.bytes_in,
            bytes_out: call.bytes_out,
            time: call.time,
            work: call.work,
            unchanged: call.unchanged,
            predicted: None,
        }
    }
}

#[cfg(test)]
mod tests;
