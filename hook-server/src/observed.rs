//! The request, indexed by the objects' own metadata: which bridges are ready and where, whose reports are believed,
//! which children exist, what stands in their way. Decides nothing.
//!
//! Trust: addresses, nodes and pod uids come from the anchor Service's EndpointSlices, which Kubernetes' own
//! controller writes, and from nowhere else. A SerialNode only counts while its `podUID` is that of a ready anchor
//! endpoint on its node.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serialfleet_api::{fleet::DeviceStatus, names};

use crate::request::{DaemonSet, Group, Meta, Policy, Port, SerialNode, Service, Slice, SyncRequest};

mod strangers;

pub use strangers::{Kind, Strangers};

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

    /// The name of a Service's slice.
    pub fn slice(self, service: &str) -> String {
        format!("{service}{}", self.suffix())
    }

    /// What the name of such a slice ends in.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::V4 => "-ipv4",
            Self::V6 => "-ipv6",
        }
    }

    /// The Service and the family that a slice's name speaks of.
    fn of_slice(name: &str) -> Option<(&str, Self)> {
        Self::ALL.into_iter().find_map(|family| Some((name.strip_suffix(family.suffix())?, family)))
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
    /// The Namespace is being deleted.
    Leaving,
    /// There is no such Namespace.
    Missing,
}

/// The request, indexed.
#[derive(Debug)]
pub struct Observed<'a> {
    /// Reports by node, believed or not.
    pub reports: BTreeMap<&'a str, Report<'a>>,
    /// The same by device, each sorted by node.
    sightings: HashMap<&'a str, Vec<Sighting<'a>>>,
    /// What the last status said, by device.
    last: HashMap<&'a str, &'a DeviceStatus>,
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
    /// Namespaces of our Services, each once.
    pub service_namespaces: Vec<&'a str>,
    /// The same slices by Service, namespace and family, sorted.
    slices_by_service: Vec<(&'a str, &'a str, Family, &'a Slice)>,
    /// Children that are being deleted: neither there nor to be made yet.
    pub leaving: BTreeSet<(Kind, Key<'a>)>,
    /// What is not ours.
    pub strangers: Strangers<'a>,
    /// Whether Services may be made in the fleet's namespace.
    pub consent: Consent,
    /// The bridges.
    pub daemon_set: Option<&'a DaemonSet>,
    /// Who may connect to the bridges.
    pub policy: Option<&'a Policy>,
}

impl<'a> Observed<'a> {
    /// Indexes a request.
    pub fn new(request: &'a SyncRequest) -> Self {
        let parent = &request.parent;
        let (services, slices) = own(request);
        let anchor = names::anchor(&parent.name);
        let anchors: Vec<&Slice> = request
            .related
            .slices
            .iter()
            .flat_map(Group::iter)
            .filter(|it| is_anchor(&it.metadata, &anchor))
            .collect();
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
        let bridge = names::bridge(&parent.name);
        let fleets = |meta: &Meta| is_there(meta) && key(meta) == (names::SYSTEM_NAMESPACE, &*bridge);
        let children = &request.children;
        let daemon_set = children.daemon_sets.iter().find(|it| fleets(&it.metadata));
        let policy = children.policies.iter().find(|it| fleets(&it.metadata));
        let reports = reports(request, &pods);
        Self {
            sightings: sightings(&reports),
            last: parent.status.devices.iter().map(|it| (it.name.as_str(), it)).collect(),
            reports,
            reports_known: request.related.serial_nodes.is_some(),
            ready_nodes,
            unready_nodes,
            families,
            service_namespaces: distinct(services.keys().map(|(namespace, _)| *namespace)),
            slices_by_service: by_service(&slices),
            leaving: strangers::leaving(children),
            strangers: Strangers::new(request),
            services,
            slices,
            consent: consent(request),
            daemon_set,
            policy,
        }
    }

    /// The node in our slices of a Service, whatever stands there now.
    pub fn present(&self, namespace: &str, service: &str) -> Option<&'a str> {
        let slices = self.slices_of(service).iter().filter(|(_, of, ..)| *of == namespace);
        let mut nodes = slices.filter_map(|(.., slice)| {
            slice.endpoints.iter().map(|it| it.node_name.as_str()).find(|node| !node.is_empty())
        });
        nodes.next()
    }

    /// Namespaces in which a Service of this name has slices of ours.
    pub fn slice_namespaces(&self, service: &str) -> impl Iterator<Item = &'a str> {
        distinct(self.slices_of(service).iter().map(|(_, namespace, ..)| *namespace)).into_iter()
    }

    fn slices_of(&self, service: &str) -> &[(&'a str, &'a str, Family, &'a Slice)] {
        let first = self.slices_by_service.partition_point(|(of, ..)| *of < service);
        let rest = self.slices_by_service.get(first..).unwrap_or_default();
        let count = rest.iter().take_while(|(of, ..)| *of == service).count();
        rest.get(..count).unwrap_or_default()
    }

    /// What the last status said of a device.
    pub fn last(&self, device: &str) -> Option<&'a DeviceStatus> {
        self.last.get(device).copied()
    }

    /// What the nodes say about a device, sorted by node.
    pub fn sightings(&self, device: &str) -> &[Sighting<'a>] {
        self.sightings.get(device).map_or(&[], Vec::as_slice)
    }
}

/// Each once, of sorted ones.
fn distinct<'a>(sorted: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut distinct = Vec::new();
    for it in sorted {
        if distinct.last() != Some(&it) {
            distinct.push(it);
        }
    }
    distinct
}

fn by_service<'a>(slices: &BTreeMap<Key<'a>, &'a Slice>) -> Vec<(&'a str, &'a str, Family, &'a Slice)> {
    let named = slices.iter().filter_map(|((namespace, name), slice)| {
        let (service, family) = Family::of_slice(name)?;
        Some((service, *namespace, family, *slice))
    });
    let mut all: Vec<_> = named.collect();
    all.sort_unstable_by_key(|(service, namespace, family, _)| (*service, *namespace, *family));
    all
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
            .flat_map(Group::iter)
            .filter(|it| is_there(&it.metadata))
            .map(|it| (key(&it.metadata), it))
            .collect(),
    )
}

/// Written by Kubernetes for our anchor. Who else may write slices in our own namespace is trusted anyway.
fn is_anchor(meta: &Meta, anchor: &str) -> bool {
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
    let nodes = request.related.serial_nodes.iter().flat_map(Group::iter);
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

fn consent(request: &SyncRequest) -> Consent {
    let wanted = request.parent.service_namespace();
    if wanted == names::SYSTEM_NAMESPACE {
        return Consent::Given;
    }
    match request.related.namespaces.iter().find(|it| it.metadata.name == wanted) {
        Some(it) if !is_there(&it.metadata) => Consent::Leaving,
        Some(it) if it.metadata.labels.services.as_deref() == Some(names::SERVICES_ALLOWED) => Consent::Given,
        Some(_) => Consent::Withheld,
        None => Consent::Missing,
    }
}
