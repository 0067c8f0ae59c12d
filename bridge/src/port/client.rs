//! One TCP client: its connection, what is owed to it, and when it is given up.

mod patience;
mod tcp;

use std::{
    collections::VecDeque,
    io,
    net::{IpAddr, SocketAddr},
    task::{Context, Poll, ready},
    time::{Duration, SystemTime},
};

use rustix::{io::Errno, net::RecvFlags};
use serialfleet_api::resolve::Keepalive;
use socket2::{SockRef, TcpKeepalive};
use tokio::time::Instant;

use self::{
    patience::Patience,
    tcp::{TCP_CLOSE, TCP_CLOSE_WAIT, info_of, unacknowledged},
};
use super::{CHUNK, EndReason, TURN, com_port::Speaker, ledger::Account, transport::Transport};

/// Most bytes that wait for one client.
pub(super) const OUTBOX: usize = 64 * 1024;
/// How long a client that sent FIN is kept without bytes to it.
const HALF_CLOSED: Duration = Duration::from_secs(5);
/// The same once the device has answered it, and for as long as somebody has waited for its place: one that closes sends
/// the same FIN as one that only stops writing, and clients that connect for each question must not wait for each other.
const ANSWERED: Duration = Duration::from_secs(1);

/// What a client's socket had to say.
pub(super) enum Received {
    Bytes(usize),
    /// FIN: no more bytes from it, but it may still read.
    End,
}

pub(super) struct Client {
    transport: Transport,
    /// No other client of the port ever has the same.
    pub(super) id: u64,
    pub(super) peer: SocketAddr,
    pub(super) since: SystemTime,
    outbox: VecDeque<u8>,
    account: Account,
    /// Where the protocol is Rfc2217.
    pub(super) speaker: Option<Box<Speaker>>,
    /// The runtime may take what was read last for all there is.
    read_short: bool,
    /// When FIN arrived.
    half_closed: Option<Instant>,
    patience: Patience,
    last_activity: Instant,
    /// It wrote to the device, which has sent nothing since.
    asks: bool,
    /// FIN was seen to wait behind bytes that nobody has read.
    finishing: Option<Instant>,
    /// FIN was sent.
    finished: bool,
}

impl Client {
    pub(super) fn new(id: u64, transport: Transport, peer: SocketAddr, keepalive: Keepalive) -> Self {
        let client = Self {
            transport,
            id,
            peer: SocketAddr::new(canonical(peer.ip()), peer.port()),
            since: SystemTime::now(),
            outbox: VecDeque::new(),
            account: Account::default(),
            speaker: None,
            read_short: false,
            half_closed: None,
            patience: Patience::default(),
            last_activity: Instant::now(),
            asks: false,
            finishing: None,
            finished: false,
        };
        client.set_keepalive(keepalive);
        client
    }

    /// Keepalive, user timeout and TCP_NODELAY. A socket that refuses them is served all the same.
    pub(super) fn set_keepalive(&self, keepalive: Keepalive) {
        let socket = SockRef::from(self.transport.socket());
        let probes = TcpKeepalive::new()
            .with_time(Duration::from_secs(keepalive.idle_seconds.into()))
            .with_interval(Duration::from_secs(keepalive.interval_seconds().into()));
        let set = socket
            .set_tcp_nodelay(true)
            .and_then(|()| socket.set_tcp_keepalive(&probes))
            .and_then(|()| socket.set_tcp_user_timeout(Some(self.user_timeout(keepalive))));
        if let Err(error) = set {
            tracing::debug!(peer = %self.peer, %error, "socket options refused");
        }
    }

    /// Has an urgent byte stay where it is among the others: taken out, as by default, the mark of telnet's SYNC
    /// would leave half a command behind (RFC 854, SO_OOBINLINE of socket(7)).
    pub(super) fn keep_urgent_inline(&self) {
        if let Err(error) = SockRef::from(self.transport.socket()).set_out_of_band_inline(true) {
            tracing::debug!(peer = %self.peer, %error, "socket option refused");
        }
    }

    /// Bytes that its socket has not taken, encrypted ones included.
    pub(super) fn owed(&self) -> usize {
        self.outbox.len() + self.transport.pending()
    }

