//! What `/metrics` tells: how often each hook was called with which outcome, how long it took, how large it was, what
//! was unchanged, and in which states devices are. No label ever holds a name of a device or a node, and names of
//! fleets for a bounded number of them only.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
        info::Info,
    },
    registry::Registry,
};

use crate::{
    calls::{Call, Subject},
    observed::Kind,
    predict::Prediction,
};

/// Fleets with a label of their own; the others are `other` together.
const FLEETS: usize = 64;
/// Fleets whose devices are counted.
const COUNTED: usize = 1024;
/// After so long without a sync a fleet is no more. Metacontroller syncs each every half hour by itself, with either of
/// two replicas.
const FORGET: Duration = Duration::from_secs(2 * 3600);

/// A hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hook {
    /// `/sync`.
    Sync,
    /// `/customize`.
    Customize,
}

impl Hook {
    /// Its name in paths and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::Customize => "customize",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    reason: &'static str,
    code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Same {
    same: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Fleet {
    fleet: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct State {
    state: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Predicted {
    kind: &'static str,
    action: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Files {
    files: &'static str,
    outcome: &'static str,
}

/// The metrics of one hook.
#[derive(Debug)]
struct Calls {
    total: Family<Outcome, Counter>,
    unchanged: Family<Same, Counter>,
    seconds: Histogram,
    request: Histogram,
    response: Histogram,
}

impl Calls {
    fn new(registry: &mut Registry, hook: Hook) -> Self {
        let size = || Histogram::new(exponential_buckets(1024.0, 4.0, 9));
        let calls = Self {
            total: Family::default(),
            unchanged: Family::default(),
            seconds: Histogram::new(exponential_buckets(0.000_1, 2.5, 12)),
            request: size(),
            response: size(),
        };
        let name = |rest: &str| format!("serialfleet_{}_{rest}", hook.as_str());
        registry.register(name("calls"), "Calls of this hook, by outcome", calls.total.clone());
        registry.register(
            name("unchanged"),
            "Calls answered by 304, for the same request or for another one with the same answer",
            calls.unchanged.clone(),
        );
        registry.register(name("seconds"), "Time from a whole request to its answer", calls.seconds.clone());
        registry.register(name("request_bytes"), "Size of requests", calls.request.clone());
        registry.register(name("response_bytes"), "Size of what was sent back", calls.response.clone());
        calls
    }
}

/// All metrics of the hook server.
pub struct Metrics {
    registry: Registry,
    sync: Calls,
    customize: Calls,
    rejected: Counter,
    of_fleet: Family<Fleet, Counter>,
    devices: Family<State, Gauge>,
    reloads: Family<Files, Counter>,
    predictions: Counter,
    predicted: Family<Predicted, Counter>,
    hot_loops: Counter,
    fleets: Mutex<Fleets>,
}

/// What has to be remembered between calls, in bounds.
#[derive(Debug, Default)]
struct Fleets {
    labelled: BTreeSet<String>,
    devices: BTreeMap<String, (Instant, BTreeMap<String, i64>)>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new(None)
    }
}

impl Metrics {
    /// All at zero. `rev`: this replica's revision.
    pub fn new(rev: Option<&str>) -> Self {
        let mut registry = Registry::default();
        let sync = Calls::new(&mut registry, Hook::Sync);
        let customize = Calls::new(&mut registry, Hook::Customize);
        let (rejected, of_fleet) = (Counter::default(), Family::<Fleet, Counter>::default());
        let (devices, reloads) = (Family::<State, Gauge>::default(), Family::<Files, Counter>::default());
        registry.register(
            "serialfleet_rejected_specs",
            "Syncs of fleets that cannot be understood: nothing is changed for these",
            rejected.clone(),
        );
        registry.register(
            "serialfleet_fleet_syncs",
            "Syncs by fleet, for the first 64 that this replica saw",
            of_fleet.clone(),
        );
        registry.register(
            "serialfleet_devices",
            "Devices by state, as of the last sync of each fleet that this replica saw",
            devices.clone(),
        );
        registry.register(
            "serialfleet_file_reloads",
            "How often changed files were read anew, and whether they could be used",
            reloads.clone(),
        );
        let (predictions, hot_loops) = (Counter::default(), Counter::default());
        let predicted = Family::<Predicted, Counter>::default();
        registry.register(
            "serialfleet_predictions",
            "Answers that were looked at: under load only the last of each fleet",
            predictions.clone(),
        );
        registry.register(
            "serialfleet_predicted_changes",
            "What Metacontroller does with the answers that were looked at, by kind; SerialFleet: its status",
            predicted.clone(),
        );
        registry.register(
            "serialfleet_hot_loops",
            "Answers by which the same is written again, for the third time in a row or more",
            hot_loops.clone(),
        );
        registry.register(
            "serialfleet_hook_build",
            "This hook server",
            Info::new(vec![
                ("version", env!("CARGO_PKG_VERSION").to_owned()),
                ("rev", rev.unwrap_or_default().to_owned()),
            ]),
        );
        let fleets = Mutex::default();
        Self {
            registry,
            sync,
            customize,
            rejected,
            of_fleet,
            devices,
            reloads,
            predictions,
            predicted,
            hot_loops,
            fleets,
        }
    }

    fn of(&self, hook: Hook) -> &Calls {
        match hook {
            Hook::Sync => &self.sync,
            Hook::Customize => &self.customize,
        }
    }

    /// Counts a call.
    pub fn called(&self, call: &Call) {
        let calls = self.of(call.hook);
        calls.total.get_or_create(&Outcome { reason: call.reason, code: call.code }).inc();
        if let Some(same) = call.unchanged {
            calls.unchanged.get_or_create(&Same { same: same.as_str() }).inc();
        }
        if let Some(work) = call.work {
            calls.seconds.observe(work.as_secs_f64());
            #[allow(clippy::cast_precision_loss, reason = "bodies are far below 2^52 bytes")]
            calls.request.observe(call.bytes_in as f64);
            #[allow(clippy::cast_precision_loss, reason = "as above")]
            calls.response.observe(call.bytes_out as f64);
        }
        if call.hook == Hook::Sync {
            if call.code == 422 {
                self.rejected.inc();
            }
            if let Some(subject) = &call.subject {
                self.synced(subject, call.refusal.is_none());
            }
        }
    }

    fn synced(&self, subject: &Subject, answered: bool) {
        let mut fleets = self.fleets.lock().unwrap_or_else(PoisonError::into_inner);
        let fleet = &subject.fleet;
        if fleets.labelled.len() < FLEETS && !fleets.labelled.contains(fleet) {
            fleets.labelled.insert(fleet.clone());
        }
        let label = if fleets.labelled.contains(fleet) { fleet.as_str() } else { "other" };
        self.of_fleet.get_or_create(&Fleet { fleet: label.to_owned() }).inc();
        if !answered || (fleets.devices.len() >= COUNTED && !fleets.devices.contains_key(fleet)) {
            return;
        }
        fleets.devices.insert(fleet.clone(), (Instant::now(), subject.devices.clone()));
    }

    /// Counts what an answer leads to.
    pub fn predicted(&self, prediction: &Prediction, hot: bool) {
        self.predictions.inc();
        if hot {
            self.hot_loops.inc();
        }
        for change in &prediction.changes {
            // A child may be of whatever kind a request says.
            let kind = Kind::of(&change.kind).map_or("other", Kind::as_str);
            self.predicted.get_or_create(&Predicted { kind, action: change.action.as_str() }).inc();
        }
        if !prediction.status.is_empty() {
            self.predicted.get_or_create(&Predicted { kind: "SerialFleet", action: "Update" }).inc();
        }
    }

    /// Notes that files have changed.
    pub fn reloaded(&self, files: &'static str, usable: bool) {
        let outcome = if usable { "Loaded" } else { "Broken" };
        self.reloads.get_or_create(&Files { files, outcome }).inc();
    }

    fn count_devices(&self) {
        let mut fleets = self.fleets.lock().unwrap_or_else(PoisonError::into_inner);
        fleets.devices.retain(|_, (seen, _)| seen.elapsed() < FORGET);
        let mut sums: BTreeMap<&str, i64> = BTreeMap::new();
        for (state, count) in fleets.devices.values().flat_map(|(_, states)| states) {
            *sums.entry(state).or_default() += count;
        }
        self.devices.clear();
        for (state, count) in sums {
            self.devices.get_or_create(&State { state: state.to_owned() }).set(count);
        }
    }

    /// OpenMetrics text.
    ///
    /// # Errors
    /// If formatting fails, which a `String` never does.
    pub fn text(&self) -> Result<String, fmt::Error> {
        self.count_devices();
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_fleets_are_few_labels() {
        let metrics = Metrics::default();
        for n in 0..3 * FLEETS {
            let devices = [("Serving".to_owned(), 2), ("Absent".to_owned(), 1)].into();
            let subject = Subject { fleet: format!("fleet-{n}"), devices, ..Subject::default() };
            metrics.synced(&subject, true);
        }
        let text = metrics.text().unwrap();
        assert_eq!(text.matches("serialfleet_fleet_syncs_total{").count(), FLEETS + 1);
        assert!(
            text.contains(&format!("serialfleet_fleet_syncs_total{{fleet=\"other\"}} {}", 2 * FLEETS)),
            "{text}"
        );
        assert!(text.contains(&format!("serialfleet_devices{{state=\"Serving\"}} {}", 6 * FLEETS)), "{text}");
    }
}
