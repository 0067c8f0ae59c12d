//! Telnet's option negotiation by the Q method (RFC 1143), cut down to a server that never takes back what it
//! offered: so nothing is ever queued. An answer is sent only when a state changes or a refusal is the first of its
//! kind, and nothing is agreed to more than [`AGREEMENTS`] times: two such servers that talk to each other fall silent,
//! also where somebody else began between them.

use super::{DO, DONT, IAC, WILL, WONT};

const BINARY: u8 = 0;
const ECHO: u8 = 1;
const SUPPRESS_GO_AHEAD: u8 = 3;
const TIMING_MARK: u8 = 6;
pub(super) const COM_PORT: u8 = 44;

/// Bytes of the greeting.
pub const GREETING: usize = 18;

/// An option that was agreed to and taken back so often is refused from then on. No client takes one back twice.
const AGREEMENTS: u8 = 4;

/// What the client says of an option.
#[derive(Clone, Copy, Debug)]
pub(super) enum Verb {
    Will,
    Wont,
    Do,
    Dont,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Side {
    #[default]
    Off,
    /// Offered, no answer yet.
    Offered,
    On,
}

/// What we think of an option on one side.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stance {
    Offer,
    Accept,
    Refuse,
}

/// Option, on our side, on the client's. ECHO is for people: their telnet then sends each key and shows what the
/// device echoes. COM-PORT is the client's to do (RFC 2217, section 1), but some ask us to.
const KNOWN: [(u8, Stance, Stance); 4] = [
    (BINARY, Stance::Offer, Stance::Offer),
    (SUPPRESS_GO_AHEAD, Stance::Offer, Stance::Offer),
    (ECHO, Stance::Offer, Stance::Refuse),
    (COM_PORT, Stance::Accept, Stance::Offer),
];

/// Both sides of all options.
#[derive(Clone, Debug, Default)]
pub(super) struct Options {
    ours: Half,
    theirs: Half,
}

/// One side of all options.
#[derive(Clone, Debug, Default)]
struct Half {
    /// In the order of [`KNOWN`].
    sides: [Side; KNOWN.len()],
    /// How often each was agreed to because the client asked.
    agreed: [u8; KNOWN.len()],
    /// One bit an option that was refused.
    refused: [u32; 8],
}

impl Options {
    pub(super) fn offer(&mut self, out: &mut impl Extend<u8>) {
        for ((option, ours, theirs), (our_side, their_side)) in
            KNOWN.into_iter().zip(self.ours.sides.iter_mut().zip(&mut self.theirs.sides))
        {
            for (stance, side, verb) in [(ours, our_side, WILL), (theirs, their_side, DO)] {
                if stance == Stance::Offer && *side == Side::Off {
                    *side = Side::Offered;
                    out.extend([IAC, verb, option]);
                }
            }
        }
    }

    pub(super) fn receive(&mut self, verb: Verb, option: u8, out: &mut impl Extend<u8>) {
        let answer = match verb {
            // A mark in the stream, not a state (RFC 860): telnet(1) shows nothing until it comes.
            Verb::Do if option == TIMING_MARK => Some(WILL),
            Verb::Will => self.theirs.asked(option, |&(_, _, theirs)| theirs, DO, DONT),
            Verb::Do => self.ours.asked(option, |&(_, ours, _)| ours, WILL, WONT),
            Verb::Wont => self.theirs.declined(option).then_some(DONT),
            Verb::Dont => self.ours.declined(option).then_some(WONT),
        };
        if let Some(verb) = answer {
            out.extend([IAC, verb, option]);
        }
    }

    /// The client's bytes are eight bits with no meaning to CR NUL.
    pub(super) fn client_is_binary(&self) -> bool {
        self.theirs.side(BINARY) == Side::On
    }

    /// Agreed, whoever began.
    pub(super) fn com_port_is_agreed(&self) -> bool {
        self.theirs.side(COM_PORT) == Side::On || self.ours.side(COM_PORT) == Side::On
    }

    /// Agreed, or offered and not refused.
    pub(super) fn com_port_may_be_used(&self) -> bool {
        self.theirs.side(COM_PORT) != Side::Off || self.ours.side(COM_PORT) == Side::On
    }
}

impl Half {
    fn side(&self, option: u8) -> Side {
        KNOWN
            .iter()
            .zip(self.sides)
            .find(|((known, ..), _)| *known == option)
            .map_or(Side::Off, |(_, side)| side)
    }

    /// The client asks for an option on this side, or takes an offer.
    fn asked(
        &mut self,
        option: u8,
        stance: impl Fn(&(u8, Stance, Stance)) -> Stance,
        yes: u8,
        no: u8,
    ) -> Option<u8> {
        let sides = self.sides.iter_mut().zip(&mut self.agreed);
        let known = KNOWN.iter().zip(sides).find(|((known, ..), _)| *known == option);
        if let Some((known, (side, agreed))) = known
            && stance(known) != Stance::Refuse
        {
            if *side != Side::Off {
                *side = Side::On;
                return None;
            }
            if *agreed < AGREEMENTS {
                (*side, *agreed) = (Side::On, *agreed + 1);
                return Some(yes);
            }
        }
        let bit = 1 << (option % 32);
        let refused = self.refused.get_mut(usize::from(option / 32))?;
        let first = *refused & bit == 0;
        *refused |= bit;
        first.then_some(no)
    }

    /// The client takes an option back, or declines it; whether it was on.
    fn declined(&mut self, option: u8) -> bool {
        let known = KNOWN.iter().zip(&mut self.sides).find(|((known, ..), _)| *known == option);
        known.is_some_and(|(_, side)| std::mem::take(side) == Side::On)
    }
}
