//! Modem lines and break: DTR and RTS set, DCD, RI, DSR and CTS read and waited for.

use rustix::io::Errno;

use super::{Tty, is_unsupported};

/// The lines that a device drives, as TIOCM bits and as RFC 2217 lays them out.
const INPUTS: [(libc::c_int, u8); 4] =
    [(libc::TIOCM_CD, 0x80), (libc::TIOCM_RI, 0x40), (libc::TIOCM_DSR, 0x20), (libc::TIOCM_CTS, 0x10)];

impl Tty {
    /// The lines that the device drives, laid out as [`crate::overlay::Values::modem`]. A USB transfer on ftdi_sio and
    /// cp210x, on others the driver's memory.
    ///
    /// # Errors
    /// The errno of TIOCMGET: see [`is_unsupported`].
    pub fn modem(&self) -> Result<u8, Errno> {
        self.modem_bits().map(layout)
    }

    /// Waits until one of these lines has changed or a signal came (TIOCMIWAIT). A change before the call is missed.
    ///
    /// # Errors
    /// The errno of TIOCMIWAIT; [`is_unsupported`] where the driver cannot wait (cp210x), EIO or ENODEV after an unplug.
    pub fn wait_for_modem(&self) -> Result<(), Errno> {
        let lines = INPUTS.iter().fold(0, |all, (bit, _)| all | bit);
        match self.ioctl_with(libc::TIOCMIWAIT, lines) {
            Err(Errno::INTR) => Ok(()),
            result => result,
        }
    }

    /// All lines as TIOCM bits.
    pub(super) fn modem_bits(&self) -> Result<libc::c_int, Errno> {
        let mut lines = 0;
        self.ioctl(libc::TIOCMGET, &raw mut lines)?;
        Ok(lines)
    }

    /// Raises or lowers one line: a single ioctl without a reading before it, which would be a USB transfer of its own.
    pub(super) fn set_modem_line(&self, mut line: libc::c_int, on: bool) -> Result<(), Errno> {
        self.ioctl(if on { libc::TIOCMBIS } else { libc::TIOCMBIC }, &raw mut line)
    }

    /// Sets the named lines in one TIOCMSET: two ioctls would pass through a state that the reset circuits of many
    /// boards act on. No ioctl where they are as wanted already.
    pub(super) fn set_modem_lines(&self, dtr: Option<bool>, rts: Option<bool>) -> Result<(), Errno> {
        let before = self.modem_bits()?;
        let mut lines = before;
        for (bit, wanted) in [(libc::TIOCM_DTR, dtr), (libc::TIOCM_RTS, rts)] {
            match wanted {
                Some(true) => lines |= bit,
                Some(false) => lines &= !bit,
                None => {}
            }
        }
        if lines == before { Ok(()) } else { self.ioctl(libc::TIOCMSET, &raw mut lines) }
    }

    /// Begins or ends a break. A driver that cannot send one is no error: clients insist on an answer.
    pub(super) fn set_break(&self, on: bool) -> Result<(), Errno> {
        match self.ioctl_with(if on { libc::TIOCSBRK } else { libc::TIOCCBRK }, 0) {
            Err(errno) if is_unsupported(errno) => Ok(()),
            result => result,
        }
    }
}

pub(super) fn layout(lines: libc::c_int) -> u8 {
    INPUTS.iter().filter(|(bit, _)| lines & bit != 0).fold(0, |all, (_, bit)| all | bit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_laid_out_as_rfc_2217_says() {
        for (lines, state) in [
            (0, 0),
            (libc::TIOCM_CTS, 0x10),
            (libc::TIOCM_DSR, 0x20),
            (libc::TIOCM_RI, 0x40),
            (libc::TIOCM_CD, 0x80),
            (libc::TIOCM_CD | libc::TIOCM_CTS | libc::TIOCM_DTR | libc::TIOCM_RTS, 0x90),
        ] {
            assert_eq!(layout(lines), state, "{lines:#x}");
        }
    }
}
