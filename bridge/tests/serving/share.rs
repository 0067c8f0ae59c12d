//! Several clients on one device: who gets what, and whose bytes reach it.

use std::{
    io::{Read, Write},
    net::Shutdown,
    thread,
    time::Instant,
};

use serialfleet_sim::{Mode, Stick};

use super::rig::{Client, LIMIT, Rig, stick};

fn shared(more: &str) -> String {
    format!(
        "  - {{name: meter, match: {{usb: '10c4:ea60', serialNumber: A1}}, clients: {{policy: Share{more}}}}}\n"
    )
}

/// So many clients, in this order, all of them let in.
fn connect<const N: usize>(rig: &Rig) -> [Client; N] {
    std::array::from_fn(|at| {
        let client = rig.connect("meter");
        rig.wait("meter", |view| view.clients.len() == at + 1);
        client
    })
}

fn dropped(reason: &str) -> String {
    format!("serialfleet_port_dropped_bytes_total{{port=\"meter\",reason=\"{reason}\"}}")
}

fn ended(reason: &str) -> String {
    format!("serialfleet_port_clients_ended_total{{port=\"meter\",reason=\"{reason}\"}}")
}

fn received(stick: &Stick) -> Vec<u8> {
    stick.record().unwrap().ports[0].received.clone()
}

#[test]
fn everybody_gets_every_byte_and_all_may_write() {
    let rig = Rig::new(&shared(""));
    let _stick = rig.host.plug(stick("A1")).unwrap();
    let mut clients = connect::<3>(&rig);
    for writer in 0..3 {
        let text = format!("from number {writer}");
        clients[writer].send(text.as_bytes());
        clients.iter_mut().for_each(|client| client.expect(text.as_bytes()));
    }
}

#[test]
fn who_never_reads_is_ended_and_the_others_miss_nothing() {
    let rig = Rig::new(&shared(""));
    let stick = rig.host.plug(stick("A1").mode(Mode::Silent)).unwrap();
    let [_deaf, mut one, mut other] = connect(&rig);
    let sent: Vec<u8> = (0..6_000_000_u32).flat_map(u32::to_le_bytes).take(24_000_000).collect();
    let expected = sent.clone();
    let read_by_other = thread::spawn(move || other.expect(&expected));
    let expected = sent.clone();
    let read_by_one = thread::spawn(move || one.expect(&expected));
    // Neither of those who read is ever so far behind as to be taken for deaf: the device waits for both.
    let from_device = "serialfleet_port_bytes_total{port=\"meter\",direction=\"from_device\"}";
    for (at, chunk) in sent.chunks(64 * 1024).enumerate() {
        stick.send(0, chunk).unwrap();
        rig.wait_metric(from_device, (at * 64 * 1024) as f64);
    }
    read_by_one.join().unwrap();
    read_by_other.join().unwrap();
    rig.wait_metric(&ended("SlowReader"), 1.0);
    assert_eq!(rig.metric(&ended("SlowReader")), Some(1.0));
    assert_eq!(rig.wait("meter", |view| view.clients.len() <= 2).clients.len(), 2);
}

#[test]
fn who_sends_without_a_pause_keeps_nobody_else_from_writing() {
    let rig = Rig::new(&shared(""));
    let _stick = rig.host.plug(stick("A1")).unwrap();
    let [one, two, three, four, mut quiet] = connect(&rig);
    let floods = [one, two, three, four].map(|client| {
        let (mut writer, mut reader) = (client.0.try_clone().unwrap(), client.0.try_clone().unwrap());
        let flood = thread::spawn(move || while writer.write_all(&[b'x'; 1 << 20]).is_ok() {});
        let sink = thread::spawn(move || while reader.read(&mut [0; 65536]).is_ok_and(|read| read > 0) {});
        (client, flood, sink)
    });
    let mut heard = vec![0; 65536];
    for round in 0..50_u8 {
        // The flood is under way, and never ends.
        quiet.0.read_exact(&mut heard).unwrap();
        quiet.send(&[round]);
        let start = Instant::now();
        while {
            let read = quiet.0.read(&mut heard).unwrap();
            !heard[..read].contains(&round)
        } {
            assert!(start.elapsed() < LIMIT, "round {round} is not heard");
        }
    }
    for (client, flood, sink) in floods {
        client.0.shutdown(Shutdown::Both).unwrap();
        flood.join().unwrap();
        sink.join().unwrap();
    }
}

#[test]
fn with_first_only_the_longest_connected_writes_and_the_role_passes_on() {
    let rig = Rig::new(&shared(", writers: First"));
    let stick = rig.host.plug(stick("A1").mode(Mode::Silent)).unwrap();
    let [mut first, mut second, mut third] = connect(&rig);
    second.send(b"not this");
    third.send(b"nor that");
    rig.wait_metric(&dropped("not_a_writer"), 16.0);
    first.send(b"this");
    stick.wait_received(0, LIMIT, b"this").unwrap();
    assert_eq!(received(&stick), b"this");
    stick.send(0, b"answer").unwrap();
    for client in [&mut first, &mut second, &mut third] {
        client.expect(b"answer");
    }
    drop(first);
    // FIN is read before what comes after it.
    rig.wait_metric(&dropped("not_a_writer"), 16.0);
    while !received(&stick).ends_with(b"!") {
        second.send(b"!");
    }
    drop(second);
    while !received(&stick).ends_with(b"?") {
        third.send(b"?");
    }
}

