//! Which Services the fleet wants, under which names, where, and what stands in their way. Decides nothing about
//! endpoints.
//!
//! The rule that everything here serves: a Service never goes with its stick. It exists as long as its device entry
//! does; for scope Node without `match.nodes`, as long as that node's SerialNode does.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use serialfleet_api::{fleet::Scope, names, resolve::ResolvedDevice};

use crate::{
    observed::{Consent, Kind, Observed},
    request::{Port, SyncRequest},
};

/// A Service that the fleet wants.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    /// Its device.
    pub device: &'a ResolvedDevice,
    /// The number of that among the fleet's devices.
    pub index: usize,
    /// Scope Node: its node.
    pub node: Option<&'a str>,
    /// Its name.
    pub name: Cow<'a, str>,
    /// Where it is made or kept. Empty: not at all. More than one only while the namespace in the spec is refused
    /// and Services of several earlier ones are kept.
    pub namespaces: Vec<&'a str>,
    /// Why it is not made where the spec says.
    pub obstacle: Option<Obstacle>,
    /// The port on which a bridge serves the device.
    pub pod_port: u16,
}

/// Why a Service is not made where the spec says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// Somebody else's Service has the name.
    NameTaken,
    /// Another device of this fleet has it; holds that device's name.
    SameName(String),
    /// There is no such Namespace.
    NamespaceMissing,
    /// The Namespace does not carry the label.
    NamespaceNotAllowed,
}

impl Obstacle {
    /// One CamelCase word for conditions.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NameTaken | Self::SameName(_) => "NameTaken",
            Self::NamespaceMissing => "NamespaceMissing",
            Self::NamespaceNotAllowed => "NamespaceNotAllowed",
        }
    }
}

/// Every Service of the fleet, sorted by device and node.
pub fn wanted<'a>(request: &'a SyncRequest, observed: &Observed<'a>) -> Vec<Wanted<'a>> {
    let parent = &request.parent;
    let mut wanted: Vec<Wanted<'a>> = Vec::with_capacity(parent.wish.devices.len());
    let devices = parent.wish.devices.iter().zip(parent.wish.pod_ports.iter().copied());
    for (index, (device, pod_port)) in devices.enumerate() {
        let one = |node: Option<&'a str>| Wanted {
            device,
            index,
            node,
            name: match node {
                None => Cow::Borrowed(device.name.as_str()),
                Some(node) => Cow::Owned(names::node_service(&device.name, node)),
            },
            namespaces: Vec::new(),
            obstacle: None,
            pod_port,
        };
        match device.scope {
            Scope::Cluster => wanted.push(one(None)),
            Scope::Node => wanted.extend(nodes(device, observed).into_iter().map(|node| one(Some(node)))),
        }
    }
    let keepers = keepers(&wanted, observed);
    for it in &mut wanted {
        let keeper = keepers.get(&*it.name).map(|(device, node)| (device.as_str(), node.as_deref()));
        match keeper {
            Some((device, node)) if (device, node) != (it.device.name.as_str(), it.node) => {
                it.obstacle = Some(Obstacle::SameName(device.to_owned()));
            }
            _ => place(it, parent.service_namespace(), observed),
        }
    }
    wanted
}

/// The namespaces in which a Service of ours has this name. Names are what they are known by: labels and annotations
/// can be edited by whoever owns the namespace, and losing one is no reason to let go of a Service.
fn namespaces_of<'a>(observed: &Observed<'a>, name: &str) -> impl Iterator<Item = &'a str> {
    let has_it = move |namespace: &&'a str| observed.services.contains_key(&(*namespace, name));
    observed.service_namespaces.iter().copied().filter(has_it)
}

/// The nodes of a scope-Node device: where one is seen, and from then on as long as the node is known.
fn nodes<'a>(device: &'a ResolvedDevice, observed: &Observed<'a>) -> BTreeSet<&'a str> {
    if !device.matcher.nodes.is_empty() {
        return device.matcher.nodes.iter().map(String::as_str).collect();
    }
    let seen = observed.sightings(&device.name).iter().filter(|it| it.believed && is_candidate(it.port));
    let known = observed.reports.keys().chain(&observed.ready_nodes).chain(&observed.unready_nodes);
    let has_one = |node: &&str| {
        let name = names::node_service(&device.name, node);
        namespaces_of(observed, &name).next().is_some()
    };
    let kept = known.copied().filter(has_one);
    // A request that says nothing about SerialNodes is no reason to let go of anything.
    let unsure = observed.services.values().filter(|_| !observed.reports_known).filter_map(|service| {
        let meta = &service.metadata;
        let same = meta.labels.device.as_deref() == Some(&device.name);
        meta.annotations.node.as_deref().filter(|_| same)
    });
    seen.map(|it| it.node).chain(kept).chain(unsure).collect()
}

/// Whether a port's state speaks of hardware that is there. Suspended, and Failed without a tty, are said on every
/// node, with and without a stick.
fn is_candidate(port: &Port) -> bool {
    match port.state.as_str() {
        "Serving" | "Held" | "Busy" | "Denied" | "Ambiguous" => true,
        "Failed" => !port.tty.is_empty(),
        _ => false,
    }
}

/// For each name that several Services want, whose it is: that of the one that has it, else scope Cluster before
/// scope Node, then by name. CEL refuses what it can see of this.
fn keepers(wanted: &[Wanted<'_>], observed: &Observed<'_>) -> BTreeMap<String, (String, Option<String>)> {
    let mut names: Vec<&str> = wanted.iter().map(|it| &*it.name).collect();
    names.sort_unstable();
    let twins = names.iter().zip(names.iter().skip(1)).filter(|(a, b)| a == b).map(|(name, _)| *name);
    let mut by_name: BTreeMap<&str, Vec<&Wanted<'_>>> = twins.map(|name| (name, Vec::new())).collect();
    if by_name.is_empty() {
        return BTreeMap::new();
    }
    for it in wanted {
        if let Some(all) = by_name.get_mut(&*it.name) {
            all.push(it);
        }
    }
    by_name
        .into_iter()
        .filter_map(|(name, all)| {
            let has_it = |it: &Wanted<'_>| {
                observed.services.iter().any(|((_, observed), service)| {
                    let meta = &service.metadata;
                    *observed == name
                        && meta.labels.device.as_deref() == Some(&it.device.name)
                        && meta.annotations.node.as_deref() == it.node
                })
            };
            let first = all.into_iter().min_by_key(|it| (!has_it(it), it.node, &it.device.name))?;
            Some((name.to_owned(), (first.device.name.clone(), first.node.map(str::to_owned))))
        })
        .collect()
}

fn place<'a>(it: &mut Wanted<'a>, namespace: &'a str, observed: &Observed<'a>) {
    let refused = match observed.consent {
        Consent::Given if !observed.strangers.is_foreign(Kind::Service, (namespace, &it.name)) => {
            it.namespaces = vec![namespace];
            return;
        }
        Consent::Given => Obstacle::NameTaken,
        Consent::Withheld => Obstacle::NamespaceNotAllowed,
        Consent::Missing | Consent::Leaving => Obstacle::NamespaceMissing,
    };
    // What works stays until what is wanted can be made.
    it.namespaces = namespaces_of(observed, &it.name).collect();
    it.obstacle = Some(refused);
}
