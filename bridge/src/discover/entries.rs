//! `discover --output yaml`: entries for `spec.devices`, each with as many fields as it takes to mean one tty of
//! those present.
//!
//! Owner: the command line. Strings are quoted, so that no `0001` turns into a number and no `no` into a boolean.

use std::collections::BTreeSet;

use serialfleet_api::fleet::Match;

use super::name;
use crate::{
    discovery::{
        sysfs::{Scan, SerialTty, UsbPort},
        text::{self, MAX_TEXT},
    },
    matching,
};

/// The entries, indented to stand below `spec:`. `node`: this machine's name as a node, for on-board ports.
pub fn entries(scan: &Scan, node: Option<&str>) -> String {
    let mut out = String::new();
    let mut used = BTreeSet::new();
    for tty in &scan.ttys {
        let shown = text::printable(&tty.name, MAX_TEXT);
        if tty.console {
            out.push_str(&format!("  # {shown} is the kernel's console and cannot be served.\n"));
            continue;
        }
        if tty.usb.is_none() && !can_be_named(&tty.name) {
            out.push_str(&format!("  # {shown} has a name that a match cannot hold.\n"));
            continue;
        }
        let matcher = matcher(tty, scan, node);
        let name = name::unique(tty, matcher.interface_number, &mut used);
        out.push_str(&format!("  - name: {}\n", text::quoted(&name)));
        let present = tty.to_present(None);
        let known: Vec<String> =
            [present.tty, present.driver, present.manufacturer, present.product, present.usb_path]
                .into_iter()
                .flatten()
                .collect();
        out.push_str(&format!("    # {}\n", known.join(", ")));
        if matcher.tty.is_some() && matcher.nodes.is_empty() {
            out.push_str("    scope: \"Node\"\n");
        }
        if tty.usb.as_ref().is_some_and(|usb| usb.device.own_serial_number().is_none()) {
            let path = matcher.usb_path.is_none().then(|| format!("usbPath: {} or ", usb_path(tty)));
            out.push_str(
                "    # Others like it have the same serial number, or none: where the cluster has several,\n",
            );
            out.push_str(&format!("    # add {}nodes.\n", path.unwrap_or_default()));
        }
        out.push_str("    match:\n");
        for (field, value) in fields(&matcher) {
            out.push_str(&format!("      {field}: {value}\n"));
        }
        if tty.usb.as_ref().is_some_and(resets_by_modem_lines) {
            out.push_str("    # Its boot loader listens to these lines; if the radio does not answer:\n");
            out.push_str("    # line: {dtr: false, rts: false}\n");
        }
    }
    for device in &scan.without_tty {
        out.push_str(&format!(
            "  # USB device {} at {} has no tty: its driver is missing, or something else has taken it.\n",
            device.ids(),
            text::printable(&device.full_path(), MAX_TEXT)
        ));
    }
    let none = if used.is_empty() { " []" } else { "" };
    format!("  devices:{none}\n{out}")
}

/// The fields that hold for this tty and for no other that is present, as few and as lasting ones as possible.
pub(crate) fn matcher(tty: &SerialTty, scan: &Scan, node: Option<&str>) -> Match {
    let Some(UsbPort { device, interface_number, port_number }) = &tty.usb else {
        // The same name on another machine is another device.
        let nodes = node.into_iter().map(str::to_owned).collect();
        return Match { tty: Some(tty.name.clone()), nodes, ..Match::default() };
    };
    let mut matcher = Match { usb: Some(device.ids()), ..Match::default() };
    match device.own_serial_number() {
        Some(number) => matcher.serial_number = matching::pattern(number, MAX_PATTERN),
        None => {
            matcher.product =
                device.product_name.as_deref().and_then(|name| matching::pattern(name, MAX_PATTERN));
        }
    }
    let others = |matcher: &Match| -> Vec<&SerialTty> {
        scan.ttys.iter().filter(|other| other.key != tty.key && matching::satisfied(matcher, other)).collect()
    };
    let sibling = |other: &&SerialTty| {
        other.usb.as_ref().is_some_and(|usb| usb.device.full_path() == device.full_path())
    };
    if others(&matcher).iter().any(sibling) {
        matcher.interface_number = interface_number.map(i32::from);
    }
    if others(&matcher).iter().any(sibling) {
        matcher.port_number = port_number.map(i32::from);
    }
    for path in [device.usb_path.clone(), device.full_path()] {
        if !others(&matcher).is_empty() {
            matcher.usb_path = Some(path);
        }
    }
    matcher
}

/// Whether `match.tty` takes it.
fn can_be_named(tty: &str) -> bool {
    tty.len() <= 32
        && tty.starts_with(|first: char| first.is_ascii_alphabetic())
        && tty.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn usb_path(tty: &SerialTty) -> String {
    tty.usb.as_ref().map_or_else(String::new, |usb| text::quoted(&usb.device.usb_path))
}

/// The given fields, in the order of the reference.
fn fields(matcher: &Match) -> Vec<(&'static str, String)> {
    let text = |field, value: &Option<String>| Some((field, text::quoted(value.as_deref()?)));
    let number = |field, value: Option<i32>| Some((field, value?.to_string()));
    let nodes = matcher.nodes.first().map(|node| ("nodes", format!("[{}]", text::quoted(node))));
    [
        text("usb", &matcher.usb),
        text("serialNumber", &matcher.serial_number),
        text("product", &matcher.product),
        number("interfaceNumber", matcher.interface_number),
        number("portNumber", matcher.port_number),
        text("usbPath", &matcher.usb_path),
        text("tty", &matcher.tty),
        nodes,
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Longest string in a `match`, in characters.
const MAX_PATTERN: usize = 128;

/// Zigbee sticks on which DTR and RTS lead to reset and boot loader.
fn resets_by_modem_lines(usb: &UsbPort) -> bool {
    let strings = [&usb.device.product_name, &usb.device.manufacturer];
    strings.into_iter().flatten().any(|text| {
        let text = text.to_ascii_lowercase();
        ["zigbee", "sonoff", "cc2652", "slae.sh", "zig-a-zig"].iter().any(|known| text.contains(known))
    })
}
