//! RFC 2217 as clients see it: exact bytes through a real socket, and what they do to the line.

use std::{io::Write, net::Shutdown, thread, time::Duration};

use rustix::net::{SendFlags, send};
use serialfleet_api::node::PortState;
use serialfleet_sim::{Event, Mode};

use super::rig::{Client, LIMIT, Rig, stick};

/// WILL and DO BINARY and SGA, WILL ECHO, DO COM-PORT-OPTION.
const GREETING: [u8; 18] = [255, 251, 0, 255, 253, 0, 255, 251, 3, 255, 253, 3, 255, 251, 1, 255, 253, 44];
/// WILL and DO BINARY, WILL COM-PORT-OPTION.
const AGREE: [u8; 9] = [255, 251, 0, 255, 253, 0, 255, 251, 44];

pub(super) const BAUD: u8 = 1;
const DATA_SIZE: u8 = 2;
const PARITY: u8 = 3;
const STOP_SIZE: u8 = 4;
pub(super) const CONTROL: u8 = 5;
const SUSPEND: u8 = 8;
const RESUME: u8 = 9;
const LINE_MASK: u8 = 10;
const MODEM_MASK: u8 = 11;
pub(super) const PURGE: u8 = 12;

pub(super) fn device(more: &str) -> String {
    format!("  - {{name: modem, match: {{usb: '10c4:ea60', serialNumber: A1}}, protocol: Rfc2217{more}}}\n")
}

pub(super) fn command(code: u8, payload: &[u8]) -> Vec<u8> {
    let escaped = payload.iter().flat_map(|&byte| std::iter::repeat_n(byte, 1 + usize::from(byte == 255)));
    [255, 250, 44, code].into_iter().chain(escaped).chain([255, 240]).collect()
}

impl Client {
    /// Waits for the greeting and agrees; the modem lines follow at once.
    pub(super) fn agree(mut self) -> Self {
        self.expect(&GREETING);
        self.send(&AGREE);
        self.expect(&command(107, &[0]));
        self
    }

    pub(super) fn ask(&mut self, code: u8, payload: &[u8], answer: &[u8]) {
        self.send(&command(code, payload));
        self.expect(&command(100 + code, answer));
    }
}

#[test]
fn every_command_is_answered_although_the_device_has_no_modem_lines() {
    let rig = Rig::new(&device(""));
    let stick = rig.host.plug(stick("A1").mode(Mode::Silent)).unwrap();
    let mut client = rig.connect("modem").agree();
    client.send(&command(0, &[]));
    client.expect(&command(100, b"SerialFleet"));
    client.ask(BAUD, &[0; 4], &115_200_u32.to_be_bytes());
    client.ask(BAUD, &19_200_u32.to_be_bytes(), &19_200_u32.to_be_bytes());
    client.ask(BAUD, &255_u32.to_be_bytes(), &255_u32.to_be_bytes());
    // A PTY keeps eight bits without parity: what is in force is told.
    client.ask(DATA_SIZE, &[7], &[8]);
    client.ask(PARITY, &[3], &[1]);
    client.ask(STOP_SIZE, &[2], &[2]);
    client.ask(STOP_SIZE, &[0], &[2]);
    for (asked, answer) in [
        (0, 1),
        (3, 3),
        (0, 3),
        (1, 1), // flow control
        (4, 6),
        (5, 5),
        (6, 6),
        (4, 6), // break
        (8, 8),
        (7, 8),
        (9, 9),
        (7, 9), // DTR
        (11, 11),
        (10, 11),
        (12, 12),
        (10, 12), // RTS
        (13, 14),
        (17, 1),
        (18, 14),
        (19, 1),
        (99, 1), // what Linux has not
    ] {
        client.ask(CONTROL, &[asked], &[answer]);
    }
    client.ask(7, &[], &[0]);
    client.ask(LINE_MASK, &[255], &[255]);
    client.ask(MODEM_MASK, &[255], &[255]);
    for number in 0..4 {
        client.ask(PURGE, &[number], &[number]);
    }
    // Flushes that follow each other closely are seen as one.
    let flushed = |record: &serialfleet_sim::Record| {
        let input = record.count(|event| matches!(event, Event::Flushed { input: true, .. }));
        let output = record.count(|event| matches!(event, Event::Flushed { output: true, .. }));
        (input > 0 && output > 0).then_some(())
    };
    stick.wait_for(LIMIT, flushed).unwrap();
    let line = stick.line(0).unwrap();
    assert!(line.baud == 255 && line.two_stop_bits, "{line:?}");
    assert_eq!(stick.opens(0).unwrap(), 1);
}

