//! From a tty in a scan to a configured, locked one: the opener's descriptor, the lock, the line. Runs beside the
//! supervisor, never on the data thread; every failure becomes a port state with the next step.

use std::{path::PathBuf, sync::Arc, time::Duration};

use rustix::io::Errno;
use serialfleet_api::{node::PortState, resolve::Line};
use tokio::{sync::Notify, time::Instant};

use crate::{
    closer::Closer,
    discovery::sysfs::DeviceNumber,
    holder,
    opener::{OpenError, Opener},
    tty::{AdoptError, InForce, Tty},
};

/// At plug the node may lag behind the event: it may be missing, or not yet have its group and mode (udevd needs
/// up to 0.15 s; until then non-root openers get EACCES).
const SETTLE: Duration = Duration::from_secs(2);
/// Pause between tries within [`SETTLE`].
const STEP: Duration = Duration::from_millis(25);

/// Why a tty is not served, in the words of a port state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The state.
    pub state: PortState,
    /// One CamelCase word.
    pub reason: &'static str,
    /// A sentence with the next step.
    pub message: String,
    /// Each try disturbs whoever has the device.
    pub gentle: bool,
}

/// What opening a tty needs.
#[derive(Clone)]
pub(super) struct Opening {
    pub(super) opener: Opener,
    pub(super) closer: Closer,
    pub(super) dev_root: PathBuf,
    /// Notified when a tty has been let go of.
    pub(super) released: Arc<Notify>,
}

impl Opening {
    /// Opens, locks and configures the tty `name`.
    pub(super) async fn open(
        self,
        name: String,
        number: DeviceNumber,
        line: Line,
    ) -> Result<(Arc<Tty>, InForce), Failure> {
        let deadline = Instant::now() + SETTLE;
        loop {
            let may_wait = Instant::now() < deadline;
            // Asked before: our own descriptor may be closed between the refusal and the question. While we hold it
            // there is nothing to gain by opening it once more.
            let ours = self.closer.holds(&name);
            if ours && may_wait {
                tokio::time::sleep(STEP).await;
                continue;
            }
            let fd = match self.opener.open(&name, number).await {
                Ok(fd) => fd,
                Err(error) if may_wait && may_settle(error, ours) => {
                    tokio::time::sleep(STEP).await;
                    continue;
                }
                Err(error) => return Err(self.refused(&name, error).await),
            };
            let (closer, tty_name, wanted) = (self.closer.clone(), name.clone(), line.clone());
            let released = Arc::clone(&self.released);
            let adopted = tokio::task::spawn_blocking(move || {
                let tty = Tty::adopt(fd, &tty_name, closer, released)?;
                let in_force = tty.configure(&wanted)?;
                Ok((Arc::new(tty), in_force))
            });
            return match adopted.await {
                Ok(Ok(opened)) => Ok(opened),
                Ok(Err(AdoptError::Busy)) if may_wait && ours => {
                    tokio::time::sleep(STEP).await;
                    continue;
                }
                // The open before the lock has raised that program's modem lines: not again soon.
                Ok(Err(AdoptError::Busy)) => Err(Failure { gentle: true, ..self.busy(&name).await }),
                Ok(Err(error)) => Err(failure_of(&name, &error)),
                Err(error) => Err(Failure {
                    state: PortState::Failed,
                    reason: "Internal",
                    message: format!("{name} could not be configured ({error}): please report this."),
                    gentle: false,
                }),
            };
        }
    }

    async fn refused(&self, name: &str, error: OpenError) -> Failure {
        let path = self.dev_root.join(name);
        let path = path.display();
        match error {
            OpenError::Errno(Errno::BUSY) => self.busy(name).await,
            OpenError::Errno(errno @ (Errno::ACCESS | Errno::PERM)) => Failure {
                state: PortState::Denied,
                reason: "OpenDenied",
                message: format!(
                    "{path} may not be opened ({errno}): run the bridge as root or in the node's serial group, in Kubernetes as a privileged container."
                ),
                gentle: false,
            },
            OpenError::Errno(Errno::NOENT) => Failure {
                state: PortState::Failed,
                reason: "NoDeviceNode",
                message: format!(
                    "The kernel has {name} but {path} does not exist: mount the node's /dev there, or set --dev-root."
                ),
                gentle: false,
            },
            error => Failure {
                state: PortState::Failed,
                reason: "OpenFailed",
                message: format!(
                    "{path} could not be opened ({error}): unplug the device and plug it in again."
                ),
                gentle: false,
            },
        }
    }

    async fn busy(&self, name: &str) -> Failure {
        let path = self.dev_root.join(name);
        let by = tokio::task::spawn_blocking(move || holder::of(&path)).await.ok().flatten();
        let message = match by {
            Some(by) => format!("{name} is in use by {by}: stop that program, or suspend the device."),
            None => {
                format!(
                    "{name} is in use by another program: find it with `fuser -v` on the node and stop it."
                )
            }
        };
        Failure { state: PortState::Busy, reason: "InUse", message, gentle: false }
    }
}

/// The failure that a refused setting stands for.
pub(super) fn failure_of(name: &str, error: &AdoptError) -> Failure {
    let (state, reason, message) = match error {
        AdoptError::Busy => {
            (PortState::Busy, "InUse", format!("{name} is in use by another program: stop that program."))
        }
        AdoptError::Gone => (
            PortState::Failed,
            "Vanished",
            format!("{name} went away while it was being opened: plug the device in again."),
        ),
        AdoptError::Refused { ioctl: ioctl @ "TIOCSRS485", errno } => (
            PortState::Failed,
            "SettingsRefused",
            format!(
                "The driver of {name} refused {ioctl} ({errno}): remove line.rs485, or its `mandatory` to be served without it."
            ),
        ),
        AdoptError::Refused { ioctl, errno } => (
            PortState::Failed,
            "SettingsRefused",
            format!(
                "The driver of {name} refused {ioctl} ({errno}): correct `line` to what the device can do."
            ),
        ),
    };
    Failure { state, reason, message, gentle: false }
}

/// Whether a moment later the answer may be another one. `ours`: this process itself holds the tty, or is closing it.
fn may_settle(error: OpenError, ours: bool) -> bool {
    match error {
        OpenError::Errno(Errno::BUSY) => ours,
        OpenError::Errno(errno) => {
            matches!(errno, Errno::NOENT | Errno::ACCESS | Errno::NODEV | Errno::NXIO | Errno::IO)
        }
        OpenError::OtherDevice | OpenError::Overloaded => true,
        OpenError::Name | OpenError::Ended => false,
    }
}
