//! One device of the fleet on this node: what is wanted, what is open, what went wrong; and the port state that
//! follows from these three.

use std::{
    sync::Weak,
    time::{Duration, SystemTime},
};

use serialfleet_api::{
    fleet::FlowControl,
    node::{PortState, Warning},
    resolve::{Line, ResolvedDevice},
};
use tokio::{
    sync::{mpsc, watch},
    task::AbortHandle,
    time::Instant,
};

use super::opening::Failure;
use crate::{
    discovery::{
        identity::Identity,
        sysfs::{DeviceKey, DeviceNumber, SerialTty},
    },
    matching::Verdict,
    port::{Command, EndReason, Link, Phase, PortSettings},
    report::PortReport,
    tty::{InForce, Tty},
};

/// First pause after a failed opening; doubled up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The same where each try disturbs whoever has the device.
const GENTLE_PAUSE: Duration = Duration::from_secs(5);
/// Longest pause between tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A device that has been served this long without the fleet's status saying so is reported NotPublished.
pub(super) const PUBLISHED_WITHIN: Duration = Duration::from_secs(60);

pub(super) struct Slot {
    pub(super) device: ResolvedDevice,
    /// What the port was told last.
    pub(super) settings: PortSettings,
    /// Why it is never opened, whatever is plugged in.
    pub(super) fault: Option<Failure>,
    commands: mpsc::Sender<Command>,
    pub(super) link: watch::Receiver<Link>,
    pub(super) verdict: Verdict,
    pub(super) open: Option<Open>,
    /// What the port had open last: clients that it holds go on only with the same.
    pub(super) last: Option<Identity>,
    pub(super) opening: Option<InProgress>,
    pub(super) failed: Option<Failed>,
}

/// What a port has open.
pub(super) struct Open {
    pub(super) key: DeviceKey,
    pub(super) identity: Identity,
    /// Dead as soon as the port has let go of the tty.
    pub(super) tty: Weak<Tty>,
    pub(super) name: String,
    pub(super) in_force: InForce,
    /// The line that was asked for last.
    pub(super) asked: Line,
    /// Whether it is being set.
    pub(super) configuring: bool,
    pub(super) since: Instant,
    pub(super) since_wall: SystemTime,
    pub(super) published: bool,
}

impl Open {
    pub(super) fn new(tty: &SerialTty, handle: Weak<Tty>, in_force: InForce, asked: Line) -> Self {
        Self {
            key: tty.key.clone(),
            identity: tty.identity(),
            tty: handle,
            name: tty.name.clone(),
            in_force,
            asked,
            configuring: false,
            since: Instant::now(),
            since_wall: SystemTime::now(),
            published: false,
        }
    }
}

/// An opening under way; dropped, it is given up.
pub(super) struct InProgress {
    pub(super) key: DeviceKey,
    pub(super) number: DeviceNumber,
    pub(super) task: AbortHandle,
}

impl InProgress {
    pub(super) fn is_of(&self, tty: &SerialTty) -> bool {
        self.key == tty.key && self.number == tty.device_number
    }
}

impl Drop for InProgress {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The last failed opening.
pub(super) struct Failed {
    pub(super) key: DeviceKey,
    /// Which tty it was; none where the device has gone.
    pub(super) tty: Option<String>,
    pub(super) failure: Failure,
    pub(super) retry_at: Instant,
    /// Whether a hot-plug event is reason to try earlier.
    pub(super) hopeful: bool,
    pause: Duration,
}

impl Slot {
    pub(super) fn new(
        device: ResolvedDevice,
        settings: PortSettings,
        commands: mpsc::Sender<Command>,
        link: watch::Receiver<Link>,
    ) -> Self {
        Self {
            fault: unsupported(&device),
            device,
            settings,
            commands,
            link,
            verdict: Verdict::Absent { reason: "", message: String::new() },
            open: None,
            last: None,
            opening: None,
            failed: None,
        }
    }

    /// New settings; which tty is the port's, the next pass decides.
    pub(super) fn set_device(&mut self, device: ResolvedDevice) {
        self.fault = unsupported(&device);
        self.device = device;
    }

