//! Peers that do not mean well, and what they cost the others.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use serialfleet_bridge::tls::Limits;

use super::{
    TWO,
    certificates::{Mount, ca, issued},
    client::{Client, trusting},
    ended,
    rig::{LIMIT, stick},
    rig_with,
};

/// What a TLS record begins with: a handshake message of 512 bytes that never comes.
const PARTIAL: &[u8] = &[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3];

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, LIMIT).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream
}

/// Until the bridge has closed it.
fn wait_closed(mut stream: TcpStream) {
    loop {
        match stream.read(&mut [0; 64]) {
            Ok(1..) => {}
            Ok(0) => return,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return,
            Err(error) => panic!("the connection is not closed: {error}"),
        }
    }
}

#[test]
fn garbage_ends_whoever_sends_it_and_nobody_else() {
    let ca = ca();
    let mount = Mount::of(&issued(&ca));
    let rig = super::rig(&mount, TWO);
    let _stick_a = rig.host.plug(stick("A1")).unwrap();
    let _stick_b = rig.host.plug(stick("B2").usb_path("1-2")).unwrap();
    let mut client = Client::to(&rig, "zigbee", &trusting(&ca));
    let mut other = Client::to(&rig, "zwave", &trusting(&ca));
    client.echo(b"before");
    other.echo(b"before");
    let garbage: [&[u8]; 6] = [
        b"GET / HTTP/1.0\r\n\r\n",
        &[0; 100],
        &[0xff; 20_000],
        &[22, 3, 1, 0xff, 0xff, 1],
        &[22, 3, 1, 0, 4, 1, 0, 0, 0],
        &[21, 3, 3, 0, 2, 2, 40],
    ];
    for (round, bytes) in garbage.iter().enumerate() {
        let mut stream = connect(rig.address_of("zigbee"));
        // It may have been closed while this is being written.
        stream.write_all(bytes).ok();
        wait_closed(stream);
        rig.wait_metric(&ended("zigbee", "TlsFailed"), (round + 1) as f64);
    }
    // Garbage in the middle of a good connection: that one breaks, and no byte of it reaches the device.
    let before = rig.metric("serialfleet_port_bytes_total{port=\"zwave\",direction=\"to_device\"}");
    other.0.sock.write_all(&[0x55; 300]).unwrap();
    rig.wait_metric(&ended("zwave", "PeerLost"), 1.0);
    other.read_to_end().unwrap_err();
    assert_eq!(rig.metric("serialfleet_port_bytes_total{port=\"zwave\",direction=\"to_device\"}"), before);
    client.echo(b"after");
}

/// Time enough for good handshakes, however slow the machine: nobody runs out of it.
fn in_time() -> Limits {
    Limits { time: Duration::from_secs(600), ..Limits::default() }
}

#[test]
fn peers_that_say_nothing_are_few() {
    let ca = ca();
    let mount = Mount::of(&issued(&ca));
    let rig = rig_with(&mount, in_time(), TWO);
    let _stick_a = rig.host.plug(stick("A1")).unwrap();
    let _stick_b = rig.host.plug(stick("B2").usb_path("1-2")).unwrap();
    let address = rig.address_of("zigbee");
    let silent: Vec<TcpStream> = (0..in_time().per_port).map(|_| connect(address)).collect();
    // One more is one too many.
    wait_closed(connect(address));
    rig.wait_metric(&ended("zigbee", "TooMany"), 1.0);
    // The other port does not know of it.
    Client::to(&rig, "zwave", &trusting(&ca)).echo(b"unimpressed");
    drop(silent);
    rig.wait_metric(&ended("zigbee", "Probe"), in_time().per_port as f64);
    Client::to(&rig, "zigbee", &trusting(&ca)).echo(b"free again");
}

#[test]
fn peers_that_say_nothing_do_not_stay() {
    let ca = ca();
    let mount = Mount::of(&issued(&ca));
    let limits = Limits { time: Duration::from_millis(100), ..Limits::default() };
    let rig = rig_with(&mount, limits, TWO);
    let _stick = rig.host.plug(stick("A1")).unwrap();
    let address = rig.address_of("zigbee");
    // Each time all places are free again.
    for round in 1..=3 {
        let silent: Vec<TcpStream> = (0..limits.per_port).map(|_| connect(address)).collect();
        silent.into_iter().for_each(wait_closed);
        rig.wait_metric(&ended("zigbee", "TlsTimeout"), (round * limits.per_port) as f64);
    }
    assert_eq!(rig.metric(&ended("zigbee", "TooMany")), None);
}

