//! The fleet's status: summary, devices, conditions. From observed objects and decisions only, and the same for the
//! same; nothing in here advances by itself.

mod bridges;
mod causes;
mod conditions;
mod drift;
mod objects;
mod oddities;

use std::time::SystemTime;

use serialfleet_api::{
    fleet::{DeviceStatus, FleetSummary, NodeCounts, NodeProblem, Scope, SerialFleetStatus},
    node::PortState,
    resolve::ResolvedDevice,
};

pub use causes::Causes;

use crate::{
    observed::Observed,
    outcome::{CONFLICT, Outcome, State},
    request::Parent,
};

/// Longest message of a device, in characters.
const MAX_MESSAGE: usize = 512;
/// Longest `summary.problem`, in characters.
const MAX_PROBLEM: usize = 128;
/// Most problems of a scope-Node device.
const MAX_PROBLEMS: usize = 8;

/// The status, and after how many seconds another sync is wanted.
pub fn status(
    parent: &Parent,
    observed: &Observed<'_>,
    outcomes: &[Outcome<'_>],
    causes: &Causes,
    now: SystemTime,
) -> (SerialFleetStatus, Option<u32>) {
    let of_device: Vec<(&ResolvedDevice, &[Outcome<'_>])> = parent
        .wish
        .devices
        .iter()
        .map(|device| {
            let first = outcomes.partition_point(|it| it.wanted.device.name < device.name);
            let rest = outcomes.get(first..).unwrap_or_default();
            let count = rest.iter().take_while(|it| it.wanted.device.name == device.name).count();
            (device, rest.get(..count).unwrap_or_default())
        })
        .collect();
    let devices: Vec<DeviceStatus> = of_device.iter().map(|(device, of)| device_status(device, of)).collect();
    let (conditions, resync) = conditions::conditions(parent, &of_device, causes, now);
    let summary = summary(observed, outcomes, &devices, causes);
    (SerialFleetStatus { observed_generation: None, conditions, summary: Some(summary), devices }, resync)
}

fn device_status(device: &ResolvedDevice, outcomes: &[Outcome<'_>]) -> DeviceStatus {
    let namespace = outcomes.iter().find_map(|it| it.wanted.namespaces.first());
    let address = |service: &str| {
        namespace.map_or_else(String::new, |namespace| format!("{service}.{namespace}.svc:{}", device.port))
    };
    let name = device.name.clone();
    match (device.scope, outcomes) {
        (Scope::Cluster, [one, ..]) => DeviceStatus {
            name,
            state: one.state.as_str().to_owned(),
            reason: clip(&one.reason, 64),
            node: one.node.to_owned(),
            tty: clip(one.tty, 64),
            address: address(&one.wanted.name),
            message: clip(&one.message, MAX_MESSAGE),
            ..DeviceStatus::default()
        },
        (_, outcomes) => {
            let worst = outcomes.iter().min_by_key(|it| (it.state.health(), it.node));
            // Serving as long as it serves anywhere: the others are counted and named.
            let shown = outcomes.iter().find(|it| is_serving(it)).or(worst);
            let count = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
            DeviceStatus {
                name,
                state: shown.map_or(PortState::Absent.as_str(), |it| it.state.as_str()).to_owned(),
                reason: shown.map_or_else(String::new, |it| clip(&it.reason, 64)),
                address: address(&format!("{}-<node>", device.name)),
                message: if outcomes.is_empty() {
                    "No node has shown such a device yet: plug one in, or compare its match with what kubectl get sn \
                     -o wide shows."
                        .to_owned()
                } else {
                    String::new()
                },
                nodes: Some(NodeCounts {
                    serving: count(outcomes.iter().filter(|it| is_serving(it)).count()),
                    total: count(outcomes.len()),
                }),
                problems: outcomes
                    .iter()
                    .filter(|it| !it.state.is_bound())
                    .take(MAX_PROBLEMS)
                    .map(|it| NodeProblem {
                        node: it.wanted.node.unwrap_or_default().to_owned(),
                        state: it.state.as_str().to_owned(),
                        message: clip(&it.message, MAX_MESSAGE),
                    })
                    .collect(),
                ..DeviceStatus::default()
            }
        }
    }
}

fn is_serving(outcome: &Outcome<'_>) -> bool {
    outcome.state == State::Port(PortState::Serving)
}

fn summary(
    observed: &Observed<'_>,
    outcomes: &[Outcome<'_>],
    devices: &[DeviceStatus],
    causes: &Causes,
) -> FleetSummary {
    let (total, bound) = (outcomes.len(), outcomes.iter().filter(|it| it.state.is_bound()).count());
    let status = observed.daemon_set.map(|set| &set.status);
    let nodes = status.map_or(0, |status| status.desired_number_scheduled);
    let ready = status.map_or(0, |status| status.number_ready.min(nodes));
    FleetSummary {
        devices: i32::try_from(total).unwrap_or(i32::MAX),
        devices_bound: i32::try_from(bound).unwrap_or(i32::MAX),
        nodes,
        nodes_ready: ready,
        bound: format!("{bound}/{total}"),
        ready: format!("{ready}/{nodes}"),
        problem: clip(&problem(outcomes, devices, causes), MAX_PROBLEM),
    }
}

/// The first thing that is wrong: what stops everything, then the least healthy device, then what is merely odd.
fn problem(outcomes: &[Outcome<'_>], devices: &[DeviceStatus], causes: &Causes) -> String {
    if let Some(cause) = causes.stalled.first() {
        return cause.message.clone();
    }
    let worst = outcomes
        .iter()
        .filter(|it| !it.state.is_bound() || it.contested)
        .min_by_key(|it| (it.state.health(), it.wanted.device.name.as_str(), it.wanted.node));
    if let Some(worst) = worst {
        let name = &worst.wanted.device.name;
        let place = worst.wanted.node.map_or_else(String::new, |node| format!(" on {node}"));
        let what = if worst.contested { CONFLICT } else { worst.state.as_str() };
        return match &*worst.message {
            "" => format!("{name}{place}: {what}"),
            message => format!("{name}{place}: {what}: {message}"),
        };
    }
    if let Some(nowhere) = devices.iter().find(|it| it.nodes.as_ref().is_some_and(|nodes| nodes.total == 0)) {
        return format!("{}: {}", nowhere.name, nowhere.message);
    }
    let odd = causes.degraded.iter().find(|cause| !cause.is_chosen());
    odd.map_or_else(String::new, |cause| cause.message.clone())
}

/// Text from hardware and bridges is hostile: bounded, and without control characters.
pub(crate) fn clip(text: &str, most: usize) -> String {
    if text.len() <= most && text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ') {
        return text.to_owned();
    }
    let mut clipped: String = text.chars().take(most).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(most).is_some() {
        clipped.pop();
        clipped.push('…');
    }
    clipped
}
