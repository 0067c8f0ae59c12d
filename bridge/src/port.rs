//! One port: a tty, its listener and its clients, owned by one task on the data thread.
//!
//! The task polls everything it owns by hand, so that no byte passes a channel, a lock or an allocation: from a
//! 16 KiB buffer that all ports of the thread share, straight to the other side; only what that side does not take
//! at once is copied into a bounded queue. Decisions about *which* device are the supervisor's ([`Command`]); this
//! module must not know of matching, sysfs or the API.
//!
//! | what | where |
//! |---|---|
//! | who is let in, who takes over | `arrivals` |
//! | device to clients, frame gap | `broadcast` |
//! | clients to device, who may write | `writers` |
//! | what RFC 2217 clients ask of the line | `com_port`, `line_thread` |
//! | whether output moves | `output` |
//! | one connection and its queue; TLS | `client`, `transport`, `handshaking` |
//! | all queues together | `ledger` |
//! | time limits | `deadlines` |
//! | what the supervisor says; new settings | `commands`, `edits` |

mod arrivals;
mod broadcast;
mod client;
mod com_port;
mod commands;
mod deadlines;
mod device;
mod edits;
mod end_reason;
mod handshaking;
pub(crate) mod ledger;
mod line_thread;
mod link;
mod listener;
mod output;
mod transport;
mod writers;

use std::{
    cell::RefCell,
    future::poll_fn,
    net::SocketAddr,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    sync::{Notify, mpsc, watch},
    time::Instant,
};

use self::{
    arrivals::{Newcomer, TurnedAway},
    broadcast::Gathered,
    client::Client,
    com_port::ComPort,
    deadlines::Alarm,
    device::Device,
    handshaking::Handshaking,
    listener::Listener,
    output::Output,
    writers::ToDevice,
};
pub use self::{
    end_reason::EndReason,
    line_thread::{Full, LineThread, ORDERS, Order, Report},
    link::{ClientView, Command, Link, Phase, PortSettings},
};
use crate::metrics::PortMetrics;

/// Bytes moved by one read: more gains nothing, a quarter of it costs 10 to 20 % of throughput.
const CHUNK: usize = 16 * 1024;
/// Reads of each kind in one turn. The runtime sets no limit to a port ([`crate::data`]): this one lets both
/// directions and all ports have their turn, however much comes from one side.
const TURN: usize = 32;
/// Bytes that a client is read in a turn in which the device sends, too.
const FAIR: usize = 8 * 1024;
/// Pause after accept(2) or bind(2) failed.
const PAUSE: Duration = Duration::from_secs(1);

thread_local! {
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; CHUNK].into_boxed_slice());
}

/// A port's task, to be run on the data thread.
pub struct Port {
    name: String,
    settings: PortSettings,
    commands: mpsc::Receiver<Command>,
    link: watch::Sender<Link>,
    changed: Arc<Notify>,
    metrics: PortMetrics,

    device: Option<Device>,
    listener: Option<Listener>,
    listen_error: Option<String>,
    /// In the order in which they were let in.
    clients: Vec<Client>,
    newcomers: Vec<Newcomer>,
    /// Made at the first connection that asks for TLS.
    handshaking: Option<Handshaking>,
    turned_away: TurnedAway,
    /// Accepted, ever.
    connections: u64,
    gathered: Gathered,
    to_device: ToDevice,
    output: Output,
    com_port: ComPort,
    /// Which client is read first.
    turn: usize,
    /// Since when clients wait for the device to come back.
    held_since: Option<Instant>,
    drain_until: Option<Instant>,
    paused_until: Option<Instant>,
    alarm: Alarm,
    /// Something that [`Link`] shows has changed.
    dirty: bool,
    /// Somebody was let in since this was last set to false.
    admitted: bool,
    /// The turn ended before everything was done.
    again: bool,
}

impl Port {
    /// A port without a device. `changed` is notified whenever `link` says something new.
    pub fn new(
        name: String,
        settings: PortSettings,
        commands: mpsc::Receiver<Command>,
        link: watch::Sender<Link>,
        changed: Arc<Notify>,
        metrics: PortMetrics,
    ) -> Self {
        Self {
            name,
            settings,
            commands,
            link,
            changed,
            metrics,
            device: None,
            listener: None,
            listen_error: None,
            clients: Vec::new(),
            newcomers: Vec::new(),
            handshaking: None,
            turned_away: TurnedAway::default(),
            connections: 0,
            gathered: Gathered::default(),
            to_device: ToDevice::default(),
            output: Output::default(),
            com_port: ComPort::default(),
            turn: 0,
            held_since: None,
            drain_until: None,
            paused_until: None,
            alarm: Alarm::default(),
            dirty: false,
            admitted: false,
            again: false,
        }
    }

