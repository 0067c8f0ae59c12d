//! Rules that no single bound can say, in Rust: the twins of the CEL rules in the CRD (`cel.rs`), with the same field
//! paths and the same words. Rules of the form `self.matches('...')` need no twin: `schema.rs` reads them from
//! the CRD itself. Must not know bounds of single fields.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ipnet::IpNet;

use crate::{
    fleet::{
        BridgeSpec, ClientPolicy, ClientSettings, Device, Match, Peer, Resources, Scope, SerialFleet,
        SerialFleetSpec, ServiceType, Settings, SlowReader, TaintEffect, Toleration, TolerationOperator,
    },
    meta::Quantity,
    ports::{FIRST_POD_PORT, POD_PORTS},
    quantity::NANO,
    resolve::merge,
    validate::Finding,
};

/// Pattern of a label's value (Kubernetes).
#[cfg(feature = "crd")]
pub(crate) const LABEL_VALUE: &str = "^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$";

/// The sentences, shared with the CRD. None may hold a single quote: CEL quotes them with it.
pub(crate) mod message {
    pub(crate) const FLEET_NAME: &str = "a fleet is named by a DNS label of at most 40 characters: write lower-case letters, digits and dashes, such as home";
    pub(crate) const DEVICE_NAME: &str =
        "names that start with serialfleet- or end in -anchor are taken: choose another";
    pub(crate) const NO_IDENTITY: &str =
        "say which device it is: write usb (vendor:product as lsusb prints it), usbPath or tty";
    pub(crate) const TTY_EXCLUDES_USB: &str = "tty names an on-board UART, which has no USB identity: write either tty or the USB fields (usb, serialNumber, manufacturer, product, interfaceNumber, portNumber, usbPath)";
    pub(crate) const TTY_IS_USB: &str = "ttyUSB and ttyACM numbers change when sticks are plugged: write usb and serialNumber, or usbPath, instead";
    pub(crate) const NEEDS_NODES: &str = "tty, or usbPath without usb, exists on every node: add match.nodes with the node that is meant, or scope: Node for one on each node";
    pub(crate) const BLOCK_AND_SHARE: &str = "slowReader Block would let one client stop all others: with policy Share write slowReader: Disconnect";
    pub(crate) const KEEPALIVE: &str = "keepalive.userTimeoutSeconds (built-in 15) must be greater than keepalive.idleSeconds (built-in 10): raise the one or lower the other";
    pub(crate) const SERVICE_FIELDS: &str = "service.externalTrafficPolicy and service.nodePort need service.type NodePort or LoadBalancer, service.loadBalancerClass needs LoadBalancer: set the type or leave the field out";
    pub(crate) const NODE_PORT_SCOPE: &str = "scope Node makes one Service for each node, and they cannot share one nodePort: leave service.nodePort out";
    pub(crate) const NODE_PORT_TWICE: &str =
        "two devices have the same service.nodePort: a port of the nodes can lead to one Service only";
    pub(crate) const HOST_NETWORK_OPEN: &str = "with bridge.hostNetwork no NetworkPolicy protects the device: write clients.allowFrom, with cidr entries only";
    pub(crate) const HOST_NETWORK_PORTS: &str = "with bridge.hostNetwork all devices share the addresses of the node: give each a port of its own, 1024 to 65535, that is not bridge.adminPort (built-in 9640)";
    pub(crate) const PREFIX_TAKEN: &str = "a device with scope Node makes Services named after it and each node: no other name may start with its name and a dash";
    pub(crate) const PEER: &str =
        "write either cidr (a network) or namespace (with podLabels where not all of its pods are meant)";
    pub(crate) const POD_LABELS: &str = "podLabels need the namespace of the pods: add namespace";
    pub(crate) const CIDR: &str = "write a network without host bits, such as 10.244.0.0/16 or fd00:10::/64";
    pub(crate) const ADMIN_PORT: &str =
        "20000 to 29999 are the ports of the devices: choose another, such as 9640";
    pub(crate) const TOLERATION: &str = "a toleration is {key, operator: Exists} or {key, value}; without a key the operator must be Exists, and tolerationSeconds needs effect: NoExecute";
    pub(crate) const CPU: &str = "write at most one processor, such as 100m or 1";
    pub(crate) const MEMORY: &str = "write at most 512Mi, such as 64Mi";
    pub(crate) const MEMORY_LIMIT: &str = "a bridge needs room: write a memory limit of at least 32Mi";
    pub(crate) const REQUESTS: &str =
        "a request may not exceed its limit (built-in: requests cpu 10m, memory 16Mi; limits memory 64Mi)";
    pub(crate) const LABEL_KEYS: &str = "write keys as Kubernetes does: at most 63 letters, digits, dashes, dots and underscores, after an optional DNS domain and a slash, 253 in all";
    pub(crate) const RESERVED_LABELS: &str =
        "keys of kubernetes.io, k8s.io, serialfleet.io and controller-uid belong to others: leave them out";
    pub(crate) const RESERVED_ANNOTATIONS: &str = "keys of kubernetes.io (except service.kubernetes.io, service.beta.kubernetes.io and external-dns.alpha.kubernetes.io), k8s.io and serialfleet.io belong to others: leave them out";
}

