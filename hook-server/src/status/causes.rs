//! What is wrong with the fleet, as facts with a sentence each: what needs a person, what is merely odd, what is still
//! under way. [`super::conditions`] makes conditions of them.

use std::{cell::Cell, collections::BTreeSet, time::SystemTime};

use serialfleet_api::names;

use crate::{
    children::Children,
    config::Config,
    observed::{Consent, Observed},
    outcome::{Outcome, list},
    request::{Parent, SyncRequest},
    services::Obstacle,
};

/// One cause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// One CamelCase word.
    pub reason: &'static str,
    /// A sentence with the next step.
    pub message: String,
}

/// What is wrong.
#[derive(Clone, Debug, Default)]
pub struct Causes {
    /// Needs a person, most urgent first.
    pub stalled: Vec<Cause>,
    /// Still under way.
    pub reconciling: Vec<Cause>,
    /// Works, but.
    pub degraded: Vec<Cause>,
    /// Why no bridge runs as it should, if so.
    pub bridges: Option<Cause>,
    /// Children that are not as desired: missing, or with an old value.
    pub unapplied: Vec<Cause>,
    /// Whether something desired is not observed: a further sync has to look again.
    pub unobserved: bool,
    /// After how many seconds what is waited for has lasted too long.
    pub due: Option<u64>,
}

impl Cause {
    /// Whether this follows from the spec as somebody wrote it, not from what happened since.
    pub(super) fn is_chosen(&self) -> bool {
        matches!(self.reason, HOST_NETWORK | POLICY_ONLY)
    }
}

const HOST_NETWORK: &str = "HostNetwork";
const POLICY_ONLY: &str = "PolicyOnly";

/// The last status and the present time: what tells a delay from a standstill.
pub(super) struct Recent<'a> {
    parent: &'a Parent,
    now: SystemTime,
    /// How long the next of the questions below has to wait for a yes, in seconds.
    due: Cell<Option<u64>>,
}

impl Recent<'_> {
    /// Whether the last sync saw the fleet change, or there was none.
    pub(super) fn is_under_way(&self) -> bool {
        let last = self.parent.status.conditions.iter().find(|it| it.type_ == "Reconciling");
        last.is_none_or(|it| it.status == "True")
    }

    /// Whether a condition has had this status for so many seconds, by its own transition time, and the last sync saw
    /// the present generation. What was called `reason` and needed a person then still does: a clock that was set
    /// back changes no verdict.
    pub(super) fn lasts(&self, type_: &str, status: &str, seconds: u64, reason: &str) -> bool {
        let last = &self.parent.status;
        if last.observed_generation != self.parent.metadata.generation {
            self.wait(seconds);
            return false;
        }
        let find = |type_: &str, status: &str| {
            last.conditions.iter().find(|it| it.type_ == type_ && it.status == status)
        };
        if find("Stalled", "True").is_some_and(|it| it.reason == reason) {
            return true;
        }
        let Some(condition) = find(type_, status) else { return false };
        let since = humantime::parse_rfc3339_weak(&condition.last_transition_time).ok();
        let lasted = since.and_then(|since| self.now.duration_since(since).ok());
        let lasted = lasted.map_or(0, |lasted| lasted.as_secs());
        if lasted < seconds {
            self.wait(seconds - lasted);
        }
        lasted >= seconds
    }

    /// Whether the last sync said so.
    pub(super) fn was(&self, type_: &str, status: &str, reason: &str) -> bool {
        let mut last = self.parent.status.conditions.iter();
        last.any(|it| it.type_ == type_ && it.status == status && it.reason == reason)
    }

    /// In so many seconds somebody has to look again.
    pub(super) fn wait(&self, seconds: u64) {
        self.due.set(Some(self.due.get().map_or(seconds, |due| due.min(seconds))));
    }
}

pub(super) fn cause(reason: &'static str, message: String) -> Cause {
    Cause { reason, message }
}

