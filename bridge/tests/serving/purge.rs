//! What RFC 2217's PURGE-DATA drops while the device takes nothing: then it is what a user wants most.

use std::{net::Shutdown, thread, time::Duration};

use serialfleet_sim::{Mode, Stick};

use super::{
    com_port::{BAUD, PURGE, command, device},
    rig::{Client, LIMIT, Rig, stick},
};

const TO_DEVICE: &str = "serialfleet_port_bytes_total{port=\"modem\",direction=\"to_device\"}";
const DROPPED: &str = "serialfleet_port_dropped_bytes_total{port=\"modem\",reason=\"to_device\"}";

fn started(rig: &Rig) -> (Stick, Client) {
    let stick = rig.host.plug(stick("A1").mode(Mode::Silent)).unwrap();
    let mut client = rig.connect("modem").agree();
    client.send(b"start");
    stick.wait_received(0, LIMIT, b"start").unwrap();
    (stick, client)
}

/// Its device takes no more of what a client sends.
fn stuff(rig: &Rig, stick: &Stick, client: &mut Client, backlog: usize) {
    stick.freeze().unwrap();
    client.send(&vec![b'x'; backlog]);
    rig.wait_metric(TO_DEVICE, 4_000.0);
}

fn stuck(rig: &Rig, backlog: usize) -> (Stick, Client) {
    let (stick, mut client) = started(rig);
    stuff(rig, &stick, &mut client, backlog);
    (stick, client)
}

fn received(stick: &Stick) -> u64 {
    stick.record().unwrap().ports[0].received_bytes
}

#[test]
fn a_purge_of_the_output_does_not_wait_for_a_device_that_takes_nothing() {
    for number in [2, 3] {
        let rig = Rig::new(&device(""));
        let (stick, mut client) = stuck(&rig, 50_000);
        client.ask(PURGE, &[number], &[number]);
        client.send(b"after it");
        stick.thaw().unwrap();
        stick.wait_received(0, LIMIT, b"after it").unwrap();
        assert!(received(&stick) < 20_000, "what waited is dropped: {}", received(&stick));
        assert!(rig.metric(DROPPED).is_some_and(|dropped| dropped > 20_000.0));
        client.ask(BAUD, &9600_u32.to_be_bytes(), &9600_u32.to_be_bytes());
    }
}

#[test]
fn what_was_asked_before_a_purge_is_answered_before_it() {
    let rig = Rig::new(&device(""));
    let (stick, mut client) = stuck(&rig, 30_000);
    client.send(&command(BAUD, &9600_u32.to_be_bytes()));
    client.send(&[b'y'; 1000]);
    // Half of a purge is none.
    let purge = command(PURGE, &[3]);
    let (half, rest) = purge.split_at(4);
    client.send(half);
    client.send(rest);
    client.send(b"kept");
    client.send(&command(BAUD, &[0; 4]));
    client.expect(&command(101, &9600_u32.to_be_bytes()));
    client.expect(&command(112, &[3]));
    stick.thaw().unwrap();
    stick.wait_received(0, LIMIT, b"kept").unwrap();
    assert!(!stick.record().unwrap().ports[0].received.contains(&b'y'));
    client.expect(&command(101, &9600_u32.to_be_bytes()));
}

#[test]
fn of_two_purges_that_wait_each_drops_what_stands_before_it() {
    let rig = Rig::new(&device(""));
    let (stick, mut client) = stuck(&rig, 20_000);
    let (first, second) = (command(PURGE, &[2]), command(PURGE, &[3]));
    client.send(&[&first[..], &[b'y'; 25_000], &second[..], b"kept"].concat());
    client.expect(&command(112, &[2]));
    client.expect(&command(112, &[3]));
    stick.thaw().unwrap();
    stick.wait_received(0, LIMIT, b"kept").unwrap();
    assert!(received(&stick) < 20_000, "{}", received(&stick));
}

#[test]
fn a_purge_drops_nothing_of_anybody_elses_that_waits_in_the_bridge() {
    let rig = Rig::new(&device(", clients: {policy: Share}"));
    let (stick, mut first) = started(&rig);
    let mut second = rig.connect("modem").agree();
    stuff(&rig, &stick, &mut first, 50_000);
    second.send(b"never seen");
    second.ask(PURGE, &[2], &[2]);
    second.send(b"seen");
    first.send(b"the end");
    stick.thaw().unwrap();
    stick.wait_received(0, LIMIT, b"the end").unwrap();
    stick.wait_received(0, LIMIT, b"seen").unwrap();
    assert!(received(&stick) > 30_000, "{}", received(&stick));
    let port = stick.record().unwrap().ports[0].clone();
    assert!(!port.received.windows(5).any(|window| window == b"never"));
    assert_eq!(rig.metric(DROPPED), Some(10.0));
}

/// That a purge is looked for among bytes that wait takes nothing of a client's time.
#[test]
fn what_a_client_wrote_before_fin_waits_for_the_device_for_as_long_as_it_takes() {
    let rig = Rig::new(&device(""));
    let (stick, client) = stuck(&rig, 50_000);
    client.0.shutdown(Shutdown::Write).unwrap();
    // Longer than a half-closed client is kept that gets no bytes.
    thread::sleep(Duration::from_secs(6));
    stick.thaw().unwrap();
    stick.wait_for(LIMIT, |record| (record.ports[0].received_bytes == 50_005).then_some(())).unwrap();
}
