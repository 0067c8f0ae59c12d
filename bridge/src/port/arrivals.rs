//! Who connects, and whether that ends somebody else: acceptance, takeover, sharing, refusal.

use std::{
    net::SocketAddr,
    task::{Context, Poll},
    time::Duration,
};

use serialfleet_api::fleet::{ClientPolicy, Protocol};
use tokio::time::Instant;

use super::{EndReason, PAUSE, Port, TURN, client::Client, transport::Transport};
use crate::tls::Terms;

/// Newcomers that wait for their first byte or their turn.
const NEWCOMERS: usize = 16;
/// A newcomer takes over after this long without a byte.
pub(super) const TAKEOVER: Duration = Duration::from_millis(250);

pub(super) struct Newcomer {
    pub(super) client: Client,
    /// When it takes over; `None`: when its turn comes.
    pub(super) takes_over: Option<Instant>,
}

/// Most who are turned away within [`FLOOD`] and named in the log: the rest are counted.
const NAMED: u32 = 20;
const FLOOD: Duration = Duration::from_secs(10);

/// What was said of those who were turned away lately.
#[derive(Default)]
pub(super) struct TurnedAway {
    since: Option<Instant>,
    count: u32,
}

impl TurnedAway {
    /// Whether one more is named; and how many were not, before.
    fn name(&mut self) -> (bool, u32) {
        let now = Instant::now();
        let mut unnamed = 0;
        if self.since.is_none_or(|since| since + FLOOD <= now) {
            unnamed = self.count.saturating_sub(NAMED);
            *self = Self { since: Some(now), count: 0 };
        }
        self.count = self.count.saturating_add(1);
        (self.count <= NAMED, unnamed)
    }
}

impl Port {
    pub(super) fn poll_accept(&mut self, cx: &mut Context<'_>) {
        if self.paused_until.is_some() {
            return;
        }
        for _ in 0..TURN {
            let accepted = self.listener.as_ref().map(|listener| listener.poll_accept(cx));
            let Some(Poll::Ready(accepted)) = accepted else { return };
            match accepted {
                Ok((stream, peer)) => {
                    self.metrics.connections.inc();
                    match &self.settings.tls {
                        None => self.welcome(cx, Transport::Plain(stream), peer),
                        Some(Terms { offer: Some(offer), .. }) => {
                            let offer = offer.clone();
                            self.begin_handshake(stream, peer, &offer);
                        }
                        // Without a certificate nobody listens.
                        Some(Terms { offer: None, .. }) => {}
                    }
                }
                Err(error) => {
                    // EMFILE and its like come back at once for ever; anything else is a peer that left.
                    tracing::warn!(port = self.name, %error, "accept failed");
                    self.paused_until = Some(Instant::now() + PAUSE);
                    return;
                }
            }
        }
        self.again = true;
    }

    pub(super) fn welcome(&mut self, cx: &mut Context<'_>, transport: Transport, peer: SocketAddr) {
        self.connections += 1;
        let client = Client::new(self.connections, transport, peer, self.settings.keepalive);
        if self.settings.protocol == Protocol::Rfc2217 {
            client.keep_urgent_inline();
        }
        if !self.allowed(&client.peer) {
            return self.turn_away(client.peer, EndReason::NotAllowed, "", true);
        }
        if self.newcomers.is_empty() && self.has_room() {
            return self.admit(cx, client);
        }
        if self.newcomers.len() >= NEWCOMERS {
            self.dismiss_gone();
        }
        if self.newcomers.len() >= NEWCOMERS {
            return self.turn_away(client.peer, EndReason::TooMany, "", true);
        }
        let leaving = self.somebody_leaves();
        if self.newcomers.is_empty() && self.has_room() {
            return self.admit(cx, client);
        }
        let takes_over = match self.settings.policy {
            ClientPolicy::Takeover => Some(Instant::now() + TAKEOVER),
            // Somebody who sent FIN is about to leave: whoever comes next waits for that, and is not turned away.
            _ if leaving => None,
            ClientPolicy::Share => return self.turn_away(client.peer, EndReason::TooMany, "", true),
            ClientPolicy::Refuse => return self.turn_away(client.peer, EndReason::Refused, "", true),
        };
        self.newcomers.push(Newcomer { client, takes_over });
    }

    /// Newcomers that have left again take nobody's place.
    fn dismiss_gone(&mut self) {
        let mut at = 0;
        while let Some(newcomer) = self.newcomers.get_mut(at) {
            if matches!(newcomer.client.peek(), Poll::Ready(Ok(false) | Err(_))) {
                let newcomer = self.newcomers.remove(at);
                self.turn_away(newcomer.client.peer, EndReason::Probe, "", true);
            } else {
                at += 1;
            }
        }
    }

    fn has_room(&self) -> bool {
        match self.settings.policy {
            ClientPolicy::Share => self.clients.len() < self.settings.max,
            ClientPolicy::Takeover | ClientPolicy::Refuse => self.clients.is_empty(),
        }
    }

    /// Whether there will be room when those have left who have sent FIN.
    fn somebody_leaves(&mut self) -> bool {
        let leaving = self.leaving();
        match self.settings.policy {
            ClientPolicy::Share => self.clients.len() < self.settings.max + leaving,
            ClientPolicy::Takeover | ClientPolicy::Refuse => self.clients.len() == leaving,
        }
    }