#[test]
fn with_none_nobody_writes_whatever_the_policy() {
    for policy in ["Share", "Takeover", "Refuse"] {
        let rig = Rig::new(&shared(", writers: None").replace("Share", policy));
        let stick = rig.host.plug(stick("A1").mode(Mode::Silent)).unwrap();
        let [mut client] = connect(&rig);
        client.send(b"please");
        rig.wait_metric(&dropped("not_a_writer"), 6.0);
        stick.send(0, b"telegram").unwrap();
        client.expect(b"telegram");
        assert_eq!(received(&stick), b"", "{policy}");
    }
}

/// Whose bytes go nowhere need not wait until those of others have gone somewhere.
#[test]
fn who_may_not_write_is_read_although_the_device_takes_nothing() {
    let rig = Rig::new(&shared(", writers: First"));
    let stick = rig.host.plug(stick("A1").mode(Mode::Silent)).unwrap();
    let [mut first, mut second] = connect(&rig);
    first.send(b"start");
    stick.wait_received(0, LIMIT, b"start").unwrap();
    stick.freeze().unwrap();
    first.send(&[b'x'; 60_000]);
    rig.wait_metric("serialfleet_port_bytes_total{port=\"meter\",direction=\"to_device\"}", 4_000.0);
    second.send(&[b'y'; 100_000]);
    rig.wait_metric(&dropped("not_a_writer"), 100_000.0);
    drop(second);
    rig.wait("meter", |view| view.clients.len() == 2);
}

#[test]
fn above_max_a_newcomer_is_closed_until_somebody_leaves() {
    let rig = Rig::new(&shared(", max: 2"));
    let stick = rig.host.plug(stick("A1")).unwrap();
    let [mut one, mut other] = connect(&rig);
    let mut third = rig.connect("meter");
    assert!(third.expect_end().is_empty());
    rig.wait_metric(&ended("TooMany"), 1.0);
    socket2::SockRef::from(&other.0).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    other.send(b"bye");
    one.expect(b"bye");
    drop(other);
    rig.wait("meter", |view| view.clients.len() == 1);
    let mut fourth = rig.connect("meter");
    fourth.echo(b"room again");
    one.expect(b"room again");
    assert_eq!(stick.opens(0).unwrap(), 1);
}

/// A client that closes sends the same FIN as one that only stops writing.
#[test]
fn at_max_whoever_comes_while_somebody_leaves_waits_for_the_place() {
    let rig = Rig::new(&shared(", max: 2"));
    let _stick = rig.host.plug(stick("A1")).unwrap();
    let [mut one, leaving] = connect(&rig);
    leaving.0.shutdown(Shutdown::Write).unwrap();
    let mut next = rig.connect("meter");
    next.send(b"next");
    next.expect(b"next");
    one.expect(b"next");
    drop(leaving);
}

#[test]
fn an_edit_of_max_closes_the_newest_and_other_edits_nobody() {
    let rig = Rig::new(&shared(", max: 4"));
    let stick = rig.host.plug(stick("A1").mode(Mode::Silent)).unwrap();
    let [mut one, mut two, mut three, mut four] = connect(&rig);
    rig.edit(&shared(", max: 2"));
    assert!(four.expect_end().is_empty());
    assert!(three.expect_end().is_empty());
    rig.wait_metric(&ended("TooMany"), 2.0);
    rig.edit(&shared(", max: 2, writers: First"));
    two.send(b"y");
    while rig.metric(&dropped("not_a_writer")).is_none_or(|bytes| bytes < 1.0) {
        two.send(b"y");
    }
    one.send(b"one");
    stick.wait_received(0, LIMIT, b"one").unwrap();
    // Both stay, also where only one would be let in.
    rig.edit(&shared("").replace("Share", "Refuse"));
    stick.send(0, b"to both").unwrap();
    one.expect(b"to both");
    two.expect(b"to both");
    while !received(&stick).ends_with(b"two") {
        two.send(b"two");
    }
    rig.edit(&shared("}, line: {baudRate: 9600").replace("Share", "Takeover"));
    // Told to the port before the line was set.
    rig.wait("meter", |view| view.baud_rate == Some(9600));
    let mut last = rig.connect("meter");
    last.send(b"mine");
    assert!(one.expect_end().is_empty());
    assert!(two.expect_end().is_empty());
    stick.wait_received(0, LIMIT, b"mine").unwrap();
    assert_eq!(stick.opens(0).unwrap(), 1);
}
