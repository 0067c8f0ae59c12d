//! The fleet as a whole: names that are free, one device for each tty, and what the host's own network asks for.
//!
//! Owner: [`super::import`]. Whatever validation would refuse is left out here, with the reason.

use std::collections::{BTreeMap, BTreeSet};

use serialfleet_api::{
    fleet::{BridgeSpec, ClientSettings, Device, Peer, Scope, SerialFleet, SerialFleetSpec, Settings},
    meta::Metadata,
    names::{API_VERSION, MAX_NAME},
};

use super::{
    MAX_CONNECTIONS, Machine,
    entry::{Entry, Notes, Reading},
    place::place,
};
use crate::discover::label;

/// What is printed.
#[derive(Debug)]
pub(super) struct Fleet {
    /// The object.
    pub(super) object: SerialFleet,
    /// Its devices and what is no device of it, in the order of the files.
    pub(super) items: Vec<Item>,
    /// What concerns no single device.
    pub(super) head: Vec<String>,
}

/// A connection of ser2net.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) device: Device,
    pub(super) origin: String,
    /// What tells whether two are the same tty.
    identity: String,
    pub(super) notes: Notes,
    /// Why it stands there as a comment.
    pub(super) left_out: Option<String>,
}

/// Most devices of a fleet.
const MAX_DEVICES: usize = 256;
/// Port of a bridge's probes and metrics.
const ADMIN_PORT: i32 = 9640;

/// Puts the connections together.
pub(super) fn assemble(reading: Reading, name: &str, machine: &Machine) -> Fleet {
    let Reading { entries, remarks: mut head, too_many } = reading;
    if too_many > 0 {
        head.push(format!("{too_many} connections after the first {MAX_CONNECTIONS} are not read: import fewer files at a time"));
    }
    let mut items: Vec<Item> = entries.into_iter().map(|entry| item(entry, machine)).collect();
    leave_out_doubles(&mut items);
    // A snippet's stick was served at each host's own name, and so it stays.
    let host_network =
        items.iter().any(|item| item.left_out.is_none() && item.device.scope == Some(Scope::Node));
    let mut spec = SerialFleetSpec::default();
    if host_network {
        leave_out_ports_of_others(&mut items);
        let ports: BTreeSet<i32> = devices(&items).filter_map(|device| device.settings.port).collect();
        let admin_port = (ADMIN_PORT..).find(|port| !ports.contains(port)).filter(|port| *port != ADMIN_PORT);
        spec.bridge = BridgeSpec { host_network: Some(true), admin_port, ..BridgeSpec::default() };
        let everyone =
            ["0.0.0.0/0", "::/0"].map(|cidr| Peer { cidr: Some(cidr.to_owned()), ..Peer::default() });
        let clients = ClientSettings { allow_from: Some(everyone.into()), ..ClientSettings::default() };
        spec.defaults = Settings { clients, ..Settings::default() };
    }
    let further = items.iter_mut().filter(|item| item.left_out.is_none()).skip(MAX_DEVICES);
    further.for_each(|item| item.left_out = Some(format!("a fleet has at most {MAX_DEVICES} devices")));
    name_all(&mut items);
    spec.devices = devices(&items).cloned().collect();
    let object = SerialFleet {
        api_version: API_VERSION.to_owned(),
        kind: "SerialFleet".to_owned(),
        metadata: Metadata { name: Some(name.to_owned()), ..Metadata::default() },
        spec,
        status: None,
    };
    Fleet { object, items, head }
}

impl Fleet {
    pub(super) fn left_out(&self) -> usize {
        self.items.iter().filter(|item| item.left_out.is_some()).count()
    }

    /// What a person should know.
    pub(super) fn remarks(&self) -> Vec<String> {
        let mut remarks = self.head.clone();
        for Item { device, origin, notes, left_out, .. } in &self.items {
            let name = &device.name;
            if let Some(reason) = left_out {
                remarks.push(format!("{origin}: {name} is left out: {reason}"));
                continue;
            }
            remarks.extend(notes.said.iter().map(|sentence| format!("{origin}: {name}: {sentence}")));
            if !notes.lost.is_empty() {
                remarks.push(format!("{origin}: {name}: not carried over: {}", notes.lost.join("; ")));
            }
        }
        remarks
    }
}

fn devices(items: &[Item]) -> impl Iterator<Item = &Device> {
    items.iter().filter(|item| item.left_out.is_none()).map(|item| &item.device)
}

