//! The desired children, complete and in a fixed order. Built from scratch each time, never from observed objects;
//! one file per kind.
//!
//! Every shape here was chosen so that what the API server stores merges to itself under both of Metacontroller's
//! apply strategies: no null (but an empty slice's `endpoints`), no empty value, canonical quantities, integers,
//! server defaults spelled out in lists that are replaced whole, sorted lists.
//!
//! What follows from a fleet's spec alone is made once for each spec ([`Bridges`]). The devices' Services and slices,
//! hundreds in a large fleet, are written straight from what was decided: each exists only while somebody looks at it.

mod anchor;
mod bridges;
mod daemon_set;
mod device_service;
mod endpoint_slice;
mod network_policy;
mod pairs;
mod texts;

use std::{collections::BTreeSet, sync::Arc};

use serde::{Serialize, Serializer, ser::SerializeSeq};
use serde_json::Value;
use serialfleet_api::names;

pub use self::{
    bridges::Bridges,
    device_service::{DeviceService, load_balancer_class, node_port},
    endpoint_slice::EndpointSlice,
    network_policy::NetworkPolicy,
    pairs::Pairs,
    texts::{Text, Texts},
};

use crate::{
    config::Config,
    observed::{Family, Key, Kind, Observed},
    outcome::Outcome,
    request::Parent,
    services::Wanted,
};

/// Everything that the fleet wants to exist, but for what somebody else has the name of: Metacontroller would take
/// that over. Written as the list that Metacontroller expects.
#[derive(Debug)]
pub struct Children<'a> {
    parent: &'a Parent,
    bridges: Arc<Bridges>,
    policy: NetworkPolicy<'a>,
    /// Of the children that the fleet has once, those whose names are free.
    once: Vec<Kind>,
    outcomes: Vec<Outcome<'a>>,
    families: Vec<Family>,
    /// Slices whose names others have.
    taken: BTreeSet<(&'a str, String)>,
}

/// One desired child.
#[derive(Debug)]
pub enum Child<'c> {
    /// The bridges, or the Service over them.
    Bridges(&'c Value),
    /// Who may connect to them.
    Policy(&'c NetworkPolicy<'c>),
    /// A device's Service.
    Service(Text<'c, DeviceService<'c>>),
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
        let bridges = Bridges::of(parent, config);
        let policy = NetworkPolicy::new(parent, &outcomes);
        let mut once = vec![Kind::DaemonSet, Kind::Service, Kind::NetworkPolicy];
        once.retain(|kind| match kind {
            Kind::NetworkPolicy => free(*kind, names::SYSTEM_NAMESPACE, policy.name()),
            kind => free(*kind, names::SYSTEM_NAMESPACE, bridges.child(*kind).1.1),
        });
        let mut taken = BTreeSet::new();
        for wanted in outcomes.iter().map(|it| &it.wanted).filter(|_| !observed.strangers.is_empty()) {
            for namespace in &wanted.namespaces {
                let slices = observed.families.iter().map(|family| family.slice(&wanted.name));
                let foreign = slices.filter(|name| !free(Kind::EndpointSlice, namespace, name));
                taken.extend(foreign.map(|name| (*namespace, name)));
            }
        }
        Self { parent, bridges, policy, once, outcomes, families: observed.families.clone(), taken }
    }

    /// What was decided about each Service.
    pub fn outcomes(&self) -> &[Outcome<'a>] {
        &self.outcomes
    }

    /// Each child, in order.
    pub fn iter(&self) -> impl Iterator<Item = Child<'_>> {
        let once = self.once.iter().map(|kind| match kind {
            Kind::NetworkPolicy => Child::Policy(&self.policy),
            kind => Child::Bridges(self.bridges.child(*kind).0),
        });
        once.chain(self.services().flat_map(move |(outcome, namespace)| {
            let wanted = &outcome.wanted;
            let slices =
                self.families.iter().filter(move |family| !self.is_taken(wanted, namespace, **family));
            let slices = slices.map(move |family| {
                let metadata = Texts::metadata(self.parent, wanted, namespace, *family);
                Child::Slice(EndpointSlice::new(outcome, *family, metadata))
            });
            let service = Texts::service(self.parent, wanted, namespace);
            std::iter::once(Child::Service(service)).chain(slices)
        }))
    }

    /// Whether somebody else has the name of this slice.
    fn is_taken(&self, wanted: &Wanted<'_>, namespace: &str, family: Family) -> bool {
        !self.taken.is_empty() && self.taken.contains(&(namespace, family.slice(&wanted.name)))
    }

    /// Kind, namespace and name of each, in order.
    pub fn each_key(&self, mut look: impl FnMut(Kind, Key<'_>)) {
        for kind in &self.once {
            match kind {
                Kind::NetworkPolicy => look(*kind, self.policy.key()),
                kind => look(*kind, self.bridges.child(*kind).1),
            }
        }
        let mut slice = String::new();
        for (outcome, namespace) in self.services() {
            look(Kind::Service, (namespace, &outcome.wanted.name));
            for family in &self.families {
                if !self.is_taken(&outcome.wanted, namespace, *family) {
                    slice.clear();
                    slice.push_str(&outcome.wanted.name);
                    slice.push_str(family.suffix());
                    look(Kind::EndpointSlice, (namespace, &slice));
                }
            }
        }
    }

    /// Each Service of a device with its namespace and what was decided.
    pub fn device_services(&self) -> impl Iterator<Item = (Key<'_>, &Outcome<'a>)> {
        self.services().map(|(outcome, namespace)| ((namespace, &*outcome.wanted.name), outcome))
    }

    /// The DaemonSet, or the Service over its pods, where it is a child.
    pub fn bridges(&self, kind: Kind) -> Option<&Value> {
        self.once.contains(&kind).then(|| self.bridges.child(kind).0)
    }

    /// Who may connect to the bridges, where that is a child.
    pub fn policy(&self) -> Option<&NetworkPolicy<'a>> {
        self.once.contains(&Kind::NetworkPolicy).then_some(&self.policy)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.once.len() + self.services().count() * (1 + self.families.len()) - self.taken.len()
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

impl Serialize for Child<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Bridges(child) => child.serialize(serializer),
            Self::Policy(child) => child.serialize(serializer),
            Self::Service(child) => child.serialize(serializer),
            Self::Slice(child) => child.serialize(serializer),
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
fn fleet_labels(fleet: &str) -> Pairs<'_> {
    Pairs::new(labels(fleet, "bridge", &[("app.kubernetes.io/version", env!("CARGO_PKG_VERSION"))]))
}

/// Labels by which bridge pods of a fleet are found. Immutable in a DaemonSet, hence from the fleet's name only.
fn pod_labels(fleet: &str) -> Pairs<'_> {
    Pairs::new(vec![
        ("app.kubernetes.io/name", APP),
        ("app.kubernetes.io/component", "bridge"),
        (names::LABEL_FLEET, fleet),
    ])
}
