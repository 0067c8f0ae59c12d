//! Every command of RFC 2217 and its answer.

use serialfleet_api::{
    fleet::FlowControl,
    line::{Format, Parity, StopBits},
};
use serialfleet_bridge::rfc2217::{Attention, Event, Purge, Request, Session, Values};

use super::{Seen, agreed, data, replay, replay::VALUES};

/// Between IAC SB COM-PORT and IAC SE, as sent.
fn command(body: &[u8]) -> Vec<u8> {
    [b"\xff\xfa\x2c", body, b"\xff\xf0"].concat()
}

/// The request that a command is, and the answer to it with these values in force.
fn ask(session: &mut Session, body: &[u8], values: &Values) -> (Request, Vec<u8>) {
    let (bytes, mut out) = (command(body), Vec::new());
    let mut input = &bytes[..];
    let Some(Event::Request(request)) = session.next(&mut input, &mut out) else {
        panic!("{body:?} is no request")
    };
    assert_eq!((input, &out[..]), (&b""[..], &b""[..]));
    session.answer(&request, values, &mut out);
    (request, out)
}

#[test]
fn every_command_is_answered_with_what_is_in_force() {
    let values = Values {
        baud_rate: 57_600,
        format: Format { data_bits: 7, parity: Parity::Even, stop_bits: StopBits::Two },
        flow_control: FlowControl::RtsCts,
        break_on: true,
        dtr: false,
        rts: true,
        modem_state: 0x90,
        line_state: 0x60,
    };
    let (none, xon, rts) = (FlowControl::None, FlowControl::XonXoff, FlowControl::RtsCts);
    let baud = &[101, 0, 0, 0xE1, 0][..];
    let table: &[(&[u8], Request, &[u8])] = &[
        (&[1, 0, 0, 0, 0], Request::BaudRate(None), baud),
        (&[1, 0, 0, 0x25, 0x80], Request::BaudRate(Some(9600)), baud),
        (&[1, 0, 0, 0xE1, 0], Request::BaudRate(Some(57_600)), baud),
        (&[1], Request::BaudRate(None), baud),
        (&[1, 1, 2], Request::BaudRate(None), baud),
        (&[1, 0, 0, 0x25, 0x80, 0], Request::BaudRate(None), baud),
        (&[1, 0], Request::BaudRate(None), &[101, 13]),
        (&[1, 8], Request::BaudRate(Some(9600)), &[101, 13]),
        (&[1, 3], Request::BaudRate(Some(300)), &[101, 13]),
        (&[1, 15], Request::BaudRate(Some(230_400)), &[101, 13]),
        (&[1, 16], Request::BaudRate(None), &[101, 13]),
        (&[2, 0], Request::DataBits(None), &[102, 7]),
        (&[2, 5], Request::DataBits(Some(5)), &[102, 7]),
        (&[2, 8], Request::DataBits(Some(8)), &[102, 7]),
        (&[2, 4], Request::DataBits(None), &[102, 7]),
        (&[2, 9], Request::DataBits(None), &[102, 7]),
        (&[2], Request::DataBits(None), &[102, 7]),
        (&[2, 8, 8], Request::DataBits(None), &[102, 7]),
        (&[3, 0], Request::Parity(None), &[103, 3]),
        (&[3, 1], Request::Parity(Some(Parity::None)), &[103, 3]),
        (&[3, 2], Request::Parity(Some(Parity::Odd)), &[103, 3]),
        (&[3, 3], Request::Parity(Some(Parity::Even)), &[103, 3]),
        (&[3, 4], Request::Parity(Some(Parity::Mark)), &[103, 3]),
        (&[3, 5], Request::Parity(Some(Parity::Space)), &[103, 3]),
        (&[3, 6], Request::Parity(None), &[103, 3]),
        (&[3], Request::Parity(None), &[103, 3]),
        (&[4, 0], Request::StopBits(None), &[104, 2]),
        (&[4, 1], Request::StopBits(Some(StopBits::One)), &[104, 2]),
        (&[4, 2], Request::StopBits(Some(StopBits::Two)), &[104, 2]),
        (&[4, 3], Request::StopBits(Some(StopBits::OnePointFive)), &[104, 2]),
        (&[4, 4], Request::StopBits(None), &[104, 2]),
        (&[5, 0], Request::FlowControl(None), &[105, 3]),
        (&[5, 1], Request::FlowControl(Some(none)), &[105, 3]),
        (&[5, 2], Request::FlowControl(Some(xon)), &[105, 3]),
        (&[5, 3], Request::FlowControl(Some(rts)), &[105, 3]),
        (&[5, 4], Request::Break(None), &[105, 5]),
        (&[5, 5], Request::Break(Some(true)), &[105, 5]),
        (&[5, 6], Request::Break(Some(false)), &[105, 5]),
        (&[5, 7], Request::Dtr(None), &[105, 9]),
        (&[5, 8], Request::Dtr(Some(true)), &[105, 9]),
        (&[5, 9], Request::Dtr(Some(false)), &[105, 9]),
        (&[5, 10], Request::Rts(None), &[105, 11]),
        (&[5, 11], Request::Rts(Some(true)), &[105, 11]),
        (&[5, 12], Request::Rts(Some(false)), &[105, 11]),
        (&[5, 13], Request::InboundFlowControl(None), &[105, 16]),
        (&[5, 14], Request::InboundFlowControl(Some(none)), &[105, 16]),
        (&[5, 15], Request::InboundFlowControl(Some(xon)), &[105, 16]),
        (&[5, 16], Request::InboundFlowControl(Some(rts)), &[105, 16]),
        (&[5, 17], Request::FlowControl(None), &[105, 3]),
        (&[5, 18], Request::InboundFlowControl(None), &[105, 16]),
        (&[5, 19], Request::FlowControl(None), &[105, 3]),
        (&[5, 20], Request::FlowControl(None), &[105, 3]),
        (&[5, 0xFF, 0xFF], Request::FlowControl(None), &[105, 3]),
        (&[5], Request::FlowControl(None), &[105, 3]),
        (&[6], Request::LineState, &[106, 0x60]),
        (&[6, 0], Request::LineState, &[106, 0x60]),
        (&[10, 0x1E], Request::LineStateMask(0x1E), &[110, 0x1E]),
        (&[10], Request::LineStateMask(0x1E), &[110, 0x1E]),
        (&[10, 0xFF, 0xFF], Request::LineStateMask(255), &[110, 0xFF, 0xFF]),
        (&[12, 1], Request::Purge(Some(Purge::Receive)), &[112, 1]),
        (&[12, 2], Request::Purge(Some(Purge::Transmit)), &[112, 2]),
        (&[12, 3], Request::Purge(Some(Purge::Both)), &[112, 3]),
        (&[12, 4], Request::Purge(None), &[112, 0]),
        (&[12], Request::Purge(None), &[112, 0]),
    ];
    let mut session = agreed();
    for (body, request, answer) in table {
        let (seen, out) = ask(&mut session, body, &values);
        assert_eq!(seen, *request, "{body:?}");
        assert_eq!(out, command(answer), "{body:?}");
    }
}

