//! One port: a tty, its listener and its clients, owned by one task on the data thread.
//!
//! The task polls everything it owns by hand, so that no byte passes a channel, a lock or an allocation: from a
//! 16 KiB buffer that all ports of the thread share, straight to the other side; only what that side does not take
//! at once is copied into a bounded queue. Decisions about *which* device are the supervisor's ([`Command`]); this
//! module must not know of matching, sysfs or the API.

mod arrivals;
mod client;
mod device;
mod handshaking;
mod link;
mod listener;
mod transport;

use std::{
    cell::RefCell,
    future::poll_fn,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use serialfleet_api::fleet::SlowReader;
use tokio::{
    sync::{Notify, mpsc, watch},
    time::{Instant, Sleep, sleep_until},
};

use self::{
    arrivals::Newcomer,
    client::{Client, Received},
    device::{Device, Gone},
    handshaking::Handshaking,
    listener::Listener,
};
pub use self::{
    client::EndReason,
    link::{ClientView, Command, Link, Phase, PortSettings},
};
use crate::metrics::PortMetrics;

/// Bytes moved by one read: more gains nothing, a quarter of it costs 10 to 20 % of throughput.
const CHUNK: usize = 16 * 1024;
/// How often a draining port looks for acknowledgements.
const ACKNOWLEDGED: Duration = Duration::from_millis(20);
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
    clients: Vec<Client>,
    newcomers: Vec<Newcomer>,
    /// Made at the first connection that asks for TLS.
    handshaking: Option<Handshaking>,
    to_device: ToDevice,
    hold_until: Option<Instant>,
    drain_until: Option<Instant>,
    paused_until: Option<Instant>,
    /// Made on the data thread's runtime, at the first deadline.
    timer: Option<Pin<Box<Sleep>>>,
    armed: Option<Instant>,
    /// Something that [`Link`] shows has changed.
    dirty: bool,
    /// Somebody was let in since this was last set to false.
    admitted: bool,
}

/// Bytes of a client that the device has not taken yet.
#[derive(Default)]
struct ToDevice {
    bytes: Vec<u8>,
    written: usize,
}

