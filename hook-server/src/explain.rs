//! `explain`: why a device is served where it is, or what to do, in words. A pure function of a captured request: it
//! decides with the same functions as the hook, and says at each step what it looked at. Writes text only.

mod claims;

use serialfleet_api::{fleet::Scope, names};

use crate::{
    observed::{Family, Kind, Observed},
    outcome::{Deliberation, Outcome, Source, deliberate, list, outcome},
    request::SyncRequest,
    services::wanted,
    status::clip,
};

/// Longest text of a bridge that is repeated, in characters.
const MAX_TEXT: usize = 300;

/// The fleet of the request has no such device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("fleet {fleet} has no device {device:?}; it has {known}")]
pub struct UnknownDevice {
    fleet: String,
    device: String,
    known: String,
}

/// Explains a device: one paragraph, for scope Node one for each node.
///
/// # Errors
/// If the fleet has no device of that name.
pub fn explain(request: &SyncRequest, device: &str) -> Result<String, UnknownDevice> {
    let parent = &request.parent;
    let Some(found) = parent.wish.devices.iter().find(|it| it.name == device) else {
        let names: Vec<&str> = parent.wish.devices.iter().map(|it| it.name.as_str()).collect();
        return Err(UnknownDevice {
            fleet: parent.name.clone(),
            device: clip(device, 64),
            known: if names.is_empty() { "none".to_owned() } else { list(&names) },
        });
    };
    let observed = Observed::new(request);
    let of_device: Vec<_> =
        wanted(request, &observed).into_iter().filter(|it| it.device.name == device).collect();
    let mut text = Text::default();
    if of_device.is_empty() {
        text.line(&format!("{device} of fleet {}: nowhere", parent.name));
        text.part("Why");
        text.item(
            "It has scope Node without match.nodes: it gets a Service for each node that shows one, and none has.",
        );
        claims::unseen(&mut text, found, &observed);
        text.part("Next");
        text.item("Plug one in, or compare its match with what kubectl get sn -o wide shows.");
    }
    for (index, wanted) in of_device.into_iter().enumerate() {
        if index > 0 {
            text.0.push('\n');
        }
        let deliberation = deliberate(&wanted, &observed);
        let outcome = outcome(wanted, &observed, &parent.name);
        about(&mut text, request, &observed, &outcome, &deliberation);
    }
    Ok(text.0)
}

fn about(
    text: &mut Text,
    request: &SyncRequest,
    observed: &Observed<'_>,
    outcome: &Outcome<'_>,
    deliberation: &Deliberation<'_>,
) {
    let device = &outcome.wanted.device.name;
    let place = match (outcome.wanted.node, outcome.node) {
        (Some(node), _) => format!(" on {node}"),
        (None, "") => String::new(),
        (None, node) => format!(" on {node}"),
    };
    let tty = if outcome.tty.is_empty() { String::new() } else { format!(" ({})", clip(outcome.tty, 64)) };
    text.line(&format!("{device} of fleet {}: {}{place}{tty}", request.parent.name, outcome.state.as_str()));
    text.part("Who says what");
    claims::claims(text, &outcome.wanted, observed);
    text.part("Who had it");
    text.item(&memory(deliberation, outcome));
    text.part("Decision");
    text.item(&deliberation.verdict.rule(&deliberation.claims));
    text.part("Service and slices");
    objects(text, observed, outcome);
    text.part("Next");
    next(text, request, outcome);
}

fn memory(deliberation: &Deliberation<'_>, outcome: &Outcome<'_>) -> String {
    let memory = &deliberation.memory;
    match (memory.present, deliberation.source) {
        (Some(node), Some(Source::Slice(namespace))) => {
            format!("{node}, by the EndpointSlices of {namespace}/{}.", outcome.wanted.name)
        }
        (Some(node), _) => format!("{node}, by the fleet's status: no EndpointSlice of ours is there."),
        (None, _) if memory.conflict => match memory.conflict_node {
            Some(node) => format!("Nobody: the last state was Conflict, in which {node} is remembered."),
            None => "Nobody: the last state was Conflict.".to_owned(),
        },
        (None, _) => "Nobody.".to_owned(),
    }
}

