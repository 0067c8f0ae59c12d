//! Input of a tty in PARMRK mode.

use proptest::{collection::vec, prelude::*};
use serialfleet_api::line::Parity;
use serialfleet_bridge::rfc2217::{Unmarked, line_state};

use super::replay::{pieces, unmark};

const ERROR: u8 = line_state::PARITY | line_state::FRAMING;

#[test]
fn marks_are_taken_out_of_the_data() {
    for (marked, bytes, marks) in [
        (&b"abc"[..], &b"abc"[..], &[][..]),
        (b"a\xff\xffb", b"a\xffb", &[]),
        (b"\xff\xff\xff\xff", b"\xff\xff", &[]),
        (b"a\xff\0\0b", b"ab", &[(1, line_state::BREAK)]),
        (b"a\xff\0xb", b"axb", &[(1, ERROR)]),
        (b"\xff\0\xffb", b"\xffb", &[(0, ERROR)]),
        (b"\xff\0\xff\xff\xff", b"\xff\xff", &[(0, ERROR)]),
        (b"\xff\0\0\xff\0\0", b"", &[(0, line_state::BREAK), (0, line_state::BREAK)]),
        (b"a\xffb", b"a\xffb", &[]),
        (b"a\xff", b"a", &[]),
    ] {
        assert_eq!(unmark([marked]), (bytes.to_vec(), marks.to_vec()), "{marked:x?}");
        assert_eq!(unmark(marked.chunks(1)), (bytes.to_vec(), marks.to_vec()), "{marked:x?}");
    }
}

#[test]
fn without_parity_an_error_can_only_be_a_missing_stop_bit() {
    assert_eq!(Unmarked::Error.line_state(Parity::None), line_state::FRAMING);
    assert_eq!(Unmarked::Error.line_state(Parity::Odd), ERROR);
    assert_eq!(Unmarked::Break.line_state(Parity::Odd), line_state::BREAK);
    assert_eq!(Unmarked::Data(b"x").line_state(Parity::Odd), 0);
}

/// A byte as the line had it: `Ok` as received, `Err` with an error, zero a break.
fn mark(byte: &Result<u8, u8>) -> Vec<u8> {
    match *byte {
        Ok(0xFF) => vec![0xFF, 0xFF],
        Ok(byte) => vec![byte],
        Err(byte) => vec![0xFF, 0, byte],
    }
}

proptest! {
    #[test]
    fn what_the_kernel_marks_is_unmarked(
        line in vec(prop_oneof![any::<u8>().prop_map(Ok), Just(Ok(0xFF)), any::<u8>().prop_map(Err), Just(Err(0))], 0..50),
        seed: u8,
    ) {
        let (mut data, mut marks) = (Vec::new(), Vec::new());
        for byte in &line {
            match *byte {
                Ok(byte) => data.push(byte),
                Err(0) => marks.push((data.len(), line_state::BREAK)),
                Err(byte) => {
                    marks.push((data.len(), ERROR));
                    data.push(byte);
                }
            }
        }
        let marked: Vec<u8> = line.iter().flat_map(mark).collect();
        prop_assert_eq!(unmark(pieces(&marked, seed)), (data, marks));
    }

    #[test]
    fn any_bytes_split_anywhere_are_unmarked_as_if_they_came_at_once(
        bytes in vec(prop_oneof![Just(0xFF_u8), Just(0), any::<u8>()], 0..60),
        seed: u8,
    ) {
        prop_assert_eq!(unmark(pieces(&bytes, seed)), unmark([&bytes[..]]));
    }
}
