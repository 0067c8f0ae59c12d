//! Unplug, hold, replug, move.

use serialfleet_api::{
    fleet::{DeviceStatus, SerialFleetStatus},
    node::PortState,
};
use serialfleet_sim::Mode;

use super::rig::{LIMIT, Rig, refused, stick};

const ZIGBEE: &str = "  - {name: zigbee, match: {usb: '10c4:ea60'}}\n";

#[test]
fn a_client_survives_a_replug() {
    let rig = Rig::new(ZIGBEE);
    let stick = rig.host.plug(stick("A1")).unwrap();
    let mut client = rig.connect("zigbee");
    client.echo(b"before");
    let first = rig.address_of("zigbee");
    stick.unplug().unwrap();
    rig.wait_state("zigbee", PortState::Held);
    assert!(refused(first), "nobody new while it is away");
    // The number is free: the dead file was closed at once.
    stick.wait_released(LIMIT).unwrap();
    client.send(b"into the void");
    rig.wait_metric("serialfleet_port_dropped_bytes_total{port=\"zigbee\",reason=\"to_device\"}", 13.0);
    stick.plug().unwrap();
    let view = rig.wait_state("zigbee", PortState::Serving);
    assert_eq!(view.tty.as_deref(), Some("ttyUSB0"));
    client.echo(b"after");
}

/// The port hears of the hang-up before sysfs does: the plug that is leaving must not be opened once more.
#[test]
fn each_of_many_quick_replugs_is_opened_once() {
    let rig = Rig::new(ZIGBEE);
    let stick = rig.host.plug(stick("A1")).unwrap();
    let mut client = rig.connect("zigbee");
    client.echo(b"before");
    for round in 0..50_u8 {
        stick.replug().unwrap();
        stick.wait_opened(0, LIMIT).unwrap();
        rig.wait_state("zigbee", PortState::Serving);
        // Bytes sent while it is held are dropped, and the state may still be the one from before the replug.
        while {
            stick.send(0, &[round]).unwrap();
            client.0.set_read_timeout(Some(std::time::Duration::from_millis(100))).unwrap();
            let mut byte = [0];
            !matches!(std::io::Read::read(&mut client.0, &mut byte), Ok(1) if byte[0] == round)
        } {}
        assert_eq!(stick.opens(0).unwrap(), u64::from(round) + 2, "round {round}");
    }
}

#[test]
fn without_clients_an_unplugged_device_is_absent() {
    let rig = Rig::new(ZIGBEE);
    let stick = rig.host.plug(stick("A1")).unwrap();
    let address = rig.address_of("zigbee");
    stick.unplug().unwrap();
    rig.wait_state("zigbee", PortState::Absent);
    assert!(refused(address));
}

#[test]
fn the_hold_ends_by_itself() {
    let rig = Rig::new("  - {name: zigbee, match: {usb: '10c4:ea60'}, holdSeconds: 1}\n");
    let stick = rig.host.plug(stick("A1")).unwrap();
    let mut client = rig.connect("zigbee");
    client.echo(b"before");
    stick.unplug().unwrap();
    assert!(client.expect_end().is_empty());
    rig.wait_state("zigbee", PortState::Absent);
    rig.wait_metric("serialfleet_port_clients_ended_total{port=\"zigbee\",reason=\"HoldExpired\"}", 1.0);
}

#[test]
fn the_hold_ends_with_the_last_client() {
    let rig = Rig::new(ZIGBEE);
    let stick = rig.host.plug(stick("A1")).unwrap();
    let mut client = rig.connect("zigbee");
    client.echo(b"before");
    stick.unplug().unwrap();
    rig.wait_state("zigbee", PortState::Held);
    drop(client);
    rig.wait_state("zigbee", PortState::Absent);
}

#[test]
fn another_stick_does_not_continue_the_stream() {
    let rig = Rig::new(ZIGBEE);
    let first = rig.host.plug(stick("A1")).unwrap();
    let mut client = rig.connect("zigbee");
    client.echo(b"before");
    first.unplug().unwrap();
    rig.wait_state("zigbee", PortState::Held);
    let _second = rig.host.plug(stick("B2").usb_path("1-2")).unwrap();
    assert!(client.expect_end().is_empty());
    rig.connect("zigbee").echo(b"another one");
    rig.wait_metric("serialfleet_port_clients_ended_total{port=\"zigbee\",reason=\"DeviceChanged\"}", 1.0);
}

#[test]
fn without_a_serial_number_the_socket_is_the_identity() {
    let rig = Rig::new(ZIGBEE);
    let stick = rig.host.plug(stick("0001")).unwrap();
    let mut client = rig.connect("zigbee");
    client.echo(b"before");
    stick.unplug().unwrap();
    rig.wait_state("zigbee", PortState::Held);
    stick.plug().unwrap();
    rig.wait_state("zigbee", PortState::Serving);
    client.echo(b"same socket");
    stick.move_to("1-3").unwrap();
    assert!(client.expect_end().is_empty(), "another socket could be another stick");
    rig.connect("zigbee").echo(b"served all the same");
}

#[test]
fn held_clients_are_let_go_when_another_node_serves_the_device() {
    let rig = Rig::new(ZIGBEE);
    let stick = rig.host.plug(stick("A1")).unwrap();
    let mut client = rig.connect("zigbee");
    client.echo(b"before");
    stick.unplug().unwrap();
    rig.wait_state("zigbee", PortState::Held);
    rig.change_fleet(|fleet| {
        let device = DeviceStatus {
            name: "zigbee".into(),
            state: "Serving".into(),
            node: "wyse-2".into(),
            ..DeviceStatus::default()
        };
        fleet.object.status =
            Some(SerialFleetStatus { devices: vec![device], ..SerialFleetStatus::default() });
    });
    assert!(client.expect_end().is_empty());
    rig.wait_metric("serialfleet_port_clients_ended_total{port=\"zigbee\",reason=\"Moved\"}", 1.0);
}

#[test]
fn old_output_does_not_reach_the_device_after_a_replug() {
    let rig = Rig::new(ZIGBEE);
    let stick = rig.host.plug(stick("A1").mode(Mode::Silent)).unwrap();
    let mut client = rig.connect("zigbee");
    client.send(b"start");
    stick.wait_received(0, LIMIT, b"start").unwrap();
    stick.freeze().unwrap();
    client.send(&vec![b'x'; 50_000]);
    rig.wait_metric("serialfleet_port_bytes_total{port=\"zigbee\",direction=\"to_device\"}", 4_000.0);
    stick.unplug().unwrap();
    rig.wait_state("zigbee", PortState::Held);
    stick.thaw().unwrap();
    stick.plug().unwrap();
    rig.wait_state("zigbee", PortState::Serving);
    // What the client had already sent is the old half frame's rest: it went nowhere.
    rig.wait_metric("serialfleet_port_dropped_bytes_total{port=\"zigbee\",reason=\"to_device\"}", 1.0);
}
