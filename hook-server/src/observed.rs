//! The request, indexed by the objects' own metadata: which bridges are ready and where, whose reports are believed,
//! which children exist, what stands in their way. Decides nothing.
//!
//! Trust: addresses, nodes and pod uids come from the anchor Service's EndpointSlices, which Kubernetes' own
//! controller writes, and from nowhere else. A SerialNode only counts while its `podUID` is that of a ready anchor
//! endpoint on its node.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serialfleet_api::names;

use crate::request::{DaemonSet, Meta, Port, SerialNode, Service, Slice, SyncRequest};

/// A namespaced name.
pub type Key<'a> = (&'a str, &'a str);

/// An address family: one EndpointSlice each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// `addressType` of its slices.
    pub fn address_type(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }

    /// How its slices' names end.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::V4 => "-ipv4",
            Self::V6 => "-ipv6",
        }
    }

    fn of(slice: &Slice) -> Option<Self> {
        Self::ALL.into_iter().find(|family| family.address_type() == slice.address_type)
    }
}

/// A ready bridge pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod<'a> {
    /// Its node.
    pub node: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Its uid.
    pub uid: &'a str,
    /// Its address in each family.
    pub addresses: BTreeMap<Family, &'a str>,
}

/// What one node's bridge says.
#[derive(Clone, Debug)]
pub struct Report<'a> {
    /// The SerialNode.
    pub node: &'a SerialNode,
    /// The ready pod that wrote it; `None`: not believed.
    pub pod: Option<Pod<'a>>,
}

/// What one node's bridge says about one device.
#[derive(Clone, Copy, Debug)]
pub struct Sighting<'a> {
    /// The node.
    pub node: &'a str,
    /// What it says.
    pub port: &'a Port,
    /// Whether that is believed.
    pub believed: bool,
}

/// Whether Services may be made in the fleet's namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consent {
    /// They may.
    Given,
    /// The Namespace does not carry the label.
    Withheld,
    /// There is no such Namespace, or it is being deleted.
    Missing,
}

/// The request, indexed.
#[derive(Debug)]
pub struct Observed<'a> {
    /// Reports by node, believed or not.
    pub reports: BTreeMap<&'a str, Report<'a>>,
    /// The same by device, each sorted by node.
    sightings: HashMap<&'a str, Vec<Sighting<'a>>>,
    /// Whether the request says anything about SerialNodes at all.
    pub reports_known: bool,
    /// Nodes with a ready bridge.
    pub ready_nodes: BTreeSet<&'a str>,
    /// Nodes whose bridge is known and not ready.
    pub unready_nodes: BTreeSet<&'a str>,
    /// Families that the cluster has shown so far.
    pub families: Vec<Family>,
    /// Our Services, the anchor among them.
    pub services: BTreeMap<Key<'a>, &'a Service>,
    /// Our slices.
    pub slices: BTreeMap<Key<'a>, &'a Slice>,
    /// Services of others in the fleet's namespace.
    pub foreign_services: BTreeSet<Key<'a>>,
    /// Slices of others that name a Service in the fleet's namespace: by that Service, the slice's name.
    pub foreign_slices: BTreeMap<Key<'a>, &'a str>,
    /// Whether Services may be made in the fleet's namespace.
    pub consent: Consent,
    /// The bridges.
    pub daemon_set: Option<&'a DaemonSet>,
    /// Whether the NetworkPolicy is there.
    pub policy: bool,
}

