//! The CEL rules of the CRDs, beside nothing but their words: [`crate::rules`] is the same in Rust. Each function is
//! the `x-kubernetes-validations` of one type or field.
//!
//! Cost (the API server runs these on status updates as well): nothing pairwise over devices; map once, look up then.

use serde_json::{Value, json};

use crate::rules::message;

/// One rule.
fn rule(rule: &str, message: &str) -> Value {
    json!({"rule": rule, "message": message})
}

/// A rule over the devices merged with `defaults`; `bad` is an expression over `d`. The message names the first one.
fn merged(bad: &str, message: &str) -> Value {
    json!({
        "rule": format!("!has(self.devices) || !self.devices.exists(d, {bad})"),
        "message": message,
        "messageExpression": format!("'device ' + self.devices[self.devices.map(d, {bad}).indexOf(true)].name + ': {message}'"),
        "fieldPath": ".devices",
    })
}

/// Whether a field below `root` is there. No `.?`: not every reader of CRDs knows optionals.
fn is_set(root: &str, path: &str) -> String {
    let mut at = root.to_owned();
    let steps = path.split('.').map(|name| {
        at = format!("{at}.{name}");
        format!("has({at})")
    });
    format!("({})", steps.collect::<Vec<_>>().join(" && "))
}

/// A field below `root`, or something else.
fn field(root: &str, path: &str, or: &str) -> String {
    format!("({} ? {root}.{path} : {or})", is_set(root, path))
}

/// A device's leaf over that of `defaults`, over the built-in one.
fn leaf(path: &str, built_in: &str) -> String {
    field("d", path, &field("self", &format!("defaults.{path}"), built_in))
}

fn leaf_is_set(path: &str) -> String {
    format!("({} || {})", is_set("d", path), is_set("self", &format!("defaults.{path}")))
}

/// The policy and the slow reader that do not go together, both set below `root`.
fn blocks_sharers(root: &str, path: &str) -> String {
    let (policy, slow) = (format!("{path}policy"), format!("{path}slowReader"));
    format!("({} == 'Share' && {} == 'Block')", field(root, &policy, "''"), field(root, &slow, "''"))
}

fn devices(condition: &str, message: &str) -> Value {
    json!({"rule": format!("!has(self.devices) || {condition}"), "message": message, "fieldPath": ".devices"})
}

fn matches(pattern: &str, message: &str) -> Value {
    rule(&format!("self.matches('{pattern}')"), message)
}

const LABEL: &str = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";

pub(crate) fn fleet() -> Value {
    json!([{
        "rule": format!("self.metadata.name.size() <= 40 && self.metadata.name.matches('{LABEL}')"),
        "message": message::FLEET_NAME,
        "fieldPath": ".metadata.name",
    }])
}

pub(crate) fn spec() -> Value {
    let (idle, timeout) = (leaf("keepalive.idleSeconds", "10"), leaf("keepalive.userTimeoutSeconds", "15"));
    let (policy, slow) = (leaf("clients.policy", "''"), leaf("clients.slowReader", "''"));
    let type_ = leaf("service.type", "'ClusterIP'");
    let (class, traffic) =
        (leaf_is_set("service.loadBalancerClass"), leaf_is_set("service.externalTrafficPolicy"));
    let (has_node_port, node_port) = (leaf_is_set("service.nodePort"), leaf("service.nodePort", "0"));
    let host_network = field("self", "bridge.hostNetwork", "false");
    let on_each_node = field("d", "scope", "''");
    let dashes: Vec<usize> = (1..crate::names::MAX_NAME - 1).collect();
    json!([
        merged(
            &format!(
                "!({} && {}) && {timeout} <= {idle}",
                is_set("d", "keepalive.idleSeconds"),
                is_set("d", "keepalive.userTimeoutSeconds")
            ),
            message::KEEPALIVE,
        ),
        merged(
            &format!("!{} && {policy} == 'Share' && {slow} == 'Block'", blocks_sharers("d", "clients.")),
            message::BLOCK_AND_SHARE,
        ),
        merged(
            &format!(
                "({class} && {type_} != 'LoadBalancer') || (({traffic} || {has_node_port}) && {type_} == 'ClusterIP')"
            ),
            message::SERVICE_FIELDS,
        ),
        merged(&format!("{on_each_node} == 'Node' && {has_node_port}"), message::NODE_PORT_SCOPE),
        devices(
            &format!(
                "[self.devices.filter(d, {has_node_port}).map(d, {node_port})].all(l, l.all(p, l.indexOf(p) == l.lastIndexOf(p)))"
            ),
            message::NODE_PORT_TWICE,
        ),
        merged(
            &format!(
                "{host_network} && !({} ? d.clients.allowFrom.all(p, has(p.cidr)) : ({} && self.defaults.clients.allowFrom.all(p, has(p.cidr))))",
                is_set("d", "clients.allowFrom"),
                is_set("self", "defaults.clients.allowFrom")
            ),
            message::HOST_NETWORK_OPEN,
        ),
        devices(
            &format!(
                "!{host_network} || [self.devices.map(d, {})].all(l, l.all(p, p >= 1024 && p != {} && l.indexOf(p) == l.lastIndexOf(p)))",
                leaf("port", "6638"),
                field("self", "bridge.adminPort", "9640")
            ),
            message::HOST_NETWORK_PORTS,
        ),
        // Each name's beginnings are looked up among the scope-Node names: comparing pairs takes 1.5 s at 256.
        devices(
            &format!(
                "[self.devices.filter(d, {on_each_node} == 'Node').map(d, d.name)].all(l, l.size() == 0 || self.devices.all(d, !{dashes:?}.exists(i, i < d.name.size() && d.name.charAt(i) == '-' && d.name.substring(0, i) in l)))"
            ),
            message::PREFIX_TAKEN,
        ),
    ])
}

