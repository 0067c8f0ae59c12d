//! Whatever hardware and users bring: a report stays within the limits of the CRD, and the last state is written.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::time::Duration;

use proptest::{collection::vec, prelude::*};
use serialfleet_api::node::{PortState, PresentDevice, SerialNode, Warning};
use serialfleet_bridge::report::{
    NodeIdentity, NodeReport, PortReport,
    bounds::{MAX_IDENTITY, MAX_MESSAGE, MAX_NAME, MAX_SIZE, MAX_SUMMARY, MAX_TEXT, MAX_WORD, size},
    fold::{History, fold},
    pace::{Pace, Standing},
};

const STATES: [PortState; 8] = [
    PortState::Serving,
    PortState::Absent,
    PortState::Held,
    PortState::Ambiguous,
    PortState::Busy,
    PortState::Denied,
    PortState::Failed,
    PortState::Suspended,
];

/// What a string may be made of: plain, quotes that JSON escapes, control characters, four-byte characters.
fn text() -> impl Strategy<Value = String> {
    let unit = prop_oneof![
        Just("a"),
        Just("\""),
        Just("\\"),
        Just("\u{0}"),
        Just("😀"),
        Just("\u{202e}"),
        Just("ä")
    ];
    (unit, 0..600_usize).prop_map(|(unit, count)| unit.repeat(count))
}

fn device() -> impl Strategy<Value = PresentDevice> {
    (text(), text(), any::<bool>(), any::<i32>()).prop_map(|(one, other, is_matched, number)| PresentDevice {
        tty: Some(one.clone()),
        driver: Some(other.clone()),
        usb: Some(one.clone()),
        serial_number: Some(other.clone()),
        manufacturer: Some(one.clone()),
        product: Some(other.clone()),
        interface_number: Some(number),
        port_number: Some(number),
        usb_path: Some(one),
        matched_by: is_matched.then_some(other),
    })
}

fn port() -> impl Strategy<Value = PortReport> {
    (text(), text(), 0..STATES.len(), 0..12_usize).prop_map(|(one, other, state, warnings)| PortReport {
        name: one.clone(),
        state: STATES[state],
        reason: other.clone(),
        message: one.clone(),
        tty: Some(other.clone()),
        identity: Some(one.clone()),
        baud_rate: Some(-1),
        warnings: (0..warnings)
            .map(|number| Warning { reason: format!("{other}{number}"), message: one.clone() })
            .collect(),
    })
}

fn report() -> impl Strategy<Value = NodeReport> {
    (vec(device(), 1..8), vec(port(), 1..8), 0..300_usize, 0..300_usize).prop_map(
        |(devices, ports, many, more)| {
            let devices = devices.iter().cycle().take(many).cloned().collect();
            let ports = ports.iter().cycle().take(more).cloned().enumerate();
            let ports =
                ports.map(|(number, port)| PortReport { name: format!("p{number}{}", port.name), ..port });
            NodeReport { devices, ports: ports.collect() }
        },
    )
}

fn folded(report: &NodeReport) -> SerialNode {
    let (mut history, mut standing) = (History::default(), Standing::default());
    for second in 0..7_u64 {
        let ports: Vec<_> = report
            .ports
            .iter()
            .map(|port| PortReport { reason: format!("{}{}", second % 2, port.reason), ..port.clone() })
            .collect();
        history.observe(&ports, "2026-11-21T09:00:00Z");
    }
    history.observe(&report.ports, "2026-11-21T09:00:07Z");
    standing.observe(&report.ports, Duration::ZERO);
    standing.settle(Duration::from_secs(5));
    let identity = NodeIdentity {
        fleet: "f".repeat(40),
        node: "n".repeat(253),
        node_uid: Some("u".repeat(36)),
        pod_uid: "p".repeat(36),
    };
    fold(&history, &standing, report, &identity, Some(&"spec: no".repeat(100)))
}

