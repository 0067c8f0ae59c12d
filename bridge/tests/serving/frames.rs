//! The frame gap: what the device sends in one go arrives in one go, and nothing is lost by waiting.

use std::{
    io::{ErrorKind, Read},
    time::{Duration, Instant},
};

use serialfleet_sim::Mode;

use super::rig::{Client, Rig, stick};

fn meter(more: &str) -> String {
    format!("  - {{name: meter, match: {{usb: '10c4:ea60', serialNumber: A1}}{more}}}\n")
}

const GAP: &str = ", frameGapMilliseconds: 1000";

/// Tries until once everything was done within the gap: when the machine stood still for longer, what was gathered has
/// rightly been delivered meanwhile, and that try shows nothing.
fn within_the_gap(attempt: impl Fn() -> Option<()>) {
    assert!((0..10).any(|_| attempt().is_some()), "never done before the silence was long enough");
}

fn in_time(since: Instant) -> Option<()> {
    (since.elapsed() < Duration::from_millis(900)).then_some(())
}

fn start(settings: &str) -> (Rig, serialfleet_sim::Stick, Client) {
    let rig = Rig::new(&meter(settings));
    let stick = rig.host.plug(stick("A1").mode(Mode::Silent)).unwrap();
    let client = rig.connect("meter");
    rig.wait("meter", |view| view.clients.len() == 1);
    (rig, stick, client)
}

fn wait_gathered(rig: &Rig, bytes: f64) {
    rig.wait_metric("serialfleet_port_bytes_total{port=\"meter\",direction=\"from_device\"}", bytes);
}

/// What one read(2) brings.
fn piece(client: &mut Client) -> Vec<u8> {
    let mut buffer = [0; 8192];
    let read = client.0.read(&mut buffer).unwrap();
    buffer[..read].to_vec()
}

fn nothing_is_there(client: &mut Client) -> bool {
    client.0.set_nonblocking(true).unwrap();
    let read = client.0.read(&mut [0]);
    client.0.set_nonblocking(false).unwrap();
    read.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

#[test]
fn pieces_of_a_frame_arrive_together_after_the_silence() {
    within_the_gap(|| {
        let (rig, stick, mut client) = start(GAP);
        let first = Instant::now();
        stick.send(0, b"ab").unwrap();
        wait_gathered(&rig, 2.0);
        let last = Instant::now();
        stick.send(0, b"cd").unwrap();
        wait_gathered(&rig, 4.0);
        in_time(first)?;
        assert_eq!(piece(&mut client), b"abcd");
        assert!(last.elapsed() >= Duration::from_millis(990), "{:?}", last.elapsed());
        // The other direction does not wait.
        client.send(b"question");
        stick.wait_received(0, super::rig::LIMIT, b"question").unwrap();
        Some(())
    });
}

#[test]
fn a_full_frame_does_not_wait_and_order_is_kept() {
    within_the_gap(|| {
        let (rig, stick, mut client) = start(GAP);
        let sent: Vec<u8> = (0..=255).cycle().take(4096 + 10).collect();
        let first = Instant::now();
        stick.send(0, &sent).unwrap();
        client.expect(&sent[..4096]);
        wait_gathered(&rig, 4106.0);
        let rest_waits = nothing_is_there(&mut client);
        in_time(first)?;
        assert!(rest_waits, "the rest waits for silence");
        client.expect(&sent[4096..]);
        Some(())
    });
}

#[test]
fn at_the_end_what_is_gathered_is_delivered() {
    let (mut rig, stick, mut client) = start(GAP);
    stick.send(0, b"tail").unwrap();
    wait_gathered(&rig, 4.0);
    rig.stop();
    assert_eq!(client.expect_end(), b"tail");
}

#[test]
fn at_an_edit_of_the_gap_what_is_gathered_is_delivered() {
    within_the_gap(|| {
        let (rig, stick, mut client) = start(GAP);
        let first = Instant::now();
        stick.send(0, b"before").unwrap();
        wait_gathered(&rig, 6.0);
        rig.edit(&meter(""));
        client.expect(b"before");
        in_time(first)
    });
}

#[test]
fn at_an_unplug_what_is_gathered_is_delivered() {
    within_the_gap(|| {
        let (rig, stick, mut client) = start(GAP);
        let first = Instant::now();
        stick.send(0, b"before").unwrap();
        wait_gathered(&rig, 6.0);
        stick.unplug().unwrap();
        client.expect(b"before");
        in_time(first)
    });
}

#[test]
fn an_edit_of_something_else_does_not_tear_a_frame() {
    within_the_gap(|| {
        let (rig, stick, mut client) = start(GAP);
        let first = Instant::now();
        stick.send(0, b"ab").unwrap();
        wait_gathered(&rig, 2.0);
        rig.edit(&meter(", frameGapMilliseconds: 1000, line: {baudRate: 12345}, clients: {policy: Share}"));
        stick.wait_line(0, super::rig::LIMIT, |line| line.baud == 12_345).unwrap();
        stick.send(0, b"cd").unwrap();
        wait_gathered(&rig, 4.0);
        in_time(first)?;
        assert_eq!(piece(&mut client), b"abcd");
        Some(())
    });
}

#[test]
fn a_newcomer_sees_nothing_that_was_gathered_before_it_came() {
    let (rig, stick, mut client) = start(", frameGapMilliseconds: 1000, clients: {policy: Share}");
    stick.send(0, b"old").unwrap();
    wait_gathered(&rig, 3.0);
    let mut newcomer = rig.connect("meter");
    rig.wait("meter", |view| view.clients.len() == 2);
    stick.send(0, b"new").unwrap();
    newcomer.expect(b"new");
    client.expect(b"oldnew");
}
