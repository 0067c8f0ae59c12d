//! What a client that speaks RFC 2217 says: data for the device, requests, and the order of both.

use std::task::{Context, Poll};

use super::speaker::Step;
use crate::{
    port::{
        EndReason, Port,
        client::{Client, Received},
    },
    rfc2217::{Attention, Event},
};

/// Bytes of a client that are decoded in one go: what they cause to be answered fits its queue.
const HEARD: usize = 8 * 1024;
/// A client with more than this in its queue is not listened to: it may not read its answers.
const ANSWERED: usize = 24 * 1024;
impl Port {
    /// Listens to one client; whether anything came of it.
    pub(in crate::port) fn hear(
        &mut self,
        cx: &mut Context<'_>,
        at: usize,
        writes: bool,
        buffer: &mut [u8],
    ) -> Result<bool, EndReason> {
        let Some(client) = self.clients.get_mut(at).filter(|client| is_heard(client)) else {
            return Ok(false);
        };
        let mut input = client.speaker.as_mut().map(|it| std::mem::take(&mut it.input)).unwrap_or_default();
        if input.is_empty() {
            let Some(buffer) = buffer.get_mut(..HEARD) else { return Ok(false) };
            let read = match client.poll_read_past_urgent(cx, buffer) {
                Poll::Ready(Ok(Received::Bytes(read))) => read,
                Poll::Ready(Err(_)) => return Err(EndReason::PeerLost),
                Poll::Ready(Ok(Received::End)) | Poll::Pending => return Ok(false),
            };
            if self.settings.idle_timeout.is_some() {
                client.touch();
            }
            let bytes = buffer.get(..read).unwrap_or_default();
            let decoded = self.decode(cx, at, writes, bytes);
            input.extend_from_slice(bytes.get(decoded..).unwrap_or_default());
        } else {
            let decoded = self.decode(cx, at, writes, &input);
            input.drain(..decoded);
        }
        if let Some(speaker) = self.clients.get_mut(at).and_then(|client| client.speaker.as_mut()) {
            speaker.input = input;
        }
        self.mind_notices();
        Ok(true)
    }

    /// Performs what `bytes` say, up to something that must be waited for; how many were decoded.
    fn decode(&mut self, cx: &mut Context<'_>, at: usize, writes: bool, bytes: &[u8]) -> usize {
        let mut rest = bytes;
        while !rest.is_empty() && (!writes || self.to_device.is_empty()) {
            let Some(client) = self.clients.get_mut(at).filter(|client| is_heard(client)) else { break };
            let sender = client.id;
            let event = client.speak(cx, |speaker, out| speaker.session.next(&mut rest, out)).flatten();
            match event {
                Some(Event::Data(run)) if writes => {
                    self.turn = at + 1;
                    self.send_to_device(cx, sender, run);
                }
                Some(Event::Data(run)) => drop(self.metrics.dropped_not_a_writer.inc_by(run.len() as u64)),
                Some(Event::Request(request)) => self.begin(cx, at, Step::Request(request)),
                Some(Event::Attention(Attention::Break)) if writes && self.device.is_some() => {
                    self.begin(cx, at, Step::BreakOn);
                }
                Some(Event::Attention(Attention::Resume)) => client.want_data(cx),
                // Whatever came before the mark is decoded, and in the kernel's queue or gone.
                Some(Event::Attention(Attention::Break | Attention::DataMark | Attention::Suspend))
                | None => {}
            }
        }
        bytes.len() - rest.len()
    }

    fn begin(&mut self, cx: &Context<'_>, at: usize, step: Step) {
        if let Some(speaker) = self.clients.get_mut(at).and_then(|client| client.speaker.as_mut()) {
            speaker.begin(step);
        }
        // First what the masks ask for: whoever has the answer may rely on it.
        self.mind_notices();
        self.order(cx, at);
    }
}

/// Whether a client is listened to: not while something of its is under way, nor while it leaves its answers unread.
fn is_heard(client: &Client) -> bool {
    client.owed() <= ANSWERED && client.speaker.as_ref().is_some_and(|speaker| speaker.under_way.is_none())
}
