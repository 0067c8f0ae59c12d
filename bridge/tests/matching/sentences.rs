//! What a person reads when it is none, and what to write instead.

use std::collections::BTreeMap;

use serialfleet_bridge::{
    discovery::sysfs::{Obstacle, Scan},
    matching::{assign, present},
};

use crate::world::*;

#[test]
fn an_empty_node_says_what_to_plug_in() {
    assert_eq!(
        verdict("{usb: '10c4:ea60'}", &Scan::default()),
        "Absent : no such device on this node: plug 10c4:ea60 in here or on another node"
    );
    assert_eq!(
        verdict("{usb: '10c4:ea60', nodes: [shed]}", &ttys([usb("ttyUSB0", SONOFF)])),
        "Absent : the device is expected on other nodes only; add this one to match.nodes if it shall be served here"
    );
}

#[test]
fn a_near_miss_says_what_to_write_instead() {
    let scan = ttys([usb("ttyUSB0", SONOFF)]);
    for (matcher, sentence) in [
        (
            "{usb: '10c4:ea60', serialNumber: ffff0000}",
            "ttyUSB0 (usb-1.4) is the same chip on this node, with another serial number: if it is the one, write \
             serialNumber: \"0c8b3f2e\"",
        ),
        (
            "{usb: '10c4:ea60', product: Conbee, interfaceNumber: 1}",
            "ttyUSB0 (usb-1.4) on this node comes close: product is \"Sonoff_Dongle\" and interfaceNumber is 0",
        ),
        (
            "{usb: '10c4:ea60', usbPath: usb-2}",
            "ttyUSB0 (usb-1.4) on this node comes close: usbPath is \"usb-1.4\"",
        ),
        (
            "{usb: '0658:0200', usbPath: usb-1.4}",
            "ttyUSB0 (usb-1.4) on this node comes close: usb is \"10c4:ea60\"",
        ),
        (
            "{usb: '10c4:ea60', manufacturer: Itead}",
            "ttyUSB0 (usb-1.4) on this node comes close: it has no manufacturer",
        ),
        (
            "{tty: ttyUSB0}",
            "ttyUSB0 (usb-1.4) is a USB device, and `tty` is for on-board ports: write usb: \"10c4:ea60\" and \
             serialNumber: \"0c8b3f2e\"",
        ),
    ] {
        assert_eq!(verdict(matcher, &scan), format!("Absent NearMiss: {sentence}"), "{matcher}");
    }
    for (stick, sentence) in [
        (
            "10c4:ea60 0001 usb-1",
            "ttyUSB0 (usb-1) is the same chip on this node, with another serial number: if it is the one, write \
             serialNumber: \"0001\" (many such devices carry this number: add usbPath if there are several)",
        ),
        (
            "10c4:ea60 - usb-1",
            "ttyUSB0 (usb-1) is the same chip on this node, without a serial number: remove serialNumber, and write \
             usbPath if there are several",
        ),
    ] {
        let said = verdict("{usb: '10c4:ea60', serialNumber: 0c8b3f2e}", &ttys([usb("ttyUSB0", stick)]));
        assert_eq!(said, format!("Absent NearMiss: {sentence}"));
    }
}

#[test]
fn what_is_meant_for_another_device_is_no_near_miss() {
    let devices = [
        device("hall", "{usb: '10c4:ea60', serialNumber: 0c8b3f2e}"),
        device("shed", "{usb: '10c4:ea60', serialNumber: 77777778}"),
    ];
    let verdicts = verdicts(&devices, &ttys([usb("ttyUSB0", SONOFF)]), &[]);
    assert_eq!(verdicts["hall"], "ttyUSB0");
    assert!(verdicts["shed"].starts_with("Absent : "), "{}", verdicts["shed"]);
}

