//! The last request of each fleet with its answer, within bounds, and which writes were predicted again and again.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, SystemTime},
};

use bytes::Bytes;

use super::{FLEETS, Job, Record};
use crate::{
    calls::{Call, Unchanged},
    metrics::Hook,
};

/// A write takes this long to be seen in requests, at most: what is predicted again sooner is still the same one.
const LAG: Duration = Duration::from_secs(2);
/// Writes of one fleet that are followed from call to call.
const FOLLOWED: usize = 512;

/// What is remembered of a fleet.
#[derive(Clone, Debug)]
pub struct Fleet {
    /// Its name.
    pub name: String,
    /// When it was called last.
    pub at: SystemTime,
    /// The call that the bodies are from.
    pub number: u64,
    /// The bodies of its last call; nothing where they had no room.
    pub bodies: Option<Bodies>,
    /// What was predicted in a row.
    pub repeats: Repeats,
    waiting: bool,
}

/// A request with its answer.
#[derive(Clone, Debug)]
pub struct Bodies {
    /// The request.
    pub request: Bytes,
    /// The answer; nothing where it was refused.
    pub answer: Option<Bytes>,
    /// The line that was sent instead.
    pub refusal: Option<String>,
}

/// How often in a row the same write was predicted, up to and with the call of this number.
#[derive(Clone, Debug, Default)]
pub struct Repeats {
    /// The call that was looked at last.
    pub number: u64,
    /// When it was counted last.
    counted: Option<SystemTime>,
    counts: HashMap<u64, u32>,
}

impl Repeats {
    /// How often in a row this was predicted.
    pub fn of(&self, write: u64) -> u32 {
        self.counts.get(&write).copied().unwrap_or_default()
    }
}

impl Bodies {
    fn len(&self) -> usize {
        self.request.len() + self.answer.as_ref().map_or(0, Bytes::len)
    }
}

/// All fleets.
pub(super) struct Fleets {
    most: usize,
    /// Whether bodies stay when they were looked at.
    keep: bool,
    by_name: BTreeMap<String, Fleet>,
    forgotten: u64,
}

impl Fleets {
    pub(super) fn new(most: usize, keep: bool) -> Self {
        Self { most, keep, by_name: BTreeMap::new(), forgotten: 0 }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Fleet> {
        self.by_name.values()
    }

    pub(super) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    pub(super) fn bytes(&self) -> usize {
        self.iter().filter_map(|it| it.bodies.as_ref()).map(Bodies::len).sum()
    }

    /// Notes a call. True where somebody is to look at its answer.
    pub(super) fn called(&mut self, record: &Record, call: &Call) -> bool {
        // What never came in whole has nothing to show.
        if call.hook != Hook::Sync || record.fleet.is_empty() || call.work.is_none() {
            return false;
        }
        if !self.by_name.contains_key(&record.fleet) {
            self.make_room();
        }
        let fleet = self.by_name.entry(record.fleet.clone()).or_insert_with(|| Fleet {
            name: record.fleet.clone(),
            at: record.at,
            number: record.number,
            bodies: None,
            repeats: Repeats::default(),
            waiting: false,
        });
        fleet.at = record.at;
        // The very same request: what is kept is what it was.
        if call.unchanged == Some(Unchanged::Request) {
            return false;
        }
        fleet.number = record.number;
        let bodies = Bodies {
            request: call.request.clone(),
            answer: call.answer.clone(),
            refusal: call.refusal.clone(),
        };
        fleet.waiting = bodies.answer.is_some() && bodies.len() <= self.most;
        let waiting = fleet.waiting;
        fleet.bodies = (bodies.len() <= self.most && (self.keep || waiting)).then_some(bodies);
        self.shrink(&record.fleet);
        waiting
    }

    fn make_room(&mut self) {
        while self.by_name.len() >= FLEETS {
            let oldest = self.iter().min_by_key(|it| it.at).map(|it| it.name.clone());
            let Some(oldest) = oldest else { return };
            self.by_name.remove(&oldest);
            self.forgotten += 1;
        }
    }

    /// Lets go of the oldest bodies until all are within bounds; those of `newest` are.
    fn shrink(&mut self, newest: &str) {
        while self.bytes() > self.most {
            let others = self.by_name.values_mut().filter(|it| it.name != newest && it.bodies.is_some());
            let Some(oldest) = others.min_by_key(|it| it.at) else { return };
            oldest.bodies = None;
            oldest.waiting = false;
        }
    }

    pub(super) fn take_waiting(&mut self) -> Option<Job> {
        let fleet = self.by_name.values_mut().filter(|it| it.waiting).min_by_key(|it| it.number)?;
        fleet.waiting = false;
        let bodies = if self.keep { fleet.bodies.clone() } else { fleet.bodies.take() }?;
        let (name, number) = (fleet.name.clone(), fleet.number);
        Some(Job { fleet: name, number, request: bodies.request, answer: bodies.answer? })
    }

    pub(super) fn predicted(&mut self, job: &Job, writes: Vec<(u64, String)>) -> Vec<(u32, String)> {
        let Some(fleet) = self.by_name.get_mut(&job.fleet) else { return Vec::new() };
        let before = std::mem::take(&mut fleet.repeats.counts);
        fleet.repeats.number = job.number;
        // A fleet that comes up is asked for many times before the first write of all is seen.
        let passed = fleet.repeats.counted.map(|counted| fleet.at.duration_since(counted).unwrap_or(LAG));
        let is_late = passed.is_none_or(|passed| passed >= LAG);
        if is_late {
            fleet.repeats.counted = Some(fleet.at);
        }
        let mut again = Vec::new();
        for (write, label) in writes.into_iter().take(FOLLOWED) {
            let count = match before.get(&write) {
                None => 1,
                Some(count) => count.saturating_add(u32::from(is_late)),
            };
            fleet.repeats.counts.insert(write, count);
            if count > 1 && is_late {
                again.push((count, label));
            }
        }
        again
    }
}
