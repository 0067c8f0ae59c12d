//! The input of a tty in PARMRK mode (termios(3)) as bytes and marks. Used by the port while a client has asked to be
//! told of breaks and receive errors; must not be used on a tty without PARMRK and INPCK.
//!
//! The tty sends 0xFF twice, a break as FF 00 00, and a byte with an error as FF 00 and the byte (n_tty.c). A NUL
//! with an error cannot be told from a break.

use serialfleet_api::line::Parity;

use super::{
    escape::position_of_iac,
    notices::line_state::{BREAK, FRAMING, PARITY},
};

/// What begins a mark, and is doubled as data.
const MARK: u8 = 0xFF;

/// What a marked input holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmarked<'a> {
    /// Bytes as received, never none.
    Data(&'a [u8]),
    /// A break; without PARMRK it would have been a NUL.
    Break,
    /// The byte that comes next, in [`Unmarked::Data`], had an error.
    Error,
}

impl Unmarked<'_> {
    /// The bits of [`super::line_state`]. The mark does not tell a wrong parity from a missing stop bit: with parity
    /// it is one of both.
    pub fn line_state(self, parity: Parity) -> u8 {
        match self {
            Self::Data(_) => 0,
            Self::Break => BREAK,
            Self::Error if parity == Parity::None => FRAMING,
            Self::Error => FRAMING | PARITY,
        }
    }
}

/// Where in a mark the input was cut off. When PARMRK is turned off, forget it: the byte that is still to come then
/// comes as it is.
#[derive(Debug, Default)]
pub struct Unmarker {
    state: State,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    #[default]
    Data,
    /// After FF.
    Mark,
    /// After FF 00.
    Marked,
    /// At the byte with an error: data, whatever it is.
    Error,
}

impl Unmarker {
    /// At the start of an input.
    pub fn new() -> Self {
        Self::default()
    }

    /// Consumes input until something comes up; `None` once it is used up.
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Option<Unmarked<'a>> {
        while let Some((&byte, rest)) = input.split_first() {
            match self.state {
                State::Data if byte == MARK => self.state = State::Mark,
                State::Data | State::Error => return Some(Unmarked::Data(self.run(input))),
                State::Mark if byte == MARK => return Some(Unmarked::Data(self.run(input))),
                State::Mark if byte == 0 => self.state = State::Marked,
                State::Mark => {
                    // From before PARMRK was turned on.
                    self.state = State::Data;
                    return Some(Unmarked::Data(&[MARK]));
                }
                State::Marked if byte == 0 => {
                    self.state = State::Data;
                    *input = rest;
                    return Some(Unmarked::Break);
                }
                State::Marked => {
                    self.state = State::Error;
                    return Some(Unmarked::Error);
                }
            }
            *input = rest;
        }
        None
    }

    /// Takes data off the input: its first byte, whatever it is, and what follows up to a mark.
    fn run<'a>(&mut self, input: &mut &'a [u8]) -> &'a [u8] {
        self.state = State::Data;
        let end = input.get(1..).and_then(position_of_iac).map_or(input.len(), |position| position + 1);
        let (run, rest) = input.split_at_checked(end).unwrap_or_default();
        *input = rest;
        run
    }
}