#[test]
fn near_misses_print_hostile_strings_escaped_and_bounded() {
    let mut tty = usb("ttyUSB0", SONOFF);
    tty.usb.as_mut().unwrap().device.serial_number = Some("\u{202e}\"x\\\n".repeat(40));
    let said = verdict("{usb: '10c4:ea60', serialNumber: a}", &ttys([tty]));
    assert!(said.len() < 600, "{said}");
    assert!(said.contains(r#"write serialNumber: "\u202E\"x\\*""#), "{said}");
    assert!(!said.contains(['\u{202e}', '\n']), "{said}");
}

#[test]
fn a_missing_driver_is_named() {
    let no_driver = |cdc_acm| Obstacle::NoDriver { cdc_acm };
    for (stick, obstacle, sentence) in [
        (
            "0403:6001 X1 usb-3",
            no_driver(false),
            "the kernel module ftdi_sio is missing; install it on this node and load it (modprobe ftdi_sio)",
        ),
        (
            "1209:0001 - usb-3",
            no_driver(true),
            "the kernel module cdc_acm is missing; install it on this node and load it (modprobe cdc_acm)",
        ),
        (
            "1209:0001 - usb-3",
            no_driver(false),
            "no driver of this kernel takes 1209:0001; find the kernel module for it and load it",
        ),
        (
            "1a86:7523 - usb-3",
            Obstacle::Program,
            "a program has taken it from the kernel (usbfs): stop that program, often brltty or a virtual machine",
        ),
        (
            "1a86:7523 - usb-3",
            Obstacle::NotAuthorized,
            "it is not authorized: allow it in usbguard, or write 1 to its file authorized in sysfs",
        ),
        (
            "1a86:7523 - usb-3",
            Obstacle::NotConfigured,
            "it has no configuration: look for its name in the kernel log, often its hub gives too little current",
        ),
    ] {
        let ids = stick.split(' ').next().unwrap();
        let scan =
            Scan { ttys: vec![usb("ttyUSB0", SONOFF)], without_tty: vec![without_tty(stick, obstacle)] };
        // Interface and port cannot be known before there is a driver.
        let devices = [device("a", &format!("{{usb: '{ids}', interfaceNumber: 1}}"))];
        assert_eq!(
            verdicts(&devices, &scan, &[])["a"],
            format!("Absent NoDriver: USB device {ids} at usb-3 is plugged in and has no tty: {sentence}")
        );
        let report = present(&devices, "wyse-1", &scan, &assign(&devices, "wyse-1", &scan, &BTreeMap::new()));
        let waiting: Vec<_> =
            report.iter().map(|device| (device.tty.as_deref(), device.matched_by.as_deref())).collect();
        assert_eq!(waiting, [(Some("ttyUSB0"), None), (None, Some("a"))]);
        assert_eq!(present(&[], "wyse-1", &scan, &BTreeMap::new()).len(), 1, "nobody waits for it");
    }
}

#[test]
fn the_kernels_console_is_denied() {
    let mut console = on_board("ttyS0");
    console.console = true;
    assert_eq!(
        verdict("{tty: ttyS0}", &ttys([console])),
        "Denied: ttyS0 is the kernel's console: remove console=ttyS0 from the kernel command line of this node, or \
         choose another port"
    );
    let mut on_usb = usb("ttyUSB0", SONOFF);
    on_usb.console = true;
    assert!(verdict("{usb: '10c4:ea60'}", &ttys([on_usb.clone()])).starts_with("Denied"));
    let second = usb("ttyUSB1", "10c4:ea60 - usb-2");
    assert_eq!(verdict("{usb: '10c4:ea60'}", &ttys([on_usb, second])), "ttyUSB1");
}

#[test]
fn several_candidates_are_ambiguous_and_the_field_that_tells_them_apart_is_named() {
    let two = |first: &str, second: &str| ttys([usb("ttyUSB0", first), usb("ttyUSB1", second)]);
    for (scan, advice) in [
        (
            two("1a86:7523 - usb-7", "1a86:7523 - usb-8"),
            "ttyUSB0 (usb-7) and ttyUSB1 (usb-8) match: write usbPath, here \"usb-7\" or \"usb-8\"",
        ),
        (
            two("1a86:7523 A1B2 usb-7", "1a86:7523 C3D4 usb-8"),
            "ttyUSB0 (usb-7) and ttyUSB1 (usb-8) match: write serialNumber, here \"A1B2\" or \"C3D4\"",
        ),
        (
            ttys([usb("ttyUSB0", "1a86:7523 - usb-7"), interface(usb("ttyUSB1", "1a86:7523 - usb-7"), 1)]),
            "ttyUSB0 (usb-7) and ttyUSB1 (usb-7) match: write interfaceNumber, here 0 or 1",
        ),
    ] {
        assert_eq!(verdict("{usb: '1a86:7523'}", &scan), format!("Ambiguous: {advice}"));
    }
    let mut elsewhere = usb("ttyUSB1", "1a86:7523 - usb-7");
    elsewhere.usb.as_mut().unwrap().device.controller = Some("pci-0000:01:00.0".to_owned());
    assert_eq!(
        verdict("{usb: '1a86:7523'}", &ttys([usb("ttyUSB0", "1a86:7523 - usb-7"), elsewhere])),
        "Ambiguous: ttyUSB0 (usb-7) and ttyUSB1 (usb-7) match: write usbPath, here \"pci-0000:00:14.0-usb-7\" or \
         \"pci-0000:01:00.0-usb-7\""
    );
}
