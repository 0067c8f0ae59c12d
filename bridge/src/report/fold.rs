//! From what the supervisor publishes to the object: history and limits. Pure: time comes as text.
//!
//! Strings from hardware are hostile: cut, control characters escaped. Must not decide when anything is written.

use std::collections::{BTreeMap, BTreeSet};

use serialfleet_api::{
    meta::{Metadata, OwnerReference},
    names,
    node::{
        MAX_DEVICES, MAX_PORTS, MAX_TRANSITIONS, MAX_WARNINGS, Port, PortState, PresentDevice, SerialNode,
        Transition, Warning,
    },
};

use super::{
    NodeIdentity, NodeReport, PortReport,
    bounds::{self, MAX_MESSAGE, MAX_TEXT, MAX_WORD, clean, clean_option},
    pace::Standing,
    summary,
};

/// Kind of the object.
pub const KIND: &str = "SerialNode";

/// Since when each port is in its state, and the last states before.
#[derive(Clone, Debug, Default)]
pub struct History {
    ports: BTreeMap<String, Past>,
}

#[derive(Clone, Debug, Default)]
struct Past {
    /// Oldest first; the last one is the present.
    transitions: Vec<Transition>,
    since: String,
}

impl History {
    /// What an earlier process wrote goes before what this one saw: a restart re-opened the ports, which is a
    /// transition.
    pub fn remember(&mut self, earlier: &SerialNode) {
        for port in earlier.ports.iter().take(MAX_PORTS) {
            let past = self.ports.entry(port.name.clone()).or_default();
            past.transitions.splice(0..0, port.transitions.iter().take(MAX_TRANSITIONS).cloned());
            past.cut();
        }
    }

    /// Takes notice of the ports' states; `now` is an RFC 3339 time, used where a state changed.
    pub fn observe(&mut self, ports: &[PortReport], now: &str) {
        let names: BTreeSet<&str> = ports.iter().map(|port| port.name.as_str()).collect();
        self.ports.retain(|name, _| names.contains(name.as_str()));
        for port in ports {
            let past = self.ports.entry(port.name.clone()).or_default();
            let last = past.transitions.last().filter(|_| !past.since.is_empty());
            let same_state = last.is_some_and(|last| last.state == port.state);
            if same_state && last.is_some_and(|last| last.reason == port.reason) {
                continue;
            }
            if !same_state {
                past.since = now.to_owned();
            }
            past.transitions.push(Transition {
                time: now.to_owned(),
                state: port.state,
                reason: port.reason.clone(),
            });
            past.cut();
        }
    }
}

impl Past {
    fn cut(&mut self) {
        let surplus = self.transitions.len().saturating_sub(MAX_TRANSITIONS);
        self.transitions.drain(..surplus);
    }
}

/// The object that says all this, within every limit. `problem` is what is wrong with the fleet itself.
pub fn fold(
    history: &History,
    standing: &Standing,
    report: &NodeReport,
    identity: &NodeIdentity,
    problem: Option<&str>,
) -> SerialNode {
    let devices = devices(&report.devices);
    let ports = ports(history, standing, &report.ports);
    let mut node = SerialNode {
        api_version: names::API_VERSION.to_owned(),
        kind: KIND.to_owned(),
        metadata: metadata(identity),
        node_name: identity.node.clone(),
        fleet: identity.fleet.clone(),
        pod_uid: identity.pod_uid.clone(),
        bridge_version: env!("CARGO_PKG_VERSION").to_owned(),
        summary: summary::summary(report.devices.len(), &devices, &ports, problem),
        devices,
        ports,
    };
    let more = worth_telling(&report.ports).count().saturating_sub(MAX_PORTS);
    if more > 0 {
        bounds::say(&mut node, &format!("{more} more ports than a report holds"));
    }
    bounds::shrink(&mut node);
    node
}

/// Whether there is nothing to say: no device, and no port that is more than absent.
pub fn is_empty(node: &SerialNode) -> bool {
    node.devices.is_empty() && node.ports.is_empty()
}

