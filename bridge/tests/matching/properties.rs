//! What holds whatever is plugged in and whatever the fleet says.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serialfleet_api::{fleet::Match, resolve::ResolvedDevice};
use serialfleet_bridge::{
    discovery::sysfs::{DeviceKey, Scan, SerialTty},
    matching::{self, Verdict, assign},
};

use crate::world::*;

/// A small world in which everything collides with everything.
fn worlds() -> impl Strategy<Value = (Vec<ResolvedDevice>, Scan, BTreeMap<String, DeviceKey>)> {
    let stick = (
        0..2_u16,
        prop_oneof![Just(None), Just(Some("0001")), Just(Some("A1")), Just(Some("B2345"))],
        0..3_u8,
        0..2_u8,
        prop::bool::weighted(0.1),
    );
    let matcher = (
        prop::option::weighted(0.9, 0..2_u16),
        prop::option::weighted(0.4, prop_oneof![Just("0001"), Just("B2345"), Just("B*"), Just("*")]),
        prop::option::weighted(0.3, 0..3_u8),
        prop::option::weighted(0.3, 0..2_i32),
        prop::option::weighted(0.1, prop_oneof![Just("wyse-1"), Just("shed")]),
    );
    let open = prop::collection::vec((0..6_usize, 0..6_usize), 0..4);
    (prop::collection::vec(stick, 0..6), prop::collection::vec(matcher, 0..6), open).prop_map(
        |(sticks, matchers, open)| {
            let sticks: Vec<SerialTty> = sticks
                .into_iter()
                .enumerate()
                .map(|(n, (product, serial, path, number, console))| {
                    let description = format!("10c4:{product:04x} {} usb-{path}", serial.unwrap_or("-"));
                    SerialTty { console, ..interface(usb(&format!("ttyUSB{n}"), &description), number) }
                })
                .collect();
            let devices: Vec<ResolvedDevice> = matchers
                .into_iter()
                .enumerate()
                .map(|(n, (product, serial, path, interface_number, node))| {
                    let mut resolved = device(&format!("d{n}"), "{}");
                    resolved.matcher = Match {
                        usb: product.map(|product| format!("10c4:{product:04x}")),
                        serial_number: serial.map(str::to_owned),
                        usb_path: path.map(|path| format!("usb-{path}")),
                        interface_number,
                        nodes: node.into_iter().map(str::to_owned).collect(),
                        ..Match::default()
                    };
                    resolved
                })
                .collect();
            let open = open
                .into_iter()
                .filter_map(|(device, tty)| {
                    Some((devices.get(device)?.name.clone(), sticks.get(tty)?.key.clone()))
                })
                .collect();
            (devices, ttys(sticks), open)
        },
    )
}

/// Verdicts with names for indices.
fn by_names(
    scan: &Scan,
    verdicts: BTreeMap<String, Verdict>,
) -> BTreeMap<String, (String, Vec<String>, String)> {
    let named = |verdict| match verdict {
        Verdict::Bound { tty, also, warning } => (scan.ttys[tty].name.clone(), also, warning),
        Verdict::Ambiguous { message } => ("Ambiguous".to_owned(), Vec::new(), message),
        Verdict::Absent { reason, message } => (format!("Absent {reason}"), Vec::new(), message),
        Verdict::Denied { message } => ("Denied".to_owned(), Vec::new(), message),
    };
    verdicts.into_iter().map(|(name, verdict)| (name, named(verdict))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_order_of_devices_decides_nothing((devices, scan, open) in worlds()) {
        let mut turned = devices.clone();
        turned.reverse();
        turned.rotate_left(devices.len() / 2);
        prop_assert_eq!(
            by_names(&scan, assign(&devices, "wyse-1", &scan, &open)),
            by_names(&scan, assign(&turned, "wyse-1", &scan, &open))
        );
    }

    #[test]
    fn the_order_of_ttys_decides_nothing((devices, scan, open) in worlds()) {
        let mut turned = scan.clone();
        turned.ttys.reverse();
        turned.ttys.rotate_left(scan.ttys.len() / 2);
        prop_assert_eq!(
            by_names(&scan, assign(&devices, "wyse-1", &scan, &open)),
            by_names(&turned, assign(&devices, "wyse-1", &turned, &open))
        );
    }

    #[test]
    fn a_tty_has_one_device_and_only_one_that_it_satisfies((devices, scan, open) in worlds()) {
        let verdicts = assign(&devices, "wyse-1", &scan, &open);
        prop_assert_eq!(verdicts.len(), devices.len());
        let mut taken = BTreeSet::new();
        for device in &devices {
            match &verdicts[&device.name] {
                Verdict::Bound { tty, .. } => {
                    prop_assert!(taken.insert(*tty));
                    let tty = &scan.ttys[*tty];
                    prop_assert!(!tty.console);
                    prop_assert!(matching::satisfied(&device.matcher, tty));
                }
                Verdict::Ambiguous { message } | Verdict::Absent { message, .. } | Verdict::Denied { message } => {
                    prop_assert!(!message.is_empty() && message.len() <= 512);
                }
            }
        }
    }

    #[test]
    fn what_is_open_and_matches_stays((devices, scan, open) in worlds()) {
        let before = assign(&devices, "wyse-1", &scan, &open);
        let now_open: BTreeMap<String, DeviceKey> = before
            .iter()
            .filter_map(|(name, verdict)| match verdict {
                Verdict::Bound { tty, .. } => Some((name.clone(), scan.ttys[*tty].key.clone())),
                _ => None,
            })
            .collect();
        let bound = |verdicts: &BTreeMap<String, Verdict>| -> BTreeMap<String, usize> {
            verdicts
                .iter()
                .filter_map(|(name, verdict)| match verdict {
                    Verdict::Bound { tty, .. } => Some((name.clone(), *tty)),
                    _ => None,
                })
                .collect()
        };
        let after = assign(&devices, "wyse-1", &scan, &now_open);
        prop_assert_eq!(bound(&before), bound(&after), "a second look changes nothing");
        // Whatever else is plugged in.
        let mut more = scan;
        more.ttys.insert(0, usb("ttyUSB99", "10c4:0000 B2345 usb-0"));
        for (name, tty) in bound(&assign(&devices, "wyse-1", &more, &now_open)) {
            if let Some(key) = now_open.get(&name) {
                prop_assert_eq!(key, &more.ttys[tty].key);
            }
        }
    }
}

#[test]
fn the_largest_fleet_on_the_largest_node_is_decided() {
    // Everything matches everything, the worst case: what takes more than a moment here would not end at all.
    let devices: Vec<_> = (0..256).map(|n| device(&format!("d{n}"), "{usb: '10c4:ea60'}")).collect();
    let scan = ttys(
        (0..128).map(|n| usb(&format!("ttyUSB{n}"), &format!("10c4:ea60 - usb-{n}"))).collect::<Vec<_>>(),
    );
    assert_eq!(assign(&devices, "wyse-1", &scan, &BTreeMap::new()).len(), 256);
}
