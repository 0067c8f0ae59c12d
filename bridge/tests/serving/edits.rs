//! What an edit changes, and for whom.

use std::io::{Read, Write};

use serialfleet_api::node::PortState;

use super::rig::{LIMIT, Rig, refused, stick};

fn device(name: &str, serial: &str, more: &str) -> String {
    format!("  - {{name: {name}, match: {{usb: '10c4:ea60', serialNumber: {serial}}}{more}}}\n")
}

#[test]
fn the_line_is_set_in_place_and_clients_are_kept() {
    let rig = Rig::new(&device("zigbee", "A1", ""));
    let stick = rig.host.plug(stick("A1")).unwrap();
    let mut client = rig.connect("zigbee");
    client.echo(b"before");
    assert_eq!(stick.line(0).unwrap().baud, 115_200);
    rig.edit(&device("zigbee", "A1", ", line: {baudRate: 12345, format: 8N2}"));
    stick.wait_line(0, LIMIT, |line| line.baud == 12_345 && line.two_stop_bits && !line.hupcl).unwrap();
    assert_eq!(rig.wait("zigbee", |view| view.baud_rate == Some(12_345)).format.as_deref(), Some("8N2"));
    client.echo(b"after");
    assert_eq!(stick.opens(0).unwrap(), 1);
}

#[test]
fn a_new_port_moves_the_listener_and_other_devices_notice_nothing() {
    let both =
        |port| device("zigbee", "A1", &format!(", port: {port}")) + &device("zwave", "B2", ", port: 7000");
    let rig = Rig::new(&both(6638));
    let zigbee = rig.host.plug(stick("A1")).unwrap();
    let _zwave = rig.host.plug(stick("B2").usb_path("1-2")).unwrap();
    let mut one = rig.connect("zigbee");
    let mut other = rig.connect("zwave");
    one.echo(b"one");
    other.echo(b"other");
    let before = rig.address_of("zigbee");
    rig.edit(&both(6639));
    assert!(one.expect_end().is_empty());
    let view = rig.wait("zigbee", |view| view.addresses.iter().any(|address| address.port() == 6639));
    assert!(refused(before));
    assert_eq!(view.state, PortState::Serving);
    rig.connect("zigbee").echo(b"again");
    other.echo(b"still here");
    assert_eq!(zigbee.opens(0).unwrap(), 1, "the tty stays open");
}

#[test]
fn whoever_falls_outside_of_allow_from_is_closed() {
    let rig = Rig::new(&device("zigbee", "A1", ""));
    let _stick = rig.host.plug(stick("A1")).unwrap();
    let mut client = rig.connect("zigbee");
    client.echo(b"before");
    rig.edit(&device("zigbee", "A1", ", clients: {allowFrom: [{cidr: 10.0.0.0/8}]}"));
    assert!(client.expect_end().is_empty());
    rig.edit(&device("zigbee", "A1", ", clients: {allowFrom: [{cidr: 127.0.0.0/8}]}"));
    // An edit of who may connect shows nowhere but in who is let in.
    while {
        let mut client = rig.connect("zigbee");
        client.0.write_all(b"?").is_err() || client.0.read_exact(&mut [0]).is_err()
    } {}
}

#[test]
fn a_time_limit_that_is_new_counts_from_now() {
    let rig = Rig::new(&device("zigbee", "A1", ""));
    let _stick = rig.host.plug(stick("A1")).unwrap();
    let mut client = rig.connect("zigbee");
    let connected = std::time::Instant::now();
    while connected.elapsed().as_millis() < 1100 {
        client.echo(b"busy");
    }
    rig.edit(&device("zigbee", "A1", ", clients: {idleTimeoutSeconds: 1}, holdSeconds: 9"));
    let edited = std::time::Instant::now();
    while edited.elapsed().as_millis() < 500 {
        client.echo(b"busy");
    }
}

#[test]
fn the_line_in_force_is_the_one_of_the_last_edit() {
    let rig = Rig::new(&device("zigbee", "A1", ""));
    let stick = rig.host.plug(stick("A1")).unwrap();
    // Some fall into the opening, some follow each other closely.
    for baud in [1200, 2400, 4800, 9600, 19200, 12345] {
        rig.edit(&device("zigbee", "A1", &format!(", line: {{baudRate: {baud}}}")));
    }
    stick.wait_line(0, LIMIT, |line| line.baud == 12_345).unwrap();
    rig.wait("zigbee", |view| view.baud_rate == Some(12_345));
}