fn metadata(identity: &NodeIdentity) -> Metadata {
    let owner = identity.node_uid.as_ref().map(|uid| OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Node".to_owned(),
        name: identity.node.clone(),
        uid: uid.clone(),
        controller: None,
    });
    Metadata {
        name: Some(names::serial_node(&identity.fleet, &identity.node)),
        labels: BTreeMap::from([(names::LABEL_FLEET.to_owned(), identity.fleet.clone())]),
        owner_references: owner.into_iter().collect(),
        ..Metadata::default()
    }
}

fn devices(present: &[PresentDevice]) -> Vec<PresentDevice> {
    let mut devices: Vec<_> = present
        .iter()
        .map(|device| PresentDevice {
            tty: clean_option(device.tty.as_deref(), MAX_WORD),
            driver: clean_option(device.driver.as_deref(), MAX_WORD),
            usb: clean_option(device.usb.as_deref(), bounds::MAX_USB),
            serial_number: clean_option(device.serial_number.as_deref(), MAX_TEXT),
            manufacturer: clean_option(device.manufacturer.as_deref(), MAX_TEXT),
            product: clean_option(device.product.as_deref(), MAX_TEXT),
            interface_number: device.interface_number.filter(|number| (0..=255).contains(number)),
            port_number: device.port_number.filter(|number| (0..=255).contains(number)),
            usb_path: clean_option(device.usb_path.as_deref(), MAX_TEXT),
            matched_by: clean_option(device.matched_by.as_deref(), bounds::MAX_NAME),
        })
        .collect();
    // Matched ones first: the end of the list is what gets left out.
    devices.sort_by(|a, b| {
        let key = |device: &PresentDevice| {
            (device.matched_by.is_none(), device.tty.clone(), device.usb_path.clone())
        };
        key(a).cmp(&key(b))
    });
    devices.truncate(MAX_DEVICES);
    devices
}

fn ports(history: &History, standing: &Standing, reports: &[PortReport]) -> Vec<Port> {
    let mut ports: Vec<_> = worth_telling(reports)
        .map(|report| port(history.ports.get(&report.name), standing.shown(&report.name), report))
        .collect();
    // The most important first where not all fit, then in the order of their names.
    ports.sort_by(|a, b| (bounds::importance(a.state), &a.name).cmp(&(bounds::importance(b.state), &b.name)));
    ports.truncate(MAX_PORTS);
    ports.sort_by(|a, b| a.name.cmp(&b.name));
    ports
}

/// Each port once, without those that are plainly absent.
fn worth_telling(reports: &[PortReport]) -> impl Iterator<Item = &PortReport> {
    let mut seen = BTreeSet::new();
    reports
        .iter()
        .filter(|report| report.state != PortState::Absent || !report.reason.is_empty())
        .filter(move |report| seen.insert(report.name.as_str()))
}

