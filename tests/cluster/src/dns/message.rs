//! DNS messages (RFC 1035, 3596), as far as a resolver's question for addresses needs them.
//!
//! Owner: the DNS server. It is pure, and takes any bytes.

use std::net::IpAddr;

/// A question, and what an answer must repeat of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Question {
    /// Without the last dot, in lower case.
    pub(super) name: String,
    wanted: Wanted,
    identifier: [u8; 2],
    recursion_desired: bool,
    /// As it was asked: name, type, class.
    wire: Vec<u8>,
}

/// The records that are asked for; other types have none here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Ipv4,
    Ipv6,
    Other,
}

/// What there is to say.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The name exists, with these addresses or none.
    Addresses(Vec<IpAddr>),
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
            wanted: match kind {
                [0, TYPE_A, 0, CLASS_IN] => Wanted::Ipv4,
                [0, TYPE_AAAA, 0, CLASS_IN] => Wanted::Ipv6,
                _ => Wanted::Other,
            },
            identifier: [first, second],
            recursion_desired: flags & RECURSION_DESIRED != 0,
            wire,
        })
    }

    /// In at most 512 bytes, which every resolver takes: with many addresses, the first of them.
    pub(super) fn answer(&self, answer: &Answer) -> Vec<u8> {
        let (addresses, code) = match answer {
            Answer::Addresses(addresses) => (addresses.as_slice(), 0),
            Answer::NoSuchName => (&[][..], NO_SUCH_NAME),
        };
        let addresses: Vec<IpAddr> = addresses
            .iter()
            .copied()
            .filter(|address| match self.wanted {
                Wanted::Ipv4 => address.is_ipv4(),
                Wanted::Ipv6 => address.is_ipv6(),
                Wanted::Other => false,
            })
            .take(MOST_ADDRESSES)
            .collect();
        let count = u8::try_from(addresses.len()).unwrap_or_default();
        let asked = if self.recursion_desired { RECURSION_DESIRED } else { 0 };

        let mut message = Vec::with_capacity(512);
        message.extend(self.identifier);
        message.extend([RESPONSE | AUTHORITATIVE | asked, RECURSION_AVAILABLE | code]);
        message.extend([0, 1, 0, count, 0, 0, 0, 0]);
        message.extend(&self.wire);
        for address in addresses {
            message.extend(NAME_OF_THE_QUESTION);
            let (kind, octets) = match address {
                IpAddr::V4(address) => (TYPE_A, address.octets().to_vec()),
                IpAddr::V6(address) => (TYPE_AAAA, address.octets().to_vec()),
            };
            message.extend([0, kind, 0, CLASS_IN]);
            message.extend(SECONDS_TO_LIVE.to_be_bytes());
            message.extend([0, if kind == TYPE_A { 4 } else { 16 }]);
            message.extend(octets);
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
const TYPE_AAAA: u8 = 28;
const CLASS_IN: u8 = 1;
/// A pointer to the byte after the header.
const NAME_OF_THE_QUESTION: [u8; 2] = [0xc0, 12];
/// RFC 1035, 2.3.4.
const LABEL: u8 = 63;
const NAME: usize = 255;
/// (512 - header - longest name, type and class) / 28 bytes a record of IPv6.
const MOST_ADDRESSES: usize = 8;
/// Nobody keeps it: Services come and go in a test.
const SECONDS_TO_LIVE: u32 = 0;

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    const IPV4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const IPV6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

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
        let answer = question.answer(&Answer::Addresses(vec![IpAddr::from([10, 96, 0, 7])]));
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
        let question = Question::parse(&query("a.b.svc", TYPE_AAAA)).unwrap();
        let answer = question.answer(&Answer::Addresses(vec![IPV4]));
        assert_eq!((answer[3] & 0x0f, answer[7]), (0, 0));
        let answer = question.answer(&Answer::Addresses(vec![IPV4, IPV6]));
        assert_eq!((answer[3] & 0x0f, answer[7]), (0, 1));
        assert_eq!(&answer[answer.len() - 18..], [&[0, 16][..], &[0; 15], &[1]].concat());
        assert_eq!(question.answer(&Answer::NoSuchName)[3] & 0x0f, NO_SUCH_NAME);
    }

    #[test]
    fn many_addresses_fit_into_512_bytes() {
        let long = [["x"; 31].join("").as_str(); 7].join(".");
        for (kind, address) in [(TYPE_A, IPV4), (TYPE_AAAA, IPV6)] {
            let question = Question::parse(&query(&long, kind)).unwrap();
            let answer = question.answer(&Answer::Addresses(vec![address; 300]));
            assert!(answer[7] > 0 && answer.len() <= 512);
        }
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