#[test]
fn commands_and_data_keep_their_order() {
    let rig = Rig::new(&device(""));
    let _stick = rig.host.plug(stick("A1")).unwrap();
    let mut client = rig.connect("modem").agree();
    let (mut sent, mut expected) = (Vec::new(), Vec::new());
    for round in 0..200_u32 {
        let data = [b'<', u8::try_from(round).unwrap(), b'>'];
        sent.extend(data.iter().flat_map(|&byte| std::iter::repeat_n(byte, 1 + usize::from(byte == 255))));
        sent.extend(command(BAUD, &(1200 + round).to_be_bytes()));
        expected.push(1200 + round);
    }
    client.send(&sent);
    // Data comes back when the device echoes it: between answers, at any place, itself in order.
    let (mut answers, mut echoed, mut all) = (Vec::new(), Vec::new(), Vec::new());
    while answers.len() < 200 || echoed.len() < 600 {
        let mut buffer = [0; 4096];
        let read = std::io::Read::read(&mut client.0, &mut buffer).unwrap();
        assert!(read > 0);
        all.extend_from_slice(&buffer[..read]);
        (answers, echoed) = parse(&all);
    }
    assert_eq!(answers, expected);
    let data: Vec<u8> = (0..200).flat_map(|round| [b'<', round, b'>']).collect();
    assert_eq!(echoed, data);
}

/// Answers to BAUD, and data.
fn parse(mut bytes: &[u8]) -> (Vec<u32>, Vec<u8>) {
    let (mut answers, mut data) = (Vec::new(), Vec::new());
    loop {
        match bytes {
            [255, 250, 44, 101, rest @ ..] => {
                let Some(end) = rest.windows(2).position(|pair| pair == [255, 240]) else { break };
                let mut value = rest[..end].to_vec();
                value.dedup_by(|next, before| *next == 255 && *before == 255);
                answers.push(u32::from_be_bytes(value.try_into().unwrap()));
                bytes = &rest[end + 2..];
            }
            [255, 255, rest @ ..] => {
                data.push(255);
                bytes = rest;
            }
            [255, ..] | [] => break,
            [byte, rest @ ..] => {
                data.push(*byte);
                bytes = rest;
            }
        }
    }
    (answers, data)
}

#[test]
fn all_bytes_go_through_both_ways() {
    let rig = Rig::new(&device(""));
    let stick = rig.host.plug(stick("A1").mode(Mode::Silent)).unwrap();
    let mut client = rig.connect("modem").agree();
    let all: Vec<u8> = (0..=255).chain([255, 255, 13, 0, 13, 10]).cycle().take(50_000).collect();
    let escaped: Vec<u8> =
        all.iter().flat_map(|&byte| std::iter::repeat_n(byte, 1 + usize::from(byte == 255))).collect();
    client.send(&escaped);
    stick.wait_for(LIMIT, |record| (record.ports[0].received.len() == all.len()).then_some(())).unwrap();
    assert!(stick.record().unwrap().ports[0].received == all);
    // The same where errors are marked: the bytes are no others.
    for mask in [0, 255] {
        client.ask(LINE_MASK, &[mask], &[mask]);
        stick.send(0, &all).unwrap();
        client.expect(&escaped);
        // Each alone as well: what ends in an IAC is no whole run.
        for byte in [0, 13, 254, 255, 255] {
            stick.send(0, &[byte]).unwrap();
            client.expect(if byte == 255 { &[255, 255] } else { std::slice::from_ref(&byte) });
        }
    }
}

#[test]
fn what_a_client_has_set_is_shown_and_ends_with_it() {
    let rig = Rig::new(&device(", line: {baudRate: 57600}"));
    let stick = rig.host.plug(stick("A1").mode(Mode::Silent)).unwrap();
    let mut client = rig.connect("modem").agree();
    client.ask(BAUD, &9600_u32.to_be_bytes(), &9600_u32.to_be_bytes());
    client.ask(CONTROL, &[3], &[3]);
    let view = rig.wait("modem", |view| view.overlay.flow_control.is_some());
    assert_eq!(view.overlay.baud_rate, Some(9600));
    assert_eq!(view.baud_rate, Some(57_600), "the SerialNode says what the fleet asked for");
    let json = serde_json::to_value(&view).unwrap();
    assert_eq!(json["overlay"]["flowControl"], "RtsCts", "{json}");
    stick.wait_line(0, LIMIT, |line| line.baud == 9600 && line.rtscts).unwrap();
    drop(client);
    stick.wait_line(0, LIMIT, |line| line.baud == 57_600 && !line.rtscts).unwrap();
    let view = rig.wait("modem", |view| view.overlay.is_empty());
    assert!(serde_json::to_value(&view).unwrap().get("overlay").is_none());
    assert_eq!(stick.opens(0).unwrap(), 1);
}

