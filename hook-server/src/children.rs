//! The desired children, complete and in a fixed order. Built from scratch each time, never from observed objects;
//! one file per kind.
//!
//! Every shape here was chosen so that what the API server stores merges to itself under both of Metacontroller's
//! apply strategies: no null (but an empty slice's `endpoints`), no empty value, canonical quantities, integers,
//! server defaults spelled out in lists that are replaced whole, sorted lists.

mod anchor;
mod daemon_set;
mod device_service;
mod endpoint_slice;
mod network_policy;

use serde_json::{Map, Value, json};
use serialfleet_api::names;

use crate::{config::Config, observed::Observed, outcome::Outcome, request::Parent};

/// Everything that the fleet wants to exist.
pub fn children(
    parent: &Parent,
    outcomes: &[Outcome<'_>],
    observed: &Observed<'_>,
    config: &Config,
) -> Vec<Value> {
    let mut children = vec![
        daemon_set::daemon_set(parent, config),
        anchor::anchor(parent),
        network_policy::network_policy(parent, outcomes),
    ];
    for outcome in outcomes {
        for namespace in &outcome.wanted.namespaces {
            children.push(device_service::device_service(&parent.name, outcome, namespace));
            for family in &observed.families {
                children.push(endpoint_slice::endpoint_slice(&parent.name, outcome, namespace, *family));
            }
        }
    }
    children
}

/// What `app.kubernetes.io/name` says on everything of ours.
const APP: &str = "serialfleet";

/// Labels of a child. The user's own come first, so that ours win.
fn labels(fleet: &str, component: &str, more: &[(&str, &str)]) -> Map<String, Value> {
    [
        ("app.kubernetes.io/name", APP),
        ("app.kubernetes.io/instance", fleet),
        ("app.kubernetes.io/component", component),
        ("app.kubernetes.io/managed-by", APP),
        (names::LABEL_FLEET, fleet),
    ]
    .iter()
    .chain(more)
    .map(|(key, value)| ((*key).to_owned(), json!(value)))
    .collect()
}

/// Labels of the children that a fleet has once. Only they carry the version: on the devices' Services and slices an
/// upgrade would rewrite hundreds of objects while a stick waits to be published.
fn fleet_labels(fleet: &str) -> Map<String, Value> {
    labels(fleet, "bridge", &[("app.kubernetes.io/version", env!("CARGO_PKG_VERSION"))])
}

/// Labels by which bridge pods of a fleet are found. Immutable in a DaemonSet, hence from the fleet's name only.
fn pod_labels(fleet: &str) -> Value {
    json!({
        "app.kubernetes.io/name": APP,
        "app.kubernetes.io/component": "bridge",
        (names::LABEL_FLEET): fleet,
    })
}
