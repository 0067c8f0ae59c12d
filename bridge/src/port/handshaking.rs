//! Connections that must speak TLS: lent to the handshakes' thread, taken back as newcomers.

use std::{
    net::SocketAddr,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{net::TcpStream, time::Instant};

use super::{EndReason, Port, client::canonical, transport::Transport};
use crate::tls::{Handshakes, Offer, Unfinished};

/// Of handshakes that fail, one in this time is worth a line at the usual log level: peers that try again for ever
/// must not fill the log.
const ONE_LINE: Duration = Duration::from_secs(60);

/// Handshakes under way, and when the next failure is worth a line.
pub(super) struct Handshaking {
    handshakes: Handshakes,
    quiet_until: Option<Instant>,
}

impl Port {
    /// Only whoever may connect is worth a handshake.
    pub(super) fn begin_handshake(&mut self, stream: TcpStream, peer: SocketAddr, offer: &Offer) {
        let peer = SocketAddr::new(canonical(peer.ip()), peer.port());
        if !self.allowed(&peer) {
            return self.turn_away(peer, EndReason::NotAllowed, "", true);
        }
        let handshaking = self.handshaking.get_or_insert_with(|| Handshaking {
            handshakes: Handshakes::new(offer.handshaker.clone()),
            quiet_until: None,
        });
        if let Err(error) = handshaking.handshakes.begin(stream, peer, offer.config.clone()) {
            let loud = handshaking.is_loud();
            self.turn_away(peer, EndReason::TooMany, &error.to_string(), loud);
        }
    }

    /// Whoever is done is a newcomer.
    pub(super) fn poll_handshakes(&mut self, cx: &mut Context<'_>) {
        while let Some(handshaking) = &mut self.handshaking
            && let Poll::Ready(done) = handshaking.handshakes.poll(cx)
        {
            let (reason, why) = match done.outcome.map(|finished| Transport::tls(*finished)) {
                Ok(Ok(transport)) => {
                    self.welcome(cx, transport, done.peer);
                    continue;
                }
                Ok(Err(error)) => (EndReason::PeerLost, error.to_string()),
                Err(Unfinished::Silent) => (EndReason::Probe, String::new()),
                Err(Unfinished::Failed(why)) => (EndReason::TlsFailed, why),
                Err(Unfinished::TimedOut) => (EndReason::TlsTimeout, String::new()),
            };
            let loud = handshaking.is_loud();
            self.turn_away(done.peer, reason, &why, loud);
        }
    }

    /// Gives up what is under way.
    pub(super) fn end_handshakes(&mut self, reason: EndReason) {
        if let Some(handshaking) = self.handshaking.take() {
            (0..handshaking.handshakes.under_way()).for_each(|_| self.metrics.ended(reason));
        }
    }
}

impl Handshaking {
    fn is_loud(&mut self) -> bool {
        let now = Instant::now();
        let loud = self.quiet_until.is_none_or(|until| until <= now);
        if loud {
            self.quiet_until = Some(now + ONE_LINE);
        }
        loud
    }
}
