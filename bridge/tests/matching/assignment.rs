//! Which tty it is.

use std::collections::BTreeMap;

use serialfleet_bridge::{
    discovery::sysfs::SerialTty,
    matching::{assign, present},
};

use crate::world::*;

#[test]
fn all_given_fields_must_hold() {
    let scan = ttys([usb("ttyUSB0", SONOFF)]);
    for matcher in [
        "{usb: '10c4:ea60'}",
        "{usb: 10C4:EA60}",
        "{usb: '10c4:ea60', serialNumber: 0c8b3f2e}",
        "{usb: '10c4:ea60', serialNumber: '0c8*'}",
        "{usb: '10c4:ea60', serialNumber: '*'}",
        "{usb: '10c4:ea60', product: 'Sonoff*'}",
        "{usb: '10c4:ea60', product: 'Sonoff_Dongle*'}",
        "{usb: '10c4:ea60', interfaceNumber: 0, portNumber: 0}",
        "{usbPath: usb-1.4, nodes: [wyse-1]}",
        "{usbPath: 'pci-0000:00:14.0-usb-1.4', nodes: [shed, wyse-1]}",
    ] {
        assert_eq!(verdict(matcher, &scan), "ttyUSB0", "{matcher}");
    }
    for matcher in [
        "{usb: '10c4:ea61'}",
        "{usb: '10c4:ea60', serialNumber: 0C8B3F2E}",
        "{usb: '10c4:ea60', serialNumber: 0c8b}",
        "{usb: '10c4:ea60', serialNumber: '*3f2e'}",
        "{usb: '10c4:ea60', product: sonoff*}",
        "{usb: '10c4:ea60', manufacturer: '*'}",
        "{usb: '10c4:ea60', interfaceNumber: 1}",
        "{usb: '10c4:ea60', portNumber: 1}",
        "{usb: '10c4:ea60', usbPath: usb-1}",
        "{usbPath: usb-1.41, nodes: [wyse-1]}",
        "{usbPath: 'pci-0000:00:15.0-usb-1.4', nodes: [wyse-1]}",
        "{usb: '10c4:ea60', nodes: [wyse-2]}",
        "{tty: ttyUSB0, nodes: [wyse-1]}",
        "{tty: ttyS0, nodes: [wyse-1]}",
        "{product: 'Sonoff*'}",
        "{}",
    ] {
        assert!(verdict(matcher, &scan).starts_with("Absent"), "{matcher}");
    }
}

#[test]
fn an_on_board_port_is_matched_by_its_name_alone() {
    let scan = ttys([on_board("ttyS0"), on_board("ttyAMA0")]);
    assert_eq!(verdict("{tty: ttyAMA0}", &scan), "ttyAMA0");
    assert!(verdict("{tty: ttyAMA0, usb: '10c4:ea60'}", &scan).starts_with("Absent"));
    assert_eq!(
        verdict("{tty: ttyS1}", &scan),
        "Absent : no on-board port ttyS1 with hardware behind it on this node; present: ttyAMA0 and ttyS0"
    );
}

#[test]
fn an_open_tty_stays_and_a_further_candidate_only_warns() {
    let scan = ttys([usb("ttyUSB0", "1a86:7523 - usb-7"), usb("ttyUSB1", "1a86:7523 - usb-8")]);
    let devices = [device("heat", "{usb: '1a86:7523'}")];
    assert_eq!(
        verdicts(&devices, &scan, &[("heat", &scan.ttys[1])])["heat"],
        "ttyUSB1, warning: ttyUSB0 (usb-7) would match as well and after a restart none would be opened: write \
         usbPath, here \"usb-7\" or \"usb-8\""
    );
    // No longer the same plug, or no longer matching: decided afresh.
    let mut replugged = scan.ttys[1].clone();
    replugged.key.devnum = Some(9);
    assert!(verdicts(&devices, &scan, &[("heat", &replugged)])["heat"].starts_with("Ambiguous"));
    let edited = [device("heat", "{usb: '1a86:7523', usbPath: usb-7}")];
    assert_eq!(verdicts(&edited, &scan, &[("heat", &scan.ttys[1])])["heat"], "ttyUSB0");
    let moved = [device("heat", "{usb: '1a86:7523', nodes: [shed]}")];
    assert!(verdicts(&moved, &scan, &[("heat", &scan.ttys[1])])["heat"].starts_with("Absent"));
}

