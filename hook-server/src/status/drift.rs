//! What somebody added to our objects. Metacontroller changes what the fleet names and never takes back anything else,
//! under either apply strategy: so this is only told, with what to do about it.

use std::collections::BTreeSet;

use serde_json::Value;
use serialfleet_api::names;

use super::causes::{Causes, cause};
use crate::{
    children::Children,
    observed::{Key, Kind, Observed},
    outcome::{Outcome, list},
    request::{DaemonSet, Meta, Service},
};

impl Causes {
    /// What Metacontroller never takes back because nobody desires it.
    pub(super) fn drift(&mut self, fleet: &str, observed: &Observed<'_>, children: &Children<'_>) {
        let mut odd = Vec::new();
        let services = children.device_services().map(|(key, outcome)| (key, Some(outcome)));
        let (anchor, bridges) = (names::anchor(fleet), children.bridges(Kind::Service));
        for (key, outcome) in services.chain([((names::SYSTEM_NAMESPACE, anchor.as_str()), None)]) {
            for slice in observed.strangers.slices_of(key) {
                // What is in the way of a slice of ours is told as that.
                if !observed.strangers.is_leftover(Kind::EndpointSlice, (key.0, slice)) {
                    odd.push(format!("EndpointSlice {}/{slice} takes clients of Service {}", key.0, key.1));
                }
            }
            if let Some(service) = observed.services.get(&key) {
                odd.extend(of_service(key, service, outcome, bridges));
            }
        }
        for (key, slice) in &observed.slices {
            let mut found = labels(&slice.metadata, |_| false);
            if slice.ports.0 > 1 {
                found.push("a second port".to_owned());
            }
            odd.extend(told(Kind::EndpointSlice, *key, found));
        }
        if let (Some(set), Some(child)) = (observed.daemon_set, children.bridges(Kind::DaemonSet)) {
            let key = (names::SYSTEM_NAMESPACE, set.metadata.name.as_str());
            odd.extend(told(Kind::DaemonSet, key, of_daemon_set(set, child)));
        }
        if let (Some(policy), Some(child)) = (observed.policy, children.policy()) {
            let selector = &policy.spec.pod_selector;
            let mut found = labels(&policy.metadata, |_| false);
            let is_narrower = selector.match_labels.keys().any(|key| !child.guarded().contains_key(key));
            if selector.match_expressions.0 > 0 || is_narrower {
                found.push("a narrower podSelector, which leaves bridges unguarded".to_owned());
            }
            let key = (names::SYSTEM_NAMESPACE, policy.metadata.name.as_str());
            odd.extend(told(Kind::NetworkPolicy, key, found));
        }
        if !odd.is_empty() {
            let message = format!("Somebody added what is not ours: {}. Remove it.", list(&odd));
            self.degraded.push(cause("Drift", message));
        }
    }
}

fn told(kind: Kind, key: Key<'_>, found: Vec<String>) -> Option<String> {
    let title = format!("{} {}/{}", kind.as_str(), key.0, key.1);
    (!found.is_empty()).then(|| format!("{title} has {}", found.join(" and ")))
}

/// Without an outcome it is the anchor.
fn of_service(
    key: Key<'_>,
    service: &Service,
    outcome: Option<&Outcome<'_>>,
    anchor: Option<&Value>,
) -> Option<String> {
    let spec = &service.spec;
    let users = outcome.map(|it| &it.wanted.device.service.labels);
    let mut found = labels(&service.metadata, |label| users.is_some_and(|users| users.contains_key(label)));
    match (outcome, anchor) {
        (Some(_), _) if !spec.selector.is_empty() => found.push("a selector".to_owned()),
        (None, Some(anchor)) if added(spec.selector.keys(), &anchor["spec"]["selector"]).next().is_some() => {
            found.push("a narrower selector".to_owned());
        }
        _ => {}
    }
    if spec.ports.len() > 1 {
        found.push("a second port".to_owned());
    }
    if spec.internal_traffic_policy == "Local" {
        found.push("internalTrafficPolicy Local, which leads clients on other nodes nowhere".to_owned());
    }
    if spec.publish_not_ready_addresses {
        found.push("publishNotReadyAddresses, which calls bridges ready that are not".to_owned());
    }
    told(Kind::Service, key, found)
}

fn of_daemon_set(set: &DaemonSet, child: &Value) -> Vec<String> {
    let (pod, desired) = (&set.spec.template.spec, &child["spec"]["template"]["spec"]);
    let bridge = &desired["containers"][0];
    let mut found = labels(&set.metadata, |_| false);
    if pod.containers.len() > 1 || !pod.init_containers.is_empty() {
        found.push("further containers".to_owned());
    }
    if let Some(container) = pod.containers.iter().find(|it| bridge["name"] == it.name.as_str()) {
        let env = container.env.iter().map(|it| &it.name);
        let env: Vec<&str> = beyond(env, &bridge["env"], "name").collect();
        if !env.is_empty() {
            found.push(format!("environment {}", list(&env)));
        }
        let mounts = container.volume_mounts.iter().map(|it| &it.mount_path);
        let mounts: Vec<&str> = beyond(mounts, &bridge["volumeMounts"], "mountPath").collect();
        if !mounts.is_empty() {
            found.push(format!("mount {}", list(&mounts)));
        }
        if container.ports.len() > bridge["ports"].as_array().map_or(0, Vec::len) {
            found.push("a further container port".to_owned());
        }
    }
    let volumes: Vec<&str> =
        beyond(pod.volumes.iter().map(|it| &it.name), &desired["volumes"], "name").collect();
    if !volumes.is_empty() {
        found.push(format!("volume {}", list(&volumes)));
    }
    let narrower = added(pod.node_selector.keys(), &desired["nodeSelector"]).next().is_some();
    if narrower || pod.affinity.is_some() {
        found.push("a narrower choice of nodes".to_owned());
    }
    for (there, field) in
        [(pod.host_network, "hostNetwork"), (pod.host_pid, "hostPID"), (pod.host_ipc, "hostIPC")]
    {
        if there && desired[field] != true {
            found.push(field.to_owned());
        }
    }
    found
}

/// Labels that neither we nor the user asked for.
fn labels(meta: &Meta, wanted: impl Fn(&str) -> bool) -> Vec<String> {
    let others = meta.labels.others.iter().map(String::as_str);
    let labels: Vec<&str> = others.filter(|label| !wanted(label)).collect();
    if labels.is_empty() { Vec::new() } else { vec![format!("label {}", list(&labels))] }
}

/// Keys that are not in a desired map.
fn added<'a>(keys: impl Iterator<Item = &'a String>, desired: &Value) -> impl Iterator<Item = &'a str> {
    keys.map(String::as_str).filter(move |key| desired.get(*key).is_none())
}

/// Names that no item of a desired list has.
fn beyond<'a>(
    names: impl Iterator<Item = &'a String>,
    desired: &Value,
    key: &str,
) -> impl Iterator<Item = &'a str> {
    let known = desired.as_array().into_iter().flatten().filter_map(|it| it[key].as_str());
    let known: BTreeSet<String> = known.map(str::to_owned).collect();
    names.map(String::as_str).filter(move |name| !known.contains(*name))
}