#[test]
fn the_other_values_have_their_numbers_too() {
    let mut session = agreed();
    for (parity, number) in
        [(Parity::None, 1), (Parity::Odd, 2), (Parity::Even, 3), (Parity::Mark, 4), (Parity::Space, 5)]
    {
        let values = Values { format: Format { parity, ..VALUES.format }, ..VALUES };
        assert_eq!(ask(&mut session, &[3, 0], &values).1, command(&[103, number]));
    }
    for (stop_bits, number) in [(StopBits::One, 1), (StopBits::Two, 2), (StopBits::OnePointFive, 3)] {
        let values = Values { format: Format { stop_bits, ..VALUES.format }, ..VALUES };
        assert_eq!(ask(&mut session, &[4, 0], &values).1, command(&[104, number]));
    }
    for (flow_control, number) in
        [(FlowControl::None, 1), (FlowControl::XonXoff, 2), (FlowControl::RtsCts, 3)]
    {
        let values = Values { flow_control, ..VALUES };
        assert_eq!(ask(&mut session, &[5, 0], &values).1, command(&[105, number]));
        assert_eq!(ask(&mut session, &[5, 13], &values).1, command(&[105, 13 + number]));
    }
    let values = Values { break_on: false, dtr: true, rts: false, ..VALUES };
    for (asked, answered) in [(4, 6), (7, 8), (10, 12)] {
        assert_eq!(ask(&mut session, &[5, asked], &values).1, command(&[105, answered]));
    }
}

