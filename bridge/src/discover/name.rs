//! Names for the entries that `discover` proposes: DNS-1035 labels made of what the device says of itself.
//!
//! Owner: [`super::entries`].

use std::collections::BTreeSet;

use serialfleet_api::names::MAX_NAME;

use crate::discovery::sysfs::SerialTty;

/// A name for the tty that is not in `used`; it is there afterwards.
pub(super) fn unique(tty: &SerialTty, interface: Option<i32>, used: &mut BTreeSet<String>) -> String {
    let mut base = base(tty);
    if let Some(interface) = interface {
        base = format!("{base}-{interface}");
    }
    let mut name = base.clone();
    let mut number = 2;
    while !used.insert(name.clone()) {
        name = format!("{base}-{number}");
        number += 1;
    }
    name
}

fn base(tty: &SerialTty) -> String {
    let Some(usb) = &tty.usb else {
        return label(&tty.name);
    };
    let device = &usb.device;
    let said = [&device.product_name, &device.manufacturer];
    let said = said.into_iter().flatten().map(|text| label(text)).find(|label| label.len() > 2);
    said.unwrap_or_else(|| match (device.vendor, device.product) {
        // The one stick without any string that everybody has.
        (0x0658, 0x0200) => "zwave".to_owned(),
        (vendor, product) => format!("usb-{vendor:04x}-{product:04x}"),
    })
}

/// Letters and digits of the text with dashes between them; starts with a letter; leaves room for a number behind.
pub(crate) fn label(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    let words: Vec<&str> =
        lower.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let mut label = words.join("-");
    if label.starts_with(|c: char| c.is_ascii_digit()) || label.starts_with("serialfleet-") {
        label.insert_str(0, "usb-");
    }
    while label.len() > MAX_NAME - ROOM {
        // Whole words, as far as there are any.
        let end = label.rfind('-').unwrap_or(MAX_NAME - ROOM);
        label.truncate(end);
    }
    label.strip_suffix("-anchor").unwrap_or(&label).to_owned()
}

/// For `-255-128`: an interface, and a number that makes the name unique.
const ROOM: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_labels_whatever_the_device_says() {
        for (text, name) in [
            ("Sonoff Zigbee 3.0 USB Dongle Plus", "sonoff-zigbee-3-0-usb-dongle"),
            ("Quad RS232-HS", "quad-rs232-hs"),
            ("4 ports", "usb-4-ports"),
            ("serialfleet-x", "usb-serialfleet-x"),
            ("boat anchor", "boat"),
            ("Mo.. / \"del\"", "mo-del"),
            ("  ", ""),
            ("\u{202e}é日", ""),
            ("ttyS1", "ttys1"),
        ] {
            assert_eq!(label(text), name, "{text:?}");
        }
        assert!(label(&"x".repeat(300)).len() + ROOM <= MAX_NAME);
    }
}
