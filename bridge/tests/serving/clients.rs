//! Who is served, and what it costs the others.

use std::{
    io::{ErrorKind, Read, Write},
    net::Shutdown,
    time::{Duration, Instant},
};

use serialfleet_sim::Mode;

use super::rig::{Client, LIMIT, Rig, stick};

const ZIGBEE: &str = "  - {name: zigbee, match: {serialNumber: A1, usb: '10c4:ea60'}}\n";

fn zigbee(more: &str) -> String {
    format!("  - {{name: zigbee, match: {{serialNumber: A1, usb: '10c4:ea60'}}, {more}}}\n")
}

#[test]
fn bytes_go_both_ways() {
    let rig = Rig::new(ZIGBEE);
    let stick = rig.host.plug(stick("A1")).unwrap();
    let mut client = rig.connect("zigbee");
    let all: Vec<u8> = (0..=255).collect();
    client.echo(&all);
    stick.send(0, b"by itself").unwrap();
    client.expect(b"by itself");
}

#[test]
fn large_transfers_arrive_whole() {
    let rig = Rig::new(&zigbee("clients: {slowReader: Block}"));
    let _stick = rig.host.plug(stick("A1")).unwrap();
    let mut client = rig.connect("zigbee");
    let sent: Vec<u8> = (0..2_000_000_u32).flat_map(u32::to_le_bytes).take(2_000_000).collect();
    let mut writer = client.0.try_clone().unwrap();
    let to_send = sent.clone();
    let writing = std::thread::spawn(move || writer.write_all(&to_send).unwrap());
    client.expect(&sent);
    writing.join().unwrap();
}

#[test]
fn a_client_sees_nothing_from_before_it_connected() {
    let rig = Rig::new(ZIGBEE);
    let stick = rig.host.plug(stick("A1")).unwrap();
    let address = rig.address_of("zigbee");
    stick.send(0, b"nobody listens").unwrap();
    rig.wait_metric("serialfleet_port_dropped_bytes_total{port=\"zigbee\",reason=\"no_client\"}", 14.0);
    let mut client = Client::to(address);
    rig.wait("zigbee", |view| !view.clients.is_empty());
    stick.send(0, b"now").unwrap();
    client.expect(b"now");
}

#[test]
fn a_newcomer_takes_over_at_its_first_byte() {
    let rig = Rig::new(ZIGBEE);
    let _stick = rig.host.plug(stick("A1")).unwrap();
    let mut first = rig.connect("zigbee");
    first.echo(b"first");
    let mut second = rig.connect("zigbee");
    second.echo(b"second");
    assert!(first.expect_end().is_empty());
    second.echo(b"still here");
    assert_eq!(rig.wait("zigbee", |view| view.clients.len() == 1).clients[0].peer, second.peer());
}

#[test]
fn a_silent_newcomer_takes_over_after_a_while() {
    let rig = Rig::new(ZIGBEE);
    let stick = rig.host.plug(stick("A1")).unwrap();
    let mut first = rig.connect("zigbee");
    first.echo(b"first");
    let mut second = rig.connect("zigbee");
    assert!(first.expect_end().is_empty());
    rig.wait("zigbee", |view| view.clients.iter().any(|client| client.peer == second.peer()));
    stick.send(0, b"for the second").unwrap();
    second.expect(b"for the second");
}

#[test]
fn health_checks_evict_nobody() {
    let rig = Rig::new(ZIGBEE);
    let _stick = rig.host.plug(stick("A1")).unwrap();
    let mut client = rig.connect("zigbee");
    client.echo(b"before");
    for _ in 0..5 {
        drop(rig.connect("zigbee"));
    }
    rig.wait_metric("serialfleet_port_clients_ended_total{port=\"zigbee\",reason=\"Probe\"}", 5.0);
    client.echo(b"after");
}

#[test]
fn under_refuse_the_newcomer_is_closed() {
    let rig = Rig::new(&zigbee("clients: {policy: Refuse}"));
    let _stick = rig.host.plug(stick("A1")).unwrap();
    let mut first = rig.connect("zigbee");
    first.echo(b"first");
    let mut second = rig.connect("zigbee");
    assert!(second.expect_end().is_empty());
    first.echo(b"still first");
    rig.wait_metric("serialfleet_port_clients_ended_total{port=\"zigbee\",reason=\"Refused\"}", 1.0);
}