    /// Tells the port. A port that has ended is noticed by its link.
    pub(super) async fn tell(&self, command: Command) {
        if self.commands.send(command).await.is_err() {
            tracing::error!(port = self.device.name, "the port's task has ended");
        }
    }

    /// Whether the port's task is gone.
    pub(super) fn has_ended(&self) -> bool {
        self.commands.is_closed()
    }

    /// Lets go of the tty: unplugged (`None`), or for the reason given; then clients that are held are let go too.
    pub(super) async fn detach(&mut self, reason: Option<EndReason>) {
        if let Some(open) = self.open.take() {
            tracing::info!(
                port = self.device.name,
                tty = open.name,
                reason = reason.map_or("Unplugged", EndReason::as_str),
                "tty closed"
            );
            self.last = Some(open.identity);
            self.tell(Command::Detach(reason)).await;
        } else if let Some(reason) = reason
            && self.link.borrow().phase == Phase::Held
        {
            self.tell(Command::EndHold(reason)).await;
        }
    }

    /// Whether the device may be opened at all.
    pub(super) fn may_open(&self) -> bool {
        !self.device.suspend && self.fault.is_none()
    }

    pub(super) fn fail(&mut self, key: DeviceKey, tty: &str, failure: Failure) {
        let pause = match &self.failed {
            Some(before) if before.key == key => (before.pause * 2).min(LONGEST_PAUSE),
            _ if failure.gentle => GENTLE_PAUSE,
            _ => FIRST_PAUSE,
        };
        if self.failed.as_ref().is_none_or(|before| before.failure != failure) {
            tracing::warn!(port = self.device.name, state = failure.state.as_str(), "{}", failure.message);
        }
        let hopeful = !failure.gentle;
        let tty = Some(tty.to_owned());
        self.failed = Some(Failed { key, tty, failure, retry_at: Instant::now() + pause, hopeful, pause });
    }

    /// The port has lost its tty, and sysfs may not know yet: this plug is left alone for a while, or it would be
    /// opened in the moment of its removal. Where only the line was hung up, it comes back after that.
    pub(super) fn hung_up(&mut self) {
        let Some(open) = self.open.take() else { return };
        let failure = Failure { state: PortState::Absent, reason: "", message: String::new(), gentle: false };
        self.failed = Some(Failed {
            key: open.key,
            tty: None,
            failure,
            retry_at: Instant::now() + FIRST_PAUSE,
            hopeful: false,
            pause: FIRST_PAUSE,
        });
        self.last = Some(open.identity);
    }

    /// When something must be looked at again without any event.
    pub(super) fn deadline(&self, in_cluster: bool) -> Option<Instant> {
        let idle = self.opening.is_none() && self.open.is_none();
        let retry = self.failed.as_ref().filter(|_| idle).map(|failed| failed.retry_at);
        let publish = self
            .open
            .as_ref()
            .filter(|open| in_cluster && !open.published)
            .map(|open| open.since + PUBLISHED_WITHIN)
            .filter(|deadline| *deadline > Instant::now());
        retry.into_iter().chain(publish).min()
    }