fn fits(text: Option<&String>, max: usize) -> bool {
    text.is_none_or(|text| text.chars().count() <= max && !text.chars().any(char::is_control))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_report_keeps_every_limit(report in report()) {
        let node = folded(&report);
        prop_assert!(size(&node) <= MAX_SIZE, "{} bytes", size(&node));
        prop_assert!(node.devices.len() <= 128 && node.ports.len() <= 128);
        for device in &node.devices {
            for word in [&device.tty, &device.driver] {
                prop_assert!(fits(word.as_ref(), MAX_WORD));
            }
            prop_assert!(fits(device.usb.as_ref(), 9) && fits(device.matched_by.as_ref(), MAX_NAME));
            for text in [&device.serial_number, &device.manufacturer, &device.product, &device.usb_path] {
                prop_assert!(fits(text.as_ref(), MAX_TEXT));
            }
            prop_assert!(device.interface_number.is_none_or(|number| (0..=255).contains(&number)));
        }
        for port in &node.ports {
            prop_assert!(fits(Some(&port.name), MAX_NAME) && fits(Some(&port.reason), MAX_WORD));
            prop_assert!(fits(Some(&port.message), MAX_MESSAGE) && fits(port.identity.as_ref(), MAX_IDENTITY));
            prop_assert!(port.transitions.len() <= 5 && port.warnings.len() <= 8);
            prop_assert!(port.transitions.iter().all(|past| fits(Some(&past.reason), MAX_WORD)));
            prop_assert!(port.warnings.is_sorted_by_key(|warning| (warning.reason.clone(), warning.message.clone())));
            prop_assert!(port.warnings.iter().all(|one| fits(Some(&one.reason), MAX_WORD) && fits(Some(&one.message), MAX_MESSAGE)));
            prop_assert!(port.baud_rate.is_none());
            prop_assert!(port.state != PortState::Absent || !port.reason.is_empty());
        }
        prop_assert!(node.ports.is_sorted_by_key(|port| port.name.clone()));
        for text in [&node.summary.serving, &node.summary.present, &node.summary.problem] {
            prop_assert!(fits(Some(text), MAX_SUMMARY));
        }
        // What was left out is said, and it is never a served port while another one stays.
        let told = report.ports.iter().filter(|port| port.state != PortState::Absent || !port.reason.is_empty()).count();
        if node.ports.len() < told {
            let said = &node.summary.problem;
            prop_assert!(said.contains("more ports") || said.contains("left out"), "{said}");
            let serving = report.ports.iter().filter(|port| port.state == PortState::Serving).count();
            let kept = node.ports.iter().filter(|port| port.state == PortState::Serving).count();
            prop_assert!(kept == serving || node.ports.len() == kept);
        }
        prop_assert_eq!(&folded(&report), &node, "the same input gives the same object");
        let text = serde_json::to_string(&node).unwrap();
        prop_assert_eq!(serde_json::from_str::<SerialNode>(&text).unwrap(), node);
    }

    /// The loop of the task, with states as numbers: written is what was true when the turn came.
    #[test]
    fn the_last_state_is_written_and_the_pace_is_kept(gaps in vec(0..5000_u64, 1..200)) {
        let mut pace = Pace::default();
        let (mut now, mut wanted, mut written, mut writes) = (Duration::ZERO, 0, 0, Vec::new());
        let mut turn = None;
        for gap in gaps {
            let next = now + Duration::from_millis(gap);
            while let Some(due) = turn.filter(|due| *due <= next) {
                match pace.take(due) {
                    Ok(()) => {
                        writes.push(due);
                        written = wanted;
                        turn = None;
                    }
                    Err(later) => {
                        prop_assert!(later > due);
                        turn = Some(later);
                    }
                }
            }
            now = next;
            wanted += 1;
            if turn.is_none() {
                match pace.take(now) {
                    Ok(()) => {
                        writes.push(now);
                        written = wanted;
                    }
                    Err(later) => turn = Some(later),
                }
            }
        }
        if let Some(due) = turn {
            prop_assert!(due <= now + Duration::from_secs(2), "nobody waits longer than an interval");
            prop_assert_eq!(pace.take(due), Ok(()));
            written = wanted;
        }
        prop_assert_eq!(written, wanted);
        for window in writes.windows(6) {
            prop_assert!(window[5] - window[0] >= Duration::from_secs(2), "never six within two seconds");
        }
    }
}