pub(crate) fn service_namespace() -> Value {
    json!([matches(
        LABEL,
        "a namespace is named by a DNS label: write lower-case letters, digits and dashes"
    )])
}

pub(crate) fn label() -> Value {
    service_namespace()
}

pub(crate) fn subdomain() -> Value {
    json!([matches(
        "^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
        "a name here is lower-case letters, digits, dashes and dots, such as regcred"
    )])
}

pub(crate) fn device_name() -> Value {
    json!([
        matches(
            "^[a-z]([-a-z0-9]*[a-z0-9])?$",
            "a device is named by a DNS label that starts with a letter: write lower-case letters, digits and dashes, such as zigbee"
        ),
        rule("!self.startsWith('serialfleet-') && !self.endsWith('-anchor')", message::DEVICE_NAME),
    ])
}

pub(crate) fn device() -> Value {
    json!([rule(
        "!(has(self.match.tty) || (has(self.match.usbPath) && !has(self.match.usb))) || (has(self.match.nodes) && self.match.nodes.size() > 0) || (has(self.scope) && self.scope == 'Node')",
        message::NEEDS_NODES,
    )])
}

pub(crate) fn matcher() -> Value {
    json!([
        rule("has(self.usb) || has(self.usbPath) || has(self.tty)", message::NO_IDENTITY),
        rule(
            "!has(self.tty) || !(has(self.usb) || has(self.serialNumber) || has(self.manufacturer) || has(self.product) || has(self.interfaceNumber) || has(self.portNumber) || has(self.usbPath))",
            message::TTY_EXCLUDES_USB,
        ),
    ])
}

pub(crate) fn usb() -> Value {
    json!([matches(
        "^[0-9a-fA-F]{4}:[0-9a-fA-F]{4}$",
        "write vendor:product as lsusb prints it, four hexadecimal digits each, such as 10c4:ea60"
    )])
}

pub(crate) fn wildcard() -> Value {
    json!([matches(
        "^([^*[:cntrl:]]+[*]?|[*])$",
        "write the text as lsusb -v prints it, or its beginning and a *; no * elsewhere and no control characters"
    )])
}

pub(crate) fn usb_path() -> Value {
    json!([matches(
        "^([-A-Za-z0-9@_.:]+-)?usb-[0-9]{1,3}([.][0-9]{1,3}){0,6}$",
        "write the chain of ports, such as usb-1.4, with a controller in front where a node has several: pci-0000:00:14.0-usb-1.4"
    )])
}

pub(crate) fn tty() -> Value {
    json!([
        matches("^[A-Za-z][A-Za-z0-9_]*$", "write the name without /dev/, such as ttyS1 or ttyAMA0"),
        rule("!self.startsWith('ttyUSB') && !self.startsWith('ttyACM')", message::TTY_IS_USB),
    ])
}

