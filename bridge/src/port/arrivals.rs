//! Who connects, and whether that ends somebody else: acceptance, takeover, refusal.

use std::{
    task::{Context, Poll},
    time::Duration,
};

use serialfleet_api::fleet::ClientPolicy;
use tokio::time::Instant;

use super::{EndReason, PAUSE, Port, client::Client, transport::Transport};
use crate::tls::Terms;

/// Newcomers that wait for their first byte or their turn.
const NEWCOMERS: usize = 16;
/// A newcomer takes over after this long without a byte.
const TAKEOVER: Duration = Duration::from_millis(250);

pub(super) struct Newcomer {
    pub(super) client: Client,
    /// When it takes over; `None`: when its turn comes.
    pub(super) takes_over: Option<Instant>,
}

impl Port {
    pub(super) fn poll_accept(&mut self, cx: &mut Context<'_>) {
        if self.paused_until.is_some() {
            return;
        }
        while let Some(Poll::Ready(accepted)) =
            self.listener.as_ref().map(|listener| listener.poll_accept(cx))
        {
            match accepted {
                Ok((stream, peer)) => {
                    self.metrics.connections.inc();
                    match &self.settings.tls {
                        None => {
                            let transport = Transport::Plain(stream);
                            self.welcome(Client::new(transport, peer, self.settings.keepalive));
                        }
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
    }

    pub(super) fn welcome(&mut self, client: Client) {
        if !self.allowed(&client.peer) {
            return self.say_ended(&client, EndReason::NotAllowed);
        }
        if self.clients.is_empty() {
            return self.admit(client);
        }
        if self.newcomers.len() >= NEWCOMERS {
            return self.say_ended(&client, EndReason::TooMany);
        }
        let leaving = self.clients_are_leaving();
        if self.clients.is_empty() {
            return self.admit(client);
        }
        let takes_over = match self.settings.policy {
            ClientPolicy::Takeover => Some(Instant::now() + TAKEOVER),
            // Somebody who sent FIN is about to leave: whoever comes next waits for that, and is not turned away.
            _ if leaving => None,
            _ => return self.say_ended(&client, EndReason::Refused),
        };
        self.newcomers.push(Newcomer { client, takes_over });
    }

    /// Whether all clients have sent FIN. While the device takes nothing no client is read: then the kernel is asked,
    /// and those that are gone are ended.
    fn clients_are_leaving(&mut self) -> bool {
        if self.to_device.rest().is_empty() {
            return self.clients.iter().all(Client::is_half_closed);
        }
        let mut leaving = true;
        let mut at = 0;
        while let Some(client) = self.clients.get_mut(at) {
            match client.is_finishing() {
                Ok(finishing) => {
                    leaving &= finishing;
                    at += 1;
                }
                Err(reason) => self.end(at, reason),
            }
        }
        leaving
    }

    fn admit(&mut self, mut client: Client) {
        tracing::info!(port = self.name, peer = %client.peer, "client connected");
        client.touch();
        self.metrics.clients.inc();
        self.clients.push(client);
        self.dirty = true;
        self.admitted = true;
    }

    /// A newcomer with a byte or out of patience takes over, and those before it are out; health checks come and go.
    pub(super) fn poll_newcomers(&mut self, cx: &mut Context<'_>) {
        if self.newcomers.is_empty() {
            return;
        }
        let now = Instant::now();
        let mut at = 0;
        while let Some(newcomer) = self.newcomers.get_mut(at) {
            let due = newcomer.takes_over.is_some_and(|deadline| deadline <= now);
            let byte = match newcomer.client.poll_peek(cx) {
                Poll::Ready(byte) => Some(byte.unwrap_or(false)),
                // The runtime may only have had no time to look.
                Poll::Pending if due => newcomer.client.peek(),
                Poll::Pending => None,
            };
            if byte == Some(false) {
                let newcomer = self.newcomers.remove(at);
                self.say_ended(&newcomer.client, EndReason::Probe);
            } else if due || self.clients.is_empty() || (byte.is_some() && newcomer.takes_over.is_some()) {
                if !self.to_device.rest().is_empty() && self.clients_are_leaving() && !self.clients.is_empty()
                {
                    // What was written before FIN is still to reach the device.
                    if let Some(newcomer) = self.newcomers.get_mut(at) {
                        newcomer.takes_over = newcomer.takes_over.map(|_| now + TAKEOVER);
                    }
                    at += 1;
                    continue;
                }
                let newcomer = self.newcomers.remove(at);
                for earlier in self.newcomers.drain(..at).collect::<Vec<_>>() {
                    self.say_ended(&earlier.client, EndReason::TakenOver);
                }
                self.evict_all();
                self.admit(newcomer.client);
                at = 0;
            } else {
                at += 1;
            }
        }
        if self.settings.policy != ClientPolicy::Takeover
            && !self.newcomers.is_empty()
            && !self.clients.is_empty()
            && !self.clients_are_leaving()
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
                self.drop_to_device();
                EndReason::TakenOver
            };
            self.end(0, reason);
        }
    }
}
