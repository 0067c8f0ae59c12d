//! The fleet as YAML with comments. Text is quoted, so that no `8E1` turns into a number and no `no` into a boolean.
//!
//! Owner: [`super::import`], which reads the result again before anybody else does. Decides nothing.

use serde_json::Value;
use serialfleet_api::fleet::{Device, Scope, SerialFleetSpec};

use super::fleet::{Fleet, Item};
use crate::discovery::text::{self, quoted};

/// Longest comment, in bytes.
const MAX_COMMENT: usize = 1000;
/// Width at which comments are broken.
const WIDTH: usize = 110;

/// The whole file. `names`: of the files that it was made of.
pub(super) fn print(fleet: &Fleet, names: &[&str]) -> String {
    let spec = &fleet.object.spec;
    let mut out = String::new();
    let sources = text::list(names);
    comment(
        &mut out,
        0,
        &format!(
            "Made by serialfleet-bridge import from {sources}. Look through the comments before you apply it."
        ),
    );
    for remark in &fleet.head {
        comment(&mut out, 0, &format!("- {remark}"));
    }
    let name = fleet.object.metadata.name.as_deref().unwrap_or_default();
    out.push_str("apiVersion: serialfleet.io/v1alpha1\nkind: SerialFleet\nmetadata:\n");
    out.push_str(&format!("  name: {}\nspec:\n", quoted(name)));
    comment(
        &mut out,
        2,
        "serviceNamespace: home-automation   # where the Services are to be; default serialfleet-system",
    );
    if spec.bridge.host_network == Some(true) {
        host_network(&mut out, spec);
    }
    out.push_str("  devices:");
    if spec.devices.is_empty() {
        out.push_str(" [] # without the brackets as soon as an entry below is completed");
    }
    out.push('\n');
    for item in &fleet.items {
        print_item(&mut out, item);
    }
    out
}

fn host_network(out: &mut String, spec: &SerialFleetSpec) {
    comment(
        out,
        2,
        "The devices with scope Node were served at each host's own name and port, and with hostNetwork they still \
         are. It has a price: the hook server needs --allow-host-network, no NetworkPolicy protects the ports, and \
         every device needs allowFrom with networks only. To leave it: let clients connect to the Services, named \
         after device and node (zigbee-wyse-1.serialfleet-system.svc), then take hostNetwork, adminPort and the \
         defaults below out.",
    );
    out.push_str("  bridge:\n    hostNetwork: true\n");
    if let Some(port) = spec.bridge.admin_port {
        comment(out, 4, "9640, the usual one, is a device's.");
        out.push_str(&format!("    adminPort: {port}\n"));
    }
    comment(
        out,
        4,
        "nodeSelector: {\"example.org/serial\": \"true\"}   # the label of the nodes that are meant; default: every Linux node",
    );
    comment(
        out,
        2,
        "Everyone may connect, as with ser2net. Write your own networks instead, such as 192.168.1.0/24 and 10.244.0.0/16.",
    );
    out.push_str("  defaults:\n");
    if let Ok(Value::Object(fields)) = serde_json::to_value(&spec.defaults) {
        mapping(out, 4, &fields);
    }
}

fn print_item(out: &mut String, item: &Item) {
    let Item { device, origin, notes, left_out, .. } = item;
    comment(out, 2, origin);
    let mut entry = String::new();
    print_device(&mut entry, device);
    match left_out {
        Some(reason) => {
            comment(out, 2, &format!("NOT IMPORTED: {reason}."));
            for line in entry.lines() {
                out.push_str(&format!("  # {}\n", line.strip_prefix("  ").unwrap_or(line)));
            }
        }
        None => out.push_str(&entry),
    }
    let indent = if left_out.is_some() { 2 } else { 4 };
    for sentence in &notes.said {
        comment(out, indent, sentence);
    }
    if left_out.is_none() && device.scope == Some(Scope::Node) {
        comment(
            out,
            4,
            "One such stick on each node. If the cluster has one only: scope: Cluster, and clients connect to one name \
             wherever it is plugged in.",
        );
    }
    for (what, notes) in [("Not carried over", &notes.lost), ("As before without being said", &notes.already)]
    {
        if !notes.is_empty() {
            comment(out, indent, &format!("{what}: {}.", notes.join("; ")));
        }
    }
}

fn print_device(out: &mut String, device: &Device) {
    let Ok(Value::Object(mut fields)) = serde_json::to_value(device) else { return };
    fields.remove("name");
    out.push_str(&format!("  - name: {}\n", quoted(&device.name)));
    mapping(out, 4, &fields);
}

/// The fields that come first; all others follow by their names.
const ORDER: [&str; 22] = [
    "scope",
    "match",
    "usb",
    "serialNumber",
    "manufacturer",
    "product",
    "interfaceNumber",
    "portNumber",
    "usbPath",
    "tty",
    "nodes",
    "suspend",
    "port",
    "protocol",
    "line",
    "baudRate",
    "format",
    "flowControl",
    "delayBeforeMilliseconds",
    "policy",
    "max",
    "writers",
];
/// Fields that hold a word of the contract.
const WORDS: [&str; 6] = ["scope", "protocol", "flowControl", "policy", "writers", "mode"];

fn mapping(out: &mut String, indent: usize, fields: &serde_json::Map<String, Value>) {
    let rank = |key: &str| ORDER.iter().position(|first| *first == key).unwrap_or(ORDER.len());
    let mut sorted: Vec<(&String, &Value)> = fields.iter().collect();
    sorted.sort_by_key(|(key, _)| (rank(key), key.as_str()));
    let blank = " ".repeat(indent);
    for (key, value) in sorted {
        match value {
            Value::Object(inner) => {
                out.push_str(&format!("{blank}{key}:\n"));
                mapping(out, indent + 2, inner);
            }
            Value::String(word) if WORDS.contains(&key.as_str()) => {
                out.push_str(&format!("{blank}{key}: {word}\n"))
            }
            other => out.push_str(&format!("{blank}{key}: {}\n", inline(other))),
        }
    }
}

fn inline(value: &Value) -> String {
    match value {
        Value::String(text) => quoted(text),
        Value::Array(items) => format!("[{}]", items.iter().map(inline).collect::<Vec<_>>().join(", ")),
        Value::Object(fields) => {
            let fields: Vec<String> =
                fields.iter().map(|(key, value)| format!("{key}: {}", inline(value))).collect();
            format!("{{{}}}", fields.join(", "))
        }
        other => other.to_string(),
    }
}

/// A comment of as many lines as it takes, with nothing in it that would end it.
fn comment(out: &mut String, indent: usize, note: &str) {
    let start = format!("{}#", " ".repeat(indent));
    let mut line = start.clone();
    for word in text::printable(note, MAX_COMMENT).split_whitespace() {
        if line.len() > start.len() && line.len() + 1 + word.len() > WIDTH {
            out.push_str(&line);
            out.push('\n');
            line.clone_from(&start);
        }
        line.push(' ');
        line.push_str(word);
    }
    out.push_str(&line);
    out.push('\n');
}
