//! What is set on a tty, and by whom: the configured [`Line`], and over it what RFC 2217 clients have set.
//!
//! Both are kept under one lock, and every way to set anything computes the line from both: so an edit of `line` and a
//! client's change can never undo each other. Everything here blocks for USB transfers.

use std::{
    sync::{MutexGuard, PoisonError},
    thread::sleep,
    time::{Duration, Instant},
};

use rustix::{
    io::Errno,
    termios::{OptionalActions, Termios, tcgetattr, tcsetattr},
};
use serialfleet_api::resolve::Line;

use super::{
    AdoptError, Tty, is_unsupported,
    termios::{Found, differs, read, shape},
};
use crate::{
    alarm::Alarm,
    overlay::{Overlay, Values},
};

/// How long queued output may keep a new rate or format waiting.
const SETTLE: Duration = Duration::from_millis(500);
/// Pause between looks.
const LOOK: Duration = Duration::from_millis(1);

/// What the tty knows of its line.
#[derive(Default)]
pub(super) struct State {
    /// As last configured; `None` until then.
    pub(super) line: Option<Line>,
    pub(super) overlay: Overlay,
    /// Whether errors are marked in what is read.
    pub(super) marked: bool,
    /// As last read back or set.
    pub(super) values: Values,
    /// The device has answered that it has no modem lines.
    pub(super) without_modem_lines: bool,
}

impl Tty {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the line with what is over it the one in force; `fresh`: whatever it is now. What is in force then.
    pub(super) fn apply(&self, state: &mut State, fresh: bool) -> Result<Found, AdoptError> {
        let Some(line) = &state.line else { return Ok(Found::default()) };
        let wanted = state.overlay.over(line);
        let mut now = tcgetattr(self).map_err(AdoptError::from_ioctl("TCGETS2"))?;
        let mut next = now.clone();
        shape(&mut next, &wanted, state.marked);
        next.set_speed(wanted.baud_rate).map_err(AdoptError::from_ioctl("TCSETS2"))?;
        if fresh || differs(&now, &next) {
            let (was, will_be) = (read(&now), read(&next));
            if !fresh && (was.baud_rate, was.format) != (will_be.baud_rate, will_be.format) {
                self.settle();
            }
            {
                let _closed = self.gate.close();
                tcsetattr(self, OptionalActions::Now, &next).map_err(AdoptError::from_ioctl("TCSETS2"))?;
            }
            now = tcgetattr(self).map_err(AdoptError::from_ioctl("TCGETS2"))?;
        }
        Ok(state.found(&now))
    }

    pub(super) fn set_one(&self, state: &mut State, line: libc::c_int, on: bool) -> Result<(), AdoptError> {
        state.remember_lines(self.set_modem_line(line, on)).map_err(AdoptError::from_ioctl("TIOCMSET"))?;
        if line == libc::TIOCM_DTR {
            state.values.dtr = on;
        } else {
            state.values.rts = on;
        }
        Ok(())
    }

    /// Both in one ioctl; nothing where neither is named.
    pub(super) fn set_both(
        &self,
        state: &mut State,
        dtr: Option<bool>,
        rts: Option<bool>,
    ) -> Result<(), Errno> {
        if dtr.is_some() || rts.is_some() {
            state.remember_lines(self.set_modem_lines(dtr, rts))?;
            state.values.dtr = dtr.unwrap_or(state.values.dtr);
            state.values.rts = rts.unwrap_or(state.values.rts);
        }
        Ok(())
    }

    /// What was written before has left the kernel when it begins, unless that takes too long.
    pub(super) fn hold_break(&self, state: &mut State, on: bool) -> Result<(), AdoptError> {
        if on {
            self.settle();
        }
        // The kernel waits for output without limit before TIOCSBRK (tty_io.c, `tty_ioctl`): where nothing moves, as
        // with flow control that holds it, only a signal ends that.
        let alarm = on.then(|| Alarm::after(SETTLE));
        let set = self.set_break(on);
        drop(alarm);
        set.map_err(AdoptError::from_ioctl("TIOCSBRK"))?;
        state.values.break_on = on;
        Ok(())
    }

    fn settle(&self) {
        wait_while(SETTLE, || self.queued().is_some_and(|queued| queued > 0));
    }
}

impl State {
    pub(super) fn found(&mut self, termios: &Termios) -> Found {
        let found = read(termios);
        self.values.baud_rate = found.baud_rate;
        self.values.format = found.format;
        self.values.flow_control = found.flow_control;
        found
    }

    /// A device without modem lines takes whatever is set.
    fn remember_lines(&mut self, result: Result<(), Errno>) -> Result<(), Errno> {
        match result {
            Err(errno) if is_unsupported(errno) => {
                self.without_modem_lines = true;
                Ok(())
            }
            result => result,
        }
    }

    pub(super) fn values(&self) -> Values {
        Values { overlay: self.overlay, ..self.values }
    }
}

/// Waits while something is so, at most for `limit`.
pub(super) fn wait_while(limit: Duration, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + limit;
    while is_so() && Instant::now() < deadline {
        sleep(LOOK);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn what_moves_is_waited_for_and_no_longer() {
        let left = Cell::new(3);
        wait_while(Duration::from_secs(60), || left.replace(left.get() - 1) > 0);
        assert_eq!(left.get(), -1);
    }

    #[test]
    fn what_does_not_move_is_not_waited_for_longer_than_the_limit() {
        let start = Instant::now();
        wait_while(Duration::from_millis(20), || true);
        assert!(start.elapsed() >= Duration::from_millis(20));
    }
}
