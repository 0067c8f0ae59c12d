//! What a port does when there is too much of something: connections, queued bytes, bytes that do not move.

use std::{
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use serialfleet_sim::{Host, Mode, Stick};
use socket2::{Domain, SockFilter, SockRef, Socket, Type};

use super::rig::{Client, LIMIT, Rig, stick};

fn device(name: &str, serial: &str, more: &str) -> String {
    format!("  - {{name: {name}, match: {{usb: '10c4:ea60', serialNumber: {serial}}}{more}}}\n")
}

fn ended(port: &str, reason: &str) -> String {
    format!("serialfleet_port_clients_ended_total{{port=\"{port}\",reason=\"{reason}\"}}")
}

#[test]
fn a_thousand_connections_at_once_do_the_served_client_no_harm() {
    for (policy, reason) in [("policy: Refuse", "Refused"), ("policy: Share, max: 1", "TooMany")] {
        let rig = Rig::new(&device("zigbee", "A1", &format!(", clients: {{{policy}}}")));
        let stick = rig.host.plug(stick("A1")).unwrap();
        let mut client = rig.connect("zigbee");
        client.echo(b"before");
        let address = rig.address_of("zigbee");
        let flood = thread::spawn(move || {
            let flood = (0..1000).map(|_| TcpStream::connect_timeout(&address, LIMIT).unwrap());
            flood.collect::<Vec<_>>()
        });
        while !flood.is_finished() {
            client.echo(b"meanwhile");
        }
        let flood = flood.join().unwrap();
        rig.wait_metric(&ended("zigbee", reason), 1000.0);
        client.echo(b"after");
        drop(flood);
        assert_eq!(rig.metric("serialfleet_port_clients{port=\"zigbee\"}"), Some(1.0));
        assert_eq!(stick.opens(0).unwrap(), 1);
    }
}

/// Under Takeover each of them has a claim, but only a few wait at a time, and health checks have none.
#[test]
fn a_thousand_health_checks_evict_nobody_and_the_silent_are_bounded() {
    let rig = Rig::new(&device("zigbee", "A1", ""));
    let _stick = rig.host.plug(stick("A1")).unwrap();
    let mut client = rig.connect("zigbee");
    client.echo(b"before");
    let address = rig.address_of("zigbee");
    for _ in 0..1000 {
        drop(TcpStream::connect_timeout(&address, LIMIT).unwrap());
    }
    client.echo(b"after");
    rig.wait_metric("serialfleet_port_connections_total{port=\"zigbee\"}", 1001.0);
    let turned_away =
        || ["Probe", "TooMany"].iter().filter_map(|reason| rig.metric(&ended("zigbee", reason))).sum::<f64>();
    while turned_away() < 1000.0 {
        client.echo(b"still here");
    }
    // Of those who stay and say nothing only some wait for their turn.
    let silent: Vec<_> = (0..200).map(|_| TcpStream::connect_timeout(&address, LIMIT).unwrap()).collect();
    rig.wait_metric("serialfleet_port_connections_total{port=\"zigbee\"}", 1201.0);
    rig.wait_metric(&ended("zigbee", "TooMany"), 1.0);
    // One of them has the port at last, until somebody with something to say comes.
    rig.wait_metric(&ended("zigbee", "TakenOver"), 1.0);
    drop(silent);
    rig.connect("zigbee").echo(b"served");
}

#[test]
fn above_the_ceiling_of_all_queues_the_fullest_client_is_ended_and_only_that() {
    let host = Host::new().unwrap();
    let both = device("deaf", "A1", ", port: 7001") + &device("other", "B2", ", port: 7002");
    let rig = Rig::with_ceiling(1000, host, &both);
    let deaf = rig.host.plug(stick("A1").mode(Mode::Silent)).unwrap();
    let _other = rig.host.plug(stick("B2").usb_path("1-2")).unwrap();
    let _deaf_client = rig.connect("deaf");
    let mut other_client = rig.connect("other");
    rig.wait("deaf", |view| view.clients.len() == 1);
    // The kernel's socket buffers take some megabytes first.
    for sent in 1.. {
        deaf.send(0, &[7; 64 * 1024]).unwrap();
        // Nothing that is left over is sent to whoever comes next, or keeps the device from listening.
        let total = sent * 64 * 1024;
        deaf.wait_for(LIMIT, |record| (record.ports[0].sent_bytes >= total).then_some(())).unwrap();
        other_client.echo(b"unharmed");
        if rig.metric(&ended("deaf", "Memory")).is_some() {
            break;
        }
    }
    assert_eq!(rig.metric(&ended("deaf", "SlowReader")), None, "long before its own queue was full");
    other_client.echo(b"unharmed");
    rig.wait("deaf", |view| view.clients.is_empty());
    let mut next = rig.connect("deaf");
    next.send(b"next");
    deaf.wait_received(0, LIMIT, b"next").unwrap();
}

#[test]
fn what_waits_for_the_device_counts_as_well() {
    let rig = Rig::with_ceiling(1000, Host::new().unwrap(), &device("zigbee", "A1", ""));
    let stick = rig.host.plug(stick("A1").mode(Mode::Silent)).unwrap();
    let mut client = rig.connect("zigbee");
    client.send(b"start");
    stick.wait_received(0, LIMIT, b"start").unwrap();
    stick.freeze().unwrap();
    client.send(&[b'x'; 60_000]);
    rig.wait_metric(&ended("zigbee", "Memory"), 1.0);
}

#[test]
fn output_that_does_not_move_is_a_warning_until_it_moves() {
    for (flow, word) in [("None", "takes no data"), ("RtsCts", "CTS"), ("XonXoff", "XOFF")] {
        let rig = Rig::new(&device("zigbee", "A1", &format!(", line: {{flowControl: {flow}}}")));
        let stick = rig.host.plug(stick("A1").mode(Mode::Silent)).unwrap();
        let mut client = rig.connect("zigbee");
        client.send(b"start");
        stick.wait_received(0, LIMIT, b"start").unwrap();
        stick.freeze().unwrap();
        client.send(&[b'x'; 60_000]);
        let stalled = |view: &serialfleet_bridge::supervisor::PortView| {
            view.warnings.iter().find(|warning| warning.reason == "OutputStalled").cloned()
        };
        let view = rig.wait("zigbee", |view| stalled(view).is_some());
        let message = stalled(&view).unwrap().message;
        assert!(message.contains(word) && message.contains("ttyUSB0"), "{message}");
        assert_eq!(view.state, serialfleet_api::node::PortState::Serving);
        stick.thaw().unwrap();
        rig.wait("zigbee", |view| stalled(view).is_none());
        stick.wait_for(LIMIT, |record| (record.ports[0].received_bytes == 60_005).then_some(())).unwrap();
    }
}

#[test]
fn with_block_a_client_that_does_not_read_is_waited_for() {
    let rig = Rig::new(&device("zigbee", "A1", ", clients: {slowReader: Block}"));
    let stick = rig.host.plug(stick("A1").mode(Mode::Silent)).unwrap();
    let mut client = rig.connect("zigbee");
    rig.wait("zigbee", |view| view.clients.len() == 1);
    // More than the kernel's socket buffers take.
    let total = 24 * 1024 * 1024;
    let sent: Vec<u8> = (0..=250).cycle().take(total).collect();
    stick.send(0, &sent).unwrap();
    // The device is not read any more: what it still has to send stays the same.
    let at_rest = |record: &serialfleet_sim::Record| {
        (record.ports[0].sent_bytes > 0 && record.ports[0].sent_bytes < total as u64).then_some(())
    };
    stick.wait_for(LIMIT, at_rest).unwrap();
    client.expect(&sent);
}

/// A bridge whose port waits for a client that reads nothing.
struct Blocked {
    rig: Rig,
    deaf: Client,
    _sticks: [Stick; 2],
}

fn blocked(more: &str) -> Blocked {
    let both = device("zigbee", "A1", &format!(", port: 7001, clients: {{slowReader: Block}}{more}"))
        + &device("other", "B2", ", port: 7002");
    let rig = Rig::new(&both);
    let zigbee = rig.host.plug(stick("A1").mode(Mode::Silent)).unwrap();
    let echo = rig.host.plug(stick("B2").usb_path("1-2")).unwrap();
    let deaf = rig.connect("zigbee");
    let mut other = rig.connect("other");
    rig.wait("zigbee", |view| view.clients.len() == 1);
    zigbee.send(0, &vec![7; 24 << 20]).unwrap();
    // It stands still because it waits, not because the machine is slow: there is something to read, and while bytes of
    // another device go through the same thread, again and again, it is not read.
    let (mut last, mut still) = (0.0, 0);
    while still < 20 {
        let waits = zigbee.unread(0).unwrap() >= READABLE;
        other.echo(b"goes on");
        let read = rig.metric(FROM_DEVICE).unwrap_or_default();
        still = if waits && read == last { still + 1 } else { 0 };
        last = read;
    }
    assert!(last < f64::from(24 << 20), "nobody was waited for");
    Blocked { rig, deaf, _sticks: [zigbee, echo] }
}

/// Less than a tty's queue, which is full when it is not read.
const READABLE: u64 = 2048;
const FROM_DEVICE: &str = "serialfleet_port_bytes_total{port=\"zigbee\",direction=\"from_device\"}";
const NOBODYS: &str = "serialfleet_port_dropped_bytes_total{port=\"zigbee\",reason=\"no_client\"}";

#[test]
fn what_a_client_left_unread_is_nobodys_once_it_is_gone() {
    let Blocked { rig, deaf, _sticks } = blocked("");
    // With bytes unread this is a reset.
    drop(deaf);
    rig.wait_metric(&ended("zigbee", "PeerLost"), 1.0);
    rig.wait_metric(NOBODYS, 1024.0);
}

#[test]
fn what_a_client_left_unread_is_not_the_newcomers() {
    let Blocked { rig, deaf: _deaf, _sticks } = blocked("");
    assert_eq!(rig.metric(NOBODYS).unwrap_or_default(), 0.0);
    let mut newcomer = rig.connect("zigbee");
    newcomer.send(b"mine");
    rig.wait_metric(&ended("zigbee", "TakenOver"), 1.0);
    rig.wait_metric(NOBODYS, 1024.0);
}

const IMPATIENT: &str = ", keepalive: {idleSeconds: 1, userTimeoutSeconds: 2}";
const USER_TIMEOUT: Duration = Duration::from_secs(2);

#[test]
fn with_block_a_client_that_does_not_read_is_kept_although_the_kernel_holds_all_that_it_is_owed() {
    let rig = Rig::new(&device("zigbee", "A1", &format!(", clients: {{slowReader: Block}}{IMPATIENT}")));
    let stick = rig.host.plug(stick("A1").mode(Mode::Silent)).unwrap();
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    // Soon its window is closed, long before the bridge's own queue has anything.
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect_timeout(&rig.address_of("zigbee").into(), LIMIT).unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    let mut client = Client(socket.into());
    rig.wait("zigbee", |view| view.clients.len() == 1);
    let sent: Vec<u8> = (0..=250).cycle().take(48 * 1024).collect();
    stick.send(0, &sent).unwrap();
    rig.wait_metric(FROM_DEVICE, 48.0 * 1024.0);
    // That nothing happens has no event.
    thread::sleep(4 * USER_TIMEOUT);
    client.expect(&sent);
    stick.send(0, b"more").unwrap();
    client.expect(b"more");
}

/// Its window opens now and then, for so short a time that a look need not see it.
#[test]
fn with_block_a_peer_that_vanished_after_it_had_read_slowly_is_ended_as_soon() {
    let Blocked { rig, mut deaf, _sticks } = blocked(IMPATIENT);
    let slow = 10 * USER_TIMEOUT;
    let start = Instant::now();
    while start.elapsed() < slow {
        deaf.expect(&[7; 4096]);
        thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(rig.metric(&ended("zigbee", "PeerLost")), None);
    SockRef::from(&deaf.0).attach_filter(&[SockFilter::new(6, 0, 0, 0)]).unwrap();
    let start = Instant::now();
    while rig.metric(&ended("zigbee", "PeerLost")).is_none() {
        assert!(start.elapsed() < slow, "kept for as long as it had been slow");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn with_block_a_peer_that_vanished_while_it_did_not_read_is_ended() {
    let Blocked { rig, deaf, _sticks } = blocked(IMPATIENT);
    thread::sleep(2 * USER_TIMEOUT);
    assert_eq!(rig.metric(&ended("zigbee", "PeerLost")), None);
    // From now on its kernel answers nothing: every segment is dropped (BPF_RET 0).
    let nothing = SockFilter::new(6, 0, 0, 0);
    SockRef::from(&deaf.0).attach_filter(&[nothing]).unwrap();
    rig.wait_metric(&ended("zigbee", "PeerLost"), 1.0);
}
