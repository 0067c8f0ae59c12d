//! Why a child is made, changed or deleted, in a few words: what a person would have said who saw it happen. Guesses
//! nothing: where it cannot be told, it says what differs.

use serde_json::Value;
use serialfleet_api::names;

use super::{
    From, PathChange,
    child::REMEMBERED,
    read::{Fleet, Key},
};
use crate::visible::visible;

/// Longest name that is repeated.
const NAME: usize = 64;

pub(super) fn created(key: &Key, desired: &Value) -> String {
    match (key.kind.as_str(), device(desired)) {
        ("Service", Some(device)) => {
            format!("nothing is there of device {device}: new, or somebody deleted it")
        }
        ("EndpointSlice", Some(device)) => {
            format!("device {device} has none of this address family yet: new, or somebody deleted it")
        }
        _ => "not there: the fleet is new, or somebody deleted it".to_owned(),
    }
}

pub(super) fn deleted(key: &Key, observed: &Value, fleet: &Fleet) -> String {
    match device(observed) {
        Some(device) if !fleet.devices.contains(observed_device(observed)) => {
            format!("the fleet has no device {device} any more")
        }
        Some(device) if key.namespace != fleet.service_namespace => {
            format!(
                "Services of device {device} are in namespace {} now",
                visible(&fleet.service_namespace, NAME)
            )
        }
        Some(device) => {
            format!("device {device} does not need it any more, as after a change of scope or nodes")
        }
        None => "the answer does not name it".to_owned(),
    }
}

pub(super) fn updated(key: &Key, paths: &[PathChange], observed: &Value, desired: &Value) -> String {
    if paths.iter().all(|it| it.from == From::Drift) {
        return "somebody changed it: set back".to_owned();
    }
    let touches = |prefix: &str| paths.iter().any(|it| it.path.starts_with(prefix));
    let mut parts = Vec::new();
    match key.kind.as_str() {
        "EndpointSlice" if touches("endpoints") => parts.push(endpoint(observed, desired)),
        "EndpointSlice" | "Service" if touches("ports") || touches("spec.ports") => {
            parts.push("another port".to_owned());
        }
        "DaemonSet" if touches("spec.template") => {
            parts.push("other pods: bridges restart one node at a time".to_owned());
        }
        "NetworkPolicy" if touches("spec") => parts.push("other clients or ports are let in".to_owned()),
        _ => {}
    }
    if touches("metadata.labels[\"app.kubernetes.io/version\"]") {
        parts.push("another version of the hook server".to_owned());
    }
    if paths.iter().all(|it| it.path.starts_with(REMEMBERED)) {
        parts.push("the object stays, only what was applied last is written anew".to_owned());
    }
    if paths.iter().any(|it| it.from == From::Drift) {
        parts.push("somebody changed part of it".to_owned());
    }
    if parts.is_empty() {
        parts.push(match paths.iter().any(|it| it.from == From::Unknown) {
            true => "it differs from what is desired".to_owned(),
            false => "something else is desired than before".to_owned(),
        });
    }
    parts.join("; ")
}

fn endpoint(observed: &Value, desired: &Value) -> String {
    let before = endpoints(observed);
    let after = endpoints(desired);
    let node = |it: &Value| visible(it["nodeName"].as_str().unwrap_or("an unknown node"), NAME);
    match (before, after) {
        ([], [there, ..]) => format!("the device is served now, from {}", node(there)),
        ([gone, ..], []) => format!("nobody serves the device any more, it was {}", node(gone)),
        ([a, ..], [b, ..]) if a["nodeName"] != b["nodeName"] => {
            format!("the device moved from {} to {}", node(a), node(b))
        }
        ([a, ..], [b, ..]) if a["addresses"] != b["addresses"] || a["targetRef"] != b["targetRef"] => {
            format!("the bridge on {} is another pod now", node(b))
        }
        _ => "the endpoint looks otherwise".to_owned(),
    }
}

fn endpoints(slice: &Value) -> &[Value] {
    slice["endpoints"].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn observed_device(object: &Value) -> &str {
    object["metadata"]["labels"][names::LABEL_DEVICE].as_str().unwrap_or_default()
}

/// The device of one of our objects.
fn device(object: &Value) -> Option<String> {
    let name = observed_device(object);
    (!name.is_empty()).then(|| visible(name, NAME))
}