#[test]
fn whoever_takes_over_finds_the_line_as_configured_before_it_is_heard() {
    let rig = Rig::new(&device(", line: {baudRate: 57600}"));
    let stick = rig.host.plug(stick("A1").mode(Mode::Silent)).unwrap();
    for round in 0..20_u8 {
        let mut first = rig.connect("modem");
        first.expect(&GREETING);
        first.send(&AGREE);
        first.expect(&command(107, &[0]));
        first.ask(BAUD, &9600_u32.to_be_bytes(), &9600_u32.to_be_bytes());
        let mut second = rig.connect("modem");
        second.send(&AGREE);
        second.send(&command(BAUD, &[0; 4]));
        second.send(&[round]);
        // The greeting comes when it is let in.
        second.expect(&GREETING);
        second.expect(&command(107, &[0]));
        second.expect(&command(101, &57_600_u32.to_be_bytes()));
        stick.wait_received(0, LIMIT, &[round]).unwrap();
        assert_eq!(stick.line(0).unwrap().baud, 57_600);
        assert!(first.expect_end().is_empty());
    }
}

#[test]
fn while_it_is_unplugged_requests_are_answered_and_they_count_after_the_replug() {
    let rig = Rig::new(&device(", line: {baudRate: 57600}"));
    let stick = rig.host.plug(stick("A1")).unwrap();
    let mut client = rig.connect("modem").agree();
    client.ask(BAUD, &9600_u32.to_be_bytes(), &9600_u32.to_be_bytes());
    stick.unplug().unwrap();
    rig.wait_state("modem", PortState::Held);
    client.ask(BAUD, &[0; 4], &9600_u32.to_be_bytes());
    client.ask(PARITY, &[2], &[2]);
    client.ask(CONTROL, &[8], &[8]);
    client.ask(PURGE, &[3], &[3]);
    client.ask(BAUD, &4800_u32.to_be_bytes(), &4800_u32.to_be_bytes());
    rig.edit(&device(", line: {baudRate: 38400, format: 8N2}"));
    while {
        client.send(&command(STOP_SIZE, &[0]));
        let mut answer = [0; 7];
        std::io::Read::read_exact(&mut client.0, &mut answer).unwrap();
        answer[4] != 2
    } {}
    client.ask(BAUD, &[0; 4], &4800_u32.to_be_bytes());
    stick.plug().unwrap();
    rig.wait_state("modem", PortState::Serving);
    client.send(b"data");
    stick.wait_received(0, LIMIT, b"data").unwrap();
    let line = stick.line(0).unwrap();
    assert!(line.baud == 4800 && line.two_stop_bits, "set before the first byte: {line:?}");
    client.expect(b"data");
    client.ask(BAUD, &[0; 4], &4800_u32.to_be_bytes());
    drop(client);
    stick.wait_line(0, LIMIT, |line| line.baud == 38_400).unwrap();
}

#[test]
fn an_edit_of_the_line_changes_what_clients_have_not_set() {
    let rig = Rig::new(&device(""));
    let stick = rig.host.plug(stick("A1").mode(Mode::Silent)).unwrap();
    let mut client = rig.connect("modem").agree();
    client.ask(BAUD, &9600_u32.to_be_bytes(), &9600_u32.to_be_bytes());
    rig.edit(&device(", line: {baudRate: 38400, format: 8N2}"));
    stick.wait_line(0, LIMIT, |line| line.two_stop_bits).unwrap();
    assert_eq!(stick.line(0).unwrap().baud, 9600);
    client.ask(STOP_SIZE, &[0], &[2]);
    drop(client);
    stick.wait_line(0, LIMIT, |line| line.baud == 38_400).unwrap();
}

#[test]
fn a_client_that_suspends_gets_answers_and_later_the_data() {
    let rig = Rig::new(&device(""));
    let stick = rig.host.plug(stick("A1").mode(Mode::Silent)).unwrap();
    let mut client = rig.connect("modem").agree();
    client.send(&command(SUSPEND, &[]));
    client.ask(DATA_SIZE, &[0], &[8]);
    stick.send(0, b"later").unwrap();
    rig.wait_metric("serialfleet_port_bytes_total{port=\"modem\",direction=\"from_device\"}", 5.0);
    client.ask(DATA_SIZE, &[0], &[8]);
    client.send(&command(RESUME, &[]));
    client.expect(b"later");
    // Too much of it, and it is like any client that does not read.
    client.send(&command(SUSPEND, &[]));
    client.ask(DATA_SIZE, &[0], &[8]);
    stick.send(0, &[b'x'; 100_000]).unwrap();
    rig.wait_metric("serialfleet_port_clients_ended_total{port=\"modem\",reason=\"SlowReader\"}", 1.0);
}

