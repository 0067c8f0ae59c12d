//! Any bytes, split anywhere.

use proptest::{collection::vec, prelude::*};
use serialfleet_bridge::rfc2217::{Request, Session, escape};

use super::{
    Seen, agreed,
    replay::{pieces, replay},
};

/// Bytes of which most mean something to the codec.
fn telnet() -> impl Strategy<Value = Vec<u8>> {
    let options = prop_oneof![Just(0_u8), Just(1), Just(3), Just(6), Just(44), any::<u8>()];
    let piece = prop_oneof![
        vec(any::<u8>(), 0..20),
        vec(prop_oneof![Just(0xFF_u8), Just(b'\r'), Just(0), Just(b'x')], 0..10),
        (0xF0_u8..=0xFF, options).prop_map(|(verb, option)| vec![0xFF, verb, option]),
        (0_u8..20, vec(any::<u8>(), 0..8), any::<bool>()).prop_map(|(code, payload, ends)| {
            let mut bytes = vec![0xFF, 0xFA, 44, code];
            bytes.extend(payload);
            if ends {
                bytes.extend([0xFF, 0xF0]);
            }
            bytes
        }),
    ];
    vec(piece, 0..30).prop_map(|pieces| pieces.concat())
}

/// A well-formed client's turn, and what the session must see.
fn turns() -> impl Strategy<Value = Vec<Seen>> {
    let turn = prop_oneof![
        vec(prop_oneof![Just(0xFF_u8), any::<u8>()], 1..50).prop_map(Seen::Data),
        any::<u8>().prop_map(|mask| Seen::Request(Request::LineStateMask(mask))),
        (1..=u32::MAX).prop_map(|rate| Seen::Request(Request::BaudRate(Some(rate)))),
    ];
    vec(turn, 0..20)
}

fn encode(turn: &Seen) -> Vec<u8> {
    let command = |code, payload: &[u8]| {
        let payload = escape(payload).collect::<Vec<_>>().concat();
        [&[0xFF, 0xFA, 44, code], &payload[..], &[0xFF, 0xF0]].concat()
    };
    match turn {
        Seen::Data(bytes) => escape(bytes).collect::<Vec<_>>().concat(),
        Seen::Request(Request::LineStateMask(mask)) => command(10, &[*mask]),
        Seen::Request(Request::BaudRate(Some(rate))) => command(1, &rate.to_be_bytes()),
        other => panic!("{other:?} is not sent"),
    }
}

proptest! {
    #[test]
    fn any_bytes_split_anywhere_are_seen_as_if_they_came_at_once(bytes in telnet(), seed: u8) {
        let whole = replay(&mut Session::new(), [&bytes[..]]);
        prop_assert_eq!(&replay(&mut Session::new(), pieces(&bytes, seed)), &whole);
        prop_assert_eq!(&replay(&mut Session::new(), bytes.chunks(1)), &whole);
    }

    #[test]
    fn a_stream_cut_at_any_place_is_seen_as_if_it_came_at_once(bytes in vec(any::<u8>(), 0..40)) {
        let bytes = [&b"\xff\xfa\x2c\x01\xff\xff\0\0\x01\xff\xf0"[..], &bytes].concat();
        let whole = replay(&mut agreed(), [&bytes[..]]);
        for cut in 0..=bytes.len() {
            let (before, after) = bytes.split_at(cut);
            prop_assert_eq!(&replay(&mut agreed(), [before, after]), &whole);
        }
    }

    #[test]
    fn what_a_client_means_is_what_is_seen(turns in turns(), seed: u8) {
        let bytes: Vec<u8> = turns.iter().flat_map(encode).collect();
        let mut expected: Vec<Seen> = Vec::new();
        for turn in turns {
            match (expected.last_mut(), turn) {
                (Some(Seen::Data(before)), Seen::Data(bytes)) => before.extend(bytes),
                (_, turn) => expected.push(turn),
            }
        }
        prop_assert_eq!(replay(&mut agreed(), pieces(&bytes, seed)).0, expected);
    }

    #[test]
    fn refusals_and_agreements_end(bytes in telnet()) {
        let (mut one, mut other) = (Session::new(), Session::new());
        one.greet(&mut Vec::new());
        let mut out = replay(&mut one, [&bytes[..]]).1;
        let mut turns = 0;
        while !out.is_empty() {
            out = replay(&mut other, [&out[..]]).1;
            std::mem::swap(&mut one, &mut other);
            turns += 1;
            prop_assert!(turns < 20, "{:x?}", out);
        }
    }
}