impl<'a> Observed<'a> {
    /// Indexes a request.
    pub fn new(request: &'a SyncRequest) -> Self {
        let parent = &request.parent;
        let (services, slices) = own(request);
        let anchor = names::anchor(&parent.name);
        let anchors: Vec<&Slice> = request.related.slices.iter().filter(|s| is_anchor(s, &anchor)).collect();
        let mut pods: BTreeMap<&str, Pod<'a>> = BTreeMap::new();
        let mut unready_nodes = BTreeSet::new();
        for slice in &anchors {
            add_pods(slice, &mut pods, &mut unready_nodes);
        }
        let ready_nodes: BTreeSet<&str> = pods.values().map(|pod| pod.node).collect();
        unready_nodes.retain(|node| !ready_nodes.contains(node));
        let families = Family::ALL
            .into_iter()
            .filter(|family| {
                let shown = |slice: &Slice| Family::of(slice) == Some(*family);
                anchors.iter().any(|slice| shown(slice) && !slice.endpoints.is_empty())
                    || slices.values().any(|slice| shown(slice))
            })
            .collect();
        let (foreign_services, foreign_slices) = foreign(request, &services, &slices, &anchor);
        let bridge = names::bridge(&parent.name);
        let reports = reports(request, &pods);
        Self {
            sightings: sightings(&reports),
            reports,
            reports_known: request.related.serial_nodes.is_some(),
            ready_nodes,
            unready_nodes,
            families,
            services,
            slices,
            foreign_services,
            foreign_slices,
            consent: consent(request),
            daemon_set: request
                .children
                .daemon_sets
                .iter()
                .filter(|set| is_there(&set.metadata))
                .find(|set| key(&set.metadata) == (names::SYSTEM_NAMESPACE, &*bridge)),
            policy: request
                .children
                .policies
                .iter()
                .any(|it| is_there(&it.metadata) && key(&it.metadata) == (names::SYSTEM_NAMESPACE, &*bridge)),
        }
    }

    /// The node in our slices of a Service, whatever stands there now.
    pub fn present(&self, namespace: &str, service: &str) -> Option<&'a str> {
        Family::ALL.into_iter().find_map(|family| {
            let name = format!("{service}{}", family.suffix());
            let slice: &'a Slice = self.slices.get(&(namespace, name.as_str())).copied()?;
            slice.endpoints.iter().map(|it| it.node_name.as_str()).find(|node| !node.is_empty())
        })
    }

    /// What the nodes say about a device, sorted by node.
    pub fn sightings(&self, device: &str) -> &[Sighting<'a>] {
        self.sightings.get(device).map_or(&[], Vec::as_slice)
    }
}

/// Namespace and name of an object.
pub fn key(meta: &Meta) -> Key<'_> {
    (&meta.namespace, &meta.name)
}

/// An object that is being deleted will be gone in a moment.
fn is_there(meta: &Meta) -> bool {
    meta.deletion_timestamp.is_none()
}

type Own<'a> = (BTreeMap<Key<'a>, &'a Service>, BTreeMap<Key<'a>, &'a Slice>);

fn own(request: &SyncRequest) -> Own<'_> {
    let children = &request.children;
    (
        children
            .services
            .iter()
            .filter(|it| is_there(&it.metadata))
            .map(|it| (key(&it.metadata), it))
            .collect(),
        children
            .slices
            .iter()
            .filter(|it| is_there(&it.metadata))
            .map(|it| (key(&it.metadata), it))
            .collect(),
    )
}

/// Written by Kubernetes for our anchor. Who else may write slices in our own namespace is trusted anyway.
fn is_anchor(slice: &Slice, anchor: &str) -> bool {
    let meta = &slice.metadata;
    meta.namespace == names::SYSTEM_NAMESPACE && meta.labels.service_name.as_deref() == Some(anchor)
}

fn add_pods<'a>(slice: &'a Slice, pods: &mut BTreeMap<&'a str, Pod<'a>>, unready: &mut BTreeSet<&'a str>) {
    let Some(family) = Family::of(slice) else { return };
    for endpoint in &slice.endpoints {
        let (node, pod) = (endpoint.node_name.as_str(), &endpoint.target_ref);
        if node.is_empty() || pod.kind != "Pod" || pod.uid.is_empty() {
            continue;
        }
        let conditions = &endpoint.conditions;
        if conditions.ready == Some(false) || conditions.terminating == Some(true) {
            unready.insert(node);
            continue;
        }
        let Some(address) = endpoint.addresses.iter().min() else { continue };
        let entry = pods.entry(&pod.uid).or_insert_with(|| Pod {
            node,
            name: &pod.name,
            uid: &pod.uid,
            addresses: BTreeMap::new(),
        });
        // Two slices may show the same pod for a moment; the order in which they come must not matter.
        let slot = entry.addresses.entry(family).or_insert(address);
        *slot = (*slot).min(address);
    }
}

