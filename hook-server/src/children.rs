//! The desired children, complete and in a fixed order. Built from scratch each time, never from observed objects;
//! one file per kind.
//!
//! Every shape here was chosen so that what the API server stores merges to itself under both of Metacontroller's
//! apply strategies: no null (but an empty slice's `endpoints`), no empty value, canonical quantities, integers,
//! server defaults spelled out in lists that are replaced whole, sorted lists.
//!
//! The few children that a fleet has once are JSON values. The devices' Services and slices, hundreds in a large
//! fleet, are written straight from what was decided: each exists only while somebody looks at it.

mod anchor;
mod daemon_set;
mod device_service;
mod endpoint_slice;
mod network_policy;
mod pairs;

use std::collections::BTreeSet;

use serde::{Serialize, Serializer, ser::SerializeSeq};
use serde_json::{Map, Value, json};
use serialfleet_api::names;

pub use self::{
    device_service::{DeviceService, load_balancer_class, node_port},
    endpoint_slice::EndpointSlice,
    pairs::Pairs,
};

use crate::{
    config::Config,
    observed::{Family, Key, Kind, Observed},
    outcome::Outcome,
    request::Parent,
};

/// Everything that the fleet wants to exist, but for what somebody else has the name of: Metacontroller would take
/// that over. Written as the list that Metacontroller expects.
#[derive(Debug)]
pub struct Children<'a> {
    fleet: &'a str,
    fixed: Vec<Value>,
    outcomes: Vec<Outcome<'a>>,
    families: Vec<Family>,
    /// Slices whose names others have.
    taken: BTreeSet<(&'a str, String)>,
}

/// One desired child.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Child<'c> {
    /// One that the fleet has once.
    Fixed(&'c Value),
    /// A device's Service.
    Service(DeviceService<'c>),
    /// A device's slice.
    Slice(EndpointSlice<'c>),
}

impl<'a> Children<'a> {
    /// What follows from the decisions.
    pub fn new(
        parent: &'a Parent,
        outcomes: Vec<Outcome<'a>>,
        observed: &Observed<'a>,
        config: &Config,
    ) -> Self {
        let free =
            |kind, namespace: &str, name: &str| !observed.strangers.is_foreign(kind, (namespace, name));
        let mut fixed = Vec::with_capacity(3);
        let (bridge, anchor) = (names::bridge(&parent.name), names::anchor(&parent.name));
        if free(Kind::DaemonSet, names::SYSTEM_NAMESPACE, &bridge) {
            fixed.push(daemon_set::daemon_set(parent, config));
        }
        if free(Kind::Service, names::SYSTEM_NAMESPACE, &anchor) {
            fixed.push(anchor::anchor(parent));
        }
        if free(Kind::NetworkPolicy, names::SYSTEM_NAMESPACE, &bridge) {
            fixed.push(network_policy::network_policy(parent, &outcomes));
        }
        let mut taken = BTreeSet::new();
        for wanted in outcomes.iter().map(|it| &it.wanted).filter(|_| !observed.strangers.is_empty()) {
            for namespace in &wanted.namespaces {
                let slices = observed.families.iter().map(|family| family.slice(&wanted.name));
                let foreign = slices.filter(|name| !free(Kind::EndpointSlice, namespace, name));
                taken.extend(foreign.map(|name| (*namespace, name)));
            }
        }
        Self { fleet: &parent.name, fixed, outcomes, families: observed.families.clone(), taken }
    }

    /// What was decided about each Service.
    pub fn outcomes(&self) -> &[Outcome<'a>] {
        &self.outcomes
    }

    /// Each child, in order.
    pub fn iter(&self) -> impl Iterator<Item = Child<'_>> {
        self.fixed.iter().map(Child::Fixed).chain(self.services().flat_map(move |(outcome, namespace)| {
            let service = DeviceService::new(self.fleet, outcome, namespace);
            let slices = self.families.iter().filter_map(move |family| {
                let slice = EndpointSlice::new(self.fleet, outcome, namespace, *family);
                let taken =
                    !self.taken.is_empty() && self.taken.contains(&(namespace, slice.name().to_owned()));
                (!taken).then_some(Child::Slice(slice))
            });
            std::iter::once(Child::Service(service)).chain(slices)
        }))
    }

    /// Kind, namespace and name of each, in order.
    pub fn each_key(&self, mut look: impl FnMut(Kind, Key<'_>)) {
        for value in &self.fixed {
            let child = Child::Fixed(value);
            look(child.kind(), child.key());
        }
        for (outcome, namespace) in self.services() {
            look(Kind::Service, (namespace, &outcome.wanted.name));
            for name in self.families.iter().map(|family| family.slice(&outcome.wanted.name)) {
                if self.taken.is_empty() || !self.taken.contains(&(namespace, name.clone())) {
                    look(Kind::EndpointSlice, (namespace, &name));
                }
            }
        }
    }

    /// Each Service of a device with its namespace and what was decided.
    pub fn device_services(&self) -> impl Iterator<Item = (Key<'_>, &Outcome<'a>)> {
        self.services().map(|(outcome, namespace)| ((namespace, outcome.wanted.name.as_str()), outcome))
    }

    /// The child of this kind that the fleet has once.
    pub fn fixed(&self, kind: Kind) -> Option<&Value> {
        self.fixed.iter().find(|value| value["kind"] == kind.as_str())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.fixed.len() + self.services().count() * (1 + self.families.len()) - self.taken.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn services(&self) -> impl Iterator<Item = (&Outcome<'a>, &'a str)> {
        self.outcomes
            .iter()
            .flat_map(|outcome| outcome.wanted.namespaces.iter().map(move |namespace| (outcome, *namespace)))
    }
}

impl Serialize for Children<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.len()))?;
        for child in self.iter() {
            list.serialize_element(&child)?;
        }
        list.end()
    }
}