#[test]
fn with_block_the_device_waits_for_a_client_that_suspends() {
    let rig = Rig::new(&device(", clients: {slowReader: Block}"));
    let stick = rig.host.plug(stick("A1").mode(Mode::Silent)).unwrap();
    let mut client = rig.connect("modem").agree();
    client.send(&command(SUSPEND, &[]));
    client.ask(DATA_SIZE, &[0], &[8]);
    let sent: Vec<u8> = (0..=250).cycle().take(300_000).collect();
    stick.send(0, &sent).unwrap();
    rig.wait_metric("serialfleet_port_bytes_total{port=\"modem\",direction=\"from_device\"}", 30_000.0);
    client.ask(DATA_SIZE, &[0], &[8]);
    client.send(&command(RESUME, &[]));
    client.expect(&sent);
}

#[test]
fn a_half_closed_client_gets_its_answers_and_the_devices() {
    let rig = Rig::new(&device(""));
    let stick = rig.host.plug(stick("A1").mode(Mode::Silent)).unwrap();
    let mut client = rig.connect("modem").agree();
    let mut last = command(BAUD, &9600_u32.to_be_bytes());
    last.extend(command(CONTROL, &[9]));
    last.extend(b"question");
    client.send(&last);
    client.0.shutdown(Shutdown::Write).unwrap();
    client.expect(&command(101, &9600_u32.to_be_bytes()));
    client.expect(&command(105, &[9]));
    stick.wait_received(0, LIMIT, b"question").unwrap();
    stick.send(0, b"answer").unwrap();
    client.expect(b"answer");
    assert!(client.expect_end().is_empty());
}

#[test]
fn what_a_client_asked_before_fin_is_done_although_another_takes_over() {
    let rig = Rig::new(&device(""));
    let stick = rig.host.plug(stick("A1").mode(Mode::Silent)).unwrap();
    let mut client = rig.connect("modem").agree();
    // A break lasts for a quarter of a second, and what follows waits for its end.
    client.send(&[255, 243]);
    client.send(b"after the break");
    client.0.shutdown(Shutdown::Write).unwrap();
    let mut next = rig.connect("modem");
    next.send(b"next");
    stick.wait_received(0, LIMIT, b"after the breaknext").unwrap();
}

#[test]
fn only_those_who_may_write_change_anything() {
    let rig = Rig::new(&device(", clients: {policy: Share, writers: First}"));
    let stick = rig.host.plug(stick("A1").mode(Mode::Silent)).unwrap();
    let mut first = rig.connect("modem").agree();
    let mut second = rig.connect("modem").agree();
    second.ask(BAUD, &9600_u32.to_be_bytes(), &115_200_u32.to_be_bytes());
    second.ask(CONTROL, &[9], &[8]);
    second.send(b"dropped");
    first.ask(BAUD, &19_200_u32.to_be_bytes(), &19_200_u32.to_be_bytes());
    second.ask(BAUD, &[0; 4], &19_200_u32.to_be_bytes());
    rig.wait_metric("serialfleet_port_dropped_bytes_total{port=\"modem\",reason=\"not_a_writer\"}", 7.0);
    assert_eq!(stick.line(0).unwrap().baud, 19_200);
    // The line is the port's until the last has left.
    drop(first);
    rig.wait("modem", |view| view.clients.len() == 1);
    second.ask(BAUD, &[0; 4], &19_200_u32.to_be_bytes());
    second.ask(BAUD, &9600_u32.to_be_bytes(), &9600_u32.to_be_bytes());
    drop(second);
    stick.wait_line(0, LIMIT, |line| line.baud == 115_200).unwrap();
}