fn reports<'a>(request: &'a SyncRequest, pods: &BTreeMap<&'a str, Pod<'a>>) -> BTreeMap<&'a str, Report<'a>> {
    let fleet = &request.parent.name;
    let nodes = request.related.serial_nodes.iter().flatten();
    nodes
        .filter(|it| it.fleet == *fleet && it.metadata.name == names::serial_node(fleet, &it.node_name))
        .map(|node| {
            let pod = pods.get(node.pod_uid.as_str()).filter(|pod| pod.node == node.node_name);
            (node.node_name.as_str(), Report { node, pod: pod.cloned() })
        })
        .collect()
}

fn sightings<'a>(reports: &BTreeMap<&'a str, Report<'a>>) -> HashMap<&'a str, Vec<Sighting<'a>>> {
    let mut sightings: HashMap<&str, Vec<Sighting<'a>>> = HashMap::new();
    for (node, report) in reports {
        for port in &report.node.ports {
            let of_device = sightings.entry(&port.name).or_default();
            // One node, one voice: what a faulty bridge says twice counts once.
            if of_device.last().is_none_or(|last| last.node != *node) {
                of_device.push(Sighting { node, port, believed: report.pod.is_some() });
            }
        }
    }
    sightings
}

type Foreign<'a> = (BTreeSet<Key<'a>>, BTreeMap<Key<'a>, &'a str>);

fn foreign<'a>(
    request: &'a SyncRequest,
    services: &BTreeMap<Key<'a>, &'a Service>,
    slices: &BTreeMap<Key<'a>, &'a Slice>,
    anchor: &str,
) -> Foreign<'a> {
    let uid = request.parent.metadata.uid.as_deref().unwrap_or_default();
    let ours = |meta: &Meta| {
        !uid.is_empty()
            && meta.owner_references.iter().any(|owner| owner.uid == uid && owner.controller == Some(true))
    };
    let fleet = request.parent.name.as_str();
    // Somebody may have changed the fleet label of what is ours: the owner decides first.
    let foreign_services = request
        .related
        .services
        .iter()
        .map(|it| &it.metadata)
        .filter(|meta| meta.labels.fleet.as_deref() != Some(fleet))
        .filter(|meta| !ours(meta) && !services.contains_key(&key(meta)))
        .map(key)
        .collect();
    let mut foreign_slices = BTreeMap::new();
    for slice in request.related.slices.iter().filter(|slice| !is_anchor(slice, anchor)) {
        let meta = &slice.metadata;
        let Some(service) = &meta.labels.service_name else { continue };
        if meta.labels.fleet.as_deref() == Some(fleet) || ours(meta) || slices.contains_key(&key(meta)) {
            continue;
        }
        let first = foreign_slices.entry((meta.namespace.as_str(), service.as_str()));
        let first = first.or_insert(meta.name.as_str());
        *first = (*first).min(meta.name.as_str());
    }
    (foreign_services, foreign_slices)
}

fn consent(request: &SyncRequest) -> Consent {
    let wanted = request.parent.service_namespace();
    if wanted == names::SYSTEM_NAMESPACE {
        return Consent::Given;
    }
    match request.related.namespaces.iter().find(|it| it.metadata.name == wanted) {
        Some(it) if !is_there(&it.metadata) => Consent::Missing,
        Some(it) if it.metadata.labels.services.as_deref() == Some(names::SERVICES_ALLOWED) => Consent::Given,
        Some(_) => Consent::Withheld,
        None => Consent::Missing,
    }
}
