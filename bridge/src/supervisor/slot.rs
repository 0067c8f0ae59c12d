//! One device of the fleet on this node: what is wanted, what is open, what went wrong. The port state follows from
//! these three. Owned by the supervisor; must not open anything itself.

mod state;

use std::{
    sync::Weak,
    time::{Duration, SystemTime},
};

use serialfleet_api::{
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
    tls::Standing,
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
    /// Why nobody may connect, although it is open.
    certificate: Option<Failure>,
    certificate_warnings: Vec<Warning>,
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
            certificate: None,
            certificate_warnings: Vec::new(),
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
        self.device = device;
    }

    /// How its certificate stands now.
    pub(super) fn set_certificate(&mut self, standing: Standing) {
        self.certificate = standing.failure.map(|problem| Failure {
            state: PortState::Failed,
            reason: problem.reason,
            message: problem.message,
            gentle: false,
        });
        let warning = |problem: crate::tls::Problem| Warning {
            reason: problem.reason.to_owned(),
            message: problem.message,
        };
        self.certificate_warnings = standing.warnings.into_iter().map(warning).collect();
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
        !self.device.suspend
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
        tracing::info!(port = self.device.name, tty = open.name, reason = "Unplugged", "tty closed");
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
}
