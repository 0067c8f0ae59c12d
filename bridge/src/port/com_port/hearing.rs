//! What a client that speaks RFC 2217 says: data for the device, requests, and the order of both.

use std::task::{Context, Poll};

use super::speaker::{Speaker, Step};
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
/// Most bytes of a client that are read while it waits for the device, to find a purge among them.
pub(super) const AHEAD: usize = 64 * 1024;

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
            let next = input.get(..HEARD).unwrap_or(&input);
            let decoded = self.decode(cx, at, writes, next);
            input.drain(..decoded);
            // What was read ahead once must not cost memory for ever.
            if input.is_empty() {
                input = Vec::new();
            }
            if let Some(speaker) = self.speaker(at) {
                speaker.searched = speaker.searched.saturating_sub(decoded);
            }
        }
        if let Some(speaker) = self.speaker(at) {
            speaker.input = input;
            speaker.settle_account(cx);
        }
        self.mind_notices();
        Ok(true)
    }

    /// Whether a client that waits for the device has sent a purge of what goes there: such a one waits for nobody. What
    /// it has sent before is dropped, here and as it is decoded; all else that it asked is done in its turn.
    pub(in crate::port) fn finds_purge(
        &mut self,
        cx: &mut Context<'_>,
        at: usize,
        buffer: &mut [u8],
    ) -> Result<bool, EndReason> {
        let watched = self.settings.idle_timeout.is_some();
        let Some(client) = self.clients.get_mut(at).filter(|client| is_heard(client)) else {
            return Ok(false);
        };
        read_ahead(client, cx, buffer, watched)?;
        let sender = client.id;
        let Some(speaker) = &mut client.speaker else { return Ok(false) };
        if speaker.searched < speaker.input.len() && !speaker.purging {
            speaker.searched = speaker.input.len();
            speaker.purging = speaker.session.is_purge_ahead(&speaker.input);
            if speaker.purging && self.to_device.sender == sender {
                self.drop_to_device();
            }
        }
        Ok(self.speaker(at).is_some_and(|speaker| speaker.purging))
    }

    fn speaker(&mut self, at: usize) -> Option<&mut Speaker> {
        self.clients.get_mut(at)?.speaker.as_deref_mut()
    }

    /// Performs what `bytes` say, up to something that must be waited for; how many were decoded.
    fn decode(&mut self, cx: &mut Context<'_>, at: usize, writes: bool, bytes: &[u8]) -> usize {
        let mut rest = bytes;
        while !rest.is_empty() {
            let Some(client) = self.clients.get_mut(at).filter(|client| is_heard(client)) else { break };
            let purging = client.speaker.as_ref().is_some_and(|speaker| speaker.purging);
            if writes && !purging && !self.to_device.is_empty() {
                break;
            }
            let sender = client.id;
            let event = client.speak(cx, |speaker, out| speaker.session.next(&mut rest, out)).flatten();
            match event {
                Some(Event::Data(run)) if purging => {
                    self.metrics.dropped_to_device.inc_by(run.len() as u64);
                }
                Some(Event::Data(run)) if writes => {
                    self.turn = at + 1;
                    client.asked();
                    self.send_to_device(cx, sender, run);
                }
                Some(Event::Data(run)) => drop(self.metrics.dropped_not_a_writer.inc_by(run.len() as u64)),
                Some(Event::Request(request)) => {
                    if let Some(speaker) = self.speaker(at).filter(|_| request.purges_output()) {
                        // There may be another one behind it.
                        (speaker.purging, speaker.searched) = (false, 0);
                    }
                    self.begin(cx, at, Step::Request(request));
                }
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
        if let Some(speaker) = self.speaker(at) {
            speaker.begin(step);
        }
        // First what the masks ask for: whoever has the answer may rely on it.
        self.mind_notices();
        self.order(cx, at);
    }
}

/// Reads what there is, while there is room for it. FIN is left: who waits for the device is not on its way out.
fn read_ahead(
    client: &mut Client,
    cx: &mut Context<'_>,
    buffer: &mut [u8],
    watched: bool,
) -> Result<(), EndReason> {
    while let Some(speaker) = &client.speaker
        && let Some(buffer) = buffer.get_mut(..HEARD)
        && speaker.input.len() + HEARD <= AHEAD
    {
        let there = match client.poll_peek(cx) {
            // A read that ended at an urgent byte looked to the runtime like the end.
            Poll::Pending => client.peek(),
            there => there,
        };
        match there {
            Poll::Ready(Ok(true)) => {}
            Poll::Ready(Ok(false)) | Poll::Pending => break,
            Poll::Ready(Err(_)) => return Err(EndReason::PeerLost),
        }
        let read = match client.poll_read_past_urgent(cx, buffer) {
            Poll::Ready(Ok(Received::Bytes(read))) => read,
            Poll::Ready(Err(_)) => return Err(EndReason::PeerLost),
            Poll::Ready(Ok(Received::End)) | Poll::Pending => break,
        };
        if watched {
            client.touch();
        }
        if let Some(speaker) = &mut client.speaker {
            speaker.input.extend_from_slice(buffer.get(..read).unwrap_or_default());
            speaker.settle_account(cx);
        }
    }
    Ok(())
}

/// Whether a client is listened to: not while something of its is under way, nor while it leaves its answers unread.
fn is_heard(client: &Client) -> bool {
    client.owed() <= ANSWERED && client.speaker.as_ref().is_some_and(|speaker| speaker.under_way.is_none())
}