impl ToDevice {
    fn rest(&self) -> &[u8] {
        self.bytes.get(self.written..).unwrap_or_default()
    }
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
            to_device: ToDevice::default(),
            hold_until: None,
            drain_until: None,
            paused_until: None,
            timer: None,
            armed: None,
            dirty: false,
            admitted: false,
        }
    }

    /// Runs until it is drained or nobody can command it any more.
    pub async fn run(mut self) {
        while let Some(command) = poll_fn(|cx| self.poll(cx)).await {
            self.obey(command);
        }
        self.end_all(if self.drain_until.is_some() { EndReason::Shutdown } else { EndReason::Reconfigured });
        self.listener = None;
        self.device = None;
        self.publish();
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Attach { tty, same_device } => {
                if !same_device {
                    self.end_all(EndReason::DeviceChanged);
                }
                self.hold_until = None;
                self.to_device = ToDevice::default();
                match Device::new(tty) {
                    Ok(device) => {
                        self.device = Some(device);
                        self.listen();
                    }
                    Err(error) => {
                        tracing::error!(port = self.name, %error, "the tty cannot be waited for");
                        if !self.clients.is_empty() {
                            self.hold_until = Some(Instant::now() + self.settings.hold);
                        }
                        // Nothing that the link shows has changed, and yet the supervisor must know.
                        self.changed.notify_one();
                    }
                }
            }
            Command::Detach(None) => self.device_gone(),
            Command::Detach(Some(reason)) => {
                self.let_go();
                self.end_all(reason);
            }
            Command::EndHold(reason) => {
                if self.hold_until.take().is_some() {
                    self.end_all(reason);
                }
            }
            Command::Settings(settings) => self.apply(settings),
            Command::Drain(deadline) => {
                self.listener = None;
                self.end_newcomers(EndReason::Shutdown);
                // Nobody waits for the device any more.
                self.drop_to_device();
                self.drain_until = Some(deadline);
            }
        }
        self.publish();
    }

    /// In place, clients kept, except those that the new settings do not allow.
    fn apply(&mut self, settings: PortSettings) {
        let before = std::mem::replace(&mut self.settings, settings);
        let mode = |settings: &PortSettings| settings.tls.as_ref().map(|terms| terms.mode);
        let elsewhere = before.listen != self.settings.listen || mode(&before) != mode(&self.settings);
        if elsewhere {
            self.end_all(EndReason::Reconfigured);
        }
        if self.device.is_some() && (elsewhere || may_listen(&before) != may_listen(&self.settings)) {
            self.listen();
        }
        if before.idle_timeout.is_none() {
            // Nobody counted until now.
            self.clients.iter_mut().for_each(Client::touch);
        }
        let (allowed, others) =
            std::mem::take(&mut self.newcomers).into_iter().partition(|it| self.allowed(&it.client.peer));
        self.newcomers = allowed;
        let others: Vec<Newcomer> = others;
        others.iter().for_each(|it| self.say_ended(&it.client, EndReason::NotAllowed));
        let mut at = 0;
        while let Some(client) = self.clients.get(at) {
            if self.allowed(&client.peer) {
                client.set_keepalive(self.settings.keepalive);
                at += 1;
            } else {
                self.end(at, EndReason::NotAllowed);
            }
        }
    }

    fn listen(&mut self) {
        self.listener = None;
        if !may_listen(&self.settings) {
            self.listen_error = None;
            self.paused_until = None;
            return;
        }
        match Listener::bind(&self.settings.listen) {
            Ok(listener) => {
                tracing::info!(port = self.name, addresses = ?listener.addresses(), "listening");
                self.listener = Some(listener);
                self.listen_error = None;
                self.paused_until = None;
            }
            Err((address, error)) => {
                let message = format!("cannot listen on {address}: {error}");
                if self.listen_error.as_ref() != Some(&message) {
                    tracing::warn!(port = self.name, "{message}");
                }
                self.listen_error = Some(message);
                self.paused_until = Some(Instant::now() + PAUSE);
            }
        }
    }

    fn let_go(&mut self) {
        self.device = None;
        self.listener = None;
        self.listen_error = None;
        self.end_newcomers(EndReason::Reconfigured);
        self.drop_to_device();
        self.dirty = true;
    }

    fn drop_to_device(&mut self) {
        self.metrics.dropped_to_device.inc_by(self.to_device.rest().len() as u64);
        self.to_device = ToDevice::default();
    }

    /// Unplugged: clients are held, new connections refused.
    fn device_gone(&mut self) {
        if self.device.is_none() {
            return;
        }
        self.let_go();
        if !self.clients.is_empty() {
            self.hold_until = Some(Instant::now() + self.settings.hold);
        }
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
            return Poll::Ready(command);
        }
        self.expire();
        loop {
            // Clients before newcomers: whoever has just left is gone before the next one is judged.
            BUFFER.with_borrow_mut(|buffer| {
                self.poll_from_device(cx, buffer);
                self.poll_from_clients(cx, buffer);
            });
            self.poll_outboxes(cx);
            self.admitted = false;
            self.poll_accept(cx);
            self.poll_handshakes(cx);
            self.poll_newcomers(cx);
            if !self.admitted {
                break;
            }
        }
        if self.hold_until.is_some() && self.clients.is_empty() {
            self.hold_until = None;
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
        self.poll_timer(cx);
        Poll::Pending
    }

    /// Lets those go that have got everything.
    fn poll_drain(&mut self, cx: &mut Context<'_>) {
        let mut at = 0;
        while let Some(client) = self.clients.get_mut(at) {
            let finished = client.owed() == 0
                && BUFFER.with_borrow_mut(|buffer| client.poll_finish(cx, buffer)).is_ready();
            if finished {
                self.end(at, EndReason::Shutdown);
            } else {
                at += 1;
            }
        }
    }

    fn poll_from_device(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) {
        let block = self.settings.slow_reader == SlowReader::Block;
        let watched = self.settings.idle_timeout.is_some();
        while self.drain_until.is_none()
            && !(block && self.clients.iter().any(|client| client.owed() > 0))
            && let Some(device) = &self.device
        {
            let read = match device.poll_read(cx, buffer) {
                Poll::Ready(Ok(read)) => read,
                Poll::Ready(Err(Gone)) => return self.device_gone(),
                Poll::Pending => return,
            };
            let bytes = buffer.get(..read).unwrap_or_default();
            if self.clients.is_empty() {
                self.metrics.dropped_no_client.inc_by(read as u64);
                continue;
            }
            self.metrics.from_device.inc_by(read as u64);
            let mut at = 0;
            while let Some(client) = self.clients.get_mut(at) {
                if watched || client.is_half_closed() {
                    client.touch();
                }
                match client.give(cx, bytes) {
                    Ok(()) => at += 1,
                    Err(reason) => {
                        self.metrics.dropped_to_client.inc_by(read as u64);
                        self.end(at, reason);
                    }
                }
            }
        }
    }

    fn poll_from_clients(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) {
        let watched = self.settings.idle_timeout.is_some();
        loop {
            if !self.flush_to_device(cx) {
                return;
            }
            let mut moved = false;
            let mut at = 0;
            while let Some(client) = self.clients.get_mut(at) {
                match client.poll_read(cx, buffer) {
                    Poll::Ready(Ok(Received::Bytes(read))) => {
                        moved = true;
                        if watched {
                            client.touch();
                        }
                        self.send_to_device(cx, buffer.get(..read).unwrap_or_default());
                        if !self.to_device.rest().is_empty() {
                            return;
                        }
                    }
                    Poll::Ready(Ok(Received::End)) => {}
                    Poll::Ready(Err(_)) => {
                        self.end(at, EndReason::PeerLost);
                        continue;
                    }
                    Poll::Pending => {}
                }
                at += 1;
            }
            if !moved {
                return;
            }
        }
    }

    /// Straight to the device; what it does not take waits, and no client is read meanwhile.
    fn send_to_device(&mut self, cx: &mut Context<'_>, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let device = self.device.as_mut().filter(|_| self.drain_until.is_none());
            let Some(device) = device else {
                // Held, or about to end: read and dropped, so that the client does not stall.
                self.metrics.dropped_to_device.inc_by(bytes.len() as u64);
                return;
            };
            match device.poll_write(cx, bytes) {
                Poll::Ready(Ok(written)) => {
                    self.metrics.to_device.inc_by(written as u64);
                    bytes = bytes.get(written..).unwrap_or_default();
                }
                Poll::Ready(Err(Gone)) => {
                    self.device_gone();
                }
                Poll::Pending => {
                    self.to_device = ToDevice { bytes: bytes.to_vec(), written: 0 };
                    return;
                }
            }
        }
    }

    /// Whether nothing waits for the device any more.
    fn flush_to_device(&mut self, cx: &mut Context<'_>) -> bool {
        while !self.to_device.rest().is_empty() {
            let Some(device) = &mut self.device else { break };
            match device.poll_write(cx, self.to_device.rest()) {
                Poll::Ready(Ok(written)) => {
                    self.metrics.to_device.inc_by(written as u64);
                    self.to_device.written += written;
                }
                Poll::Ready(Err(Gone)) => self.device_gone(),
                Poll::Pending => return false,
            }
        }
        self.to_device = ToDevice::default();
        true
    }

    fn poll_outboxes(&mut self, cx: &mut Context<'_>) {
        let block = self.settings.slow_reader == SlowReader::Block;
        let keepalive = self.settings.keepalive;
        let mut at = 0;
        while let Some(client) = self.clients.get_mut(at) {
            if client.owed() > 0 {
                match client.poll_flush(cx) {
                    // The device may have waited for this client: read it again.
                    Poll::Ready(Ok(())) => cx.waker().wake_by_ref(),
                    Poll::Ready(Err(reason)) => {
                        self.end(at, reason);
                        continue;
                    }
                    Poll::Pending => {}
                }
                client.set_patient(block && client.owed() > 0, keepalive);
            }
            at += 1;
        }
    }

    /// Ends whatever has run out of time.
    fn expire(&mut self) {
        let Some(armed) = self.armed else { return };
        let now = Instant::now();
        if now < armed {
            return;
        }
        self.armed = None;
        if self.hold_until.is_some_and(|deadline| deadline <= now) {
            self.hold_until = None;
            self.end_all(EndReason::HoldExpired);
        }
        if self.paused_until.is_some_and(|deadline| deadline <= now) {
            self.paused_until = None;
            if self.device.is_some() && self.listener.is_none() && self.drain_until.is_none() {
                self.listen();
                self.publish();
            }
        }
        let mut at = 0;
        while let Some(client) = self.clients.get(at) {
            if client.deadline(self.settings.idle_timeout).is_some_and(|deadline| deadline <= now) {
                let reason = if client.is_half_closed() { EndReason::PeerClosed } else { EndReason::Idle };
                self.end(at, reason);
            } else {
                at += 1;
            }
        }
    }

    /// One timer for all deadlines. It is moved only to an earlier time: a deadline that moves on with each byte
    /// costs nothing, the timer goes off once too early and is set again.
    fn poll_timer(&mut self, cx: &mut Context<'_>) {
        let next = self
            .clients
            .iter()
            .filter_map(|client| client.deadline(self.settings.idle_timeout))
            .chain(self.newcomers.iter().filter_map(|newcomer| newcomer.takes_over))
            .chain(self.hold_until)
            .chain(self.paused_until)
            // Acknowledgements have no event of their own.
            .chain(self.drain_until.map(|deadline| deadline.min(Instant::now() + ACKNOWLEDGED)))
            .min();
        if let Some(next) = next
            && self.armed.is_none_or(|armed| next < armed)
        {
            match &mut self.timer {
                Some(timer) => timer.as_mut().reset(next),
                None => self.timer = Some(Box::pin(sleep_until(next))),
            }
            self.armed = Some(next);
        }
        if self.armed.is_some()
            && let Some(timer) = &mut self.timer
            && timer.as_mut().poll(cx).is_ready()
        {
            cx.waker().wake_by_ref();
        }
    }

    fn end_all(&mut self, reason: EndReason) {
        self.end_newcomers(reason);
        while !self.clients.is_empty() {
            self.end(0, reason);
        }
    }

    fn end_newcomers(&mut self, reason: EndReason) {
        self.end_handshakes(reason);
        for newcomer in std::mem::take(&mut self.newcomers) {
            self.say_ended(&newcomer.client, reason);
        }
    }

    fn end(&mut self, at: usize, reason: EndReason) {
        let client = self.clients.remove(at);
        self.dirty = true;
        self.metrics.clients.dec();
        self.metrics.dropped_to_client.inc_by(client.owed() as u64);
        self.say_ended(&client, reason);
    }

    fn say_ended(&self, client: &Client, reason: EndReason) {
        self.metrics.ended(reason);
        tracing::info!(port = self.name, peer = %client.peer, reason = reason.as_str(), "client ended");
    }

    fn publish(&mut self) {
        self.dirty = false;
        let phase = match (&self.device, &self.listener, &self.listen_error) {
            (Some(_), Some(_), _) => Phase::Serving,
            (Some(_), None, Some(error)) => Phase::ListenFailed(error.clone()),
            _ if self.hold_until.is_some() => Phase::Held,
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

/// Who asks for TLS and has no valid certificate is never served in plain text.
fn may_listen(settings: &PortSettings) -> bool {
    settings.tls.as_ref().is_none_or(|terms| terms.offer.is_some())
}

/// However it ends, by a bug of ours too, the supervisor hears of it.
impl Drop for Port {
    fn drop(&mut self) {
        self.metrics.clients.set(0);
        self.changed.notify_one();
    }
}