    /// Runs until it is drained or nobody can command it any more.
    pub async fn run(mut self) {
        while let Some(command) = poll_fn(|cx| self.poll(cx)).await {
            self.obey(command);
        }
        self.end_all(if self.drain_until.is_some() { EndReason::Shutdown } else { EndReason::Reconfigured });
        self.listener = None;
        self.hand_back();
        self.publish();
    }

    fn allowed(&self, peer: &SocketAddr) -> bool {
        self.settings
            .networks
            .as_ref()
            .is_none_or(|networks| networks.iter().any(|network| network.contains(&peer.ip())))
    }

    /// Moves what can be moved. Ready with the next command, or with `None` at the end.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Command>> {
        if let Poll::Ready(command) = self.commands.poll_recv(cx) {
            if command.as_ref().is_none_or(|command| self.ends_frame(command)) {
                self.deliver(cx);
            }
            return Poll::Ready(command);
        }
        self.expire();
        self.again = false;
        loop {
            self.poll_line(cx);
            // Clients before newcomers: whoever has just left is gone before the next one is judged.
            BUFFER.with_borrow_mut(|buffer| {
                let sends = self.poll_from_device(cx, buffer);
                // A tty gives 4 KiB at once and takes 64: its own would be much the slower one of both ways.
                let (turn, most) = if sends { (1, FAIR) } else { (TURN, CHUNK) };
                self.poll_from_clients(cx, buffer.get_mut(..most).unwrap_or_default(), turn);
            });
            self.poll_outboxes(cx);
            self.admitted = false;
            self.poll_accept(cx);
            self.poll_handshakes(cx);
            self.poll_newcomers(cx);
            if !self.admitted || self.again {
                break;
            }
        }
        if self.held_since.is_some() && self.clients.is_empty() {
            self.held_since = None;
            self.dirty = true;
        }
        if self.dirty {
            self.publish();
        }
        if let Some(deadline) = self.drain_until {
            self.poll_drain(cx);
            if self.clients.is_empty() || Instant::now() >= deadline {
                return Poll::Ready(None);
            }
        }
        self.poll_alarm(cx);
        if self.again {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    fn end_all(&mut self, reason: EndReason) {
        self.end_newcomers(reason);
        while !self.clients.is_empty() {
            self.end(0, reason);
        }
    }

    fn end(&mut self, at: usize, reason: EndReason) {
        let client = self.clients.remove(at);
        self.dirty = true;
        // The device may have waited for it.
        self.again = true;
        self.metrics.clients.dec();
        self.metrics.dropped_to_client.inc_by((client.owed() + client.withheld()) as u64);
        let undecoded = client.speaker.as_ref().map_or(0, |speaker| speaker.undecoded());
        self.metrics.dropped_to_device.inc_by(undecoded as u64);
        self.metrics.ended(reason);
        tracing::info!(port = self.name, peer = %client.peer, reason = reason.as_str(), "client ended");
        if self.clients.is_empty() {
            self.end_overlay();
        } else if client.speaker.is_some_and(|speaker| speaker.is_breaking()) {
            self.end_break();
        }
    }

    fn publish(&mut self) {
        self.dirty = false;
        let phase = match (&self.device, &self.listener, &self.listen_error) {
            (Some(_), Some(_), _) => Phase::Serving,
            (Some(_), None, Some(error)) => Phase::ListenFailed(error.clone()),
            _ if self.held_since.is_some() => Phase::Held,
            _ => Phase::Idle,
        };
        let link = Link {
            phase,
            addresses: self.listener.as_ref().map(Listener::addresses).unwrap_or_default(),
            clients: self
                .clients
                .iter()
                .map(|client| ClientView { peer: client.peer, since: client.since })
                .collect(),
            output_stalled: self.output.is_stalled(),
            overlay: self.com_port.overlay(),
        };
        let changed = self.link.send_if_modified(|last| {
            let changed = *last != link;
            *last = link;
            changed
        });
        if changed {
            self.changed.notify_one();
        }
    }
}

/// However it ends, by a bug of ours too, the supervisor hears of it.
impl Drop for Port {
    fn drop(&mut self) {
        self.metrics.clients.set(0);
        self.changed.notify_one();
    }
}
