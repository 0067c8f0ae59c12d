//! Everything that the debug page shows, as data: made from the journal when somebody looks, written as `/debug.json` as
//! it is. Every text in here is bounded and fit to be shown; nothing in here is secret.

mod changes;
mod excerpt;

use std::time::{Duration, SystemTime};

use serde::Serialize;
use serialfleet_api::fleet::SerialFleetStatus;

pub(super) use self::{
    changes::{ChangeView, PredictionView},
    excerpt::BodyView,
};
use super::{Replica, redact::redacted};
use crate::{
    calls::Unchanged,
    doctor::doctor,
    explain::explain,
    journal::{Bodies, Fleet, Record, Snapshot},
    metrics::Hook,
    predict::predict,
    request::SyncRequest,
    visible::{visible, visible_lines},
};

/// How much of a name and of a text is shown, in characters, and how many devices of one fleet.
const NAME: usize = 253;
const TEXT: usize = 1000;
const DEVICES: usize = 256;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct View {
    pub(super) replica: ReplicaView,
    pub(super) fleets: Vec<FleetView>,
    /// Fleets that were called as well and are not kept.
    pub(super) forgotten: u64,
    pub(super) body_bytes: usize,
    pub(super) calls: Vec<CallView>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ReplicaView {
    pub(super) hostname: String,
    pub(super) version: &'static str,
    pub(super) rev: Option<String>,
    pub(super) started: String,
    pub(super) up: String,
    pub(super) now: String,
    pub(super) note: &'static str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FleetView {
    pub(super) name: String,
    pub(super) called: String,
    pub(super) ago: String,
    pub(super) call: u64,
    pub(super) generation: Option<i64>,
    pub(super) conditions: Vec<ConditionView>,
    pub(super) devices: Vec<DeviceView>,
    pub(super) more_devices: usize,
    pub(super) predicted: Option<PredictionView>,
    pub(super) controller: Vec<String>,
    /// Why some of this is missing.
    pub(super) trouble: Option<String>,
    pub(super) request: Option<BodyView>,
    pub(super) answer: Option<BodyView>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ConditionView {
    #[serde(rename = "type")]
    pub(super) type_: String,
    pub(super) status: String,
    pub(super) reason: String,
    pub(super) message: String,
    pub(super) since: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DeviceView {
    pub(super) name: String,
    pub(super) state: String,
    pub(super) node: String,
    pub(super) address: String,
    pub(super) reason: String,
    pub(super) explanation: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CallView {
    pub(super) number: u64,
    pub(super) at: String,
    pub(super) ago: String,
    pub(super) hook: &'static str,
    pub(super) fleet: String,
    pub(super) generation: Option<i64>,
    pub(super) resource_version: String,
    pub(super) code: u16,
    pub(super) reason: &'static str,
    pub(super) refusal: Option<String>,
    pub(super) microseconds: u128,
    pub(super) work_microseconds: Option<u128>,
    pub(super) bytes_in: usize,
    pub(super) bytes_out: usize,
    pub(super) children_observed: usize,
    pub(super) children_desired: usize,
    pub(super) unchanged: Option<&'static str>,
    pub(super) predicted: Option<String>,
}

/// What is there to be seen now.
pub(super) fn view(snapshot: &Snapshot, replica: &Replica, now: SystemTime) -> View {
    View {
        replica: ReplicaView {
            hostname: visible(&replica.hostname, NAME),
            version: env!("CARGO_PKG_VERSION"),
            rev: replica.rev.as_deref().map(|rev| visible(rev, NAME)),
            started: stamp(replica.started),
            up: ago(replica.started, now),
            now: stamp(now),
            note: "Calls are split between the replicas of the hook server: this page knows only those that came here. The \
                   others show their part on their own pages.",
        },
        fleets: snapshot.fleets.iter().map(|it| fleet(it, now)).collect(),
        forgotten: snapshot.forgotten,
        body_bytes: snapshot.bytes,
        calls: snapshot.calls.iter().map(|it| call(it, now)).collect(),
    }
}

fn call(record: &Record, now: SystemTime) -> CallView {
    CallView {
        number: record.number,
        at: stamp(record.at),
        ago: ago(record.at, now),
        hook: record.hook.as_str(),
        fleet: visible(&record.fleet, NAME),
        generation: record.generation,
        resource_version: visible(&record.resource_version, NAME),
        code: record.code,
        reason: record.reason,
        refusal: record.refusal.as_deref().map(|it| visible(it, TEXT)),
        microseconds: record.time.as_micros(),
        work_microseconds: record.work.map(|it| it.as_micros()),
        bytes_in: record.bytes_in,
        bytes_out: record.bytes_out,
        children_observed: record.observed,
        children_desired: record.desired,
        unchanged: record.unchanged.map(Unchanged::as_str),
        predicted: match (record.hook, record.unchanged) {
            (Hook::Sync, Some(Unchanged::Request)) => Some("as before".to_owned()),
            _ => record.predicted.clone(),
        },
    }
}

fn fleet(fleet: &Fleet, now: SystemTime) -> FleetView {
    let mut view = FleetView {
        name: visible(&fleet.name, NAME),
        called: stamp(fleet.at),
        ago: ago(fleet.at, now),
        call: fleet.number,
        generation: None,
        conditions: Vec::new(),
        devices: Vec::new(),
        more_devices: 0,
        predicted: None,
        controller: Vec::new(),
        trouble: None,
        request: None,
        answer: None,
    };
    match &fleet.bodies {
        Some(bodies) => view.fill(bodies, fleet),
        None => view.trouble = Some("its last request had no room: raise --debug-memory".to_owned()),
    }
    view
}

impl FleetView {
    fn fill(&mut self, bodies: &Bodies, fleet: &Fleet) {
        let excerpt = redacted(&bodies.request, true).unwrap_or_default();
        self.request = Some(BodyView::new(&fleet.name, "request", bodies.request.len(), &excerpt));
        if let Some(refusal) = &bodies.refusal {
            self.trouble = Some(format!("the last request was refused: {}", visible(refusal, TEXT)));
        }
        let request = SyncRequest::parse(&bodies.request);
        if let Ok(request) = &request {
            self.generation = request.parent.metadata.generation;
            let findings = request.controller.as_deref().map(doctor).unwrap_or_default();
            self.controller = findings.iter().map(|it| visible(&it.to_string(), TEXT)).collect();
        }
        let Some(answer) = &bodies.answer else { return };
        self.answer = Some(BodyView::new(&fleet.name, "answer", answer.len(), &excerpt::answer(answer)));
        #[derive(serde::Deserialize)]
        struct Told {
            status: SerialFleetStatus,
        }
        if let (Ok(told), Ok(request)) = (serde_json::from_slice::<Told>(answer), &request) {
            self.told(&told.status, request);
        }
        match predict(&bodies.request, answer) {
            Ok(prediction) => self.predicted = Some(PredictionView::new(&prediction, &fleet.repeats)),
            Err(error) => self.trouble = Some(visible(&format!("no prediction: {error}"), TEXT)),
        }
    }

    fn told(&mut self, status: &SerialFleetStatus, request: &SyncRequest) {
        self.conditions = status
            .conditions
            .iter()
            .map(|it| ConditionView {
                type_: visible(&it.type_, NAME),
                status: visible(&it.status, NAME),
                reason: visible(&it.reason, NAME),
                message: visible(&it.message, TEXT),
                since: visible(&it.last_transition_time, NAME),
            })
            .collect();
        self.more_devices = request.parent.wish.devices.len().saturating_sub(DEVICES);
        let devices = request.parent.wish.devices.iter().take(DEVICES);
        self.devices = devices
            .map(|device| {
                let said =
                    status.devices.iter().find(|it| it.name == device.name).cloned().unwrap_or_default();
                DeviceView {
                    name: visible(&device.name, NAME),
                    state: visible(&said.state, NAME),
                    node: visible(&said.node, NAME),
                    address: visible(&said.address, NAME),
                    reason: visible(&said.reason, NAME),
                    explanation: match explain(request, &device.name) {
                        Ok(text) => visible_lines(&text, TEXT),
                        Err(error) => visible(&error.to_string(), TEXT),
                    },
                }
            })
            .collect();
    }
}

fn stamp(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}

/// The largest unit only: `3m`, `2h`, `5d`.
fn ago(time: SystemTime, now: SystemTime) -> String {
    let seconds = now.duration_since(time).unwrap_or(Duration::ZERO).as_secs();
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}
