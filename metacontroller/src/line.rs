//! Character format of a serial line: data bits, parity, stop bits.

use std::{fmt, str::FromStr};

/// Parity bit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the words of termios")]
pub enum Parity {
    #[default]
    None,
    Even,
    Odd,
    Mark,
    Space,
}

/// Stop bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the words say it")]
pub enum StopBits {
    #[default]
    One,
    OnePointFive,
    Two,
}

/// Data bits, parity and stop bits, written `8N1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// 5 to 8.
    pub data_bits: u8,
    /// Parity bit.
    pub parity: Parity,
    /// Stop bits: one and a half only with 5 data bits, two not with 5.
    pub stop_bits: StopBits,
}

impl Default for Format {
    fn default() -> Self {
        Self { data_bits: 8, parity: Parity::None, stop_bits: StopBits::One }
    }
}

/// A format that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no character format: write data bits 5 to 8, one of N E O M S, stop bits 1, 1.5 (with 5 data bits) or 2 (not with 5), such as 8N1"
)]
pub struct FormatError(String);

impl FromStr for Format {
    type Err = FormatError;

    fn from_str(text: &str) -> Result<Self, FormatError> {
        let bad = || FormatError(text.to_owned());
        let mut chars = text.chars();
        let data_bits = match chars.next() {
            Some('5') => 5,
            Some('6') => 6,
            Some('7') => 7,
            Some('8') => 8,
            _ => return Err(bad()),
        };
        let parity = match chars.next() {
            Some('N') => Parity::None,
            Some('E') => Parity::Even,
            Some('O') => Parity::Odd,
            Some('M') => Parity::Mark,
            Some('S') => Parity::Space,
            _ => return Err(bad()),
        };
        let stop_bits = match (chars.as_str(), data_bits) {
            ("1", _) => StopBits::One,
            ("1.5", 5) => StopBits::OnePointFive,
            ("2", 6..=8) => StopBits::Two,
            _ => return Err(bad()),
        };
        Ok(Self { data_bits, parity, stop_bits })
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parity = match self.parity {
            Parity::None => 'N',
            Parity::Even => 'E',
            Parity::Odd => 'O',
            Parity::Mark => 'M',
            Parity::Space => 'S',
        };
        let stop_bits = match self.stop_bits {
            StopBits::One => "1",
            StopBits::OnePointFive => "1.5",
            StopBits::Two => "2",
        };
        write!(f, "{}{parity}{stop_bits}", self.data_bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_is_printed_as_it_was_written() {
        for text in ["8N1", "7E2", "5O1.5", "5S1", "6M1", "8N2"] {
            assert_eq!(text.parse::<Format>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_no_uart_can_do_is_refused() {
        for text in ["", "8", "8N", "9N1", "4N1", "8X1", "8N3", "8N1.5", "5N2", "8n1", "8N1 ", "١N1"] {
            assert!(text.parse::<Format>().is_err(), "{text:?}");
        }
    }
}