impl Causes {
    /// Compares what is desired with what is observed.
    pub fn new(
        request: &SyncRequest,
        observed: &Observed<'_>,
        children: &Children<'_>,
        config: &Config,
        now: SystemTime,
    ) -> Self {
        let outcomes = children.outcomes();
        let mut causes = Self::default();
        let recent = Recent { parent: &request.parent, now, due: Cell::default() };
        causes.names(request, observed, outcomes);
        causes.strangers(request, observed, outcomes);
        causes.objects(request, observed, children, &recent);
        causes.bridges(request, observed, &recent);
        causes.conflicts(outcomes);
        causes.drift(&request.parent.name, observed, children);
        causes.controller(request, observed);
        // Last: what somebody chose must not hide what happened.
        causes.network(request, config, outcomes);
        causes.due = recent.due.get();
        causes
    }

    fn network(&mut self, request: &SyncRequest, config: &Config, outcomes: &[Outcome<'_>]) {
        if request.parent.host_network() {
            if config.allow_host_network {
                self.degraded.push(cause(
                    HOST_NETWORK,
                    "Bridges listen on the nodes' own addresses, where no NetworkPolicy holds: keep allowFrom narrow."
                        .to_owned(),
                ));
            } else {
                self.stalled.push(cause(
                    "HostNetworkNotAllowed",
                    "spec.bridge.hostNetwork is not allowed here and bridges run in the pod network: start the hook \
                     server with --allow-host-network, or remove the field."
                        .to_owned(),
                ));
            }
        }
        let guarded: BTreeSet<&str> = outcomes
            .iter()
            .map(|it| it.wanted.device)
            .filter(|device| device.clients.allow_from.is_some() && device.clients.networks().is_none())
            .map(|device| device.name.as_str())
            .collect();
        if !guarded.is_empty() {
            self.degraded.push(cause(
                POLICY_ONLY,
                format!(
                    "Only NetworkPolicy guards {}, and only where the network plugin enforces it: write CIDRs in \
                     allowFrom to have the bridge check as well.",
                    list(&Vec::from_iter(guarded))
                ),
            ));
        }
    }

    fn names(&mut self, request: &SyncRequest, observed: &Observed<'_>, outcomes: &[Outcome<'_>]) {
        let namespace = request.parent.service_namespace();
        if !outcomes.is_empty() {
            match observed.consent {
                Consent::Given => {}
                Consent::Missing => {
                    self.unobserved = true;
                    self.stalled.push(cause(
                        "NamespaceMissing",
                        format!(
                            "Namespace {namespace} is missing: kubectl create namespace {namespace} && kubectl label \
                             namespace {namespace} {}={}",
                            names::LABEL_SERVICES,
                            names::SERVICES_ALLOWED
                        ),
                    ));
                }
                Consent::Leaving => {
                    self.unobserved = true;
                    self.stalled.push(cause(
                        "NamespaceMissing",
                        format!(
                            "Namespace {namespace} is being deleted: once it is gone, kubectl create namespace \
                             {namespace} && kubectl label namespace {namespace} {}={}",
                            names::LABEL_SERVICES,
                            names::SERVICES_ALLOWED
                        ),
                    ));
                }
                Consent::Withheld => {
                    self.unobserved = true;
                    self.stalled.push(cause(
                        "NamespaceNotAllowed",
                        format!(
                            "Namespace {namespace} does not allow Services of fleets: kubectl label namespace \
                             {namespace} {}={}",
                            names::LABEL_SERVICES,
                            names::SERVICES_ALLOWED
                        ),
                    ));
                }
            }
        }
        let taken = |test: &dyn Fn(&Obstacle) -> bool| -> Vec<&str> {
            let blocked = outcomes.iter().filter(|it| it.wanted.obstacle.as_ref().is_some_and(test));
            blocked.map(|it| &*it.wanted.name).collect()
        };
        let foreign = taken(&|it| *it == Obstacle::NameTaken);
        if !foreign.is_empty() {
            self.unobserved = true;
            self.stalled.push(cause(
                "NameTaken",
                format!(
                    "Services of others have these names in namespace {namespace}: {}. Delete them, or rename the \
                     devices.",
                    list(&foreign)
                ),
            ));
        }
        let twice = taken(&|it| matches!(it, Obstacle::SameName(_)));
        if !twice.is_empty() {
            self.stalled.push(cause(
                "NameTaken",
                format!(
                    "Two devices of this fleet want the same Service: {}. Rename one of each two.",
                    list(&twice)
                ),
            ));
        }
    }
}
