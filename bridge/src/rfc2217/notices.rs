//! What a client was told of the modem lines and of the line's errors, and what its masks let through (RFC 2217,
//! section 4). Used by the session alone; must not encode.

/// Bits of a modem state: a line is on. The lower half of the byte, the same lines' changes, is the session's.
pub mod modem_state {
    /// Clear to send.
    pub const CTS: u8 = 0x10;
    /// Data set ready.
    pub const DSR: u8 = 0x20;
    /// Ring indicator.
    pub const RING: u8 = 0x40;
    /// Carrier.
    pub const CARRIER: u8 = 0x80;
}

/// Bits of a line state.
pub mod line_state {
    /// Bytes were lost.
    pub const OVERRUN: u8 = 0x02;
    /// A byte's parity was wrong.
    pub const PARITY: u8 = 0x04;
    /// A byte had no stop bit.
    pub const FRAMING: u8 = 0x08;
    /// A break was received.
    pub const BREAK: u8 = 0x10;
}

/// The bits that are lines.
const LINES: u8 = 0xF0;

#[derive(Clone, Debug)]
pub(super) struct Notices {
    pub(super) modem_mask: u8,
    pub(super) line_mask: u8,
    /// The client wants nothing but answers.
    pub(super) suspended: bool,
    /// The lines as the client knows them; `None`: it was told nothing.
    told: Option<u8>,
    /// The lines as they are, once they are known.
    modem: Option<u8>,
    /// What happened on the line since the client suspended.
    withheld: u8,
}

impl Default for Notices {
    /// RFC 2217, section 3: all of the modem lines, nothing of the line.
    fn default() -> Self {
        Self { modem_mask: 255, line_mask: 0, suspended: false, told: None, modem: None, withheld: 0 }
    }
}

impl Notices {
    /// What to tell of the modem lines now.
    pub(super) fn modem(&mut self, state: u8) -> Option<u8> {
        self.modem = Some(state & LINES);
        if self.suspended { None } else { self.news() }
    }

    /// What to tell of the line now.
    pub(super) fn line(&mut self, state: u8) -> Option<u8> {
        if self.suspended {
            self.withheld |= state;
            return None;
        }
        Some(state & self.line_mask).filter(|&value| value != 0)
    }

    /// All lines, whatever the mask: the client asked.
    pub(super) fn poll_modem(&mut self, state: u8) -> u8 {
        let lines = state & LINES;
        let changes = self.told.map_or(0, |told| changes(told, lines));
        self.told = Some(lines);
        self.modem = Some(lines);
        lines | changes
    }

    /// What was kept of modem lines and line while the client had suspended.
    pub(super) fn resume(&mut self) -> (Option<u8>, Option<u8>) {
        self.suspended = false;
        let withheld = std::mem::take(&mut self.withheld);
        (self.news(), self.line(withheld))
    }

    /// A line that fell is told although the masked value may be zero then: else the client would never learn it.
    fn news(&mut self) -> Option<u8> {
        let lines = self.modem?;
        if self.modem_mask == 0 {
            return None;
        }
        let Some(told) = self.told else {
            self.told = Some(lines);
            return Some(lines & self.modem_mask);
        };
        // The lines that the mask shows, by themselves or by their changes.
        let shown = (self.modem_mask & LINES) | (self.modem_mask << 4);
        let told_now = (told & !shown) | (lines & shown);
        let changes = changes(told, told_now);
        self.told = Some(told_now);
        let touched = (told ^ told_now) | changes;
        (touched & self.modem_mask != 0).then_some((lines | changes) & self.modem_mask)
    }
}

/// The lower half of the byte. Of the ring indicator only the trailing edge counts, as in the UART's register.
fn changes(before: u8, now: u8) -> u8 {
    let rang = now & modem_state::RING;
    ((before ^ now) & !rang) >> 4
}

#[cfg(test)]
mod tests {
    use super::{line_state::BREAK, modem_state::*, *};

    #[test]
    fn a_change_is_told_once_with_what_changed() {
        let mut notices = Notices::default();
        assert_eq!(notices.modem(CTS), Some(CTS), "the first is told without changes");
        assert_eq!(notices.modem(CTS), None);
        assert_eq!(notices.modem(CTS | DSR), Some(CTS | DSR | 0x02));
        assert_eq!(notices.modem(0), Some(0x03));
        assert_eq!(notices.modem(CARRIER), Some(CARRIER | 0x08));
        assert_eq!(notices.modem(CARRIER | 0x0F), None, "the lower half is not the caller's");
    }

    #[test]
    fn only_the_end_of_a_ring_counts_as_its_change() {
        let mut notices = Notices::default();
        notices.modem(0);
        assert_eq!(notices.modem(RING), Some(RING));
        assert_eq!(notices.modem(0), Some(0x04));
        notices.modem_mask = 0x04;
        assert_eq!(notices.modem(RING), None);
        assert_eq!(notices.modem(0), Some(0x04));
    }

    #[test]
    fn a_mask_hides_lines_and_what_it_hid_is_told_once_it_shows_them() {
        let mut notices = Notices::default();
        notices.modem(0);
        notices.modem_mask = CTS;
        assert_eq!(notices.modem(DSR), None);
        assert_eq!(notices.modem(DSR | CTS), Some(CTS));
        assert_eq!(notices.modem(DSR), Some(0), "that it fell is told");
        notices.modem_mask = 0x01;
        assert_eq!(notices.modem(DSR | CTS), Some(0x01));
        notices.modem_mask = 255;
        assert_eq!(notices.modem(DSR | CTS), Some(DSR | CTS | 0x02));
        notices.modem_mask = 0;
        assert_eq!(notices.modem(0), None);
    }

    #[test]
    fn a_poll_ignores_the_mask() {
        let mut notices = Notices { modem_mask: 0, ..Notices::default() };
        assert_eq!(notices.modem(CTS), None);
        assert_eq!(notices.poll_modem(CTS), CTS);
        assert_eq!(notices.poll_modem(DSR), DSR | 0x03);
        assert_eq!(notices.poll_modem(DSR), DSR);
    }

    #[test]
    fn what_happens_while_suspended_is_told_at_its_end() {
        let mut notices = Notices { line_mask: BREAK, ..Notices::default() };
        notices.modem(0);
        notices.suspended = true;
        assert_eq!(notices.line(BREAK | line_state::PARITY), None);
        assert_eq!(notices.modem(CTS), None);
        assert_eq!(notices.modem(CTS | DSR), None);
        assert_eq!(notices.resume(), (Some(CTS | DSR | 0x03), Some(BREAK)));
        assert_eq!(notices.resume(), (None, None));
    }
}