/// A client that closes sends the same FIN as one that only stops writing.
#[test]
fn under_refuse_whoever_comes_after_a_client_that_left_is_served() {
    let rig = Rig::new(&zigbee("clients: {policy: Refuse}"));
    let _stick = rig.host.plug(stick("A1")).unwrap();
    let mut first = rig.connect("zigbee");
    first.echo(b"first");
    first.0.shutdown(Shutdown::Write).unwrap();
    rig.wait_metric("serialfleet_port_connections_total{port=\"zigbee\"}", 1.0);
    let mut second = rig.connect("zigbee");
    second.echo(b"second");
    assert!(first.expect_end().is_empty());
}

/// A script that connects for each question, and a client that still waits for its answer.
#[test]
fn under_refuse_an_answered_client_that_left_is_waited_for_no_longer_than_it_takes() {
    let rig = Rig::new(&zigbee("clients: {policy: Refuse}"));
    let stick = rig.host.plug(stick("A1")).unwrap();
    let start = Instant::now();
    for question in 0..4_u8 {
        rig.connect("zigbee").echo(&[question]);
    }
    // Three times the five seconds that an unanswered one is kept would be more.
    assert!(start.elapsed() < LIMIT, "{:?}", start.elapsed());
    stick.set_mode(Mode::Silent).unwrap();
    let mut asking = rig.connect("zigbee");
    asking.send(b"question");
    asking.0.shutdown(Shutdown::Write).unwrap();
    stick.wait_received(0, LIMIT, b"question").unwrap();
    let _waiting = rig.connect("zigbee");
    // That nobody takes its place has no event.
    std::thread::sleep(Duration::from_secs(2));
    stick.send(0, b"answer").unwrap();
    asking.expect(b"answer");
    assert!(asking.expect_end().is_empty());
}

#[test]
fn a_health_check_costs_a_half_closed_client_nothing() {
    for policy in ["Takeover", "Refuse"] {
        let rig = Rig::new(&zigbee(&format!("clients: {{policy: {policy}}}")));
        let stick = rig.host.plug(stick("A1").mode(Mode::Silent)).unwrap();
        let mut client = rig.connect("zigbee");
        client.send(b"question");
        client.0.shutdown(Shutdown::Write).unwrap();
        stick.wait_received(0, LIMIT, b"question").unwrap();
        stick.send(0, b"echo").unwrap();
        client.expect(b"echo");
        // Longer than it would be kept if somebody had waited for its place all the time.
        std::thread::sleep(Duration::from_secs(2));
        drop(rig.connect("zigbee"));
        rig.wait_metric("serialfleet_port_clients_ended_total{port=\"zigbee\",reason=\"Probe\"}", 1.0);
        stick.send(0, b"answer").unwrap();
        client.expect(b"answer");
    }
}

#[test]
fn a_half_closed_client_gets_its_reply() {
    let rig = Rig::new(ZIGBEE);
    let stick = rig.host.plug(stick("A1").mode(Mode::Silent)).unwrap();
    let mut client = rig.connect("zigbee");
    client.send(b"question");
    client.0.shutdown(Shutdown::Write).unwrap();
    stick.wait_received(0, LIMIT, b"question").unwrap();
    stick.send(0, b"answer").unwrap();
    client.expect(b"answer");
    assert!(client.expect_end().is_empty(), "closed after five seconds without bytes");
}

#[test]
fn clients_come_and_go_and_the_tty_is_opened_once() {
    let rig = Rig::new(ZIGBEE);
    let stick = rig.host.plug(stick("A1")).unwrap();
    for round in 0..100_u8 {
        rig.connect("zigbee").echo(&[round]);
    }
    assert_eq!(stick.opens(0).unwrap(), 1);
    assert!(!stick.line(0).unwrap().hupcl);
}

#[test]
fn a_client_that_does_not_read_is_ended_and_costs_the_next_one_nothing() {
    let rig = Rig::new(ZIGBEE);
    let stick = rig.host.plug(stick("A1").mode(Mode::Silent)).unwrap();
    let _deaf = rig.connect("zigbee");
    rig.wait("zigbee", |view| view.clients.len() == 1);
    let ended = "serialfleet_port_clients_ended_total{port=\"zigbee\",reason=\"SlowReader\"}";
    let chunk = vec![7; 64 * 1024];
    // The kernel's socket buffers take some megabytes first.
    for sent in 1..=1024 {
        stick.send(0, &chunk).unwrap();
        // Nothing that is left over is sent to whoever comes next.
        let total = sent * 64 * 1024;
        stick.wait_for(LIMIT, |record| (record.ports[0].sent_bytes >= total).then_some(())).unwrap();
        if rig.metric(ended).is_some_and(|count| count >= 1.0) {
            break;
        }
    }
    rig.wait_metric(ended, 1.0);
    rig.wait("zigbee", |view| view.clients.is_empty());
    let mut next = rig.connect("zigbee");
    rig.wait("zigbee", |view| view.clients.len() == 1);
    next.send(b"x");
    stick.wait_received(0, LIMIT, b"x").unwrap();
}