impl Child<'_> {
    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Fixed(value) => value["kind"].as_str().and_then(Kind::of).unwrap_or(Kind::DaemonSet),
            Self::Service(_) => Kind::Service,
            Self::Slice(_) => Kind::EndpointSlice,
        }
    }

    /// Its namespace and name.
    pub fn key(&self) -> Key<'_> {
        match self {
            Self::Fixed(value) => {
                let text = |field: &str| value["metadata"][field].as_str().unwrap_or_default();
                (text("namespace"), text("name"))
            }
            Self::Service(service) => service.key(),
            Self::Slice(slice) => slice.key(),
        }
    }
}

/// What `app.kubernetes.io/name` says on everything of ours.
const APP: &str = "serialfleet";

/// Labels of a child.
fn labels<'c>(fleet: &'c str, component: &'c str, more: &[(&'c str, &'c str)]) -> Vec<(&'c str, &'c str)> {
    let ours = [
        ("app.kubernetes.io/name", APP),
        ("app.kubernetes.io/instance", fleet),
        ("app.kubernetes.io/component", component),
        ("app.kubernetes.io/managed-by", APP),
        (names::LABEL_FLEET, fleet),
    ];
    let mut labels = Vec::with_capacity(8);
    labels.extend(ours.iter().chain(more));
    labels
}

/// Labels of the children that a fleet has once. Only they carry the version: on the devices' Services and slices an
/// upgrade would rewrite hundreds of objects while a stick waits to be published.
fn fleet_labels(fleet: &str) -> Map<String, Value> {
    let labels = labels(fleet, "bridge", &[("app.kubernetes.io/version", env!("CARGO_PKG_VERSION"))]);
    labels.into_iter().map(|(key, value)| (key.to_owned(), json!(value))).collect()
}

/// Labels by which bridge pods of a fleet are found. Immutable in a DaemonSet, hence from the fleet's name only.
fn pod_labels(fleet: &str) -> Value {
    json!({
        "app.kubernetes.io/name": APP,
        "app.kubernetes.io/component": "bridge",
        (names::LABEL_FLEET): fleet,
    })
}