#[test]
fn the_stronger_match_wins() {
    let tty = || usb("ttyUSB0", "10c4:ea60 0c8b3f2e usb-1.4 Sonoff_Dongle");
    // From weak to strong: each one loses against all after it.
    let order = [
        "{usb: '10c4:ea60'}",
        "{usb: '10c4:ea60', interfaceNumber: 0}",
        "{usb: '10c4:ea60', interfaceNumber: 0, portNumber: 0}",
        "{usb: '10c4:ea60', product: 'Sonoff*'}",
        "{usb: '10c4:ea60', product: Sonoff_Dongle}",
        "{usb: '10c4:ea60', product: Sonoff_Dongle, interfaceNumber: 0}",
        "{usbPath: usb-1.4, nodes: [wyse-1]}",
        "{usb: '10c4:ea60', usbPath: usb-1.4}",
        "{usb: '10c4:ea60', usbPath: usb-1.4, interfaceNumber: 0}",
        "{usb: '10c4:ea60', serialNumber: '0c8b*'}",
        "{usb: '10c4:ea60', serialNumber: 0c8b3f2e}",
        "{usb: '10c4:ea60', serialNumber: 0c8b3f2e, product: 'Sonoff*'}",
        "{usb: '10c4:ea60', serialNumber: 0c8b3f2e, usbPath: usb-1.4}",
        "{usb: '10c4:ea60', serialNumber: 0c8b3f2e, interfaceNumber: 0}",
    ];
    for (strong, winner) in order.iter().enumerate() {
        for loser in &order[..strong] {
            let devices = [device("loser", loser), device("winner", winner)];
            let verdicts = verdicts(&devices, &ttys([tty()]), &[]);
            assert_eq!(verdicts["winner"], "ttyUSB0", "{winner} against {loser}");
            assert_eq!(
                verdicts["loser"],
                "Absent Taken: ttyUSB0 (usb-1.4) matches, but the device winner names it more closely: plug in \
                 another one, or remove one of the entries"
            );
        }
    }
}

#[test]
fn a_serial_number_that_many_share_is_no_stronger_than_a_string() {
    let scan = ttys([usb("ttyUSB0", "10c4:ea60 0001 usb-5.1"), usb("ttyUSB1", "10c4:ea60 0001 usb-5.2")]);
    let devices = [
        device("hall", "{usb: '10c4:ea60', serialNumber: '0001'}"),
        device("shed", "{usb: '10c4:ea60', usbPath: usb-5.1}"),
    ];
    let verdicts = verdicts(&devices, &scan, &[]);
    assert_eq!((verdicts["shed"].as_str(), verdicts["hall"].as_str()), ("ttyUSB0", "ttyUSB1"));
}

#[test]
fn the_weaker_match_gets_what_is_left() {
    let scan = ttys([usb("ttyUSB0", "10c4:ea60 0c8b3f2e usb-1"), usb("ttyUSB1", "10c4:ea60 - usb-2")]);
    let devices =
        [device("any", "{usb: '10c4:ea60'}"), device("mine", "{usb: '10c4:ea60', serialNumber: 0c8b3f2e}")];
    let verdicts = verdicts(&devices, &scan, &[]);
    assert_eq!((verdicts["mine"].as_str(), verdicts["any"].as_str()), ("ttyUSB0", "ttyUSB1"));
}

#[test]
fn on_a_tie_neither_opens_and_both_name_each_other() {
    let devices = [device("hall", "{usb: '10c4:ea60'}"), device("shed", "{usb: 10C4:EA60}")];
    let tied = verdicts(&devices, &ttys([usb("ttyUSB0", SONOFF)]), &[]);
    let sentence = "Ambiguous: ttyUSB0 (usb-1.4) matches the devices hall and shed equally well, and none of them \
                    gets it: write serialNumber, usbPath or interfaceNumber in the one that it is";
    assert_eq!((tied["hall"].as_str(), tied["shed"].as_str()), (sentence, sentence));
    let scan = ttys([usb("ttyUSB0", SONOFF), usb("ttyUSB1", "10c4:ea60 - usb-2")]);
    let tied = verdicts(&devices, &scan, &[]);
    assert!(tied["hall"].contains("which the device shed may claim too"), "{}", tied["hall"]);
}

#[test]
fn an_open_tty_does_not_change_hands_to_a_stronger_match() {
    let scan = ttys([usb("ttyUSB0", SONOFF)]);
    let devices =
        [device("any", "{usb: '10c4:ea60'}"), device("mine", "{usb: '10c4:ea60', serialNumber: 0c8b3f2e}")];
    let verdicts = verdicts(&devices, &scan, &[("any", &scan.ttys[0])]);
    assert_eq!(
        verdicts["any"],
        "ttyUSB0, warning: the device mine would have at least the same right to ttyUSB0 (usb-1.4), which stays here \
         while it is open: make one of the matches closer"
    );
    assert_eq!(
        verdicts["mine"],
        "Absent Taken: ttyUSB0 (usb-1.4) matches, and the device any has it open: make the match of any closer so \
         that it no longer holds, or remove mine"
    );
}

#[test]
fn the_report_keeps_what_the_fleet_uses() {
    let many: Vec<SerialTty> =
        (0..200).map(|n| usb(&format!("ttyUSB{n}"), &format!("10c4:ea60 - usb-{n}"))).collect();
    let scan = ttys(many);
    let devices = [device("last", "{usb: '10c4:ea60', usbPath: usb-199}")];
    let report = present(&devices, "wyse-1", &scan, &assign(&devices, "wyse-1", &scan, &BTreeMap::new()));
    assert_eq!(report.len(), 128);
    assert_eq!(report[127].matched_by.as_deref(), Some("last"));
    assert_eq!(report[0].tty.as_deref(), Some("ttyUSB0"));
}