    /// The port state, as reported.
    pub(super) fn report(&self, in_cluster: bool) -> PortReport {
        let link = self.link.borrow();
        let mut report = PortReport {
            name: self.device.name.clone(),
            state: PortState::Absent,
            reason: String::new(),
            message: String::new(),
            tty: None,
            identity: None,
            baud_rate: None,
            warnings: Vec::new(),
        };
        let mut say = |state: PortState, reason: &str, message: &str| {
            report.state = state;
            report.reason = reason.to_owned();
            report.message = message.to_owned();
        };
        match (&self.fault, &link.phase, &self.failed, &self.verdict) {
            (Some(fault), ..) => say(fault.state, fault.reason, &fault.message),
            _ if self.device.suspend => {
                say(
                    PortState::Suspended,
                    "",
                    "Closed because `suspend` is true: set it to false to serve the device.",
                );
            }
            (_, Phase::Serving, ..) if self.open.is_some() => say(PortState::Serving, "", ""),
            (_, Phase::ListenFailed(error), ..) if self.open.is_some() => {
                say(
                    PortState::Failed,
                    "ListenFailed",
                    &format!("The bridge {error}: free that address, or change `port`."),
                );
            }
            (_, Phase::Held, ..) => {
                say(
                    PortState::Held,
                    "",
                    "Unplugged; its clients are kept for `holdSeconds`: plug it in again.",
                );
            }
            (_, _, Some(failed), _) => {
                say(failed.failure.state, failed.failure.reason, &failed.failure.message)
            }
            (_, _, _, Verdict::Ambiguous { message }) => say(PortState::Ambiguous, "", message),
            (_, _, _, Verdict::Denied { message }) => say(PortState::Denied, "Console", message),
            (_, _, _, Verdict::Absent { reason, message }) => say(PortState::Absent, reason, message),
            (_, _, _, Verdict::Bound { .. }) => {}
        }
        // Between opening and listening there is nothing to show yet.
        if let Some(open) = self.open.as_ref().filter(|_| report.state != PortState::Absent) {
            report.tty = Some(open.name.clone());
            report.identity = Some(open.identity.to_string());
            report.baud_rate = i32::try_from(open.in_force.baud_rate).ok();
            report.warnings = self.warnings(open, &link, in_cluster);
        } else if let Some(failed) =
            self.failed.as_ref().filter(|failed| failed.failure.state == report.state)
        {
            report.tty = failed.tty.clone();
        } else if let Some(last) = self.last.as_ref().filter(|_| report.state == PortState::Held) {
            report.identity = Some(last.to_string());
        }
        report
    }

    fn warnings(&self, open: &Open, link: &Link, in_cluster: bool) -> Vec<Warning> {
        let mut warnings = open.in_force.warnings.clone();
        let mut warn = |reason: &str, message: String| {
            warnings.push(Warning { reason: reason.to_owned(), message });
        };
        if let Verdict::Bound { warning, .. } = &self.verdict
            && !warning.is_empty()
        {
            warn("Ambiguous", warning.clone());
        }
        if self.device.clients.allow_from.is_some() && self.device.clients.networks().is_none() {
            warn(
                "PolicyOnly",
                format!(
                    "allowFrom of {} names pods, so only the NetworkPolicy enforces it: list networks if the cluster's network does not enforce policies.",
                    self.device.name
                ),
            );
        }
        if link.output_stalled {
            let (name, tty) = (&self.device.name, &open.name);
            let flow_control = link.overlay.flow_control.unwrap_or(open.asked.flow_control);
            warn("OutputStalled", output_stalled(name, tty, flow_control));
        }
        if in_cluster && !open.published && open.since.elapsed() >= PUBLISHED_WITHIN {
            warn(
                "NotPublished",
                format!(
                    "{} is served here for a minute but the fleet's status does not say so: is Metacontroller or the hook server down?",
                    self.device.name
                ),
            );
        }
        warnings
    }
}

/// What to look at when bytes for a device do not move.
fn output_stalled(device: &str, tty: &str, flow_control: FlowControl) -> String {
    match flow_control {
        FlowControl::RtsCts => format!(
            "Bytes for {device} ({tty}) have not moved for 5 s because the device does not raise CTS: check that CTS is wired and the device is powered, or set line.flowControl to None."
        ),
        FlowControl::XonXoff => format!(
            "Bytes for {device} ({tty}) have not moved for 5 s, probably because the device sent XOFF and no XON: check that it is ready, or set line.flowControl to None if it sends binary data."
        ),
        FlowControl::None => format!(
            "Bytes for {device} ({tty}) have not moved for 5 s: the device takes no data; unplug it and plug it in again."
        ),
    }
}

/// What this version does not do yet: such a device is Failed, never served without it.
fn unsupported(device: &ResolvedDevice) -> Option<Failure> {
    device.tls.as_ref()?;
    Some(Failure {
        state: PortState::Failed,
        reason: "Unsupported",
        message: format!(
            "Bridge {} does not do `tls`: remove it to be served without, or run a version that does.",
            env!("CARGO_PKG_VERSION")
        ),
        gentle: false,
    })
}
