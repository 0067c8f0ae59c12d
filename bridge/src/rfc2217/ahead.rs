//! A look at what a client has sent and nobody has performed yet. Used by the port while the device takes nothing; must
//! not change a session.

use super::{Event, Purge, Request, Session};

impl Session {
    /// Whether a purge of what goes to the device is in `input`, the bytes that follow what this session has decoded.
    pub fn is_purge_ahead(&self, input: &[u8]) -> bool {
        let (mut session, mut rest) = (self.clone(), input);
        std::iter::from_fn(|| session.next(&mut rest, &mut Unsaid))
            .any(|event| matches!(event, Event::Request(request) if request.purges_output()))
    }
}

impl Request {
    /// Whether bytes that the device has not taken are to be dropped.
    pub fn purges_output(&self) -> bool {
        matches!(self, Self::Purge(Some(Purge::Transmit | Purge::Both)))
    }
}

/// What nobody is told: telnet's own answers are given when their turn comes.
struct Unsaid;

impl Extend<u8> for Unsaid {
    fn extend<T: IntoIterator<Item = u8>>(&mut self, _bytes: T) {}
}