#[test]
fn half_of_a_negotiation_stalls_nothing() {
    let rig = Rig::new(&device(", clients: {policy: Share}"));
    let stick = rig.host.plug(stick("A1").mode(Mode::Silent)).unwrap();
    let mut half = rig.connect("modem");
    half.expect(&GREETING);
    half.send(&[255, 250, 44, 1, 0, 0]);
    let mut silent = rig.connect("modem");
    silent.expect(&GREETING);
    let mut other = rig.connect("modem").agree();
    other.ask(BAUD, &9600_u32.to_be_bytes(), &9600_u32.to_be_bytes());
    stick.send(0, b"to all").unwrap();
    for client in [&mut half, &mut silent, &mut other] {
        client.expect(b"to all");
    }
    half.send(&[0x4b, 0, 255, 240]);
    half.expect(&command(101, &19_200_u32.to_be_bytes()));
    silent.send(b"no telnet at all");
    stick.wait_received(0, LIMIT, b"no telnet at all").unwrap();
}

/// The data mark of SYNC is sent as urgent.
#[test]
fn an_urgent_mark_leaves_no_half_a_command_behind() {
    let rig = Rig::new(&device(""));
    let stick = rig.host.plug(stick("A1").mode(Mode::Silent)).unwrap();
    let mut client = rig.connect("modem").agree();
    for _ in 0..10 {
        client.send(b"before");
        send(&client.0, &[255, 242], SendFlags::OOB).unwrap();
        client.send(b"after");
    }
    let whole = b"beforeafter".repeat(10);
    stick.wait_received(0, LIMIT, &whole).unwrap();
}

#[test]
fn a_client_that_does_not_read_its_answers_is_not_listened_to_and_loses_none() {
    let rig = Rig::new(
        &(device("") + "  - {name: other, port: 7000, match: {serialNumber: B2, usb: '10c4:ea60'}}\n"),
    );
    let _stick = rig.host.plug(stick("A1")).unwrap();
    let _other = rig.host.plug(stick("B2").usb_path("1-2")).unwrap();
    let mut client = rig.connect("modem").agree();
    let mut other = rig.connect("other");
    let mut writer = client.0.try_clone().unwrap();
    let count = 1_500_000;
    let writing = thread::spawn(move || writer.write_all(&[255, 246].repeat(count)).unwrap());
    for _ in 0..200 {
        other.echo(b"unharmed");
    }
    client.expect(&b"\r\n[Yes]\r\n".repeat(count));
    writing.join().unwrap();
    assert_eq!(
        rig.metric("serialfleet_port_clients_ended_total{port=\"modem\",reason=\"SlowReader\"}"),
        None
    );
}

#[test]
fn a_device_that_takes_nothing_keeps_neither_newcomers_nor_the_end_waiting() {
    let mut rig = Rig::new(&device(""));
    let stick = rig.host.plug(stick("A1").mode(Mode::Silent)).unwrap();
    let mut client = rig.connect("modem").agree();
    client.send(b"start");
    stick.wait_received(0, LIMIT, b"start").unwrap();
    stick.freeze().unwrap();
    client.send(&[b'x'; 60_000]);
    client.send(&command(BAUD, &9600_u32.to_be_bytes()));
    rig.wait_metric("serialfleet_port_bytes_total{port=\"modem\",direction=\"to_device\"}", 4_000.0);
    let mut next = rig.connect("modem").agree();
    next.ask(BAUD, &19_200_u32.to_be_bytes(), &19_200_u32.to_be_bytes());
    let start = std::time::Instant::now();
    rig.stop();
    assert!(start.elapsed() < Duration::from_secs(6), "{:?}", start.elapsed());
}

#[test]
fn an_edit_of_the_protocol_closes_clients_and_keeps_the_tty() {
    let rig = Rig::new(&device(""));
    let stick = rig.host.plug(stick("A1")).unwrap();
    let mut client = rig.connect("modem").agree();
    client.ask(BAUD, &9600_u32.to_be_bytes(), &9600_u32.to_be_bytes());
    rig.edit(&device("").replace("Rfc2217", "Raw"));
    assert!(client.expect_end().is_empty());
    // It was taken in before the listener was bound anew, or after.
    let mut raw = loop {
        let mut raw = rig.connect("modem");
        if raw.0.write_all(b"?").is_ok()
            && std::io::Read::read(&mut raw.0, &mut [0]).is_ok_and(|read| read == 1)
        {
            break raw;
        }
    };
    raw.echo(&[255, 255, 0, 1]);
    stick.wait_line(0, LIMIT, |line| line.baud == 115_200).unwrap();
    rig.edit(&device(""));
    assert!(raw.expect_end().is_empty());
    let mut client = loop {
        let mut client = rig.connect("modem");
        if std::io::Read::read_exact(&mut client.0, &mut [0; 18]).is_ok() {
            break client;
        }
    };
    client.ask(BAUD, &[0; 4], &115_200_u32.to_be_bytes());
    assert_eq!(stick.opens(0).unwrap(), 1);
}
