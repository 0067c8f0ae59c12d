//! Everything of a port that happens by time, and the one timer for it.

use std::{future::Future, pin::Pin, task::Context, time::Duration};

use serialfleet_api::fleet::SlowReader;
use tokio::time::{Instant, Sleep, sleep_until};

use super::{BUFFER, EndReason, Port, client::Client};

/// How often a draining port looks for acknowledgements.
const ACKNOWLEDGED: Duration = Duration::from_millis(20);

/// One timer for all deadlines; its resolution is the runtime's: 1 ms, never early.
#[derive(Default)]
pub(super) struct Alarm {
    /// Made on the data thread's runtime, at the first deadline.
    timer: Option<Pin<Box<Sleep>>>,
    armed: Option<Instant>,
}

impl Port {
    /// When clients that wait for the device are given up.
    fn hold_until(&self) -> Option<Instant> {
        Some(self.held_since? + self.settings.hold)
    }

    /// Ends whatever has run out of time.
    pub(super) fn expire(&mut self) {
        let Some(armed) = self.alarm.armed else { return };
        let now = Instant::now();
        if now < armed {
            return;
        }
        self.alarm.armed = None;
        if self.hold_until().is_some_and(|deadline| deadline <= now) {
            self.held_since = None;
            self.end_all(EndReason::HoldExpired);
        }
        if self.paused_until.is_some_and(|deadline| deadline <= now) {
            self.paused_until = None;
            if self.device.is_some() && self.listener.is_none() && self.drain_until.is_none() {
                self.listen();
                self.publish();
            }
        }
        if self.output.look_at().is_some_and(|deadline| deadline <= now) {
            self.look_at_output(now);
        }
        let block = self.settings.slow_reader == SlowReader::Block;
        let (idle, awaited) = (self.settings.idle_timeout, self.awaited_since());
        let mut at = 0;
        while let Some(client) = self.clients.get_mut(at) {
            if client.look_at().is_some_and(|due| due <= now)
                && let Err(reason) = client.look(now, block, self.settings.keepalive)
            {
                self.end(at, reason);
            } else if client.deadline(idle, awaited).is_some_and(|deadline| deadline <= now) {
                let reason = if client.is_half_closed() { EndReason::PeerClosed } else { EndReason::Idle };
                self.end(at, reason);
            } else {
                at += 1;
            }
        }
    }

    /// Sets the timer. It is moved only to an earlier time: a deadline that moves on with each byte costs nothing,
    /// the timer goes off once too early and is set again.
    pub(super) fn poll_alarm(&mut self, cx: &mut Context<'_>) {
        let (idle, awaited) = (self.settings.idle_timeout, self.awaited_since());
        let next = self
            .clients
            .iter()
            .filter_map(|client| client.deadline(idle, awaited))
            .chain(self.clients.iter().filter_map(Client::look_at))
            .chain(self.newcomers.iter().filter_map(|newcomer| newcomer.takes_over))
            .chain(self.clients.iter().filter_map(|client| client.speaker.as_ref()?.deadline()))
            .chain(self.hold_until())
            .chain(self.paused_until)
            .chain(self.output.look_at())
            .chain(self.tail_until())
            .chain(self.gathered.until)
            // Acknowledgements have no event of their own.
            .chain(self.drain_until.map(|deadline| deadline.min(Instant::now() + ACKNOWLEDGED)))
            .min();
        let Alarm { timer, armed } = &mut self.alarm;
        if let Some(next) = next
            && armed.is_none_or(|armed| next < armed)
        {
            match timer {
                Some(timer) => timer.as_mut().reset(next),
                None => *timer = Some(Box::pin(sleep_until(next))),
            }
            *armed = Some(next);
        }
        if armed.is_some()
            && let Some(timer) = timer
            && timer.as_mut().poll(cx).is_ready()
        {
            cx.waker().wake_by_ref();
        }
    }

    /// Lets those go that have got everything.
    pub(super) fn poll_drain(&mut self, cx: &mut Context<'_>) {
        let mut at = 0;
        while let Some(client) = self.clients.get_mut(at) {
            client.want_data(cx);
            let finished = client.owed() == 0
                && BUFFER.with_borrow_mut(|buffer| client.poll_finish(cx, buffer)).is_ready();
            if finished {
                self.end(at, EndReason::Shutdown);
            } else {
                at += 1;
            }
        }
    }
}