fn port(past: Option<&Past>, warnings: Vec<Warning>, report: &PortReport) -> Port {
    let mut warnings: Vec<_> = warnings
        .into_iter()
        .map(|warning| Warning {
            reason: clean(&warning.reason, MAX_WORD),
            message: clean(&warning.message, MAX_MESSAGE),
        })
        .collect();
    warnings.sort_by(|a, b| (&a.reason, &a.message).cmp(&(&b.reason, &b.message)));
    warnings.dedup();
    warnings.truncate(MAX_WARNINGS);
    let transitions = past.map_or(&[][..], |past| &past.transitions);
    Port {
        name: clean(&report.name, bounds::MAX_NAME),
        state: report.state,
        reason: clean(&report.reason, MAX_WORD),
        message: clean(&report.message, MAX_MESSAGE),
        tty: clean_option(report.tty.as_deref(), MAX_WORD),
        identity: clean_option(report.identity.as_deref(), bounds::MAX_IDENTITY),
        baud_rate: report.baud_rate.filter(|rate| *rate >= 0),
        since: past.map(|past| past.since.clone()).filter(|since| !since.is_empty()),
        transitions: transitions
            .iter()
            .map(|past| Transition {
                time: clean(&past.time, bounds::MAX_TIME),
                state: past.state,
                reason: clean(&past.reason, MAX_WORD),
            })
            .collect(),
        warnings,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(state: PortState, reason: &str) -> NodeReport {
        let port = PortReport {
            name: "zigbee".into(),
            state,
            reason: reason.into(),
            tty: Some("ttyUSB0".into()),
            ..PortReport::default()
        };
        NodeReport { ports: vec![port], ..NodeReport::default() }
    }

    fn identity() -> NodeIdentity {
        NodeIdentity {
            fleet: "home".into(),
            node: "wyse-1".into(),
            node_uid: Some("n".into()),
            pod_uid: "p".into(),
        }
    }

    fn after(steps: &[(PortState, &str, &str)]) -> SerialNode {
        let mut history = History::default();
        for (state, reason, now) in steps {
            history.observe(&report(*state, reason).ports, now);
        }
        let (state, reason, _) = steps.last().unwrap();
        fold(&history, &Standing::default(), &report(*state, reason), &identity(), None)
    }

    #[test]
    fn the_object_is_named_labelled_and_owned() {
        let node = after(&[(PortState::Serving, "", "t1")]);
        assert_eq!(node.metadata.name.as_deref(), Some("home.wyse-1"));
        assert_eq!(node.metadata.labels["serialfleet.io/fleet"], "home");
        let owner = serde_json::to_value(&node.metadata.owner_references).unwrap();
        let expected =
            serde_json::json!([{"apiVersion": "v1", "kind": "Node", "name": "wyse-1", "uid": "n"}]);
        assert_eq!(owner, expected);
        assert_eq!((node.summary.devices.as_str(), node.summary.serving.as_str()), ("0", "zigbee"));
    }

    #[test]
    fn since_moves_with_the_state_and_five_transitions_stay() {
        let node = after(&[(PortState::Serving, "", "t1"), (PortState::Serving, "", "t2")]);
        assert_eq!((node.ports[0].since.as_deref(), node.ports[0].transitions.len()), (Some("t1"), 1));
        let steps: Vec<_> = ["t1", "t2", "t3", "t4", "t5", "t6", "t7"]
            .iter()
            .enumerate()
            .map(|(n, now)| (if n % 2 == 0 { PortState::Serving } else { PortState::Held }, "", *now))
            .collect();
        let port = &after(&steps).ports[0];
        let times: Vec<_> = port.transitions.iter().map(|transition| transition.time.as_str()).collect();
        assert_eq!((times, port.since.as_deref()), (vec!["t3", "t4", "t5", "t6", "t7"], Some("t7")));
    }

    #[test]
    fn an_absence_is_remembered_though_it_is_not_shown() {
        assert!(after(&[(PortState::Serving, "", "t1"), (PortState::Absent, "", "t2")]).ports.is_empty());
        assert_eq!(after(&[(PortState::Absent, "NearMiss", "t1")]).ports.len(), 1);
        let back = after(&[
            (PortState::Serving, "", "t1"),
            (PortState::Absent, "", "t2"),
            (PortState::Serving, "", "t3"),
        ]);
        assert_eq!(back.ports[0].transitions.len(), 3);
    }

    #[test]
    fn a_restart_is_a_transition() {
        let earlier = after(&[(PortState::Held, "", "t1"), (PortState::Serving, "", "t2")]);
        let mut history = History::default();
        history.observe(&report(PortState::Serving, "").ports, "t9");
        history.remember(&earlier);
        let node = fold(&history, &Standing::default(), &report(PortState::Serving, ""), &identity(), None);
        let times: Vec<_> = node.ports[0].transitions.iter().map(|past| past.time.as_str()).collect();
        assert_eq!((times, node.ports[0].since.as_deref()), (vec!["t1", "t2", "t9"], Some("t9")));

        let mut other_order = History::default();
        other_order.remember(&earlier);
        other_order.observe(&report(PortState::Serving, "").ports, "t9");
        assert_eq!(
            fold(&other_order, &Standing::default(), &report(PortState::Serving, ""), &identity(), None),
            node
        );
    }

    #[test]
    fn the_worst_is_the_problem() {
        let mut both = report(PortState::Busy, "");
        let failed = PortReport {
            name: "zwave".into(),
            state: PortState::Failed,
            reason: "Settings".into(),
            message: "the driver refused 7E2".into(),
            ..PortReport::default()
        };
        both.ports.push(failed);
        let fold = |problem| fold(&History::default(), &Standing::default(), &both, &identity(), problem);
        assert_eq!(fold(None).summary.problem, "zwave: the driver refused 7E2");
        assert_eq!(
            fold(Some("spec.devices[0].port: too large")).summary.problem,
            "fleet: spec.devices[0].port: too large"
        );
    }
}