/// Every rule, over an object whose fields have their types; in the order of the fields.
pub(crate) fn check(fleet: &SerialFleet) -> Vec<Finding> {
    let mut found = Findings::default();
    if !is_label(fleet.metadata.name.as_deref().unwrap_or_default(), crate::names::MAX_NAME) {
        found.add("metadata.name", message::FLEET_NAME);
    }
    check_bridge(&fleet.spec.bridge, &mut found);
    check_settings(&fleet.spec.defaults, "spec.defaults", &mut found);
    for (index, device) in fleet.spec.devices.iter().enumerate() {
        found.device = Some(index);
        check_device(device, &format!("spec.devices[{index}]"), &mut found);
    }
    check_merged(&fleet.spec, &mut found);
    found.device = None;
    check_names(&fleet.spec, &mut found);
    check_ports(&fleet.spec, &mut found);
    found.list
}

/// What was found, and which device is being looked at.
#[derive(Default)]
struct Findings {
    list: Vec<Finding>,
    device: Option<usize>,
}

impl Findings {
    fn add(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.list.push(Finding { path: path.into(), message: message.into(), device: self.device });
    }
}

fn check_bridge(bridge: &BridgeSpec, found: &mut Findings) {
    check_keys(&bridge.node_selector, "spec.bridge.nodeSelector", found);
    for (index, toleration) in bridge.tolerations.iter().enumerate() {
        if !toleration_is_sound(toleration) {
            found.add(format!("spec.bridge.tolerations[{index}]"), message::TOLERATION);
        }
    }
    check_resources(&bridge.resources, found);
    let pod_ports = i32::from(FIRST_POD_PORT)..i32::from(FIRST_POD_PORT + POD_PORTS);
    if bridge.admin_port.is_some_and(|port| pod_ports.contains(&port)) {
        found.add("spec.bridge.adminPort", message::ADMIN_PORT);
    }
}

fn toleration_is_sound(toleration: &Toleration) -> bool {
    let exists = toleration.operator == Some(TolerationOperator::Exists);
    (!exists || toleration.value.as_deref().unwrap_or_default().is_empty())
        && (toleration.key.is_some() || exists)
        && (toleration.toleration_seconds.is_none() || toleration.effect == Some(TaintEffect::NoExecute))
}

fn check_resources(resources: &Resources, found: &mut Findings) {
    const MEBIBYTE: i128 = 1 << 20;
    let nano = |amount: &Option<Quantity>| amount.as_ref().and_then(Quantity::nano_units);
    for (name, amounts) in [("requests", &resources.requests), ("limits", &resources.limits)] {
        if nano(&amounts.cpu).is_some_and(|cpu| cpu > NANO) {
            found.add(format!("spec.bridge.resources.{name}.cpu"), message::CPU);
        }
        if nano(&amounts.memory).is_some_and(|memory| memory > 512 * MEBIBYTE * NANO) {
            found.add(format!("spec.bridge.resources.{name}.memory"), message::MEMORY);
        }
    }
    let (requests, limits) = (&resources.requests, &resources.limits);
    if nano(&limits.memory).is_some_and(|memory| memory < 32 * MEBIBYTE * NANO) {
        found.add("spec.bridge.resources", message::MEMORY_LIMIT);
    }
    let memory = nano(&requests.memory).unwrap_or(16 * MEBIBYTE * NANO);
    let cpu = nano(&requests.cpu).unwrap_or(NANO / 100);
    if memory > nano(&limits.memory).unwrap_or(64 * MEBIBYTE * NANO)
        || nano(&limits.cpu).is_some_and(|limit| cpu > limit)
    {
        found.add("spec.bridge.resources", message::REQUESTS);
    }
}

fn check_device(device: &Device, path: &str, found: &mut Findings) {
    if device.name.starts_with("serialfleet-") || device.name.ends_with("-anchor") {
        found.add(format!("{path}.name"), message::DEVICE_NAME);
    }
    check_match(&device.matcher, &format!("{path}.match"), found);
    let matcher = &device.matcher;
    let everywhere = matcher.tty.is_some() || (matcher.usb_path.is_some() && matcher.usb.is_none());
    if everywhere && matcher.nodes.is_empty() && device.scope.unwrap_or_default() == Scope::Cluster {
        found.add(path, message::NEEDS_NODES);
    }
    check_settings(&device.settings, path, found);
}