#[test]
fn an_idle_client_is_ended() {
    let rig = Rig::new(&zigbee("clients: {idleTimeoutSeconds: 1}"));
    let _stick = rig.host.plug(stick("A1")).unwrap();
    let mut client = rig.connect("zigbee");
    client.echo(b"a byte");
    assert!(client.expect_end().is_empty());
    rig.wait_metric("serialfleet_port_clients_ended_total{port=\"zigbee\",reason=\"Idle\"}", 1.0);
}

#[test]
fn who_is_outside_of_allow_from_is_closed() {
    let rig = Rig::new(&zigbee("clients: {allowFrom: [{cidr: 10.0.0.0/8}]}"));
    let stick = rig.host.plug(stick("A1")).unwrap();
    let mut client = rig.connect("zigbee");
    assert!(client.expect_end().is_empty());
    rig.wait_metric("serialfleet_port_clients_ended_total{port=\"zigbee\",reason=\"NotAllowed\"}", 1.0);
    assert_eq!(stick.record().unwrap().ports[0].received_bytes, 0);
}

#[test]
fn at_the_end_what_was_read_is_delivered_before_fin() {
    let mut rig = Rig::new(ZIGBEE);
    let stick = rig.host.plug(stick("A1").mode(Mode::Silent)).unwrap();
    let mut client = rig.connect("zigbee");
    rig.wait("zigbee", |view| view.clients.len() == 1);
    let last = vec![9; 100_000];
    stick.send(0, &last).unwrap();
    rig.wait_metric("serialfleet_port_bytes_total{port=\"zigbee\",direction=\"from_device\"}", 100_000.0);
    rig.stop();
    assert_eq!(client.expect_end(), last);
    assert!(!*rig.outlook.ready.borrow());
    stick.wait_closed(0, Duration::from_secs(5)).unwrap();
}

#[test]
fn at_the_end_nothing_is_lost_although_the_client_goes_on_sending() {
    let mut rig = Rig::new(ZIGBEE);
    let stick = rig.host.plug(stick("A1").mode(Mode::Silent)).unwrap();
    let mut client = rig.connect("zigbee");
    client.send(b"start");
    stick.wait_received(0, LIMIT, b"start").unwrap();
    let last = vec![9; 1_000_000];
    stick.send(0, &last).unwrap();
    rig.wait_metric("serialfleet_port_bytes_total{port=\"zigbee\",direction=\"from_device\"}", 1_000_000.0);
    // The device takes nothing any more: what the client sends stays unread.
    stick.freeze().unwrap();
    client.send(&vec![b'x'; 300_000]);
    rig.wait_metric("serialfleet_port_bytes_total{port=\"zigbee\",direction=\"to_device\"}", 4_000.0);
    let reading = std::thread::spawn(move || client.expect_end());
    rig.stop();
    assert_eq!(reading.join().unwrap().len(), last.len());
}

#[test]
fn only_the_first_of_those_who_waited_for_a_leave_is_served_under_refuse() {
    let rig = Rig::new(&zigbee("clients: {policy: Refuse}"));
    let _stick = rig.host.plug(stick("A1")).unwrap();
    let mut first = rig.connect("zigbee");
    first.echo(b"first");
    first.0.shutdown(Shutdown::Write).unwrap();
    let mut second = rig.connect("zigbee");
    let mut third = rig.connect("zigbee");
    second.echo(b"second");
    assert!(third.expect_end().is_empty());
}