#[test]
fn a_rate_that_the_driver_comes_near_to_is_answered_as_the_one_asked_for() {
    let mut session = agreed();
    for (asked, in_force, answered) in [
        (115_200, 115_384, 115_200),
        (115_200, 117_504, 115_200),
        (115_200, 117_505, 117_505),
        (115_200, 112_896, 115_200),
        (115_200, 112_895, 112_895),
        (50, 51, 50),
        (49, 50, 50),
        (u32::MAX, 9600, 9600),
        (1, u32::MAX, u32::MAX),
        (0, 115_384, 115_384),
    ] {
        let values = Values { baud_rate: in_force, ..VALUES };
        let mut body = vec![1];
        body.extend(
            u32::to_be_bytes(asked).iter().flat_map(|&byte| vec![byte; 1 + usize::from(byte == 255)]),
        );
        let mut expected = vec![101];
        expected.extend(
            u32::to_be_bytes(answered).iter().flat_map(|&byte| vec![byte; 1 + usize::from(byte == 255)]),
        );
        assert_eq!(ask(&mut session, &body, &values).1, command(&expected), "{asked} {in_force}");
    }
}

#[test]
fn a_rate_without_an_index_is_answered_in_full() {
    let values = Values { baud_rate: 74_880, ..VALUES };
    assert_eq!(ask(&mut agreed(), &[1, 14], &values).1, command(&[101, 0, 1, 0x24, 0x80]));
}

#[test]
fn the_signature_is_told_whoever_sends_one() {
    for body in [&b"\0"[..], b"\0pyserial and a very long story"] {
        let (seen, out) = replay(&mut agreed(), [&command(body)[..]]);
        assert_eq!(seen, []);
        assert_eq!(out, command(b"\x64SerialFleet"));
    }
}

#[test]
fn what_has_no_answer_gets_none_and_breaks_nothing() {
    for body in
        [&b""[..], b"\x0d", b"\x0d\x01", b"\x63\x01", b"\x64", b"\x65\0\0\0\0", b"\x70\x01", b"\xff\xff"]
    {
        let (seen, out) = replay(&mut agreed(), [&command(body)[..], b"x"]);
        assert_eq!((seen, &out[..]), (vec![data(b"x")], &b""[..]), "{body:?}");
    }
}

#[test]
fn the_modem_lines_are_asked_for_once_rfc_2217_is_agreed() {
    for agreement in [&b"\xff\xfb\x2c"[..], b"\xff\xfd\x2c", b"\xff\xfb\x2c\xff\xfd\x2c\xff\xfb\x2c"] {
        let mut session = Session::new();
        session.greet(&mut Vec::new());
        let (seen, out) = replay(&mut session, [agreement]);
        assert_eq!(seen, [Seen::Request(Request::ModemState)]);
        assert!(out.ends_with(&command(&[107, 0xB0])) || out.ends_with(b"\xff\xfb\x2c"), "{out:x?}");
        let mut out = Vec::new();
        session.notify_modem_state(VALUES.modem_state, &mut out);
        assert_eq!(out, b"", "known already");
    }
}

#[test]
fn a_poll_is_answered_with_all_lines_and_what_changed() {
    let mut session = agreed();
    let values = Values { modem_state: 0x20, ..VALUES };
    assert_eq!(ask(&mut session, &[11, 0], &values).1, command(&[111, 0]));
    assert_eq!(ask(&mut session, &[7], &values), (Request::ModemState, command(&[107, 0x29])));
    assert_eq!(ask(&mut session, &[7, 0], &values).1, command(&[107, 0x20]));
}

#[test]
fn masks_start_as_the_rfc_says_and_are_kept() {
    let mut session = Session::new();
    assert!(!session.watches_modem_lines() && !session.watches_line_errors() && !session.is_com_port());
    session = agreed();
    assert!(session.watches_modem_lines() && !session.watches_line_errors() && session.is_com_port());

    let mut out = Vec::new();
    session.notify_line_state(0xFF, &mut out);
    assert_eq!(out, b"");
    assert_eq!(ask(&mut session, &[10, 0x10], &VALUES).1, command(&[110, 0x10]));
    assert!(session.watches_line_errors());
    session.notify_line_state(0x1C, &mut out);
    assert_eq!(out, command(&[106, 0x10]));

    let (mut out, lines) = (Vec::new(), VALUES.modem_state ^ 0x10);
    assert_eq!(ask(&mut session, &[11, 0x20], &VALUES).1, command(&[111, 0x20]));
    session.notify_modem_state(lines, &mut out);
    assert_eq!(out, b"", "CTS is masked");
    let shown = [command(&[111, 0xFF, 0xFF]), command(&[107, 0xA1])].concat();
    assert_eq!(ask(&mut session, &[11, 0xFF, 0xFF], &Values { modem_state: lines, ..VALUES }).1, shown);
    assert_eq!(ask(&mut session, &[11, 0], &VALUES).1, command(&[111, 0]));
    assert!(!session.watches_modem_lines());
}

