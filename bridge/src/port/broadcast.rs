//! From the device to every client, at once or frame by frame, and what clients are owed.

use std::{
    cell::RefCell,
    task::{Context, Poll},
};

use serialfleet_api::fleet::{Protocol, SlowReader};
use tokio::time::Instant;

use super::{
    BUFFER, EndReason, Port, TURN,
    client::{Client, OUTBOX},
    device::Gone,
};
use crate::rfc2217::escape;

/// Most bytes that are gathered: an RTU frame has 256. Not counted in the ledger: one port has one, at most.
const FRAME: usize = 4096;

thread_local! {
    /// A chunk with its IACs doubled, for all clients of a port: made only where there are any.
    static ESCAPED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// With a frame gap: what the device sent since it was last silent for that long.
#[derive(Default)]
pub(super) struct Gathered {
    bytes: Vec<u8>,
    /// When the silence is long enough.
    pub(super) until: Option<Instant>,
}

impl Port {
    /// Whether the device sent something.
    pub(super) fn poll_from_device(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> bool {
        let block = self.settings.slow_reader == SlowReader::Block;
        let (mut reads, mut sent) = (0, false);
        while self.drain_until.is_none()
            && !(block && self.clients.iter().any(Client::is_behind))
            && !self.com_port.is_adopting()
            && let Some(device) = &self.device
        {
            if reads == TURN {
                self.again = true;
                break;
            }
            reads += 1;
            let read = match device.poll_read(cx, buffer) {
                Poll::Ready(Ok(read)) => read,
                Poll::Ready(Err(Gone)) => {
                    self.device_gone();
                    break;
                }
                Poll::Pending => break,
            };
            sent = true;
            let bytes = buffer.get(..read).unwrap_or_default();
            if self.clients.is_empty() {
                self.metrics.dropped_no_client.inc_by(read as u64);
                continue;
            }
            self.metrics.from_device.inc_by(read as u64);
            self.unmark(cx, bytes);
        }
        if let Some(until) = self.gathered.until
            && (until <= Instant::now() || self.device.is_none() || self.drain_until.is_some())
        {
            self.deliver(cx);
        }
        sent
    }

    /// What waits in the kernel because a client that has gone was waited for: nobody's.
    pub(super) fn drop_from_device(&self, cx: &mut Context<'_>) {
        if self.com_port.is_adopting() {
            return;
        }
        BUFFER.with_borrow_mut(|buffer| {
            for _ in 0..TURN {
                let read = self.device.as_ref().map(|device| device.poll_read(cx, buffer));
                // That it went away is seen at the next read.
                let Some(Poll::Ready(Ok(read))) = read else { break };
                self.metrics.dropped_no_client.inc_by(read as u64);
            }
        });
    }

    /// What the device sent, for whoever is connected.
    pub(super) fn received(&mut self, cx: &mut Context<'_>, bytes: &[u8]) {
        if self.settings.frame_gap.is_zero() {
            self.give_all(cx, bytes);
        } else {
            self.gather(cx, bytes);
        }
    }

    fn give_all(&mut self, cx: &mut Context<'_>, bytes: &[u8]) {
        // One run is all of them, without an IAC.
        if self.settings.protocol == Protocol::Raw || escape(bytes).nth(1).is_none() {
            return self.give_each(cx, bytes);
        }
        ESCAPED.with_borrow_mut(|escaped| {
            escaped.clear();
            escape(bytes).for_each(|run| escaped.extend_from_slice(run));
            self.give_each(cx, escaped);
        });
    }

    fn give_each(&mut self, cx: &mut Context<'_>, bytes: &[u8]) {
        let watched = self.settings.idle_timeout.is_some();
        let block = self.settings.slow_reader == SlowReader::Block;
        let mut at = 0;
        while let Some(client) = self.clients.get_mut(at) {
            if watched || client.is_half_closed() {
                client.touch();
            }
            if block {
                client.expect_reading(self.settings.keepalive);
            }
            match client.give(cx, bytes) {
                Ok(()) => at += 1,
                Err(reason) => {
                    self.metrics.dropped_to_client.inc_by(bytes.len() as u64);
                    self.end(at, reason);
                }
            }
        }
    }

    fn gather(&mut self, cx: &mut Context<'_>, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = FRAME.saturating_sub(self.gathered.bytes.len());
            let (now, later) = bytes.split_at_checked(room).unwrap_or((bytes, &[]));
            if self.gathered.bytes.is_empty() {
                self.gathered.bytes.reserve_exact(FRAME);
            }
            self.gathered.bytes.extend_from_slice(now);
            if self.gathered.bytes.len() >= FRAME {
                self.deliver(cx);
            }
            bytes = later;
        }
        if !self.gathered.bytes.is_empty() {
            self.gathered.until = Some(Instant::now() + self.settings.frame_gap);
        }
    }

    /// What was gathered goes to those who were connected meanwhile: before anybody is let in or let go.
    pub(super) fn deliver(&mut self, cx: &mut Context<'_>) {
        self.gathered.until = None;
        let mut bytes = std::mem::take(&mut self.gathered.bytes);
        if !bytes.is_empty() {
            self.give_all(cx, &bytes);
            if !self.settings.frame_gap.is_zero() {
                bytes.clear();
                self.gathered.bytes = bytes;
            }
        }
    }

    /// Sends what clients are owed, and ends those who are owed too much.
    pub(super) fn poll_outboxes(&mut self, cx: &mut Context<'_>) {
        let block = self.settings.slow_reader == SlowReader::Block;
        let keepalive = self.settings.keepalive;
        let mut at = 0;
        while let Some(client) = self.clients.get_mut(at) {
            if client.owed() > 0 {
                match client.poll_flush(cx) {
                    // The device may have waited for this client: read it again.
                    Poll::Ready(Ok(())) => self.again = true,
                    Poll::Ready(Err(reason)) => {
                        self.end(at, reason);
                        continue;
                    }
                    Poll::Pending => {}
                }
                if block {
                    client.expect_reading(keepalive);
                }
            }
            if client.is_overdrawn() {
                self.end(at, EndReason::Memory);
                continue;
            }
            // Notices of the line come without anybody who would wait for their reader.
            if client.owed() > 2 * OUTBOX {
                self.end(at, EndReason::SlowReader);
                continue;
            }
            at += 1;
        }
    }
}
