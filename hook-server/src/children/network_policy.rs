//! Who may connect to bridges: by default nobody, to a device's port whom its `allowFrom` names (everybody where it
//! names nobody at all), to the admin port everybody: kubelet and Prometheus come from anywhere.
//!
//! `ingress` is replaced whole by Metacontroller, hence the protocols are spelled out and everything is sorted.

use std::collections::BTreeMap;

use ipnet::IpNet;
use serde::Serialize;
use serde_json::{Value, json};
use serialfleet_api::{fleet::Peer, names};

use super::{Pairs, fleet_labels, pod_labels};
use crate::{observed::Key, outcome::Outcome, request::Parent};

/// Who may connect to the bridges.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NetworkPolicy<'c> {
    api_version: &'static str,
    kind: &'static str,
    metadata: Metadata<'c>,
    spec: Spec<'c>,
}

#[derive(Debug, Serialize)]
struct Metadata<'c> {
    labels: Pairs<'c>,
    name: String,
    namespace: &'static str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Spec<'c> {
    ingress: Vec<Rule>,
    pod_selector: Selector<'c>,
    policy_types: [&'static str; 1],
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Selector<'c> {
    match_labels: Pairs<'c>,
}

#[derive(Debug, Serialize)]
struct Rule {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    from: Vec<Value>,
    ports: Vec<Port>,
}

#[derive(Debug, Serialize)]
struct Port {
    port: i32,
    protocol: &'static str,
}

impl<'c> NetworkPolicy<'c> {
    pub(super) fn new(parent: &'c Parent, outcomes: &[Outcome<'_>]) -> Self {
        Self {
            api_version: "networking.k8s.io/v1",
            kind: "NetworkPolicy",
            metadata: Metadata {
                labels: fleet_labels(&parent.name),
                name: names::bridge(&parent.name),
                namespace: names::SYSTEM_NAMESPACE,
            },
            spec: Spec {
                ingress: ingress(parent, outcomes),
                pod_selector: Selector { match_labels: pod_labels(&parent.name) },
                policy_types: ["Ingress"],
            },
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.metadata.name
    }

    /// Its namespace and name.
    pub fn key(&self) -> Key<'_> {
        (self.metadata.namespace, &self.metadata.name)
    }

    /// Labels of the pods that it guards.
    pub fn guarded(&self) -> &Pairs<'c> {
        &self.spec.pod_selector.match_labels
    }
}

fn ingress(parent: &Parent, outcomes: &[Outcome<'_>]) -> Vec<Rule> {
    let mut open = vec![parent.admin_port()];
    let mut guarded: BTreeMap<Vec<String>, (Vec<Value>, Vec<i32>)> = BTreeMap::new();
    for outcome in outcomes {
        let port = i32::from(outcome.wanted.pod_port);
        let Some(allowed) = &outcome.wanted.device.clients.allow_from else {
            open.push(port);
            continue;
        };
        let mut peers: Vec<Value> =
            allowed.iter().filter_map(|it| peer(it, parent.service_namespace())).collect();
        peers.sort_by_cached_key(Value::to_string);
        peers.dedup();
        // An empty `from` would let everybody in: a list that names nobody gets no rule.
        if !peers.is_empty() {
            let key = peers.iter().map(Value::to_string).collect();
            guarded.entry(key).or_insert_with(|| (peers, Vec::new())).1.push(port);
        }
    }
    let mut rules = vec![Rule { from: Vec::new(), ports: ports(open) }];
    rules.extend(guarded.into_values().map(|(from, of)| Rule { from, ports: ports(of) }));
    rules
}

/// Sorted, each once.
fn ports(mut ports: Vec<i32>) -> Vec<Port> {
    ports.sort_unstable();
    ports.dedup();
    ports.into_iter().map(|port| Port { port, protocol: "TCP" }).collect()
}

fn peer(peer: &Peer, service_namespace: &str) -> Option<Value> {
    if let Some(cidr) = &peer.cidr {
        // Host bits are refused by the API server.
        let network: IpNet = cidr.parse().ok()?;
        return Some(json!({"ipBlock": {"cidr": network.trunc().to_string()}}));
    }
    // Without a namespace, pods beside the Service are meant, not those beside the bridges.
    let namespace = peer.namespace.as_deref().unwrap_or(service_namespace);
    if peer.namespace.is_none() && peer.pod_labels.is_empty() {
        return None;
    }
    let mut out = json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}});
    if !peer.pod_labels.is_empty() {
        out["podSelector"] = json!({"matchLabels": peer.pod_labels});
    }
    Some(out)
}