#[test]
fn a_client_that_suspends_gets_answers_only_and_the_rest_when_it_resumes() {
    let mut session = agreed();
    ask(&mut session, &[10, 0x10], &VALUES);
    let suspend = command(&[8]);
    assert_eq!(
        replay(&mut session, [&suspend[..], &suspend]),
        (vec![Seen::Attention(Attention::Suspend)], vec![])
    );
    assert!(session.is_suspended());
    let mut out = Vec::new();
    session.notify_modem_state(0, &mut out);
    session.notify_line_state(0x10, &mut out);
    assert_eq!(out, b"");
    assert_eq!(ask(&mut session, &[2, 8], &VALUES).1, command(&[102, 8]));
    let resume = command(&[9]);
    assert_eq!(
        replay(&mut session, [&resume[..], &resume]),
        (vec![Seen::Attention(Attention::Resume)], [command(&[107, 0x0B]), command(&[106, 0x10])].concat())
    );
    assert!(!session.is_suspended());
}

#[test]
fn a_client_that_gives_up_rfc_2217_goes_on_raw() {
    for goodbye in [&b"\xff\xfc\x2c"[..], b"\xff\xfe\x2c"] {
        let mut session = Session::new();
        session.greet(&mut Vec::new());
        let hello = if goodbye[1] == 0xFC { b"\xff\xfb\x2c" } else { b"\xff\xfd\x2c" };
        replay(&mut session, [&hello[..]]);
        replay(&mut session, [&command(&[10, 0x10])[..], &command(&[8])]);
        let (seen, out) = replay(&mut session, [goodbye]);
        assert_eq!(seen, [Seen::Attention(Attention::Resume)], "data must not stay suspended");
        assert_eq!(out, [0xFF, if goodbye[1] == 0xFC { 0xFE } else { 0xFC }, 0x2C]);
        session.notify_modem_state(0, &mut Vec::new());
        if goodbye[1] == 0xFC {
            let (seen, out) = replay(&mut session, [&command(&[2, 8])[..], b"raw"]);
            assert_eq!((seen, out), (vec![data(b"raw")], vec![]), "a refused option is not answered");
        }
        let (seen, _) = replay(&mut session, [&hello[..]]);
        assert_eq!(seen, [Seen::Request(Request::ModemState)], "and begins anew");
        assert!(!session.watches_line_errors() && session.watches_modem_lines());
    }
}

#[test]
fn commands_before_the_agreement_are_answered() {
    let mut session = Session::new();
    session.greet(&mut Vec::new());
    let (seen, out) = replay(&mut session, [&command(&[2, 7])[..]]);
    assert_eq!(seen, [Seen::Request(Request::DataBits(Some(7)))]);
    assert_eq!(out, command(&[102, 7]));
}

#[test]
fn an_endless_or_broken_command_costs_its_client_only_itself() {
    let mut long = command(&[3; 100_000]);
    long.extend(b"on");
    let (seen, out) = replay(&mut agreed(), [&long[..]]);
    assert_eq!(seen, [Seen::Request(Request::Parity(None)), data(b"on")]);
    assert_eq!(out, command(&[103, 1]));

    // Its end forgotten: what is known is answered, and the next command is one.
    let (seen, out) = replay(&mut agreed(), [&b"\xff\xfa\x2c\x02\x07\xff\xf3on"[..]]);
    assert_eq!(
        seen,
        [Seen::Request(Request::DataBits(None)), Seen::Attention(Attention::Break), data(b"on")]
    );
    assert_eq!(out, command(&[102, 8]));

    // Of another option: nothing is known of it.
    let (seen, out) = replay(&mut agreed(), [&b"\xff\xfa\x1f\0\x50\0\x18\xff\xf0on"[..]]);
    assert_eq!((seen, out), (vec![data(b"on")], vec![]));
}