    /// Since when somebody waits for the place of one who leaves; who takes over waits for nobody.
    pub(super) fn awaited_since(&self) -> Option<Instant> {
        let waiting = self.newcomers.iter().find(|newcomer| newcomer.takes_over.is_none())?;
        Some(waiting.client.last_activity())
    }

    /// Whether what clients have sent is still on its way, so that they are not read.
    fn is_unwritten(&self) -> bool {
        let busy = |client: &Client| client.speaker.as_ref().is_some_and(|speaker| speaker.is_busy());
        self.com_port.is_settling() || !self.to_device.is_empty() || self.clients.iter().any(busy)
    }

    /// How many clients have sent FIN, a short while ago. While they are not read the kernel is asked, and those that are
    /// gone are ended.
    fn leaving(&mut self) -> usize {
        if !self.is_unwritten() {
            return self.clients.iter().filter(|client| client.is_leaving()).count();
        }
        let (mut leaving, mut at) = (0, 0);
        while let Some(client) = self.clients.get_mut(at) {
            match client.is_finishing() {
                Ok(finishing) => {
                    leaving += usize::from(finishing);
                    at += 1;
                }
                Err(reason) => self.end(at, reason),
            }
        }
        leaving
    }

    fn admit(&mut self, cx: &mut Context<'_>, mut client: Client) {
        // Nobody sees bytes from before.
        self.deliver(cx);
        if self.clients.is_empty() {
            self.drop_from_device(cx);
        }
        tracing::info!(port = self.name, peer = %client.peer, "client connected");
        client.touch();
        self.metrics.clients.inc();
        self.greet(cx, &mut client);
        self.clients.push(client);
        self.dirty = true;
        self.admitted = true;
    }

    /// Newcomers come in where there is room. Else one with a byte or out of patience takes over, and those before
    /// it are out; health checks come and go.
    pub(super) fn poll_newcomers(&mut self, cx: &mut Context<'_>) {
        if self.newcomers.is_empty() {
            return;
        }
        let now = Instant::now();
        let mut at = 0;
        while let Some(newcomer) = self.newcomers.get_mut(at) {
            let takes_over = newcomer.takes_over.is_some();
            let due = newcomer.takes_over.is_some_and(|deadline| deadline <= now);
            let byte = match newcomer.client.poll_peek(cx) {
                // The runtime may only have had no time to look.
                Poll::Pending if due => newcomer.client.peek(),
                byte => byte,
            };
            let byte = match byte {
                Poll::Ready(byte) => Some(byte.unwrap_or(false)),
                Poll::Pending => None,
            };
            if byte == Some(false) {
                let newcomer = self.newcomers.remove(at);
                self.turn_away(newcomer.client.peer, EndReason::Probe, "", true);
            } else if self.has_room() {
                let newcomer = self.newcomers.remove(at);
                self.admit(cx, newcomer.client);
            } else if due || (takes_over && byte.is_some()) {
                if self.is_unwritten() && self.somebody_leaves() && !self.clients.is_empty() {
                    // What was written before FIN is still to reach the device.
                    if let Some(newcomer) = self.newcomers.get_mut(at) {
                        newcomer.takes_over = Some(now + TAKEOVER);
                    }
                    at += 1;
                    continue;
                }
                let newcomer = self.newcomers.remove(at);
                for earlier in self.newcomers.drain(..at).collect::<Vec<_>>() {
                    self.turn_away(earlier.client.peer, EndReason::TakenOver, "", true);
                }
                self.deliver(cx);
                self.evict_all();
                self.admit(cx, newcomer.client);
                at = 0;
            } else {
                at += 1;
            }
        }
        if self.settings.policy != ClientPolicy::Takeover
            && !self.newcomers.is_empty()
            && !self.has_room()
            && !self.somebody_leaves()
        {
            // They waited for somebody's leave, and somebody else was first.
            self.end_newcomers(EndReason::Refused);
        }
    }

    /// The bytes of those that are evicted and that the kernel has not taken are dropped with them; what somebody
    /// wrote before FIN still goes to the device.
    fn evict_all(&mut self) {
        while let Some(client) = self.clients.first() {
            let reason = if client.is_half_closed() {
                EndReason::PeerClosed
            } else {
                if self.to_device.sender == client.id {
                    self.drop_to_device();
                }
                EndReason::TakenOver
            };
            self.end(0, reason);
        }
    }

    pub(super) fn end_newcomers(&mut self, reason: EndReason) {
        self.end_handshakes(reason);
        for newcomer in std::mem::take(&mut self.newcomers) {
            self.turn_away(newcomer.client.peer, reason, "", true);
        }
    }

    /// Counts and names somebody who was never let in. A flood must not become one of log lines as well: so many are
    /// named at the usual level, and none who are not worth that (`loud`).
    pub(super) fn turn_away(&mut self, peer: SocketAddr, reason: EndReason, why: &str, loud: bool) {
        self.metrics.ended(reason);
        let (named, unnamed) = if loud { self.turned_away.name() } else { (false, 0) };
        if unnamed > 0 {
            tracing::info!(
                port = self.name,
                count = unnamed,
                "more clients were turned away than were named"
            );
        }
        let (reason, why) = (reason.as_str(), (!why.is_empty()).then_some(why));
        if named {
            tracing::info!(port = self.name, %peer, reason, why, "client turned away");
        } else {
            tracing::debug!(port = self.name, %peer, reason, why, "client turned away");
        }
    }
}
