//! DNS messages (RFC 1035), as far as a resolver's question for one address needs them.
//!
//! Owner: the DNS server. It is pure, and takes any bytes.

use std::net::Ipv4Addr;

/// A question, and what an answer must repeat of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Question {
    /// Without the last dot, in lower case.
    pub(super) name: String,
    /// For an IPv4 address; everything else has no records here.
    pub(super) wants_ipv4: bool,
    identifier: [u8; 2],
    recursion_desired: bool,
    /// As it was asked: name, type, class.
    wire: Vec<u8>,
}

/// What there is to say.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The name exists, with these addresses or none.
    Addresses(Vec<Ipv4Addr>),
    /// There is no such name.
    NoSuchName,
}

impl Question {
    /// Nothing for what is not a single plain question: it is not answered, as if it had been lost.
    pub(super) fn parse(message: &[u8]) -> Option<Self> {
        let (header, body) = message.split_at_checked(HEADER)?;
        let &[first, second, flags, _, questions_high, questions_low, ..] = header else { return None };
        let is_query = flags & (RESPONSE | OPCODE) == 0;
        if !is_query || [questions_high, questions_low] != [0, 1] {
            return None;
        }
        let mut labels = Vec::new();
        let mut rest = body;
        loop {
            let (length, after) = rest.split_first()?;
            rest = after;
            if *length == 0 {
                break;
            }
            // Longer ones are pointers, which a first name cannot need.
            let (label, after) = rest.split_at_checked(usize::from(*length)).filter(|_| *length <= LABEL)?;
            labels.push(str::from_utf8(label).ok()?.to_ascii_lowercase());
            rest = after;
        }
        let (kind, rest) = rest.split_at_checked(4)?;
        let wire = body.get(..body.len() - rest.len())?.to_vec();
        if wire.len() > NAME + kind.len() {
            return None;
        }
        Some(Self {
            name: labels.join("."),
            wants_ipv4: kind == [0, TYPE_A, 0, CLASS_IN],
            identifier: [first, second],
            recursion_desired: flags & RECURSION_DESIRED != 0,
            wire,
        })
    }

    /// In at most 512 bytes, which every resolver takes: with many addresses, the first of them.
    pub(super) fn answer(&self, answer: &Answer) -> Vec<u8> {
        let (addresses, code) = match answer {
            Answer::Addresses(addresses) if self.wants_ipv4 => (addresses.as_slice(), 0),
            Answer::Addresses(_) => (&[][..], 0),
            Answer::NoSuchName => (&[][..], NO_SUCH_NAME),
        };
        let addresses = addresses.get(..MOST_ADDRESSES).unwrap_or(addresses);
        let count = u8::try_from(addresses.len()).unwrap_or_default();
        let asked = if self.recursion_desired { RECURSION_DESIRED } else { 0 };

        let mut message = Vec::with_capacity(512);
        message.extend(self.identifier);
        message.extend([RESPONSE | AUTHORITATIVE | asked, RECURSION_AVAILABLE | code]);
        message.extend([0, 1, 0, count, 0, 0, 0, 0]);
        message.extend(&self.wire);
        for address in addresses {
            message.extend(NAME_OF_THE_QUESTION);
            message.extend([0, TYPE_A, 0, CLASS_IN]);
            message.extend(SECONDS_TO_LIVE.to_be_bytes());
            message.extend([0, 4]);
            message.extend(address.octets());
        }
        message
    }
}

const HEADER: usize = 12;
const RESPONSE: u8 = 0x80;
const OPCODE: u8 = 0x78;
const AUTHORITATIVE: u8 = 0x04;
const RECURSION_DESIRED: u8 = 0x01;
const RECURSION_AVAILABLE: u8 = 0x80;
const NO_SUCH_NAME: u8 = 3;
const TYPE_A: u8 = 1;
const CLASS_IN: u8 = 1;
/// A pointer to the byte after the header.
const NAME_OF_THE_QUESTION: [u8; 2] = [0xc0, 12];
/// RFC 1035, 2.3.4.
const LABEL: u8 = 63;
const NAME: usize = 255;
/// (512 - header - longest name, type and class) / 16 bytes a record.
const MOST_ADDRESSES: usize = 15;
/// Nobody keeps it: Services come and go in a test.
const SECONDS_TO_LIVE: u32 = 0;

#[cfg(test)]
mod tests {
    use super::*;

    fn query(name: &str, kind: u8) -> Vec<u8> {
        let mut message = vec![0xab, 0xcd, RECURSION_DESIRED, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.') {
            message.push(u8::try_from(label.len()).unwrap());
            message.extend(label.bytes());
        }
        message.extend([0, 0, kind, 0, CLASS_IN]);
        message
    }

    #[test]
    fn a_question_is_read_and_answered() {
        let question = Question::parse(&query("Hook.serialfleet-system.svc", TYPE_A)).unwrap();
        assert_eq!(question.name, "hook.serialfleet-system.svc");
        let answer = question.answer(&Answer::Addresses(vec![Ipv4Addr::new(10, 96, 0, 7)]));
        assert_eq!(&answer[..8], [0xab, 0xcd, 0x85, 0x80, 0, 1, 0, 1]);
        assert_eq!(&answer[answer.len() - 6..], [0, 4, 10, 96, 0, 7]);
    }

    #[test]
    fn an_extension_after_the_question_does_not_matter() {
        let mut message = query("a.b.svc", TYPE_A);
        message[11] = 1;
        message.extend([0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
        let question = Question::parse(&message).unwrap();
        assert_eq!(question.answer(&Answer::NoSuchName).len(), query("a.b.svc", TYPE_A).len());
    }

    #[test]
    fn a_name_without_an_ipv6_address_still_exists() {
        let question = Question::parse(&query("a.b.svc", 28)).unwrap();
        let answer = question.answer(&Answer::Addresses(vec![Ipv4Addr::LOCALHOST]));
        assert_eq!((answer[3] & 0x0f, answer[7]), (0, 0));
        assert_eq!(question.answer(&Answer::NoSuchName)[3] & 0x0f, NO_SUCH_NAME);
    }

    #[test]
    fn many_addresses_fit_into_512_bytes() {
        let long = [["x"; 31].join("").as_str(); 7].join(".");
        let question = Question::parse(&query(&long, TYPE_A)).unwrap();
        assert!(question.answer(&Answer::Addresses(vec![Ipv4Addr::LOCALHOST; 300])).len() <= 512);
    }

    #[test]
    fn no_bytes_do_harm() {
        let whole = query("a.b.svc", TYPE_A);
        for length in 0..whole.len() {
            assert_eq!(Question::parse(&whole[..length]), None);
        }
        let pointer = [&whole[..HEADER], &[0xc0, 12, 0, 1, 0, 1]].concat();
        assert_eq!(Question::parse(&pointer), None);
        let mut answer = whole;
        answer[2] |= RESPONSE;
        assert_eq!(Question::parse(&answer), None);
    }
}