fn check_match(matcher: &Match, path: &str, found: &mut Findings) {
    if matcher.usb.is_none() && matcher.usb_path.is_none() && matcher.tty.is_none() {
        found.add(path, message::NO_IDENTITY);
    }
    let usb_fields = matcher.usb.is_some()
        || matcher.serial_number.is_some()
        || matcher.manufacturer.is_some()
        || matcher.product.is_some()
        || matcher.interface_number.is_some()
        || matcher.port_number.is_some()
        || matcher.usb_path.is_some();
    if matcher.tty.is_some() && usb_fields {
        found.add(path, message::TTY_EXCLUDES_USB);
    }
    if matcher.tty.as_deref().is_some_and(|tty| tty.starts_with("ttyUSB") || tty.starts_with("ttyACM")) {
        found.add(format!("{path}.tty"), message::TTY_IS_USB);
    }
}

/// The rules that `defaults` and a device must keep each by itself.
fn check_settings(settings: &Settings, path: &str, found: &mut Findings) {
    let clients = &settings.clients;
    if blocks_sharers(clients) {
        found.add(format!("{path}.clients"), message::BLOCK_AND_SHARE);
    }
    for (index, peer) in clients.allow_from.iter().flatten().enumerate() {
        check_peer(peer, &format!("{path}.clients.allowFrom[{index}]"), found);
    }
    let keepalive = &settings.keepalive;
    if let (Some(idle), Some(user_timeout)) = (keepalive.idle_seconds, keepalive.user_timeout_seconds)
        && user_timeout <= idle
    {
        found.add(format!("{path}.keepalive"), message::KEEPALIVE);
    }
    let labels = format!("{path}.service.labels");
    check_keys(&settings.service.labels, &labels, found);
    if settings.service.labels.keys().any(|key| is_reserved(key, &[])) {
        found.add(labels, message::RESERVED_LABELS);
    }
    let annotations = format!("{path}.service.annotations");
    check_keys(&settings.service.annotations, &annotations, found);
    if settings.service.annotations.keys().any(|key| is_reserved(key, &OPEN_ANNOTATIONS)) {
        found.add(annotations, message::RESERVED_ANNOTATIONS);
    }
}

fn blocks_sharers(clients: &ClientSettings) -> bool {
    clients.policy == Some(ClientPolicy::Share) && clients.slow_reader == Some(SlowReader::Block)
}

fn check_peer(peer: &Peer, path: &str, found: &mut Findings) {
    if peer.cidr.is_some() == peer.namespace.is_some() {
        found.add(path, message::PEER);
    }
    if !peer.pod_labels.is_empty() && peer.namespace.is_none() {
        found.add(path, message::POD_LABELS);
    }
    if peer.cidr.as_deref().is_some_and(|cidr| !is_network(cidr)) {
        found.add(format!("{path}.cidr"), message::CIDR);
    }
    check_keys(&peer.pod_labels, &format!("{path}.podLabels"), found);
}

/// A network as the API server reads it (Go `netip.ParsePrefix`: no leading zeros, no IPv4-mapped IPv6), without host
/// bits.
fn is_network(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else { return false };
    let Ok(address) = address.parse::<IpAddr>() else { return false };
    let plain = bits == "0" || !bits.starts_with(['0', '+']);
    let mapped = matches!(address, IpAddr::V6(address) if address.to_ipv4_mapped().is_some());
    let net = bits.parse().ok().and_then(|bits| IpNet::new(address, bits).ok());
    plain && !mapped && net.is_some_and(|net| net.addr() == net.network())
}

/// The rules over what a device and `defaults` say together.
fn check_merged(spec: &SerialFleetSpec, found: &mut Findings) {
    for (index, device) in spec.devices.iter().enumerate() {
        found.device = Some(index);
        for message in merged_messages(device, spec) {
            found.add("spec.devices", for_device(&device.name, message));
        }
    }
}

fn merged_messages(device: &Device, spec: &SerialFleetSpec) -> Vec<&'static str> {
    let mut messages = Vec::new();
    let own = &device.settings;
    let merged = merge(own, &spec.defaults);
    let keepalive = &merged.keepalive;
    let said_both = own.keepalive.idle_seconds.is_some() && own.keepalive.user_timeout_seconds.is_some();
    if !said_both && keepalive.user_timeout_seconds.unwrap_or(15) <= keepalive.idle_seconds.unwrap_or(10) {
        messages.push(message::KEEPALIVE);
    }
    if !blocks_sharers(&own.clients) && blocks_sharers(&merged.clients) {
        messages.push(message::BLOCK_AND_SHARE);
    }
    let service = &merged.service;
    let type_ = service.type_.unwrap_or_default();
    if (service.load_balancer_class.is_some() && type_ != ServiceType::LoadBalancer)
        || ((service.external_traffic_policy.is_some() || service.node_port.is_some())
            && type_ == ServiceType::ClusterIP)
    {
        messages.push(message::SERVICE_FIELDS);
    }
    if service.node_port.is_some() && device.scope == Some(Scope::Node) {
        messages.push(message::NODE_PORT_SCOPE);
    }
    let networks_only = |peers: &Vec<Peer>| peers.iter().all(|peer| peer.cidr.is_some());
    if spec.bridge.host_network == Some(true)
        && !merged.clients.allow_from.as_ref().is_some_and(networks_only)
    {
        messages.push(message::HOST_NETWORK_OPEN);
    }
    messages
}

