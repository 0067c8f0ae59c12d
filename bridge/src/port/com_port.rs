//! The port's RFC 2217 side: between its clients' sessions and the thread that sets the line.
//!
//! The values are the port's, whoever of its clients asked: an overlay over `line` that ends with the last client. The
//! line thread exists while there is something to order. Nothing here waits for it: a device that hangs in an ioctl
//! stalls whoever asked for it, and nobody else.

mod hearing;
mod notices;
mod orders;
mod speaker;

use std::{
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use serialfleet_api::{fleet::Protocol, resolve::Line};
use tokio::time::Instant;

pub(super) use self::speaker::Speaker;
use self::{
    orders::{order_of, remembered, told},
    speaker::{Step, UnderWay},
};
use super::{
    PAUSE, Port,
    client::Client,
    line_thread::{LineThread, Order, Report},
};
use crate::{
    overlay::{Change, Overlay, Values},
    rfc2217::Unmarker,
};

/// A break on telnet's BRK lasts as long as tcsendbreak(3)'s.
const BREAK: Duration = Duration::from_millis(250);
/// How long bytes of a client that has gone may keep `line` and the next client waiting.
const TAIL: Duration = Duration::from_secs(5);

/// What a port knows and does of its line on behalf of clients.
#[derive(Default)]
pub(super) struct ComPort {
    line: Option<LineThread>,
    /// No thread could be had, or the last one has failed: not before this time again.
    no_line_until: Option<Instant>,
    /// What was last in force, or would be if the device were there; `None`: what `line` says.
    values: Option<Values>,
    settling: Option<Settling>,
    /// Until then the last client's bytes go out as it had set the line, before `line` is set again.
    tail_until: Option<Instant>,
    /// Whether the watching of modem lines was ordered.
    watching: bool,
    /// Whether the marking of errors was ordered.
    marking: bool,
    /// The order that turns marks on or off.
    marks: Option<(u64, bool)>,
    /// Takes marks out, while there are any.
    unmarker: Option<Unmarker>,
}

/// What the line must be told and have done before bytes flow.
enum Settling {
    /// A device that was plugged in again: clients' values are set before any byte flows.
    Adopt(Option<u64>),
    /// The last client has gone: before the next is heard, `line` is in force.
    Restore(Option<u64>),
}

impl Settling {
    fn is(&self, order: u64) -> bool {
        let (Self::Adopt(given) | Self::Restore(given)) = self;
        *given == Some(order)
    }
}

impl ComPort {
    /// What clients have set.
    pub(super) fn overlay(&self) -> Overlay {
        self.values.map_or_else(Overlay::default, |values| values.overlay)
    }

    /// Whether clients must not be heard yet.
    pub(super) fn is_settling(&self) -> bool {
        self.settling.is_some()
    }

    /// Whether the device must not be read yet.
    pub(super) fn is_adopting(&self) -> bool {
        matches!(self.settling, Some(Settling::Adopt(_)))
    }

    fn remembered(&self, line: &Line) -> Values {
        self.values.unwrap_or_else(|| remembered(line, Overlay::default(), &Values::default()))
    }
}

impl Port {
    /// A client that was just let in.
    pub(super) fn greet(&self, cx: &Context<'_>, client: &mut Client) {
        if self.settings.protocol == Protocol::Rfc2217 {
            client.speaker = Some(Box::default());
            client.speak(cx, |speaker, out| speaker.session.greet(out));
        }
    }

    /// Takes what the line reports, and gives it what it had no room for.
    pub(super) fn poll_line(&mut self, cx: &mut Context<'_>) {
        if self.settings.protocol == Protocol::Raw && self.com_port.line.is_none() {
            return;
        }
        while let Some(line) = &mut self.com_port.line
            && let Poll::Ready(report) = line.poll_report(cx)
        {
            match report {
                Report::Done { order, values } => self.done(cx, order, values),
                Report::Modem(state) => {
                    if let Some(values) = &mut self.com_port.values {
                        values.modem = Some(state);
                    }
                    for client in &mut self.clients {
                        client.speak(cx, |speaker, out| speaker.session.notify_modem_state(state, out));
                    }
                }
                Report::Gone => {
                    self.line_is_gone();
                    // Until the supervisor has heard of it too: another thread would end as soon.
                    self.com_port.no_line_until = Some(Instant::now() + PAUSE);
                }
            }
        }
        self.settle();
        self.mind_notices();
        for at in 0..self.clients.len() {
            self.order(cx, at);
        }
    }

    fn done(&mut self, cx: &Context<'_>, order: u64, values: Values) {
        self.dirty |= self.com_port.overlay() != values.overlay;
        self.com_port.values = Some(values);
        if let Some((_, marked)) = self.com_port.marks.take_if(|(number, _)| *number == order) {
            self.com_port.unmarker = marked.then(Unmarker::new);
        }
        let settled = self.com_port.settling.take_if(|it| it.is(order));
        if let Some(Settling::Restore(_)) = settled {
            self.com_port.unmarker = None;
            if self.clients.is_empty() {
                self.com_port.line = None;
            }
        }
        let told = told(&values);
        let mut purged = false;
        for client in &mut self.clients {
            client.speak(cx, |speaker, out| {
                let Some(UnderWay { step, .. }) = speaker.under_way.take_if(|it| it.order == Some(order))
                else {
                    return;
                };
                match step {
                    Step::Request(request) => {
                        purged |= request.purges_output();
                        speaker.session.answer(&request, &told, out);
                    }
                    Step::BreakOn => speaker.begin(Step::BreakUntil(Instant::now() + BREAK)),
                    Step::BreakUntil(_) | Step::BreakOff => {}
                }
            });
        }
        if let Some(device) = self.device.as_mut().filter(|_| purged) {
            device.ask_anew();
        }
    }

    /// Gives the order for what a client has under way, if it is not given; without a device, does what can be done.
    fn order(&mut self, cx: &Context<'_>, at: usize) {
        let writes = self.may_write(at);
        let held = self.device.is_none();
        let Some(client) = self.clients.get_mut(at) else { return };
        let Some(speaker) = &mut client.speaker else { return };
        let Some(under_way) = speaker.under_way.as_mut().filter(|it| it.order.is_none()) else { return };
        if let Step::BreakUntil(end) = under_way.step
            && (end <= Instant::now() || held)
        {
            under_way.step = Step::BreakOff;
        }
        let order = match under_way.step {
            Step::Request(request) => order_of(request, writes),
            Step::BreakOn => Order::Change(Change::Break(true)),
            Step::BreakUntil(_) => return,
            Step::BreakOff => Order::Change(Change::Break(false)),
        };
        if !held && self.start_line() {
            // Where the queue is full the next report makes room.
            if let Some(line) = &mut self.com_port.line
                && let Some(speaker) = self.clients.get_mut(at).and_then(|client| client.speaker.as_mut())
                && let Some(under_way) = &mut speaker.under_way
            {
                under_way.order = line.try_order(order).ok();
            }
            return;
        }
        // Unplugged, or no thread can be had: answered from what is remembered.
        let mut values = self.com_port.remembered(&self.settings.line);
        if held && let Order::Change(change) = order {
            values.set(change);
            self.dirty |= self.com_port.overlay() != values.overlay;
        }
        self.com_port.values = Some(values);
        let told = told(&values);
        if let Some(client) = self.clients.get_mut(at) {
            client.speak(cx, |speaker, out| {
                if let Some(UnderWay { step: Step::Request(request), .. }) = speaker.under_way.take() {
                    speaker.session.answer(&request, &told, out);
                }
            });
        }
    }

    /// Whether there is a line thread now.
    fn start_line(&mut self) -> bool {
        if self.com_port.line.is_none()
            && let Some(device) = &self.device
            && self.com_port.no_line_until.is_none_or(|until| until <= Instant::now())
        {
            match LineThread::start(device.tty()) {
                Ok(line) => {
                    self.com_port.line = Some(line);
                    // Its first report must wake this task.
                    self.again = true;
                }
                Err(error) => {
                    tracing::warn!(port = self.name, %error, "no thread to set the line on: it stays as it is");
                    self.com_port.no_line_until = Some(Instant::now() + PAUSE);
                }
            }
        }
        self.com_port.line.is_some()
    }

    /// A client has gone whose break nobody else would end.
    pub(super) fn end_break(&mut self) {
        if let Some(line) = &mut self.com_port.line {
            // Where the queue is full, it is ended with the last client.
            line.try_order(Order::Change(Change::Break(false))).ok();
        }
    }

    /// The last client has gone: so has what clients have set.
    pub(super) fn end_overlay(&mut self) {
        if self.com_port.line.is_some() {
            (self.com_port.watching, self.com_port.marking, self.com_port.marks) = (false, false, None);
            self.com_port.settling = Some(Settling::Restore(None));
            self.com_port.tail_until = Some(Instant::now() + TAIL);
            self.settle();
        } else if self.device.is_none() {
            self.dirty |= !self.com_port.overlay().is_empty();
            self.com_port.values = None;
        }
    }

    /// The device is back: before any byte flows it gets what its clients have set.
    pub(super) fn adopt_overlay(&mut self) {
        if !self.com_port.overlay().is_empty() && self.start_line() {
            self.com_port.settling = Some(Settling::Adopt(None));
            self.settle();
        }
    }

    /// The tty is let go of although the device is there: what clients have set is undone before it is closed.
    pub(super) fn hand_back(&mut self) {
        if let (Some(device), Some(line)) = (self.device.take(), self.com_port.line.take()) {
            line.hand_back(Arc::clone(device.tty()));
        }
    }

    /// The device went away: what clients wait for is answered from what is remembered.
    pub(super) fn line_is_gone(&mut self) {
        // What nobody is there for any more ends with the device, however far its undoing had come.
        let ending = self.clients.is_empty() || matches!(self.com_port.settling, Some(Settling::Restore(_)));
        let values = self.com_port.values.take().filter(|_| !ending);
        self.com_port = ComPort { values, ..ComPort::default() };
        for speaker in self.clients.iter_mut().filter_map(|client| client.speaker.as_mut()) {
            if let Some(under_way) = &mut speaker.under_way {
                under_way.order = None;
            }
        }
    }

    /// An edit of `line` while the device is unplugged changes what is remembered, where clients have set nothing.
    pub(super) fn remember_line(&mut self) {
        if let Some(values) = &mut self.com_port.values
            && self.device.is_none()
        {
            *values = remembered(&self.settings.line, values.overlay, values);
        }
    }

    /// Until when the line waits for bytes of a client that has gone; `None`: it does not.
    pub(super) fn tail_until(&self) -> Option<Instant> {
        let waits = matches!(self.com_port.settling, Some(Settling::Restore(None)));
        self.com_port
            .tail_until
            .filter(|until| waits && !self.to_device.is_empty() && *until > Instant::now())
    }

    pub(super) fn settle(&mut self) {
        if self.tail_until().is_some() {
            return;
        }
        let overlay = self.com_port.overlay();
        let Some(line) = &mut self.com_port.line else {
            self.com_port.settling = None;
            return;
        };
        match &mut self.com_port.settling {
            Some(Settling::Adopt(order @ None)) => *order = line.try_order(Order::Adopt(overlay)).ok(),
            Some(Settling::Restore(order @ None)) => *order = line.try_order(Order::Restore).ok(),
            _ => {}
        }
    }
}
