//! What clients that speak RFC 2217 are told without asking: changes of modem lines, breaks and receive errors. Only
//! while somebody's mask asks for them anything is watched or marked.

use std::task::Context;

use super::ComPort;
use crate::{
    port::{Order, Port},
    rfc2217::{Session, Unmarked},
};

impl Port {
    /// Has modem lines watched and errors marked while somebody asks for it.
    pub(super) fn mind_notices(&mut self) {
        if self.device.is_none() || self.com_port.settling.is_some() {
            return;
        }
        let asked = |of: fn(&Session) -> bool| {
            self.clients.iter().filter_map(|client| client.speaker.as_ref()).any(|it| of(&it.session))
        };
        let wanted = (asked(Session::watches_modem_lines), asked(Session::watches_line_errors));
        if wanted == (self.com_port.watching, self.com_port.marking) || !self.start_line() {
            return;
        }
        let ComPort { line: Some(line), watching, marking, marks, .. } = &mut self.com_port else { return };
        if wanted.0 != *watching && line.try_order(Order::WatchModem(wanted.0)).is_ok() {
            *watching = wanted.0;
        }
        if wanted.1 != *marking
            && let Ok(order) = line.try_order(Order::MarkErrors(wanted.1))
        {
            *marking = wanted.1;
            *marks = Some((order, wanted.1));
        }
    }

    /// Takes marks out of what was read, tells whoever asked for them, and hands on what was received: the same bytes
    /// that come without marks.
    pub(in crate::port) fn unmark(&mut self, cx: &mut Context<'_>, bytes: &[u8]) {
        let Some(mut unmarker) = self.com_port.unmarker.take() else { return self.received(cx, bytes) };
        let parity = self.com_port.values.map(|values| values.format.parity).unwrap_or_default();
        let mut rest = bytes;
        while let Some(unmarked) = unmarker.next(&mut rest) {
            let state = unmarked.line_state(parity);
            if state != 0 {
                for client in &mut self.clients {
                    client.speak(cx, |speaker, out| speaker.session.notify_line_state(state, out));
                }
            }
            match unmarked {
                Unmarked::Data(run) => self.received(cx, run),
                Unmarked::Break => self.received(cx, &[0]),
                Unmarked::Error => {}
            }
        }
        self.com_port.unmarker = Some(unmarker);
    }
}