    /// Bytes that it wants later.
    pub(super) fn withheld(&self) -> usize {
        self.speaker.as_ref().map_or(0, |speaker| speaker.withheld.len())
    }

    /// Whether the device must wait for it, where the device waits for clients.
    pub(super) fn is_behind(&self) -> bool {
        // A chunk may double when it is escaped.
        self.owed() > 0 || self.withheld() > OUTBOX - 2 * CHUNK
    }

    /// Whether all queues together are too large, and this one is the largest.
    pub(super) fn is_overdrawn(&self) -> bool {
        self.account.is_overdrawn()
            || self.speaker.as_ref().is_some_and(|speaker| speaker.account.is_overdrawn())
    }

    /// Lets the session of a client that has one say something; it is sent with the next flush.
    pub(super) fn speak<T>(
        &mut self,
        cx: &Context<'_>,
        say: impl FnOnce(&mut Speaker, &mut VecDeque<u8>) -> T,
    ) -> Option<T> {
        let speaker = self.speaker.as_mut()?;
        let owed = self.outbox.len();
        let said = say(speaker, &mut self.outbox);
        if self.outbox.len() != owed {
            self.account.set(self.outbox.len(), cx);
        }
        Some(said)
    }

    /// What it did not want until now follows what it is owed; so this queue may hold twice its measure for once.
    pub(super) fn want_data(&mut self, cx: &Context<'_>) {
        self.speak(cx, |speaker, out| {
            out.extend(std::mem::take(&mut speaker.withheld));
            speaker.settle_account(cx);
        });
    }

    pub(super) fn is_half_closed(&self) -> bool {
        self.half_closed.is_some()
    }

    /// Whether it has sent FIN and will soon be ended for that: not one that still gets bytes after the time that it
    /// would be kept without any.
    pub(super) fn is_leaving(&self) -> bool {
        self.half_closed.is_some_and(|since| self.last_activity < since + HALF_CLOSED)
    }

    fn half_close(&mut self) {
        self.touch();
        self.half_closed = Some(self.last_activity);
    }

    /// A byte went by just now.
    pub(super) fn touch(&mut self) {
        self.last_activity = Instant::now();
    }

    /// It writes to the device.
    pub(super) fn asked(&mut self) {
        self.asks = true;
    }

    /// When a byte went by last; before the first, when it came.
    pub(super) fn last_activity(&self) -> Instant {
        self.last_activity
    }

    /// When it is given up if no byte goes by until then. `awaited`: since when somebody waits for its place.
    pub(super) fn deadline(&self, idle: Option<Duration>, awaited: Option<Instant>) -> Option<Instant> {
        if self.is_half_closed() {
            let longest = self.last_activity + HALF_CLOSED;
            let awaited = awaited.filter(|_| !self.asks && self.owed() == 0);
            return Some(
                awaited.map_or(longest, |since| longest.min(self.last_activity.max(since) + ANSWERED)),
            );
        }
        idle.map(|idle| self.last_activity + idle)
    }

    /// Whether a byte has arrived (true) or FIN (false), without taking it.
    pub(super) fn poll_peek(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        self.transport.poll_peek(cx)
    }

    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<Received>> {
        if self.is_half_closed() {
            return Poll::Pending;
        }
        let read = ready!(self.transport.poll_read(cx, buffer))?;
        if read == 0 {
            self.half_close();
            return Poll::Ready(Ok(Received::End));
        }
        Poll::Ready(Ok(Received::Bytes(read)))
    }

