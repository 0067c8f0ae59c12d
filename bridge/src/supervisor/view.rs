//! What the supervisor shows: to the SerialNode's writer, to `/ports`, and as metrics of states.

use std::{collections::BTreeMap, net::SocketAddr};

use serde::Serialize;
use serialfleet_api::{
    node::{PortState, Warning},
    resolve::ResolvedDevice,
};

use super::Supervisor;
use crate::{
    matching,
    overlay::Overlay,
    report::{NodeReport, PortReport},
};

/// One port as `/ports` shows it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PortView {
    /// The device's name in the fleet.
    pub name: String,
    /// What it is doing.
    pub state: PortState,
    /// One CamelCase word that tells cases of one state apart, or empty.
    pub reason: String,
    /// A sentence with the next step, or empty.
    pub message: String,
    /// Name of the tty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tty: Option<String>,
    /// What tells this very device from others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// Bits per second in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub baud_rate: Option<i32>,
    /// What is odd although it works.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Warning>,
    /// Where it listens.
    pub addresses: Vec<SocketAddr>,
    /// Character format in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// Whether the driver took low latency.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub low_latency: Option<bool>,
    /// RFC 3339 time since when the tty is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_since: Option<String>,
    /// What RFC 2217 clients have set over `line`.
    #[serde(skip_serializing_if = "Overlay::is_empty")]
    pub overlay: Overlay,
    /// Who is connected.
    pub clients: Vec<PeerView>,
}

/// One client as `/ports` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerView {
    /// Its address.
    pub peer: SocketAddr,
    /// RFC 3339 time since when it is connected.
    pub since: String,
}

impl Supervisor {
    /// Shows what is new, to whoever watches.
    pub(super) fn publish(&mut self) {
        let mut ports: Vec<PortReport> =
            self.slots.values().map(|slot| slot.report(self.config.in_cluster)).collect();
        ports.extend(self.refused.iter().map(|(name, message)| PortReport {
            name: name.clone(),
            state: PortState::Failed,
            reason: "UnknownField".into(),
            message: message.clone(),
            tty: None,
            identity: None,
            baud_rate: None,
            warnings: Vec::new(),
        }));
        ports.sort_by(|a, b| a.name.cmp(&b.name));

        let states: BTreeMap<String, PortState> =
            ports.iter().map(|port| (port.name.clone(), port.state)).collect();
        for (name, state) in &states {
            let before = self.states.get(name).copied();
            if before != Some(*state) {
                self.metrics.set_state(name, before, Some(*state));
            }
        }
        for (name, before) in &self.states {
            if !states.contains_key(name) {
                self.metrics.set_state(name, Some(*before), None);
            }
        }
        self.states = states;

        let devices: Vec<ResolvedDevice> = self.slots.values().map(|slot| slot.device.clone()).collect();
        let verdicts = self.slots.iter().map(|(name, slot)| (name.clone(), slot.verdict.clone())).collect();
        let devices = matching::present(&devices, &self.config.node, &self.scan, &verdicts);

        let views = ports.iter().map(|report| self.view(report)).collect();
        let report = NodeReport { devices, ports };
        // The first report counts even if it says that nothing is there.
        let first = !std::mem::replace(&mut self.reported, true);
        self.report.send_if_modified(|last| replace(last, report) || first);
        self.ports.send_if_modified(|last| replace(last, views));
        self.metrics.closing.set(i64::try_from(self.opening.closer.under_way()).unwrap_or(i64::MAX));
    }

    fn view(&self, report: &PortReport) -> PortView {
        let slot = self.slots.get(&report.name);
        let open = slot.and_then(|slot| slot.open.as_ref());
        let link = slot.map(|slot| slot.link.borrow().clone()).unwrap_or_default();
        let time = |time| humantime::format_rfc3339_seconds(time).to_string();
        PortView {
            name: report.name.clone(),
            state: report.state,
            reason: report.reason.clone(),
            message: report.message.clone(),
            tty: report.tty.clone(),
            identity: report.identity.clone(),
            baud_rate: report.baud_rate,
            warnings: report.warnings.clone(),
            addresses: link.addresses,
            format: open.map(|open| open.in_force.format.to_string()),
            low_latency: open.map(|open| open.in_force.low_latency),
            open_since: open.map(|open| time(open.since_wall)),
            overlay: link.overlay,
            clients: link
                .clients
                .into_iter()
                .map(|client| PeerView { peer: client.peer, since: time(client.since) })
                .collect(),
        }
    }
}

/// Whether it was another value.
fn replace<T: PartialEq>(last: &mut T, now: T) -> bool {
    let changed = *last != now;
    *last = now;
    changed
}