#[test]
fn a_tty_that_goes_from_one_device_to_another_is_never_called_busy() {
    let rig = Rig::new(&device("a", "A1", ""));
    let _stick = rig.host.plug(stick("A1")).unwrap();
    rig.connect("a").echo(b"first");
    for round in 0..10 {
        let name = if round % 2 == 0 { "b" } else { "a" };
        rig.edit(&device(name, "A1", ""));
        let view = rig.wait(name, |view| matches!(view.state, PortState::Serving | PortState::Busy));
        assert_eq!(view.state, PortState::Serving, "round {round}: {}", view.message);
    }
}

#[test]
fn a_held_device_that_leaves_the_fleet_lets_its_clients_go() {
    let rig = Rig::new(&device("zigbee", "A1", ""));
    let stick = rig.host.plug(stick("A1")).unwrap();
    let mut client = rig.connect("zigbee");
    client.echo(b"before");
    stick.unplug().unwrap();
    rig.wait_state("zigbee", PortState::Held);
    rig.edit(&device("zwave", "B2", ""));
    assert!(client.expect_end().is_empty());
    rig.wait_metric("serialfleet_port_clients_ended_total{port=\"zigbee\",reason=\"Reconfigured\"}", 1.0);
    assert_eq!(rig.metric("serialfleet_port_clients{port=\"zigbee\"}"), Some(0.0));
}

#[test]
fn a_tty_that_no_longer_matches_is_exchanged() {
    let rig = Rig::new(&device("zigbee", "A1", ""));
    let first = rig.host.plug(stick("A1")).unwrap();
    let second = rig.host.plug(stick("B2").usb_path("1-2")).unwrap();
    let mut client = rig.connect("zigbee");
    client.echo(b"before");
    rig.edit(&device("zigbee", "B2", ""));
    assert!(client.expect_end().is_empty());
    rig.wait("zigbee", |view| view.tty.as_deref() == Some("ttyUSB1") && view.state == PortState::Serving);
    rig.connect("zigbee").echo(b"the other one");
    first.wait_closed(0, LIMIT).unwrap();
    assert_eq!(second.opens(0).unwrap(), 1);
}

#[test]
fn suspend_closes_the_tty_and_the_end_of_it_opens_it_again() {
    let rig = Rig::new(&device("zigbee", "A1", ""));
    let stick = rig.host.plug(stick("A1")).unwrap();
    let mut client = rig.connect("zigbee");
    client.echo(b"before");
    rig.edit(&device("zigbee", "A1", ", suspend: true"));
    assert!(client.expect_end().is_empty());
    let view = rig.wait_state("zigbee", PortState::Suspended);
    assert!(view.message.contains("suspend"), "{}", view.message);
    stick.wait_closed(0, LIMIT).unwrap();
    rig.edit(&device("zigbee", "A1", ""));
    rig.connect("zigbee").echo(b"after");
}

#[test]
fn a_device_that_leaves_the_fleet_is_closed() {
    let rig = Rig::new(&(device("zigbee", "A1", "") + &device("zwave", "B2", ", port: 7000")));
    let stick = rig.host.plug(stick("A1")).unwrap();
    let mut client = rig.connect("zigbee");
    client.echo(b"before");
    let address = rig.address_of("zigbee");
    rig.edit(&device("zwave", "B2", ", port: 7000"));
    assert!(client.expect_end().is_empty());
    stick.wait_closed(0, LIMIT).unwrap();
    assert!(refused(address));
}

#[test]
fn a_device_that_the_contract_refuses_is_failed_alone() {
    let rig = Rig::new(&(device("zigbee", "A1", "") + &device("zwave", "B2", ", port: 7000")));
    let _one = rig.host.plug(stick("A1")).unwrap();
    let _other = rig.host.plug(stick("B2").usb_path("1-2")).unwrap();
    let mut other = rig.connect("zwave");
    other.echo(b"before");
    rig.connect("zigbee").echo(b"before");
    rig.change_fleet(|fleet| {
        fleet.object.spec.devices.retain(|device| device.name != "zigbee");
        fleet.refused.insert("zigbee".into(), "unknown field shiny".into());
    });
    let view = rig.wait_state("zigbee", PortState::Failed);
    assert_eq!((view.reason.as_str(), view.message.as_str()), ("UnknownField", "unknown field shiny"));
    other.echo(b"after");
}

