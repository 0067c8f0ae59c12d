//! How it is decided who gets a device's endpoint: what is heard and believed, what is remembered, what follows. The
//! deciding itself is [`crate::arbitrate`]'s.

use serialfleet_api::fleet::DeviceStatus;

use super::CONFLICT;
use crate::{
    arbitrate::{Bridge, Claim, Hold, Memory, Verdict, arbitrate},
    observed::Observed,
    request::Port,
    services::Wanted,
};

/// How a decision comes about: what was heard, what was remembered, what follows.
#[derive(Clone, Debug)]
pub struct Deliberation<'a> {
    /// What believed bridges on allowed nodes say.
    pub seen: Vec<(&'a str, &'a Port)>,
    /// Those of it that are claims.
    pub claims: Vec<Claim<'a>>,
    /// What earlier syncs left.
    pub memory: Memory<'a>,
    /// Where the memory of the present endpoint is from.
    pub source: Option<Source<'a>>,
    /// What is decided.
    pub verdict: Verdict<'a>,
}

/// Where it is written who has the endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source<'a> {
    /// In our slice in this namespace.
    Slice(&'a str),
    /// In the fleet's status, as no slice of ours is there.
    Status,
}

/// Whether a device may be served from a node.
pub fn is_allowed(wanted: &Wanted<'_>, node: &str) -> bool {
    match wanted.node {
        Some(own) => node == own,
        None => {
            let nodes = &wanted.device.matcher.nodes;
            nodes.is_empty() || nodes.iter().any(|it| it == node)
        }
    }
}

/// Weighs what is known about one Service.
pub fn deliberate<'a>(wanted: &Wanted<'a>, observed: &Observed<'a>) -> Deliberation<'a> {
    let seen: Vec<(&'a str, &'a Port)> = observed
        .sightings(&wanted.device.name)
        .iter()
        .filter(|it| it.believed && is_allowed(wanted, it.node))
        .map(|it| (it.node, it.port))
        .collect();
    let claims: Vec<Claim<'a>> =
        seen.iter().filter_map(|(node, port)| Some(Claim { node, hold: hold(&port.state)? })).collect();
    let (memory, source) = memory(wanted, observed);
    let verdict = arbitrate(&claims, memory, |node| match observed.reports.get(node) {
        Some(report) if report.pod.is_some() => Bridge::Live,
        Some(_) => Bridge::Silent,
        None => Bridge::Gone,
    });
    Deliberation { seen, claims, memory, source, verdict }
}

pub(super) fn hold(state: &str) -> Option<Hold> {
    match state {
        "Serving" => Some(Hold::Serving),
        "Held" => Some(Hold::Held),
        _ => None,
    }
}

fn memory<'a>(wanted: &Wanted<'a>, observed: &Observed<'a>) -> (Memory<'a>, Option<Source<'a>>) {
    // Also in a namespace that the fleet is leaving: a move there must not cost who is served.
    let elsewhere = observed.slice_namespaces(&wanted.name);
    let slice =
        wanted.namespaces.iter().copied().chain(elsewhere).find_map(|namespace| {
            Some((observed.present(namespace, &wanted.name)?, Source::Slice(namespace)))
        });
    // Among the nodes of a scope-Node device there is nothing to arbitrate.
    let last = if wanted.node.is_some() { None } else { observed.last(&wanted.device.name) };
    let is_conflict = |last: &DeviceStatus| last.state == CONFLICT;
    let status_says = || {
        let last = last.filter(|it| !it.node.is_empty())?;
        let had_it = match last.state.as_str() {
            // Between the old slice's end and the new one's beginning, or where somebody deleted it.
            "Serving" | "Held" => observed.slice_namespaces(&wanted.name).next().is_none(),
            _ => false,
        };
        had_it.then_some((last.node.as_str(), Source::Status))
    };
    let present = slice.or_else(status_says);
    let memory = Memory {
        present: present.map(|(node, _)| node),
        // Not a rival that was only warned of: a node that is dead for good looks like one that restarts, and its stick,
        // carried to another node before that is known, must be served there.
        conflict: last.is_some_and(is_conflict),
        conflict_node: last.filter(|it| is_conflict(it) && !it.node.is_empty()).map(|it| it.node.as_str()),
    };
    (memory, present.map(|(_, source)| source))
}
