//! What RFC 2217 clients ask for: changes over the configured line, and their undoing. Used by
//! [`crate::port::LineThread`]; knows of no client.

use std::mem::take;

use rustix::termios::tcgetattr;

use super::{AdoptError, Gone, Queues, Tty, is_unsupported, modem::layout};
use crate::overlay::{Change, Overlay, Values};

impl Tty {
    /// One setting of a client, in force until [`Self::restore`]. A rate or format first waits until what was written
    /// before has left the kernel, half a second at most. What the driver does not do, and what no line can do, is no
    /// error: what is in force is returned. DTR, RTS and a break take a single ioctl, and on devices that have none of
    /// them are remembered.
    ///
    /// # Errors
    /// [`Gone`].
    pub fn change(&self, change: Change) -> Result<Values, Gone> {
        let mut state = self.state();
        let before = state.overlay;
        if state.overlay.set(change) {
            let result = match change {
                Change::Dtr(on) => self.set_one(&mut state, libc::TIOCM_DTR, on),
                Change::Rts(on) => self.set_one(&mut state, libc::TIOCM_RTS, on),
                Change::Break(on) => self.send_break(&mut state, on),
                _ => self.apply(&mut state, false).map(drop),
            };
            if let Err(error) = result {
                // Nor may it make a later edit of the line fail.
                state.overlay = before;
                self.refused(&error)?;
            }
        }
        Ok(state.values())
    }

    /// Everything that clients have set is undone: `line` in force in place, break ended, nothing marked; DTR and RTS,
    /// where clients have set them, as `line` names them, else left. Waits for queued output as [`Self::change`] does.
    ///
    /// # Errors
    /// [`Gone`].
    pub fn restore(&self) -> Result<Values, Gone> {
        let mut state = self.state();
        let overlay = take(&mut state.overlay);
        state.marked = false;
        if state.values.sending_break {
            self.bear(self.send_break(&mut state, false))?;
        }
        self.bear(self.apply(&mut state, false))?;
        let (dtr, rts) = state.line.as_ref().map_or((None, None), |line| (line.dtr, line.rts));
        let (dtr, rts) = (dtr.filter(|_| overlay.dtr.is_some()), rts.filter(|_| overlay.rts.is_some()));
        self.bear(self.set_both(&mut state, dtr, rts).map_err(AdoptError::from_ioctl("TIOCMSET")))?;
        Ok(state.values())
    }

    /// Sets what clients had set before the device was plugged in again, in place of what they have set since.
    ///
    /// # Errors
    /// [`Gone`].
    pub fn adopt_overlay(&self, overlay: Overlay) -> Result<Values, Gone> {
        let mut state = self.state();
        state.overlay = overlay;
        if let Err(error) = self.apply(&mut state, false) {
            state.overlay = Overlay { dtr: overlay.dtr, rts: overlay.rts, ..Overlay::default() };
            self.refused(&error)?;
        }
        let set = self.set_both(&mut state, overlay.dtr, overlay.rts);
        self.bear(set.map_err(AdoptError::from_ioctl("TIOCMSET")))?;
        if let Some(on) = state.overlay.sending_break {
            self.bear(self.send_break(&mut state, on))?;
        }
        Ok(state.values())
    }

    /// Whether a break reads as FF 00 00, a character with a framing or parity error as FF 00 and itself, and FF as
    /// FF FF (PARMRK, INPCK of termios(3)); else they read as NUL or as they came, and FF as FF. What the kernel had
    /// received before is read as it was: a few bytes around the switch may be of the other kind.
    ///
    /// # Errors
    /// [`Gone`].
    pub fn mark_errors(&self, marked: bool) -> Result<Values, Gone> {
        let mut state = self.state();
        state.marked = marked;
        self.bear(self.apply(&mut state, false))?;
        Ok(state.values())
    }

    /// Drops what the kernel has queued (TCFLSH).
    ///
    /// # Errors
    /// [`Gone`].
    pub fn purge(&self, queues: Queues) -> Result<Values, Gone> {
        self.bear(self.flush(queues).map_err(AdoptError::from_ioctl("TCFLSH")))?;
        Ok(self.last_values())
    }

    /// Reads everything back, modem lines included.
    ///
    /// # Errors
    /// [`Gone`].
    pub fn values(&self) -> Result<Values, Gone> {
        let mut state = self.state();
        if let Some(termios) = self.bear(tcgetattr(self).map_err(AdoptError::from_ioctl("TCGETS2")))? {
            state.found(&termios);
        }
        match self.modem_bits() {
            Ok(bits) => {
                state.values.modem = Some(layout(bits));
                state.values.dtr = bits & libc::TIOCM_DTR != 0;
                state.values.rts = bits & libc::TIOCM_RTS != 0;
            }
            Err(errno) if is_unsupported(errno) => state.without_modem_lines = true,
            Err(errno) => self.refused(&AdoptError::from_ioctl("TIOCMGET")(errno))?,
        }
        Ok(state.values())
    }

    /// What was last read back or set: no ioctl, but a wait for whoever is setting something.
    pub fn last_values(&self) -> Values {
        self.state().values()
    }

    /// Goes on without what the driver refused.
    fn bear<T>(&self, result: Result<T, AdoptError>) -> Result<Option<T>, Gone> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(error) => self.refused(&error).map(|()| None),
        }
    }

    fn refused(&self, error: &AdoptError) -> Result<(), Gone> {
        if self.is_hung_up() {
            return Err(Gone);
        }
        tracing::debug!(tty = self.name(), %error, "the line keeps what it has");
        Ok(())
    }
}
