//! Telnet without COM-PORT: data, options, what people and their programs send.

use serialfleet_bridge::rfc2217::{Attention, GREETING, Request, Session};

use super::{Seen, agreed, data, replay};

fn greeted() -> (Session, Vec<u8>) {
    let (mut session, mut out) = (Session::new(), Vec::new());
    session.greet(&mut out);
    (session, out)
}

#[test]
fn the_greeting_offers_what_clients_wait_for() {
    let (_, out) = greeted();
    assert_eq!(out.len(), GREETING);
    assert_eq!(out, b"\xff\xfb\0\xff\xfd\0\xff\xfb\x03\xff\xfd\x03\xff\xfb\x01\xff\xfd\x2c");
}

#[test]
fn a_doubled_iac_is_one_byte_of_data() {
    for (sent, meant) in [
        (&b"\xff\xff"[..], &b"\xff"[..]),
        (b"a\xff\xffb", b"a\xffb"),
        (b"\xff\xff\xff\xff", b"\xff\xff"),
        (b"\xff\xff\xff\xf1\xff\xff", b"\xff\xff"),
    ] {
        assert_eq!(replay(&mut agreed(), [sent]), (vec![data(meant)], vec![]));
    }
}

#[test]
fn the_nul_of_cr_nul_is_dropped_until_binary_is_agreed() {
    let (mut session, _) = greeted();
    for (sent, meant) in [
        (&b"a\r\0b"[..], &b"a\rb"[..]),
        (b"\r\0\0", b"\r\0"),
        (b"\r\0\r\0", b"\r\r"),
        (b"\r\n\0", b"\r\n\0"),
        (b"\0\r\xff\xf1\0x", b"\0\rx"),
        (b"\xff\xff\0", b"\xff\0"),
    ] {
        assert_eq!(replay(&mut session, [sent]).0, [data(meant)], "{sent:?}");
    }
    replay(&mut session, [&b"\xff\xfb\0"[..]]);
    assert_eq!(replay(&mut session, [&b"a\r\0b"[..]]).0, [data(b"a\r\0b")]);
    replay(&mut session, [&b"\xff\xfc\0"[..]]);
    assert_eq!(replay(&mut session, [&b"a\r\0b"[..]]).0, [data(b"a\rb")]);
}

#[test]
fn offers_that_are_taken_are_not_answered_again() {
    let (mut session, _) = greeted();
    let yes = b"\xff\xfd\0\xff\xfb\0\xff\xfd\x03\xff\xfb\x03\xff\xfd\x01\xff\xfb\x2c";
    let (seen, out) = replay(&mut session, [&yes[..]]);
    assert_eq!(seen, [Seen::Request(Request::ModemState)]);
    assert_eq!(out, b"\xff\xfa\x2c\x6b\xb0\xff\xf0", "only the modem lines");
    assert_eq!(replay(&mut session, [&yes[..]]), (vec![], vec![]));
}

#[test]
fn a_session_that_was_not_greeted_agrees_all_the_same() {
    let asked = b"\xff\xfb\0\xff\xfd\0\xff\xfb\x03\xff\xfd\x03\xff\xfd\x01\xff\xfb\x2c";
    let (_, out) = replay(&mut Session::new(), [&asked[..]]);
    let answer = b"\xff\xfd\0\xff\xfb\0\xff\xfd\x03\xff\xfb\x03\xff\xfb\x01\xff\xfd\x2c";
    assert_eq!(out, [&answer[..], b"\xff\xfa\x2c\x6b\xb0\xff\xf0"].concat());
}

#[test]
fn offers_that_are_declined_are_dropped_without_a_word() {
    let (mut session, _) = greeted();
    let no = b"\xff\xfe\0\xff\xfc\0\xff\xfe\x03\xff\xfc\x03\xff\xfe\x01\xff\xfc\x2c\xff\xfe\x2c";
    assert_eq!(replay(&mut session, [&no[..]]), (vec![], vec![]));
    assert_eq!(replay(&mut session, [&b"raw"[..]]), (vec![data(b"raw")], vec![]));
}

