//! Any text: no panic, and what comes out is accepted.

use proptest::prelude::*;
use serialfleet_api::manifest::read_fleet;
use serialfleet_bridge::import::{ImportError, import_text};

const NAMES: [&str; 3] = ["ser2net.yaml", "ser2net.conf", "10c4:ea60.yaml"];

fn check(text: &str) {
    for name in NAMES {
        match import_text(name, text) {
            Ok(imported) => {
                let fleet = read_fleet(&imported.yaml).unwrap();
                assert_eq!(fleet.spec.devices.len(), imported.devices);
                assert!(imported.devices + imported.left_out > 0);
            }
            Err(ImportError::Nothing(_) | ImportError::TooLarge) => {}
            Err(error @ ImportError::Invalid(_)) => panic!("{error}\n{text}"),
        }
    }
}

/// Words that mean something, so that a good part of the texts is read.
fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(
            &[
                "tcp,",
                "telnet(rfc2217),",
                "ssl,",
                "certauth(),",
                "6638",
                "502",
                "0",
                "localhost,",
                "ipv6,::1,",
                "serialdev,",
                "DEVNODE",
                "/dev/ttyS0",
                "/dev/ttyUSB0",
                "/dev/serial/by-id/usb-0658_0200_A1B2C3-if00",
                "/dev/serial/by-id/usb-FTDI_FT232R_USB_UART_A9XK1PQD-if00-port0",
                ",115200n81",
                ",9600e72",
                ",50n52",
                ",local",
                ",dtr=off",
                ",rs485=1:2:x",
                "*(a)",
                "*{b}",
                "=(a)",
                "&a ",
                "*a",
                "#",
                "'",
                "\"",
                "\\",
                "(",
                ")",
            ][..]
        )
        .prop_map(str::to_owned),
        "\\PC{0,6}",
        any::<char>().prop_map(String::from),
    ]
}

fn scalar() -> impl Strategy<Value = String> {
    prop::collection::vec(word(), 1..6).prop_map(|words| words.concat())
}

fn option() -> impl Strategy<Value = String> {
    let names =
        &["kickolduser", "max-connections", "remaddr", "no-acc-to-con", "chardelay-scale", "banner", "x"][..];
    let values =
        prop_oneof![Just("true".to_owned()), Just("3".to_owned()), Just("10.0.0.1,0;x".to_owned()), scalar()];
    (prop::sample::select(names), values).prop_map(|(name, value)| format!("    {name}: {value}\n"))
}

fn connection() -> impl Strategy<Value = String> {
    let name =
        prop_oneof![Just("&a".to_owned()), Just("&a-b".to_owned()), "&[a-z0-9-]{1,50}", Just(String::new())];
    let accepter = prop_oneof![Just("tcp,6638".to_owned()), Just("tcp,9640".to_owned()), scalar()];
    let connector = prop_oneof![
        Just("serialdev,DEVNODE,115200n81,local".to_owned()),
        "/dev/serial/by-id/usb-0658_02[0-9]{2}_[A-F0-9]{8}-if0[0-3]",
        scalar()
    ];
    (name, accepter, connector, prop::collection::vec(option(), 0..4)).prop_map(
        |(name, accepter, connector, options)| {
            let options =
                if options.is_empty() { String::new() } else { format!("  options:\n{}", options.concat()) };
            format!("connection: {name}\n  accepter: {accepter}\n  connector: {connector}\n{options}")
        },
    )
}

proptest! {
    // Each of these reads the schema a few times.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_text_is_read_without_a_panic(text in any::<String>()) {
        check(&text);
    }

    #[test]
    fn any_configuration_becomes_a_fleet_that_is_accepted(
        connections in prop::collection::vec(connection(), 1..6),
    ) {
        check(&connections.concat());
    }

    #[test]
    fn any_old_configuration_becomes_a_fleet_that_is_accepted(
        lines in prop::collection::vec((scalar(), "(raw|telnet|off|rawlp)", scalar(), scalar()), 1..6),
    ) {
        let lines = lines.iter().map(|(port, state, device, words)| format!("{port}:{state}:0:{device}:{words}\n"));
        check(&lines.collect::<String>());
    }

    /// As bad as a file gets.
    #[test]
    fn a_broken_configuration_is_read_without_a_panic(
        case in prop::sample::select(&[
            include_str!("cases/zigbee.yaml"), include_str!("cases/console-server.yaml"),
            include_str!("cases/modbus-v2.yaml"), include_str!("cases/ser2net.conf"),
        ][..]),
        cut in any::<prop::sample::Index>(),
        put in word(),
    ) {
        let at = cut.index(case.len());
        prop_assume!(case.is_char_boundary(at));
        let (before, after) = case.split_at(at);
        check(before);
        check(&format!("{before}{put}{after}"));
    }
}

/// A fleet has at most 256 devices, a connection at most so many notes, and a file so many connections.
#[test]
fn a_thousand_connections_are_bounded_and_said() {
    let text: String = (0..1000)
        .map(|n| {
            let path = format!("/dev/serial/by-id/usb-0658_0200_{n:08}A-if00");
            format!("connection: &c\n  accepter: tcp,{}\n  connector: serialdev,{path}\n", 2000 + n)
        })
        .collect();
    let imported = import_text("ser2net.yaml", &text).unwrap();
    assert_eq!((imported.devices, imported.left_out), (256, 256));
    assert!(
        imported.remarks.iter().any(|remark| remark.contains("488 connections")),
        "{:?}",
        imported.remarks
    );
}
