//! How long a client that may make the device wait is given to read on.
//!
//! TCP_USER_TIMEOUT frees the port of a peer that vanished, but counts a closed window as silence, however often the
//! peer answers (`tcp_probe_timer` and `tcp_rtx_probe0_timed_out` of tcp_timer.c); without it nothing would for a
//! quarter of an hour, as keepalives are not sent while bytes wait (`tcp_keepalive_timer`). So once its window was
//! closed, the time is extended again and again while bytes wait and it answers; who answers no more is ended here, as
//! by then the kernel may have been given far more time than it needs.
//!
//! Owned by the port's task. At rest nothing is looked at: only while bytes wait for somebody. Must not end anybody who
//! answers.

use std::time::Duration;

use serialfleet_api::resolve::Keepalive;
use socket2::SockRef;
use tokio::time::Instant;

use super::{
    Client,
    tcp::{TCP_CLOSE, info_of, unacknowledged},
};
use crate::port::EndReason;

/// Looks within one user timeout.
const LOOKS: u32 = 3;
/// User timeouts without any answer after which no more time is given: one lost probe is no end.
const UNANSWERED: u32 = 2;

#[derive(Default)]
pub(super) struct Patience {
    look_at: Option<Instant>,
    /// Not before this its window was closed; bytes have waited since. A window that opened meanwhile does not end it: the
    /// kernel counts on from the first probe where it opened for less than the next segment (`tcp_ack_probe`).
    closed_since: Option<Instant>,
}

impl Client {
    /// It was sent something that it may leave unread.
    pub(in crate::port) fn expect_reading(&mut self, keepalive: Keepalive) {
        if self.patience.look_at.is_none() {
            self.patience.look_at = Some(Instant::now() + timeout(keepalive) / LOOKS);
        }
    }

    /// When [`Self::look`] is due.
    pub(in crate::port) fn look_at(&self) -> Option<Instant> {
        self.patience.look_at
    }

    /// Gives it more time if it does not read, answers, and is waited for (`block`).
    ///
    /// # Errors
    /// [`EndReason::PeerLost`] if the connection broke, as nobody else may be waiting for it, or if it answers no more.
    pub(in crate::port) fn look(
        &mut self,
        now: Instant,
        block: bool,
        keepalive: Keepalive,
    ) -> Result<(), EndReason> {
        let step = timeout(keepalive) / LOOKS;
        let waits = self.owed() > 0 || unacknowledged(self.transport.socket()) > 0;
        self.patience.look_at = waits.then_some(now + step);
        let Some(info) = info_of(self.transport.socket()) else { return Ok(()) };
        if info.tcpi_state == TCP_CLOSE {
            return Err(EndReason::PeerLost);
        }
        let before = self.patience.closed_since;
        let silence = Duration::from_millis(info.tcpi_last_ack_recv.into());
        if !(block && waits) {
            self.patience.closed_since = None;
        } else if silence < timeout(keepalive) * UNANSWERED {
            let closed = || (info.tcpi_snd_wnd == 0).then(|| now.checked_sub(step)).flatten();
            self.patience.closed_since = before.or_else(closed);
        } else if silence > timeout(keepalive) * (UNANSWERED + 1)
            && info.tcpi_probes.max(info.tcpi_retransmits) > 1
        {
            return Err(EndReason::PeerLost);
        } else {
            return Ok(());
        }
        if before.is_some() || self.patience.closed_since.is_some() {
            let socket = SockRef::from(self.transport.socket());
            // One that refuses it has none.
            socket.set_tcp_user_timeout(Some(self.user_timeout(keepalive))).ok();
        }
        Ok(())
    }

    /// TCP_USER_TIMEOUT for now. The kernel counts from the first probe of a closed window on.
    pub(super) fn user_timeout(&self, keepalive: Keepalive) -> Duration {
        timeout(keepalive) + self.patience.closed_since.map_or(Duration::ZERO, |since| since.elapsed())
    }
}

fn timeout(keepalive: Keepalive) -> Duration {
    Duration::from_secs(keepalive.user_timeout_seconds.into())
}