#[test]
fn what_is_not_known_is_refused_once() {
    let (mut session, _) = greeted();
    for option in (0..=255).filter(|option| ![0, 1, 3, 6, 44].contains(option)) {
        let asked = [0xFF, 0xFB, option, 0xFF, 0xFD, option];
        assert_eq!(
            replay(&mut session, [&asked[..]]),
            (vec![], vec![0xFF, 0xFE, option, 0xFF, 0xFC, option])
        );
        assert_eq!(
            replay(&mut session, [&asked[..], &[0xFF, 0xFC, option, 0xFF, 0xFE, option]]),
            (vec![], vec![])
        );
    }
    let (_, out) = replay(&mut session, [&b"\xff\xfb\x01"[..]]);
    assert_eq!(out, b"\xff\xfe\x01", "the client's ECHO would be a loop");
}

#[test]
fn a_timing_mark_comes_back_every_time() {
    // Without it telnet(1) shows nothing more after an interrupt.
    for _ in 0..2 {
        let (_, out) = replay(&mut agreed(), [&b"\xff\xfd\x06\xff\xfd\x06"[..]]);
        assert_eq!(out, b"\xff\xfb\x06\xff\xfb\x06");
    }
}

#[test]
fn commands_are_seen_at_their_place() {
    let (seen, out) =
        replay(&mut agreed(), [&b"a\xff\xf3b\xff\xf2c\xff\xf6d\xff\xf1e\xff\xf9f\xff\x01g\xff\xf0h"[..]]);
    assert_eq!(
        seen,
        [
            data(b"a"),
            Seen::Attention(Attention::Break),
            data(b"b"),
            Seen::Attention(Attention::DataMark),
            data(b"cdefgh"),
        ]
    );
    assert_eq!(out, b"\r\n[Yes]\r\n");
}

#[test]
fn two_servers_that_talk_to_each_other_fall_silent() {
    let ((mut one, mut to_other), (mut other, _)) = (greeted(), greeted());
    let mut turns = 0;
    let mut to_one = greeted().1;
    while !to_one.is_empty() || !to_other.is_empty() {
        let from_one = replay(&mut one, [&std::mem::take(&mut to_one)[..]]).1;
        to_one = replay(&mut other, [&to_other[..]]).1;
        to_other = from_one;
        turns += 1;
        assert!(turns < 10, "{to_one:x?} {to_other:x?}");
    }
}

/// Found by the property: each took the other's answers for requests, for ever.
#[test]
fn two_servers_fall_silent_whatever_somebody_said_between_them() {
    let ((mut one, _), mut other) = (greeted(), Session::new());
    let mut out = b"\xff\xfd\x2c\xff\xfe\x2c".to_vec();
    let mut turns = 0;
    while !out.is_empty() {
        out = replay(&mut one, [&out[..]]).1;
        std::mem::swap(&mut one, &mut other);
        turns += 1;
        assert!(turns < 20, "{out:x?}");
    }
}

#[test]
fn pyserial_opens() {
    // What pyserial 3.5 sends before it waits, then its answers to the greeting.
    let (mut session, _) = greeted();
    let asks = b"\xff\xfd\x01\xff\xfb\x03\xff\xfd\x03\xff\xfd\x2c\xff\xfb\x2c";
    let (_, out) = replay(&mut session, [&asks[..], b"\xff\xfb\0\xff\xfd\0"]);
    assert_eq!(out, b"\xff\xfb\x2c\xff\xfa\x2c\x6b\xb0\xff\xf0");
    let settings = [
        &b"\xff\xfa\x2c\x01\x00\x00\x25\x80\xff\xf0"[..],
        b"\xff\xfa\x2c\x02\x08\xff\xf0\xff\xfa\x2c\x03\x01\xff\xf0\xff\xfa\x2c\x04\x01\xff\xf0",
        b"\xff\xfa\x2c\x05\x01\xff\xf0\xff\xfa\x2c\x05\x08\xff\xf0\xff\xfa\x2c\x05\x0b\xff\xf0",
        b"\xff\xfa\x2c\x0c\x01\xff\xf0\xff\xfa\x2c\x0c\x02\xff\xf0",
    ];
    let (_, out) = replay(&mut session, settings);
    let mut answers = settings.concat();
    for at in (0..answers.len()).filter(|&at| answers[at..].starts_with(b"\xff\xfa\x2c")).collect::<Vec<_>>()
    {
        answers[at + 3] += 100;
    }
    assert_eq!(out, answers, "exactly what was asked for");
}
