//! What the nodes say about a device, and which of it is believed, and why not.

use serialfleet_api::resolve::ResolvedDevice;

use super::{MAX_TEXT, Text};
use crate::{
    observed::{Observed, Sighting},
    outcome::{is_allowed, list},
    services::Wanted,
    status::clip,
};

pub(super) fn claims(text: &mut Text, wanted: &Wanted<'_>, observed: &Observed<'_>) {
    let all = observed.sightings(&wanted.device.name);
    let concerned = all.iter().filter(|it| wanted.node.is_none_or(|own| own == it.node));
    for sighting in concerned {
        text.item(&claim(sighting, wanted, observed));
        for warning in &sighting.port.warnings {
            text.item(&format!(
                "  warning {}: {}",
                clip(&warning.reason, 64),
                clip(&warning.message, MAX_TEXT)
            ));
        }
    }
    match wanted.node {
        Some(node) if !all.iter().any(|it| it.node == node) => text.item(&silence(node, observed)),
        Some(_) => {}
        None => unseen(text, wanted.device, observed),
    }
}

fn claim(sighting: &Sighting<'_>, wanted: &Wanted<'_>, observed: &Observed<'_>) -> String {
    let Sighting { node, port, believed } = *sighting;
    let mut said = clip(&port.state, 64);
    if !port.reason.is_empty() {
        said.push_str(&format!(", {}", clip(&port.reason, 64)));
    }
    if !port.tty.is_empty() {
        said.push_str(&format!(", {}", clip(&port.tty, 64)));
    }
    let verdict = if !believed {
        format!("not believed: {}", disbelief(node, observed))
    } else if is_allowed(wanted, node) {
        let pod = observed.reports.get(node).and_then(|report| report.pod.as_ref());
        match pod {
            Some(pod) => format!("believed: pod {} wrote it and is ready", pod.name),
            None => "believed".to_owned(),
        }
    } else {
        "left out: match.nodes does not name this node".to_owned()
    };
    format!("{node} says {said}; {verdict}.")
}

fn disbelief(node: &str, observed: &Observed<'_>) -> &'static str {
    if observed.ready_nodes.contains(node) {
        "another pod wrote it than the one that is ready there, which has yet to report"
    } else if observed.unready_nodes.contains(node) {
        "its bridge is not ready, so look at that node"
    } else {
        "no bridge runs there, so an earlier pod or fleet left it"
    }
}

fn silence(node: &str, observed: &Observed<'_>) -> String {
    if observed.reports.get(node).is_some_and(|report| report.pod.is_some()) {
        format!("{node} says nothing of it: no such device is there.")
    } else if observed.ready_nodes.contains(node) {
        format!("{node} has a ready bridge that has yet to report.")
    } else if observed.unready_nodes.contains(node) {
        format!("{node} has a bridge that is not ready: look at that node.")
    } else {
        format!("{node} has no bridge: is there such a node, and may a bridge run on it?")
    }
}

/// The nodes that say nothing of a device.
pub(super) fn unseen(text: &mut Text, device: &ResolvedDevice, observed: &Observed<'_>) {
    let speaks = |node: &str| observed.sightings(&device.name).iter().any(|it| it.node == node);
    let silent: Vec<&str> = observed.ready_nodes.iter().copied().filter(|node| !speaks(node)).collect();
    if !silent.is_empty() {
        text.item(&format!("{}: ready, and no such device there.", list(&silent)));
    }
    let away: Vec<&str> = observed.unready_nodes.iter().copied().filter(|node| !speaks(node)).collect();
    if !away.is_empty() {
        text.item(&format!("{}: bridge not ready, so nobody knows.", list(&away)));
    }
    if observed.ready_nodes.is_empty() && observed.unready_nodes.is_empty() {
        text.item("No bridge runs anywhere.");
    }
}