/// Each byte is progress, the handshake is none.
#[test]
fn a_handshake_of_one_byte_at_a_time_runs_out_of_time() {
    let ca = ca();
    let mount = Mount::of(&issued(&ca));
    let limits = Limits { time: Duration::from_millis(300), ..Limits::default() };
    let rig = rig_with(&mount, limits, TWO);
    let _stick = rig.host.plug(stick("A1")).unwrap();
    let mut slow = connect(rig.address_of("zigbee"));
    slow.set_nodelay(true).unwrap();
    let header: &[u8] = &[22, 3, 1, 0x40, 0, 1, 0, 0x3f, 0xfc, 3, 3];
    for byte in header.iter().copied().chain(std::iter::repeat_n(7, 16_000)) {
        slow.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
        if slow.write_all(&[byte]).is_err() || slow.read(&mut [0]).is_ok() {
            break;
        }
    }
    rig.wait_metric(&ended("zigbee", "TlsTimeout"), 1.0);
}

#[test]
fn all_ports_together_have_a_limit_too() {
    let ca = ca();
    let mount = Mount::of(&issued(&ca));
    let rig = rig_with(&mount, Limits { at_once: 2, per_port: 4, ..in_time() }, TWO);
    let _stick_a = rig.host.plug(stick("A1")).unwrap();
    let _stick_b = rig.host.plug(stick("B2").usb_path("1-2")).unwrap();
    let silent = [connect(rig.address_of("zigbee")), connect(rig.address_of("zigbee"))];
    rig.wait_metric("serialfleet_port_connections_total{port=\"zigbee\"}", 2.0);
    wait_closed(connect(rig.address_of("zwave")));
    rig.wait_metric(&ended("zwave", "TooMany"), 1.0);
    drop(silent);
    rig.wait_metric(&ended("zigbee", "Probe"), 2.0);
    Client::to(&rig, "zwave", &trusting(&ca)).echo(b"free again");
}

#[test]
fn a_flood_of_handshakes_costs_the_others_nothing() {
    let ca = ca();
    let mount = Mount::of(&issued(&ca));
    let rig = rig_with(&mount, in_time(), TWO);
    let _stick_a = rig.host.plug(stick("A1")).unwrap();
    let _stick_b = rig.host.plug(stick("B2").usb_path("1-2")).unwrap();
    let mut there = Client::to(&rig, "zigbee", &trusting(&ca));
    there.echo(b"before");
    let address = rig.address_of("zigbee");
    let flood: Vec<TcpStream> = (0..300)
        .map(|_| {
            let mut stream = connect(address);
            stream.write_all(PARTIAL).ok();
            stream
        })
        .collect();
    there.echo(b"during");
    let mut other = Client::to(&rig, "zwave", &trusting(&ca));
    other.echo(b"during");
    drop(flood);
    there.echo(b"after");
    let count = |reason: &str| rig.metric(&ended("zigbee", reason)).unwrap_or(0.0);
    let turned_away = || ["TooMany", "TlsFailed"].map(count).iter().sum::<f64>();
    // Each is counted in the moment after it was closed.
    let start = std::time::Instant::now();
    while turned_away() < 300.0 && start.elapsed() < Duration::from_secs(10) {
        std::thread::yield_now();
    }
    assert_eq!(turned_away(), 300.0);
    assert_eq!(count("TakenOver"), 0.0);
    Client::to(&rig, "zigbee", &trusting(&ca)).echo(b"and a good one gets in");
}

/// Whatever is under way when the device goes away goes with it.
#[test]
fn an_unplug_ends_handshakes_under_way() {
    let ca = ca();
    let mount = Mount::of(&issued(&ca));
    let rig = super::rig(&mount, TWO);
    let stick = rig.host.plug(stick("A1")).unwrap();
    let address = rig.address_of("zigbee");
    let waiting = connect(address);
    rig.wait_metric("serialfleet_port_connections_total{port=\"zigbee\"}", 1.0);
    stick.unplug().unwrap();
    wait_closed(waiting);
    rig.wait_metric(&ended("zigbee", "Reconfigured"), 1.0);
}