    /// As [`Self::poll_read`], for a socket that keeps urgent bytes inline: a read ends at such a byte (tcp(7)), which
    /// the runtime takes for the end of what is there. So the kernel is asked once more.
    pub(super) fn poll_read_past_urgent(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<Received>> {
        let read = self.poll_read(cx, buffer);
        let was_short =
            std::mem::replace(&mut self.read_short, matches!(read, Poll::Ready(Ok(Received::Bytes(_)))));
        let Transport::Plain(socket) = &self.transport else { return read };
        if !was_short || read.is_ready() || self.is_half_closed() {
            return read;
        }
        match rustix::net::recv(socket, buffer, RecvFlags::DONTWAIT) {
            Ok((0, _)) => {
                self.half_close();
                Poll::Ready(Ok(Received::End))
            }
            Ok((read, _)) => {
                self.read_short = true;
                Poll::Ready(Ok(Received::Bytes(read)))
            }
            Err(Errno::WOULDBLOCK | Errno::INTR) => Poll::Pending,
            Err(errno) => Poll::Ready(Err(errno.into())),
        }
    }

    /// Hands bytes to the socket, and what it does not take to the queue.
    ///
    /// # Errors
    /// [`EndReason::SlowReader`] if the queue would overflow, [`EndReason::PeerLost`] if the connection broke.
    pub(super) fn give(&mut self, cx: &mut Context<'_>, mut bytes: &[u8]) -> Result<(), EndReason> {
        self.asks = false;
        if let Some(speaker) = self.speaker.as_mut().filter(|speaker| speaker.session.is_suspended()) {
            if speaker.withheld.len() + bytes.len() > OUTBOX {
                return Err(EndReason::SlowReader);
            }
            speaker.withheld.extend_from_slice(bytes);
            speaker.settle_account(cx);
            return Ok(());
        }
        if !self.outbox.is_empty()
            && let Poll::Ready(flushed) = self.poll_flush(cx)
        {
            flushed?;
        }
        while self.outbox.is_empty() && !bytes.is_empty() {
            match self.transport.poll_write(cx, bytes) {
                Poll::Ready(Ok(written)) => bytes = bytes.get(written..).unwrap_or_default(),
                Poll::Ready(Err(_)) => return Err(EndReason::PeerLost),
                Poll::Pending => break,
            }
        }
        if self.outbox.len() + bytes.len() > OUTBOX {
            return Err(EndReason::SlowReader);
        }
        self.outbox.extend(bytes);
        self.account.set(self.outbox.len(), cx);
        Ok(())
    }

    /// Sends what is queued; ready when nothing is.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), EndReason>> {
        while !self.outbox.is_empty() {
            let (front, _) = self.outbox.as_slices();
            match ready!(self.transport.poll_write(cx, front)) {
                Ok(written) => {
                    self.outbox.drain(..written);
                    self.account.set(self.outbox.len(), cx);
                }
                Err(_) => return Poll::Ready(Err(EndReason::PeerLost)),
            }
            self.touch();
        }
        if ready!(self.transport.poll_flush(cx)).is_err() {
            return Poll::Ready(Err(EndReason::PeerLost));
        }
        // A burst must not cost memory for ever.
        if self.outbox.capacity() > 0 {
            self.outbox = VecDeque::new();
        }
        Poll::Ready(Ok(()))
    }

    /// Whether a byte is there (true), FIN (false), or nothing yet, whatever the runtime knows of it. Whoever is told of an
    /// error is the only one.
    pub(super) fn peek(&mut self) -> Poll<io::Result<bool>> {
        self.transport.peek()
    }

    /// Asks the kernel about a client that is not being read: whether it has sent FIN, within the last five seconds
    /// as far as was asked before.
    ///
    /// # Errors
    /// [`EndReason::PeerLost`] if the connection broke.
    pub(super) fn is_finishing(&mut self) -> Result<bool, EndReason> {
        match info_of(self.transport.socket()).map(|info| info.tcpi_state) {
            Some(TCP_CLOSE) => Err(EndReason::PeerLost),
            Some(TCP_CLOSE_WAIT) => {
                let since = *self.finishing.get_or_insert_with(Instant::now);
                Ok(since.elapsed() < HALF_CLOSED)
            }
            _ => Ok(false),
        }
    }

    /// Sends FIN once nothing is owed, reads on and drops what comes, and is ready when all that was sent is
    /// acknowledged. Closing earlier, with bytes unread or unsent, would reset the connection and lose them.
    pub(super) fn poll_finish(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<()> {
        if !self.finished {
            if ready!(self.transport.poll_close(cx)).is_err() {
                return Poll::Ready(());
            }
            self.finished = true;
        }
        // The rest is read after the next look for acknowledgements.
        for _ in 0..TURN {
            if !matches!(self.poll_read(cx, buffer), Poll::Ready(Ok(Received::Bytes(_)))) {
                break;
            }
        }
        if unacknowledged(self.transport.socket()) == 0 { Poll::Ready(()) } else { Poll::Pending }
    }
}

/// An IPv4 address that came through an IPv6 socket is an IPv4 address.
pub(super) fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}
