//! Devices and ttys in a few words, and verdicts in short.

use std::collections::BTreeMap;

use serialfleet_api::{
    fleet::{Device, Match, Settings},
    resolve::{ResolvedDevice, resolve_device},
};
use serialfleet_bridge::{
    discovery::sysfs::{DeviceKey, DeviceNumber, Obstacle, Scan, SerialTty, UsbDevice, UsbPort},
    matching::{Verdict, assign},
};

/// A device of the fleet, its `match` in the words of a manifest.
pub(crate) fn device(name: &str, matcher: &str) -> ResolvedDevice {
    let matcher: Match = serde_yaml::from_str(matcher).unwrap();
    let device = Device { name: name.to_owned(), matcher, ..Device::default() };
    resolve_device(&device, &Settings::default()).unwrap()
}

/// A tty on USB: `ids serial|- path [product]`.
pub(crate) fn usb(name: &str, description: &str) -> SerialTty {
    let mut words = description.split_whitespace();
    let (vendor, product) = words.next().unwrap().split_once(':').unwrap();
    let serial_number = words.next().filter(|serial| *serial != "-").map(str::to_owned);
    let usb_path = words.next().unwrap().to_owned();
    let product_name = words.next().map(str::to_owned);
    SerialTty {
        name: name.to_owned(),
        device_number: DeviceNumber { major: 188, minor: 0 },
        key: DeviceKey { devpath: format!("/devices/{usb_path}/{name}"), devnum: Some(2), instance: 1 },
        driver: Some("cp210x".to_owned()),
        usb: Some(UsbPort {
            device: UsbDevice {
                vendor: u16::from_str_radix(vendor, 16).unwrap(),
                product: u16::from_str_radix(product, 16).unwrap(),
                serial_number,
                product_name,
                usb_path,
                controller: Some("pci-0000:00:14.0".to_owned()),
                ..UsbDevice::default()
            },
            interface_number: Some(0),
            port_number: Some(0),
        }),
        console: false,
    }
}

pub(crate) fn interface(mut tty: SerialTty, number: u8) -> SerialTty {
    tty.usb.as_mut().unwrap().interface_number = Some(number);
    tty
}

pub(crate) fn on_board(name: &str) -> SerialTty {
    let key = DeviceKey { devpath: format!("/devices/{name}"), ..DeviceKey::default() };
    SerialTty { name: name.to_owned(), key, usb: None, ..usb(name, "0:0 - usb-1") }
}

pub(crate) fn without_tty(description: &str, obstacle: Obstacle) -> UsbDevice {
    UsbDevice { obstacle: Some(obstacle), ..usb("", description).usb.unwrap().device }
}

pub(crate) fn ttys(ttys: impl Into<Vec<SerialTty>>) -> Scan {
    Scan { ttys: ttys.into(), without_tty: Vec::new() }
}

/// Verdicts in short: `ttyUSB0`, `Ambiguous: ...`, `Absent NearMiss: ...`.
pub(crate) fn verdicts(
    devices: &[ResolvedDevice],
    scan: &Scan,
    open: &[(&str, &SerialTty)],
) -> BTreeMap<String, String> {
    let open = open.iter().map(|(name, tty)| ((*name).to_owned(), tty.key.clone())).collect();
    assign(devices, "wyse-1", scan, &open)
        .into_iter()
        .map(|(name, verdict)| (name, short(scan, verdict)))
        .collect()
}

pub(crate) fn short(scan: &Scan, verdict: Verdict) -> String {
    match verdict {
        Verdict::Bound { tty, also, warning } => {
            assert!(!warning.is_empty() || also.is_empty(), "a further candidate is always warned of");
            let warning = if warning.is_empty() { warning } else { format!(", warning: {warning}") };
            format!("{}{warning}", scan.ttys[tty].name)
        }
        Verdict::Ambiguous { message } => format!("Ambiguous: {message}"),
        Verdict::Absent { reason, message } => format!("Absent {reason}: {message}"),
        Verdict::Denied { message } => format!("Denied: {message}"),
    }
}

/// The verdict on the only device.
pub(crate) fn verdict(matcher: &str, scan: &Scan) -> String {
    verdicts(&[device("a", matcher)], scan, &[]).remove("a").unwrap()
}

pub(crate) const SONOFF: &str = "10c4:ea60 0c8b3f2e usb-1.4 Sonoff_Dongle";