#[test]
fn an_edit_of_the_hold_counts_for_whoever_is_held() {
    let rig = Rig::new(&device("zigbee", "A1", ", holdSeconds: 300"));
    let stick = rig.host.plug(stick("A1")).unwrap();
    let mut client = rig.connect("zigbee");
    client.echo(b"before");
    stick.unplug().unwrap();
    rig.wait_state("zigbee", PortState::Held);
    rig.edit(&device("zigbee", "A1", ", holdSeconds: 1"));
    assert!(client.expect_end().is_empty());
    rig.wait_metric("serialfleet_port_clients_ended_total{port=\"zigbee\",reason=\"HoldExpired\"}", 1.0);
}

/// Neither finds its new address taken by the other.
#[test]
fn two_devices_swap_their_ports_at_once() {
    let both = |one: u16, other: u16| {
        device("one", "A1", &format!(", port: {one}")) + &device("other", "B2", &format!(", port: {other}"))
    };
    let rig = Rig::new(&both(7001, 7002));
    let _one = rig.host.plug(stick("A1")).unwrap();
    let _other = rig.host.plug(stick("B2").usb_path("1-2")).unwrap();
    rig.connect("one").echo(b"before");
    rig.connect("other").echo(b"before");
    for round in 0..20 {
        let (one, other) = if round % 2 == 0 { (7002, 7001) } else { (7001, 7002) };
        rig.edit(&both(one, other));
        for (name, port) in [("one", one), ("other", other)] {
            let view = rig.wait(name, |view| {
                view.state != PortState::Serving || view.addresses.iter().any(|it| it.port() == port)
            });
            assert_eq!(view.state, PortState::Serving, "round {round}: {}", view.message);
        }
    }
    rig.connect("one").echo(b"after");
}

#[test]
fn a_device_under_a_new_name_gets_its_old_port_at_once() {
    let rig = Rig::new(&device("a", "A1", ", port: 7001"));
    let _stick = rig.host.plug(stick("A1")).unwrap();
    rig.connect("a").echo(b"first");
    for round in 0..10 {
        let name = if round % 2 == 0 { "b" } else { "a" };
        rig.edit(&device(name, "A1", ", port: 7001"));
        let view = rig.wait(name, |view| matches!(view.state, PortState::Serving | PortState::Failed));
        assert_eq!(view.state, PortState::Serving, "round {round}: {}", view.message);
    }
}

#[test]
fn whatever_is_edited_a_port_under_load_notices_nothing() {
    let edits = [
        ", line: {baudRate: 19200, format: '7E1'}",
        ", clients: {policy: Share, max: 3, writers: First}",
        ", clients: {policy: Refuse, slowReader: Block, idleTimeoutSeconds: 60}",
        ", clients: {allowFrom: [{cidr: 10.0.0.0/8}]}",
        ", holdSeconds: 1, keepalive: {idleSeconds: 3, userTimeoutSeconds: 9}",
        ", frameGapMilliseconds: 20",
        ", suspend: true",
        "",
    ];
    let both = |port: u16, more: &str| {
        device("edited", "A1", &format!(", port: {port}{more}")) + &device("busy", "B2", ", port: 7000")
    };
    let rig = Rig::new(&both(7001, ""));
    let edited = rig.host.plug(stick("A1")).unwrap();
    let busy = rig.host.plug(stick("B2").usb_path("1-2")).unwrap();
    rig.connect("edited").echo(b"before");
    let mut client = rig.connect("busy");
    let (stop, stopped) = std::sync::mpsc::sync_channel::<()>(1);
    let load = std::thread::spawn(move || {
        let chunk: Vec<u8> = (0..=255).cycle().take(3000).collect();
        let mut rounds = 0;
        while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
            client.echo(&chunk);
            rounds += 1;
        }
        rounds
    });
    let moved = "serialfleet_port_bytes_total{port=\"busy\",direction=\"to_device\"}";
    for round in 0..3 * edits.len() {
        rig.edit(&both(7001 + u16::try_from(round / edits.len()).unwrap(), edits[round % edits.len()]));
        let before = rig.metric(moved).unwrap();
        rig.wait_metric(moved, before + 30_000.0);
    }
    drop(stop);
    assert!(load.join().unwrap() > 0);
    assert_eq!(busy.opens(0).unwrap(), 1);
    rig.connect("edited").echo(b"after");
    // Suspended three times.
    assert!(edited.opens(0).unwrap() <= 4, "{:#?}", edited.record().unwrap().entries);
    assert_eq!(rig.metric("serialfleet_port_connections_total{port=\"busy\"}"), Some(1.0));
}
