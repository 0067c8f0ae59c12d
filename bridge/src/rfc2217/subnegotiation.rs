//! What came between IAC SB and IAC SE. Used by the session alone; must not grow.

/// Option, command and payload. The longest payload of a known command is four bytes: whatever has more than five is
/// malformed, and how it goes on matters to nobody.
#[derive(Clone, Debug, Default)]
pub(super) struct Subnegotiation {
    bytes: [u8; 7],
    length: usize,
}

impl Subnegotiation {
    pub(super) fn push(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(self.length) {
            *place = byte;
            self.length += 1;
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}