pub(crate) fn format() -> Value {
    json!([matches(
        "^(5[NEOMS](1|1[.]5)|[6-8][NEOMS][12])$",
        "write data bits 5 to 8, one of N E O M S, stop bits 1, 1.5 (only with 5 data bits) or 2 (not with 5), such as 8N1"
    )])
}

pub(crate) fn clients() -> Value {
    json!([rule(&format!("!{}", blocks_sharers("self", "")), message::BLOCK_AND_SHARE)])
}

pub(crate) fn peer() -> Value {
    json!([
        rule("has(self.cidr) != has(self.__namespace__)", message::PEER),
        rule(
            "has(self.__namespace__) || !has(self.podLabels) || self.podLabels.size() == 0",
            message::POD_LABELS
        ),
    ])
}

pub(crate) fn cidr() -> Value {
    json!([rule("isCIDR(self) && cidr(self) == cidr(self).masked()", message::CIDR)])
}

pub(crate) fn keepalive() -> Value {
    json!([rule(
        "!has(self.idleSeconds) || !has(self.userTimeoutSeconds) || self.userTimeoutSeconds > self.idleSeconds",
        message::KEEPALIVE,
    )])
}

const KEY: &str = "^([a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$";

fn keys() -> Value {
    rule(&format!("self.all(k, k.size() <= 253 && k.matches('{KEY}'))"), message::LABEL_KEYS)
}

pub(crate) fn label_keys() -> Value {
    json!([keys()])
}

pub(crate) fn label_key() -> Value {
    json!([matches(KEY, message::LABEL_KEYS)])
}

pub(crate) fn service_labels() -> Value {
    json!([
        keys(),
        rule(
            "self.all(k, k != 'controller-uid' && !k.matches('^([^/]*[.])?(kubernetes[.]io|k8s[.]io|serialfleet[.]io)/'))",
            message::RESERVED_LABELS,
        ),
    ])
}

pub(crate) fn service_annotations() -> Value {
    json!([
        keys(),
        rule(
            "self.all(k, k != 'controller-uid' && (!k.matches('^([^/]*[.])?(kubernetes[.]io|k8s[.]io|serialfleet[.]io)/') || k.matches('^(service|service[.]beta|external-dns[.]alpha)[.]kubernetes[.]io/')))",
            message::RESERVED_ANNOTATIONS,
        ),
    ])
}

pub(crate) fn load_balancer_class() -> Value {
    json!([matches(KEY, "write the class as the load balancer names it, such as metallb.io/metallb")])
}

pub(crate) fn admin_port() -> Value {
    json!([rule("self < 20000 || self > 29999", message::ADMIN_PORT)])
}

pub(crate) fn toleration() -> Value {
    json!([rule(
        &format!(
            "({exists} ? {value} == '' : has(self.key)) && (!has(self.tolerationSeconds) || {effect} == 'NoExecute')",
            exists = "(has(self.operator) && self.operator == 'Exists')",
            value = field("self", "value", "''"),
            effect = field("self", "effect", "''")
        ),
        message::TOLERATION,
    )])
}

pub(crate) fn cpu() -> Value {
    json!([rule(
        "!isQuantity(string(self)) || quantity(string(self)).compareTo(quantity('1')) <= 0",
        message::CPU
    )])
}

pub(crate) fn memory() -> Value {
    json!([rule(
        "!isQuantity(string(self)) || quantity(string(self)).compareTo(quantity('512Mi')) <= 0",
        message::MEMORY
    )])
}

pub(crate) fn resources() -> Value {
    let amount = |path: &str, built_in: &str| {
        format!(
            "({} && isQuantity(string(self.{path})) ? quantity(string(self.{path})) : quantity('{built_in}'))",
            is_set("self", path)
        )
    };
    let (request, limit) = (amount("requests.memory", "16Mi"), amount("limits.memory", "64Mi"));
    let (cpu_request, cpu_limit) = (amount("requests.cpu", "10m"), amount("limits.cpu", "1000"));
    json!([
        rule(&format!("{limit}.compareTo(quantity('32Mi')) >= 0"), message::MEMORY_LIMIT),
        rule(
            &format!("{request}.compareTo({limit}) <= 0 && {cpu_request}.compareTo({cpu_limit}) <= 0"),
            message::REQUESTS,
        ),
    ])
}
