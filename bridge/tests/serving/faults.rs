//! Ttys that cannot be served: a state each, never an exit.

use std::{fs, os::unix::fs::symlink};

use rustix::fs::FlockOperation;
use serialfleet_api::node::PortState;
use serialfleet_sim::{Host, Scene, StickSpec};

use super::rig::{LIMIT, Rig, own_address, stick};

const ZIGBEE: &str = "  - {name: zigbee, match: {usb: '10c4:ea60'}}\n";

#[test]
fn what_another_program_has_locked_is_busy_until_it_lets_go() {
    let host = Host::new().unwrap();
    let stick = host.plug(stick("A1")).unwrap();
    let node = stick.node(0).unwrap();
    let holder = fs::File::open(&node).unwrap();
    rustix::fs::flock(&holder, FlockOperation::LockExclusive).unwrap();
    let rig = Rig::on(host, ZIGBEE);
    let view = rig.wait_state("zigbee", PortState::Busy);
    assert!(view.message.contains("ttyUSB0"), "{}", view.message);
    drop(holder);
    rig.connect("zigbee").echo(b"free");
}

/// tokio-serial opens for exclusive use, as serial programs do: two never share a line.
#[test]
fn while_it_is_served_other_programs_are_kept_out() {
    let rig = Rig::new(ZIGBEE);
    let stick = rig.host.plug(stick("A1")).unwrap();
    rig.connect("zigbee").echo(b"ours");
    let path = stick.node(0).unwrap();
    let opened = tokio_serial::new(path.to_str().unwrap(), 115_200).open();
    assert!(opened.is_err(), "the lock holds");
    rig.connect("zigbee").echo(b"still ours");
}

#[test]
fn a_node_of_another_device_is_not_opened() {
    let host = Host::new().unwrap();
    let first = host.plug(stick("A1")).unwrap();
    let _second = host.plug(StickSpec::new(Scene::Ftdi).usb_path("1-2")).unwrap();
    // ttyUSB0's node leads to the other stick.
    let node = first.node(0).unwrap();
    let other = fs::read_link(host.dev_root().join("ttyUSB1")).unwrap();
    fs::remove_file(&node).unwrap();
    symlink(other, &node).unwrap();
    let rig = Rig::on(host, ZIGBEE);
    let view = rig.wait_state("zigbee", PortState::Failed);
    assert!(view.message.contains("another device"), "{}", view.message);
}

#[test]
fn a_missing_node_says_what_to_mount() {
    let host = Host::new().unwrap();
    let stick = host.plug(stick("A1")).unwrap();
    fs::remove_file(stick.node(0).unwrap()).unwrap();
    let rig = Rig::on(host, ZIGBEE);
    let view = rig.wait_state("zigbee", PortState::Failed);
    assert_eq!(view.reason, "NoDeviceNode");
    assert!(view.message.contains("/dev"), "{}", view.message);
}

#[test]
fn two_sticks_that_match_are_ambiguous_until_one_leaves() {
    let host = Host::new().unwrap();
    let first = host.plug(stick("A1")).unwrap();
    let _second = host.plug(stick("B2").usb_path("1-2")).unwrap();
    let rig = Rig::on(host, ZIGBEE);
    let view = rig.wait_state("zigbee", PortState::Ambiguous);
    assert!(view.message.contains("ttyUSB0") && view.message.contains("ttyUSB1"), "{}", view.message);
    assert_eq!(first.opens(0).unwrap(), 0, "neither is opened");
    first.unplug().unwrap();
    rig.connect("zigbee").echo(b"the one left");
}

#[test]
fn a_second_candidate_only_warns_while_the_first_is_open() {
    let rig = Rig::new(ZIGBEE);
    let _first = rig.host.plug(stick("A1")).unwrap();
    let mut client = rig.connect("zigbee");
    client.echo(b"before");
    let _second = rig.host.plug(stick("B2").usb_path("1-2")).unwrap();
    let view = rig.wait("zigbee", |view| view.warnings.iter().any(|warning| warning.reason == "Ambiguous"));
    assert_eq!(view.state, PortState::Serving);
    client.echo(b"after");
}

#[test]
fn an_address_that_is_taken_is_a_state_and_tried_again() {
    let taken = std::net::TcpListener::bind((own_address(), 0)).unwrap();
    let host = Host::new().unwrap();
    let _stick = host.plug(stick("A1")).unwrap();
    let rig = Rig::on(host, ZIGBEE);
    let address = rig.address_of("zigbee");
    // Move the device's port to one that somebody else has on the same address.
    let blocker = std::net::TcpListener::bind((address.ip(), 0)).unwrap();
    drop(taken);
    let port = blocker.local_addr().unwrap().port();
    rig.edit(&format!("  - {{name: zigbee, match: {{usb: '10c4:ea60'}}, port: {port}}}\n"));
    let view = rig.wait("zigbee", |view| view.reason == "ListenFailed");
    assert!(view.message.contains(&port.to_string()), "{}", view.message);
    drop(blocker);
    rig.connect("zigbee").echo(b"free now");
}

#[test]
fn sixty_four_ports_are_served_by_one_data_thread() {
    // Four ports a stick: every simulated stick takes one of the 128 inotify instances that the kernel gives a user.
    let devices: String = (0..64)
        .map(|n| {
            let (stick, interface, port) = (n / 4, n % 4, 7000 + n);
            format!(
                "  - {{name: port-{n}, match: {{usb: '0403:6011', serialNumber: S{stick}x, interfaceNumber: {interface}}}, port: {port}}}\n"
            )
        })
        .collect();
    let rig = Rig::new(&devices);
    let sticks: Vec<_> = (0..16)
        .map(|n| {
            let spec = StickSpec::new(Scene::Ftdi4).serial_number(format!("S{n}x").as_str());
            rig.host.plug(spec.usb_path(&format!("1-{}.{}", n / 8 + 1, n % 8 + 1))).unwrap()
        })
        .collect();
    let mut clients: Vec<_> = (0..64).map(|n| rig.connect(&format!("port-{n}"))).collect();
    for (client, byte) in clients.iter_mut().zip(0..) {
        client.echo(&[byte; 100]);
    }
    for stick in &sticks {
        stick.unplug().unwrap();
        stick.wait_released(LIMIT).unwrap();
    }
}
