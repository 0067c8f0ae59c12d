//! What the writing task does next: read, write, delete or sleep. Pure: time and dice are arguments, calls are made
//! by [`super::write`].
//!
//! At first it looks at what stands there, to go on with its transitions. Then it writes whenever what should
//! stand there differs from what it wrote last, within its pace; looks again every five minutes; and deletes where
//! the fleet is gone.

use std::time::Duration;

use serialfleet_api::node::SerialNode;

use super::{
    NodeIdentity, NodeReport,
    fold::{self, History},
    pace::{Pace, Standing},
    target::{Failure, Stored},
};
use crate::{
    cluster::backoff::{Backoff, jittered},
    fleet_source::FleetState,
};

/// Least and random part of the time between two looks at what stands there.
const READ_BACK: (Duration, Duration) = (Duration::from_secs(270), Duration::from_secs(60));
/// First and longest delay between attempts.
const DELAYS: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));
/// A refusal wants a person: so many times as long.
const PATIENCE: u32 = 4;

/// What to do next.
#[derive(Debug, PartialEq)]
pub enum Step {
    /// Look at what stands there.
    Read,
    /// Make this stand there.
    Write(Box<SerialNode>),
    /// Make nothing stand there.
    Delete,
    /// Nothing, until that time or for ever; news wake it in any case.
    Sleep(Option<Duration>),
}

/// What is known and what was done.
pub struct State {
    identity: NodeIdentity,
    wants_empty: bool,
    history: History,
    standing: Standing,
    pace: Pace,
    backoff: Backoff,
    report: Option<NodeReport>,
    is_gone: bool,
    problem: Option<String>,
    /// Whether what stands there has been looked at.
    has_read: bool,
    /// What stands there, as far as we know.
    stored: Option<Stored>,
    /// A write that failed or was cut short may have succeeded.
    may_stand: bool,
    /// The pod that wrote what stood there before us.
    predecessor: Option<String>,
    /// What we wrote last, unless it must be written again.
    sent: Option<SerialNode>,
    /// Not before then, after a failure.
    retry_at: Duration,
    read_back_at: Duration,
    /// The last failure that was logged, until things go well again.
    complaint: Option<String>,
}

impl State {
    /// Knows nothing yet. `wants_empty`: the object exists even where there is nothing to say.
    pub fn new(identity: NodeIdentity, wants_empty: bool) -> Self {
        Self {
            identity,
            wants_empty,
            history: History::default(),
            standing: Standing::default(),
            pace: Pace::default(),
            backoff: Backoff::new(DELAYS.0, DELAYS.1),
            report: None,
            is_gone: false,
            problem: None,
            has_read: false,
            stored: None,
            may_stand: false,
            predecessor: None,
            sent: None,
            retry_at: Duration::ZERO,
            read_back_at: Duration::ZERO,
            complaint: None,
        }
    }

    /// The supervisor published; `wall` is the RFC 3339 time that labels what changed.
    pub fn report_changed(&mut self, report: NodeReport, now: Duration, wall: &str) {
        self.history.observe(&report.ports, wall);
        self.standing.observe(&report.ports, now);
        self.report = Some(report);
    }

    /// The fleet changed.
    pub fn fleet_changed(&mut self, fleet: &FleetState) {
        self.problem.clone_from(&fleet.problem);
        if self.is_gone != fleet.gone {
            self.is_gone = fleet.gone;
            self.sent = None;
        }
    }

    /// Whether the fleet is known to be gone.
    pub fn is_gone(&self) -> bool {
        self.is_gone
    }

    /// Whether something of ours may stand there.
    pub fn may_stand(&self) -> bool {
        self.may_stand
    }

    /// Pods whose report may be deleted: ours, and the one that ours replaced.
    pub fn old_pods(&self) -> Vec<String> {
        let ours = self.identity.pod_uid.clone();
        std::iter::once(ours).chain(self.predecessor.clone()).collect()
    }

    /// What to do now; taken for granted to be done.
    pub fn next_step(&mut self, now: Duration) -> Step {
        self.standing.settle(now);
        if now < self.retry_at {
            return Step::Sleep(Some(self.retry_at));
        }
        if !self.has_read {
            return if self.report.is_some() || self.is_gone { Step::Read } else { Step::Sleep(None) };
        }
        if self.is_gone {
            return if self.may_stand { Step::Delete } else { Step::Sleep(None) };
        }
        let Some(report) = &self.report else { return Step::Sleep(None) };
        let node = fold::fold(&self.history, &self.standing, report, &self.identity, self.problem.as_deref());
        let is_wanted = self.may_stand || self.wants_empty || !fold::is_empty(&node);
        if is_wanted && self.sent.as_ref() != Some(&node) {
            return match self.pace.take(now) {
                Ok(()) => {
                    self.may_stand = true;
                    Step::Write(Box::new(node))
                }
                Err(turn) => Step::Sleep(Some(turn)),
            };
        }
        let settles = self.standing.next_change();
        if self.stored.is_none() {
            return Step::Sleep(settles);
        }
        if now >= self.read_back_at {
            return Step::Read;
        }
        Step::Sleep(Some(settles.map_or(self.read_back_at, |settles| settles.min(self.read_back_at))))
    }

    /// What came of it: what stands there now, or why not. The dice are for jitter.
    pub fn done(&mut self, step: Step, outcome: Result<Option<Stored>, Failure>, now: Duration, dice: u64) {
        let found = match outcome {
            Ok(found) => found,
            Err(error) => return self.failed(&step, &error, now, dice),
        };
        if self.complaint.take().is_some() {
            tracing::info!(node = self.identity.node, "the report can be written again");
        }
        self.backoff.reset();
        self.read_back_at = now + jittered(READ_BACK.0, READ_BACK.1, dice);
        match step {
            Step::Write(node) => self.sent = Some(*node),
            Step::Read if self.has_read => {
                let same = match (&self.stored, &found) {
                    (Some(known), Some(found)) => known.says_the_same(found),
                    (known, found) => known.is_none() == found.is_none(),
                };
                if !same {
                    tracing::warn!(
                        node = self.identity.node,
                        "somebody else changed or deleted the report; writing it again"
                    );
                    self.sent = None;
                }
            }
            Step::Read => {
                self.has_read = true;
                if let Some(found) = &found {
                    self.history.remember(&found.node);
                    self.predecessor = Some(found.node.pod_uid.clone());
                }
            }
            Step::Delete => {
                tracing::info!(node = self.identity.node, "the fleet is gone, and the report with it")
            }
            Step::Sleep(_) => {}
        }
        self.may_stand = found.is_some();
        self.stored = found;
    }

    /// Says so once for each kind of failure: an outage must not fill a disk with its log.
    fn failed(&mut self, step: &Step, error: &Failure, now: Duration, dice: u64) {
        let text = error.to_string();
        if self.complaint.as_ref() == Some(&text) {
            tracing::debug!(node = self.identity.node, "{text}");
        } else {
            tracing::warn!(node = self.identity.node, "the report cannot be read or written: {text}");
            self.complaint = Some(text);
        }
        if matches!(step, Step::Read) && self.has_read {
            self.read_back_at = now + jittered(READ_BACK.0, READ_BACK.1, dice);
        } else {
            let patience = if error.is_refusal { PATIENCE } else { 1 };
            self.retry_at = now + self.backoff.delay(dice) * patience;
        }
    }
}