/// Who only reads sends FIN at once, as `nc -N` does, and while the device sends it never leaves.
#[test]
fn under_refuse_nobody_waits_for_long_for_a_half_closed_client_that_still_gets_bytes() {
    let rig = Rig::new(&zigbee("clients: {policy: Refuse}"));
    let stick = rig.host.plug(stick("A1").mode(Mode::Silent)).unwrap();
    let mut first = rig.connect("zigbee");
    first.send(b"start");
    stick.wait_received(0, LIMIT, b"start").unwrap();
    first.0.shutdown(Shutdown::Write).unwrap();
    let mut second = rig.connect("zigbee");
    second.0.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let start = Instant::now();
    // Neither bytes nor the end: it waits.
    while second.0.read(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock) {
        assert!(start.elapsed() < LIMIT, "it waits for as long as the device sends");
        stick.send(0, b".").unwrap();
        first.expect(b".");
    }
    rig.wait_metric("serialfleet_port_clients_ended_total{port=\"zigbee\",reason=\"Refused\"}", 1.0);
    stick.send(0, b"goes on").unwrap();
    first.expect(b"goes on");
}

#[test]
fn who_waits_is_judged_by_the_allow_list_of_the_day() {
    let rig = Rig::new(&zigbee("clients: {policy: Refuse}"));
    let _stick = rig.host.plug(stick("A1")).unwrap();
    let mut first = rig.connect("zigbee");
    first.echo(b"first");
    first.0.shutdown(Shutdown::Write).unwrap();
    let mut second = rig.connect("zigbee");
    rig.wait_metric("serialfleet_port_connections_total{port=\"zigbee\"}", 2.0);
    rig.edit(&zigbee("clients: {policy: Refuse, allowFrom: [{cidr: 10.0.0.0/8}]}"));
    assert!(second.expect_end().is_empty());
}

#[test]
fn a_client_that_died_does_not_keep_a_stalled_port_under_refuse() {
    let rig = Rig::new(&zigbee("clients: {policy: Refuse}"));
    let stick = rig.host.plug(stick("A1").mode(Mode::Silent)).unwrap();
    let mut first = rig.connect("zigbee");
    first.send(b"start");
    stick.wait_received(0, LIMIT, b"start").unwrap();
    stick.freeze().unwrap();
    // More than the tty's queue; and less than the socket's: of one that is full the kernel may take no reset.
    first.send(&[b'x'; 30_000]);
    rig.wait_metric("serialfleet_port_bytes_total{port=\"zigbee\",direction=\"to_device\"}", 4_000.0);
    socket2::SockRef::from(&first.0).set_linger(Some(Duration::ZERO)).unwrap();
    drop(first);
    // Between two connections the kernel keeps no order: one that is judged before the reset has arrived is refused.
    let refused = "serialfleet_port_clients_ended_total{port=\"zigbee\",reason=\"Refused\"}";
    let start = Instant::now();
    while {
        let (second, before) = (rig.connect("zigbee"), rig.metric(refused));
        let served = || {
            let ports = rig.outlook.ports.borrow();
            ports.iter().flat_map(|view| &view.clients).any(|client| client.peer == second.peer())
        };
        while !served() && rig.metric(refused) == before {
            assert!(start.elapsed() < LIMIT, "nobody is let in");
            std::thread::yield_now();
        }
        !served()
    } {}
}

#[test]
fn of_two_newcomers_the_later_one_stays() {
    let rig = Rig::new(ZIGBEE);
    let _stick = rig.host.plug(stick("A1")).unwrap();
    let mut holder = rig.connect("zigbee");
    holder.echo(b"holder");
    let mut silent = rig.connect("zigbee");
    let mut latest = rig.connect("zigbee");
    latest.echo(b"latest");
    assert!(silent.expect_end().is_empty());
    latest.echo(b"still here");
}

#[test]
fn what_a_client_wrote_before_fin_reaches_the_device_although_another_takes_over() {
    let rig = Rig::new(ZIGBEE);
    let stick = rig.host.plug(stick("A1").mode(Mode::Silent)).unwrap();
    let mut first = rig.connect("zigbee");
    first.send(b"start");
    stick.wait_received(0, LIMIT, b"start").unwrap();
    stick.freeze().unwrap();
    // More than the tty's queue, less than that and one read.
    first.send(&[b'x'; 30_000]);
    first.0.shutdown(Shutdown::Write).unwrap();
    rig.wait_metric("serialfleet_port_bytes_total{port=\"zigbee\",direction=\"to_device\"}", 4_000.0);
    stick.thaw().unwrap();
    let mut second = rig.connect("zigbee");
    second.send(b"second");
    let received = |record: &serialfleet_sim::Record| {
        let port = &record.ports[0];
        (port.received_bytes >= 30_000 + 11).then_some(())
    };
    stick.wait_for(LIMIT, received).unwrap();
}