fn item(entry: Entry, machine: &Machine) -> Item {
    let Entry { mut origin, name, stick, device: path, settings, suspend, mut notes, mut left_out } = entry;
    let mut device = Device { suspend: suspend.then_some(true), settings, ..Device::default() };
    let place = place(&path, stick.as_deref(), machine);
    device.matcher = place.matcher;
    device.scope = place.scope;
    place.said.into_iter().for_each(|sentence| notes.say(sentence));
    left_out = left_out.or(place.unknown);
    let port = device.settings.port.map_or_else(|| "device".to_owned(), |port| format!("port-{port}"));
    if let Some(name) = &name {
        origin.push_str(&format!(" ({name})"));
    }
    // A name of digits only says less than what it is.
    let name = name.filter(|name| name.contains(|c: char| c.is_ascii_alphabetic()));
    device.name = name.or_else(|| Some(format!("usb-{}", stick?))).map_or(port, |name| label(&name));
    let identity = place.tty.unwrap_or_else(|| serde_json::to_string(&device.matcher).unwrap_or_default());
    Item { device, origin, identity, notes, left_out }
}

/// ser2net opens a tty for whichever connection has a client; a fleet serves each tty once. One that is enabled
/// comes before one that is not.
fn leave_out_doubles(items: &mut [Item]) {
    let mut first: BTreeMap<String, usize> = BTreeMap::new();
    for (index, item) in items.iter().enumerate().filter(|(_, item)| item.left_out.is_none()) {
        let owner = first.entry(item.identity.clone()).or_insert(index);
        let owner_is_off = items.get(*owner).is_some_and(|item| item.device.suspend == Some(true));
        if owner_is_off && item.device.suspend.is_none() {
            *owner = index;
        }
    }
    let origins: Vec<String> = items.iter().map(|item| item.origin.clone()).collect();
    for (index, item) in items.iter_mut().enumerate().filter(|(_, item)| item.left_out.is_none()) {
        let owner = first.get(&item.identity).copied().unwrap_or(index);
        if owner != index {
            let owner = origins.get(owner).map_or("", String::as_str);
            item.left_out = Some(format!("{owner} serves the same tty, and a tty is served once"));
        }
    }
}

/// On the node's own addresses each device needs a port of its own.
fn leave_out_ports_of_others(items: &mut [Item]) {
    let mut owners: BTreeMap<i32, String> = BTreeMap::new();
    for item in items.iter_mut().filter(|item| item.left_out.is_none()) {
        let port = item.device.settings.port.unwrap_or_default();
        if port < 1024 {
            item.left_out = Some(format!(
                "with hostNetwork ports begin at 1024: choose another than {port}, or import it into a fleet by itself"
            ));
        } else if let Some(owner) = owners.get(&port) {
            item.left_out = Some(format!("with hostNetwork {owner} has port {port} already: choose another"));
        } else {
            owners.insert(port, item.origin.clone());
        }
    }
}

/// Makes names unique; those of devices first, for comments need not care. Device `a` with scope Node excludes every
/// `a-...`, so numbers are appended without a dash.
fn name_all(items: &mut [Item]) {
    let mut used: BTreeMap<String, bool> = BTreeMap::new();
    let (served, commented): (Vec<&mut Item>, Vec<&mut Item>) =
        items.iter_mut().partition(|item| item.left_out.is_none());
    for item in served.into_iter().chain(commented) {
        let device = &mut item.device;
        let on_each_node = device.scope == Some(Scope::Node);
        let mut base = device.name.as_str();
        while let Some(shorter) = base.strip_suffix("-anchor") {
            base = shorter;
        }
        let base = if base.is_empty() { "device" } else { base };
        let plain = base.replace('-', "");
        let numbered = (2..).map(|number| format!("{plain}{number}"));
        let mut candidates = [base.to_owned(), plain.clone()].into_iter().chain(numbered);
        let is_free = |name: &String| {
            name.len() <= MAX_NAME
                && !used.contains_key(name)
                && !used.iter().any(|(other, other_on_each_node)| {
                    let below = |of: &str, name: &str| {
                        name.strip_prefix(of).is_some_and(|rest| rest.starts_with('-'))
                    };
                    (*other_on_each_node && below(other, name)) || (on_each_node && below(name, other))
                })
        };
        if let Some(name) = candidates.find(is_free) {
            used.insert(name.clone(), on_each_node);
            device.name = name;
        }
    }
}