/// A sentence about a device, for rules whose path can only be that of the list.
fn for_device(name: &str, message: &str) -> String {
    format!("device {name}: {message}")
}

fn check_names(spec: &SerialFleetSpec, found: &mut Findings) {
    let on_each_node = spec.devices.iter().filter(|device| device.scope == Some(Scope::Node));
    for name in on_each_node.map(|device| &device.name) {
        let prefix = format!("{name}-");
        if spec.devices.iter().any(|device| device.name.starts_with(&prefix)) {
            found.add("spec.devices", message::PREFIX_TAKEN);
            return;
        }
    }
}

fn check_ports(spec: &SerialFleetSpec, found: &mut Findings) {
    let merged: Vec<Settings> =
        spec.devices.iter().map(|device| merge(&device.settings, &spec.defaults)).collect();
    let mut taken = BTreeSet::new();
    if !merged.iter().filter_map(|settings| settings.service.node_port).all(|port| taken.insert(port)) {
        found.add("spec.devices", message::NODE_PORT_TWICE);
    }
    if spec.bridge.host_network != Some(true) {
        return;
    }
    let mut taken = BTreeSet::from([spec.bridge.admin_port.unwrap_or(9640)]);
    let ports = merged.iter().map(|settings| settings.port.unwrap_or(6638));
    if !ports.into_iter().all(|port| port >= 1024 && taken.insert(port)) {
        found.add("spec.devices", message::HOST_NETWORK_PORTS);
    }
}

/// Without a cluster, and so without Services, every device listens on `port` itself.
pub(crate) fn standalone_ports(spec: &SerialFleetSpec) -> Vec<Finding> {
    let mut owners: BTreeMap<i32, &str> = BTreeMap::new();
    let mut findings = Vec::new();
    for (index, device) in spec.devices.iter().enumerate() {
        let port = merge(&device.settings, &spec.defaults).port.unwrap_or(6638);
        let message = if port < 1024 {
            format!("without a cluster the bridge listens on {port} itself: write a port from 1024 to 65535")
        } else if let Some(owner) = owners.insert(port, &device.name) {
            format!(
                "without a cluster the bridge listens on {port} itself, and {owner} has that already: write another port"
            )
        } else {
            continue;
        };
        findings.push(Finding { path: format!("spec.devices[{index}].port"), message, device: Some(index) });
    }
    findings
}

/// Domains of `kubernetes.io` by which users configure load balancers and DNS.
const OPEN_ANNOTATIONS: [&str; 3] =
    ["service.kubernetes.io", "service.beta.kubernetes.io", "external-dns.alpha.kubernetes.io"];

fn is_reserved(key: &str, open: &[&str]) -> bool {
    if key == "controller-uid" {
        return true;
    }
    let Some((domain, _)) = key.split_once('/') else { return false };
    !open.contains(&domain)
        && ["kubernetes.io", "k8s.io", "serialfleet.io"].iter().any(|reserved| {
            domain.strip_suffix(reserved).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        })
}

fn check_keys(map: &BTreeMap<String, String>, path: &str, found: &mut Findings) {
    if !map.keys().all(|key| is_label_key(key)) {
        found.add(path, message::LABEL_KEYS);
    }
}

/// Kubernetes' "qualified name": `[domain/]name`.
fn is_label_key(key: &str) -> bool {
    let (domain, name) = key.split_once('/').map_or((None, key), |(domain, name)| (Some(domain), name));
    let is_word = |text: &str, extra: &[u8]| {
        let ends = [text.bytes().next(), text.bytes().next_back()];
        ends.iter().all(|byte| byte.is_some_and(|byte| byte.is_ascii_alphanumeric()))
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || extra.contains(&byte))
    };
    key.len() <= 253
        && name.len() <= 63
        && is_word(name, b"-_.")
        && domain.is_none_or(|domain| {
            domain
                .split('.')
                .all(|label| is_word(label, b"-") && !label.bytes().any(|byte| byte.is_ascii_uppercase()))
        })
}

/// A DNS label (RFC 1123) of at most `max` characters.
fn is_label(text: &str, max: usize) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=max).contains(&text.len())
        && text.bytes().all(is_inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}
