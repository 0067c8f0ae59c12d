//! Device bytes on their way to a client: IAC doubled, nothing copied. Used by the session and by the port.

use super::IAC;

/// The bytes as runs that a client is sent one after the other: each IAC ends one run and begins the next. Without
/// an IAC that is one run, all of the bytes.
pub fn escape(bytes: &[u8]) -> Escaped<'_> {
    Escaped { rest: bytes, sent: 0 }
}

/// See [`escape`].
#[derive(Clone, Debug)]
pub struct Escaped<'a> {
    rest: &'a [u8],
    /// Bytes at the front that ended the last run: an IAC, or none.
    sent: usize,
}

impl<'a> Iterator for Escaped<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (run, rest) = match self.rest.get(self.sent..).and_then(position_of_iac) {
            Some(position) => {
                let iac = self.sent + position;
                (self.rest.get(..=iac)?, self.rest.get(iac..)?)
            }
            None => (self.rest, Default::default()),
        };
        self.rest = rest;
        self.sent = 1;
        (!run.is_empty()).then_some(run)
    }
}

/// Bytes looked at in one step: a loop over so many without a way out is turned into vector code.
const STEP: usize = 64;

pub(super) fn position_of_iac(bytes: &[u8]) -> Option<usize> {
    let clean = bytes
        .chunks_exact(STEP)
        .take_while(|step| !step.iter().fold(false, |found, &byte| found | (byte == IAC)))
        .count()
        * STEP;
    bytes.get(clean..)?.iter().position(|&byte| byte == IAC).map(|position| clean + position)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_iac_is_doubled_and_nothing_else_changes() {
        for (bytes, escaped) in [
            (&b""[..], &b""[..]),
            (b"abc", b"abc"),
            (b"\xff", b"\xff\xff"),
            (b"a\xffb", b"a\xff\xffb"),
            (b"\xff\xff", b"\xff\xff\xff\xff"),
            (b"\xffa\xff", b"\xff\xffa\xff\xff"),
        ] {
            assert_eq!(escape(bytes).collect::<Vec<_>>().concat(), escaped);
        }
    }

    #[test]
    fn bytes_without_iac_are_handed_on_as_they_are() {
        let bytes = [7; 100_000];
        let mut runs = escape(&bytes);
        assert!(std::ptr::eq(runs.next().unwrap(), &raw const bytes[..]));
        assert_eq!(runs.next(), None);
    }

    #[test]
    fn iac_is_found_wherever_it_is() {
        for length in 0..3 * STEP {
            for position in 0..length {
                let mut bytes = vec![254; length];
                bytes[position] = IAC;
                bytes[length - 1] = IAC;
                assert_eq!(position_of_iac(&bytes), Some(position));
            }
            assert_eq!(position_of_iac(&vec![254; length]), None);
        }
    }
}
