//! What a client that speaks RFC 2217 has beside its socket: its session, what it sent and was not decoded yet, what
//! it waits for, and device data that it does not want now. Must not know of the line.

use std::task::Context;

use tokio::time::Instant;

use crate::{
    port::ledger::Account,
    rfc2217::{Request, Session},
};

/// Something of a client's that the line is doing or about to do. Until it is done nothing more of the client's is
/// decoded: so commands and data keep their order.
pub(in crate::port) struct UnderWay {
    pub(super) step: Step,
    /// The number of the order; `None`: not given yet.
    pub(super) order: Option<u64>,
}

#[derive(Clone, Copy)]
pub(super) enum Step {
    /// To be answered when it is done.
    Request(Request),
    /// Telnet's BRK, which is not answered: on, for some time, off.
    BreakOn,
    BreakUntil(Instant),
    BreakOff,
}

#[derive(Default)]
pub(in crate::port) struct Speaker {
    pub(in crate::port) session: Session,
    /// Never more than one read, while it waits for the device never more than [`super::hearing::AHEAD`].
    pub(super) input: Vec<u8>,
    /// How many bytes of it are known to hold no purge.
    pub(super) searched: usize,
    /// A purge of what goes to the device is in `input`: data before it is dropped.
    pub(super) purging: bool,
    pub(super) under_way: Option<UnderWay>,
    /// Device data, escaped, that waits until the client wants data again.
    pub(in crate::port) withheld: Vec<u8>,
    pub(in crate::port) account: Account,
}

impl Speaker {
    /// Bytes of the client's that are not decoded.
    pub(in crate::port) fn undecoded(&self) -> usize {
        self.input.len()
    }

    /// What waits has changed.
    pub(in crate::port) fn settle_account(&mut self, cx: &Context<'_>) {
        self.account.set(self.withheld.len() + self.input.len(), cx);
    }

    /// Whether something of the client's is still to be done.
    pub(in crate::port) fn is_busy(&self) -> bool {
        self.under_way.is_some() || !self.input.is_empty()
    }

    /// Whether a break of telnet's kind is on, or about to be.
    pub(in crate::port) fn is_breaking(&self) -> bool {
        let step = self.under_way.as_ref().map(|it| it.step);
        matches!(step, Some(Step::BreakOn | Step::BreakUntil(_) | Step::BreakOff))
    }

    /// When a break ends.
    pub(in crate::port) fn deadline(&self) -> Option<Instant> {
        match self.under_way {
            Some(UnderWay { step: Step::BreakUntil(end), .. }) => Some(end),
            _ => None,
        }
    }

    pub(super) fn begin(&mut self, step: Step) {
        self.under_way = Some(UnderWay { step, order: None });
    }
}
