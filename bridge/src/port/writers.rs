//! From the clients to the device: whose bytes reach it, in turn, and what waits for it.

use std::task::{Context, Poll};

use serialfleet_api::fleet::Writers;
use tokio::time::Instant;

use super::{EndReason, Port, client::Received, device::Gone, ledger::Account};

/// Bytes of a client that the device has not taken yet: never more than one read.
#[derive(Default)]
pub(super) struct ToDevice {
    bytes: Vec<u8>,
    written: usize,
    /// Who sent them ([`super::client::Client::id`]).
    pub(super) sender: u64,
    /// Of what waited first: it is not told of each byte that goes.
    account: Account,
}

impl ToDevice {
    fn rest(&self) -> &[u8] {
        self.bytes.get(self.written..).unwrap_or_default()
    }

    /// Nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.rest().is_empty()
    }
}

impl Port {
    /// Reads clients in turn, so that none that sends without a pause keeps another from being read. While the
    /// device takes nothing, only those are heard whose bytes it would not get, and who purge theirs. At most `turn`
    /// reads of each, into `buffer`.
    pub(super) fn poll_from_clients(&mut self, cx: &mut Context<'_>, buffer: &mut [u8], turn: usize) {
        if self.com_port.is_settling() {
            if self.tail_until().is_some() && self.flush_to_device(cx) {
                self.settle();
            }
            return;
        }
        let watched = self.settings.idle_timeout.is_some();
        for _ in 0..turn {
            let mut room = self.flush_to_device(cx);
            let mut moved = false;
            let mut at = self.turn;
            for _ in 0..self.clients.len() {
                if at >= self.clients.len() {
                    at = 0;
                }
                let writes = self.may_write(at);
                let purges = if room || !writes { Ok(false) } else { self.finds_purge(cx, at, buffer) };
                let waits = match purges {
                    Ok(purges) => !room && writes && !purges,
                    Err(reason) => {
                        self.end(at, reason);
                        continue;
                    }
                };
                let Some(client) = self.clients.get_mut(at).filter(|_| !waits) else {
                    at += 1;
                    continue;
                };
                if client.speaker.is_some() {
                    match self.hear(cx, at, writes, buffer) {
                        Ok(heard) => moved |= heard,
                        Err(reason) => {
                            self.end(at, reason);
                            continue;
                        }
                    }
                    room = self.to_device.is_empty();
                    at += 1;
                    continue;
                }
                match client.poll_read(cx, buffer) {
                    Poll::Ready(Ok(Received::Bytes(read))) => {
                        moved = true;
                        if watched {
                            client.touch();
                        }
                        if writes {
                            client.asked();
                            let sender = client.id;
                            self.turn = at + 1;
                            self.send_to_device(cx, sender, buffer.get(..read).unwrap_or_default());
                            room = self.to_device.is_empty();
                        } else {
                            self.metrics.dropped_not_a_writer.inc_by(read as u64);
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
        self.again = true;
    }

    /// Whether this client's bytes reach the device. The first is who has been connected longest; whoever has sent
    /// FIN has nothing more to write and passes the role on.
    pub(super) fn may_write(&self, at: usize) -> bool {
        match self.settings.writers {
            Writers::All => true,
            Writers::First => self.clients.iter().position(|client| !client.is_half_closed()) == Some(at),
            Writers::None => false,
        }
    }

    /// Straight to the device; what it does not take waits, and no client's bytes go past it.
    pub(super) fn send_to_device(&mut self, cx: &mut Context<'_>, sender: u64, mut bytes: &[u8]) {
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
                    self.output.wrote(written);
                    bytes = bytes.get(written..).unwrap_or_default();
                }
                Poll::Ready(Err(Gone)) => self.device_gone(),
                Poll::Pending => {
                    self.output.blocked();
                    let mut account = Account::default();
                    account.set(bytes.len(), cx);
                    self.to_device = ToDevice { bytes: bytes.to_vec(), written: 0, sender, account };
                    return;
                }
            }
        }
    }

    /// Whether nothing waits for the device any more.
    fn flush_to_device(&mut self, cx: &mut Context<'_>) -> bool {
        while !self.to_device.is_empty() {
            let Some(device) = &mut self.device else { break };
            match device.poll_write(cx, self.to_device.rest()) {
                Poll::Ready(Ok(written)) => {
                    self.metrics.to_device.inc_by(written as u64);
                    self.output.wrote(written);
                    self.output_moves();
                    self.to_device.written += written;
                }
                Poll::Ready(Err(Gone)) => self.device_gone(),
                Poll::Pending if self.to_device.account.is_overdrawn() => {
                    let sender = self.to_device.sender;
                    self.drop_to_device();
                    if let Some(at) = self.clients.iter().position(|client| client.id == sender) {
                        self.end(at, EndReason::Memory);
                    }
                }
                Poll::Pending => {
                    self.output.blocked();
                    return false;
                }
            }
        }
        if self.to_device.written > 0 {
            self.to_device = ToDevice::default();
        }
        true
    }

    pub(super) fn drop_to_device(&mut self) {
        self.metrics.dropped_to_device.inc_by(self.to_device.rest().len() as u64);
        self.to_device = ToDevice::default();
        self.output_moves();
    }

    fn output_moves(&mut self) {
        if self.output.is_stalled() {
            tracing::info!(port = self.name, "the device takes bytes again");
            self.dirty = true;
        }
        self.output.unblocked();
    }

    /// Five seconds after a write: has it left?
    pub(super) fn look_at_output(&mut self, now: Instant) {
        let before = self.output.is_stalled();
        let queued = self.device.as_ref().map_or(0, |device| device.queued());
        self.output.look(now, queued);
        let stalled = self.output.is_stalled();
        if stalled != before {
            self.dirty = true;
            if stalled {
                tracing::warn!(port = self.name, queued, "the device takes no bytes");
            } else {
                tracing::info!(port = self.name, "the device takes bytes again");
            }
        }
    }
}