fn objects(text: &mut Text, observed: &Observed<'_>, outcome: &Outcome<'_>) {
    let wanted = &outcome.wanted;
    if wanted.namespaces.is_empty() {
        text.item(&format!("Service {} is not made.", wanted.name));
    }
    for namespace in &wanted.namespaces {
        let key = (*namespace, &*wanted.name);
        let there = observed.services.contains_key(&key);
        let state = state(observed, Kind::Service, key, there);
        text.item(&format!("Service {namespace}/{} is {state}; its port is {}.", key.1, wanted.device.port));
        for family in &observed.families {
            let name = family.slice(&wanted.name);
            let key = (*namespace, name.as_str());
            let slice = observed.slices.get(&key);
            let mut line = format!(
                "EndpointSlice {namespace}/{name} is {}",
                self::state(observed, Kind::EndpointSlice, key, slice.is_some())
            );
            if let Some(slice) = slice {
                match slice.endpoints.first() {
                    Some(endpoint) => line.push_str(&format!(" and leads to {}", endpoint.node_name)),
                    None => line.push_str(" and leads nowhere"),
                }
            }
            line.push_str(&format!("; it is to lead {}.", leads(outcome, *family)));
            text.item(&line);
        }
        if observed.families.is_empty() {
            text.item("No EndpointSlice is made yet: no bridge has shown an address.");
        }
        for slice in observed.strangers.slices_of(key) {
            text.item(&format!(
                "EndpointSlice {namespace}/{slice} is not ours and takes clients of it: delete it."
            ));
        }
    }
}

fn leads(outcome: &Outcome<'_>, family: Family) -> String {
    match &outcome.endpoint {
        Some(pod) => match pod.addresses.get(&family) {
            Some(address) => {
                format!("to {}, pod {} at {address} port {}", pod.node, pod.name, outcome.wanted.pod_port)
            }
            None => format!("nowhere, as pod {} has no {} address", pod.name, family.address_type()),
        },
        None => "nowhere".to_owned(),
    }
}

fn state(observed: &Observed<'_>, kind: Kind, key: (&str, &str), there: bool) -> &'static str {
    if there {
        "there"
    } else if observed.strangers.is_foreign(kind, key) {
        "somebody else's, and left alone"
    } else if observed.strangers.is_leftover(kind, key) {
        "in the way: left from an earlier fleet of this name, or robbed of its label controller-uid"
    } else if observed.leaving.contains(&(kind, key)) {
        "being deleted"
    } else {
        "not there yet"
    }
}

fn next(text: &mut Text, request: &SyncRequest, outcome: &Outcome<'_>) {
    let said = clip(&outcome.message, MAX_TEXT);
    if !said.is_empty() {
        text.item(&said);
    }
    let stalled =
        request.parent.status.conditions.iter().find(|it| it.type_ == "Stalled" && it.status == "True");
    if let Some(stalled) = stalled {
        text.item(&format!("The fleet waits for a person: {}", clip(&stalled.message, MAX_TEXT)));
    }
    let namespace = outcome.wanted.namespaces.first();
    if let (true, Some(namespace)) = (outcome.state.is_bound(), namespace) {
        text.item(&format!(
            "Clients connect to {}.{namespace}.svc:{}.",
            outcome.wanted.name, outcome.wanted.device.port
        ));
    } else if said.is_empty() && stalled.is_none() {
        text.item(&format!("See kubectl get sn -l {}={} -o yaml.", names::LABEL_FLEET, request.parent.name));
    }
    let nodes = &outcome.wanted.device.matcher.nodes;
    if outcome.wanted.device.scope == Scope::Cluster && !nodes.is_empty() {
        text.item(&format!("match.nodes allows {} only.", list(nodes)));
    }
}

/// Lines below headings.
#[derive(Default)]
struct Text(String);

impl Text {
    fn line(&mut self, line: &str) {
        self.0.push_str(line);
        self.0.push('\n');
    }

    fn part(&mut self, heading: &str) {
        self.line(&format!("  {heading}"));
    }

    fn item(&mut self, item: &str) {
        self.line(&format!("    {item}"));
    }
}

#[cfg(test)]
mod tests;
