//! Who may connect to bridges: by default nobody, to a device's port whom its `allowFrom` names (everybody where it
//! names nobody at all), to the admin port everybody: kubelet and Prometheus come from anywhere.
//!
//! `ingress` is replaced whole by Metacontroller, hence the protocols are spelled out and everything is sorted.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use serde_json::{Value, json};
use serialfleet_api::{fleet::Peer, names};

use super::{fleet_labels, pod_labels};
use crate::{outcome::Outcome, request::Parent};

pub(super) fn network_policy(parent: &Parent, outcomes: &[Outcome<'_>]) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {
            "name": names::bridge(&parent.name),
            "namespace": names::SYSTEM_NAMESPACE,
            "labels": fleet_labels(&parent.name),
        },
        "spec": {
            "podSelector": {"matchLabels": pod_labels(&parent.name)},
            "policyTypes": ["Ingress"],
            "ingress": ingress(parent, outcomes),
        },
    })
}

fn ingress(parent: &Parent, outcomes: &[Outcome<'_>]) -> Value {
    let mut open = BTreeSet::from([parent.admin_port()]);
    let mut guarded: BTreeMap<Vec<String>, (Vec<Value>, BTreeSet<i32>)> = BTreeMap::new();
    for outcome in outcomes {
        let port = i32::from(outcome.wanted.pod_port);
        let Some(allowed) = &outcome.wanted.device.clients.allow_from else {
            open.insert(port);
            continue;
        };
        let mut peers: Vec<Value> =
            allowed.iter().filter_map(|it| peer(it, parent.service_namespace())).collect();
        peers.sort_by_cached_key(Value::to_string);
        peers.dedup();
        // An empty `from` would let everybody in: a list that names nobody gets no rule.
        if !peers.is_empty() {
            let key = peers.iter().map(Value::to_string).collect();
            guarded.entry(key).or_insert_with(|| (peers, BTreeSet::new())).1.insert(port);
        }
    }
    let ports = |ports: BTreeSet<i32>| -> Value {
        ports.into_iter().map(|port| json!({"port": port, "protocol": "TCP"})).collect()
    };
    let mut rules = vec![json!({"ports": ports(open)})];
    rules.extend(guarded.into_values().map(|(from, of)| json!({"from": from, "ports": ports(of)})));
    Value::Array(rules)
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
