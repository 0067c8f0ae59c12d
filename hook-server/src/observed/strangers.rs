//! What is not ours: objects that have a name which the fleet would use, and slices that take clients of our Services.
//! Seen through the customize hook's rules before anything is written, as Metacontroller would take them over (under
//! server-side apply) or fail in silence (under dynamic apply).
//!
//! Ours are the observed children and what our fleet's uid controls. Of the rest, what carries our fleet's label was
//! left by an earlier fleet of the same name, or lost its `controller-uid` label: it may be taken back, and is named if
//! it is not. Everything else is foreign: never desired, never touched.

use std::collections::{BTreeMap, BTreeSet};

use serialfleet_api::names;

use super::{Key, is_anchor, is_there, key};
use crate::request::{Group, Meta, Objects, Service, SyncRequest};

/// A kind of child.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the words of the Kubernetes API")]
pub enum Kind {
    DaemonSet,
    Service,
    NetworkPolicy,
    EndpointSlice,
}

impl Kind {
    /// The word of the Kubernetes API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DaemonSet => "DaemonSet",
            Self::Service => "Service",
            Self::NetworkPolicy => "NetworkPolicy",
            Self::EndpointSlice => "EndpointSlice",
        }
    }

    /// The kind of that name.
    pub fn of(kind: &str) -> Option<Self> {
        let all = [Self::DaemonSet, Self::Service, Self::NetworkPolicy, Self::EndpointSlice];
        all.into_iter().find(|it| it.as_str() == kind)
    }
}

/// What is not ours.
#[derive(Debug, Default)]
pub struct Strangers<'a> {
    foreign: BTreeSet<(Kind, Key<'a>)>,
    leftovers: BTreeSet<(Kind, Key<'a>)>,
    /// By the Service that they name.
    slices: BTreeMap<Key<'a>, BTreeSet<&'a str>>,
    node_ports: BTreeMap<i32, Key<'a>>,
}

impl<'a> Strangers<'a> {
    pub(super) fn new(request: &'a SyncRequest) -> Self {
        let mut strangers = Self::default();
        let (children, related) = (&request.children, &request.related);
        let fleet = request.parent.name.as_str();
        let uid = request.parent.metadata.uid.as_deref().unwrap_or_default();
        let owned = |meta: &Meta| {
            !uid.is_empty()
                && meta.owner_references.iter().any(|it| it.uid == uid && it.controller == Some(true))
        };
        let anchor = names::anchor(fleet);
        let candidates: Vec<(Kind, &'a Meta)> = objects(related)
            .filter(|(kind, meta)| *kind != Kind::EndpointSlice || !is_anchor(meta, &anchor))
            .filter(|(_, meta)| !owned(meta))
            .collect();
        if candidates.is_empty() {
            return strangers;
        }
        let seen: BTreeSet<(Kind, Key<'a>)> =
            objects(children).map(|(kind, meta)| (kind, key(meta))).collect();
        let mut foreign_services: BTreeSet<Key<'a>> = BTreeSet::new();
        for (kind, meta) in candidates.into_iter().filter(|(kind, meta)| !seen.contains(&(*kind, key(meta))))
        {
            let leftover = meta.labels.fleet.as_deref() == Some(fleet);
            let all = if leftover { &mut strangers.leftovers } else { &mut strangers.foreign };
            all.insert((kind, key(meta)));
            if kind == Kind::Service {
                foreign_services.insert(key(meta));
            }
            if let (Kind::EndpointSlice, Some(service)) = (kind, &meta.labels.service_name) {
                strangers.slices.entry((&meta.namespace, service)).or_default().insert(&meta.name);
            }
        }
        let foreign = |it: &&Service| foreign_services.contains(&key(&it.metadata));
        for service in related.services.iter().filter(foreign) {
            for port in service.spec.ports.iter().filter(|port| port.node_port != 0) {
                strangers.node_ports.entry(port.node_port).or_insert_with(|| key(&service.metadata));
            }
        }
        strangers
    }

    /// Whether nothing was seen that is not ours.
    pub fn is_empty(&self) -> bool {
        self.foreign.is_empty() && self.leftovers.is_empty()
    }

    /// Whether somebody else's object has this name: it must not be desired.
    pub fn is_foreign(&self, kind: Kind, key: Key<'_>) -> bool {
        self.foreign.contains(&(kind, key))
    }

    /// Whether an object of this name is left from an earlier fleet, or was released.
    pub fn is_leftover(&self, kind: Kind, key: Key<'_>) -> bool {
        self.leftovers.contains(&(kind, key))
    }

    /// Names of slices that are not ours and take clients of this Service.
    pub fn slices_of(&self, service: Key<'_>) -> Vec<&'a str> {
        self.slices.get(&service).into_iter().flatten().copied().collect()
    }

    /// The Service of others that has this port on every node, as far as such are seen.
    pub fn has_node_port(&self, number: i32) -> Option<Key<'a>> {
        self.node_ports.get(&number).copied()
    }
}

/// Children that are being deleted.
pub(super) fn leaving(children: &Objects) -> BTreeSet<(Kind, Key<'_>)> {
    objects(children).filter(|(_, meta)| !is_there(meta)).map(|(kind, meta)| (kind, key(meta))).collect()
}

fn objects(objects: &Objects) -> impl Iterator<Item = (Kind, &Meta)> {
    let daemon_sets = objects.daemon_sets.iter().map(|it| (Kind::DaemonSet, &it.metadata));
    let services = objects.services.iter().map(|it| (Kind::Service, &it.metadata));
    let policies = objects.policies.iter().map(|it| (Kind::NetworkPolicy, &it.metadata));
    let slices = objects.slices.iter().flat_map(Group::iter).map(|it| (Kind::EndpointSlice, &it.metadata));
    daemon_sets.chain(services).chain(policies).chain(slices)
}
