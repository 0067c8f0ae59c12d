//! The only module that opens a path below `--dev-root`.
//!
//! A request names a tty and its device number; the answer is an owned descriptor or an errno. A thread that a
//! plain `main` starts before any runtime serves the requests, one at a time: open(2) of a USB tty takes one or
//! two milliseconds of USB transfers and may take seconds on a wedged device. This boundary is where a later
//! process split goes, so nothing but names and numbers comes in, and nothing but a descriptor goes out.
//!
//! The thread gives up CAP_SYS_ADMIN: with it, open(2) of a port that another process holds in exclusive mode
//! (TIOCEXCL) succeeds and raises DTR and RTS on that process's device; without it the kernel answers EBUSY
//! before the driver hears of it (tty_io.c `tty_reopen`).

use std::{
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::mpsc,
};

use rustix::{
    fs::{FileType, Mode, OFlags, fstat, major, minor},
    io::Errno,
    thread::{CapabilitySet, capabilities, set_capabilities},
};
use tokio::sync::oneshot;

use crate::discovery::sysfs::DeviceNumber;

/// Most requests waiting at once; one more is answered [`OpenError::Overloaded`].
const QUEUE: usize = 64;

/// Why a tty was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The kernel's answer.
    #[error("open: {0}")]
    Errno(Errno),
    /// The node is there but is another device by now.
    #[error("the device node stands for another device by now")]
    OtherDevice,
    /// The name is not one of a device node directly below the device directory.
    #[error("not a name of a tty")]
    Name,
    /// More requests are waiting than the queue holds.
    #[error("the opener is overloaded")]
    Overloaded,
    /// The opener's thread is gone.
    #[error("the opener has ended")]
    Ended,
}

struct Request {
    name: String,
    number: DeviceNumber,
    reply: oneshot::Sender<Result<OwnedFd, OpenError>>,
}

/// Handle of the opener; the thread ends with the last handle.
#[derive(Clone)]
pub struct Opener {
    requests: mpsc::SyncSender<Request>,
}

impl Opener {
    /// Starts the thread. To be called before any runtime exists.
    ///
    /// # Errors
    /// If no thread can be started.
    pub fn start(dev_root: PathBuf) -> io::Result<Self> {
        let (requests, queue) = mpsc::sync_channel::<Request>(QUEUE);
        std::thread::Builder::new().name("opener".into()).stack_size(64 * 1024).spawn(move || {
            drop_sys_admin();
            for request in queue {
                // The asker may have gone: then the descriptor closes here and nobody is told.
                drop(request.reply.send(open(&dev_root, &request.name, request.number)));
            }
        })?;
        Ok(Self { requests })
    }

    /// Opens the tty `name` if its device number is still `number`.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open(&self, name: &str, number: DeviceNumber) -> Result<OwnedFd, OpenError> {
        let (reply, answer) = oneshot::channel();
        let request = Request { name: name.to_owned(), number, reply };
        self.requests.try_send(request).map_err(|error| match error {
            mpsc::TrySendError::Full(_) => OpenError::Overloaded,
            mpsc::TrySendError::Disconnected(_) => OpenError::Ended,
        })?;
        answer.await.unwrap_or(Err(OpenError::Ended))
    }
}

fn open(dev_root: &Path, name: &str, number: DeviceNumber) -> Result<OwnedFd, OpenError> {
    if name.is_empty() || name.len() > 64 || name == "." || name == ".." || name.contains(['/', '\0']) {
        return Err(OpenError::Name);
    }
    // Never O_CREAT: after an unplug it would make a plain file, and the next plug would be silent data loss.
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fd = rustix::fs::open(dev_root.join(name), flags, Mode::empty()).map_err(OpenError::Errno)?;
    let stat = fstat(&fd).map_err(OpenError::Errno)?;
    let is_tty = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice;
    let found = DeviceNumber { major: major(stat.st_rdev), minor: minor(stat.st_rdev) };
    if is_tty && found == number { Ok(fd) } else { Err(OpenError::OtherDevice) }
}

fn drop_sys_admin() {
    let Ok(mut sets) = capabilities(None) else { return };
    if sets.effective.contains(CapabilitySet::SYS_ADMIN) {
        sets.effective.remove(CapabilitySet::SYS_ADMIN);
        if let Err(error) = set_capabilities(None, sets) {
            tracing::warn!(%error, "cannot give up CAP_SYS_ADMIN: a port in another process's exclusive use would be opened");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number_of(path: &str) -> DeviceNumber {
        let stat = rustix::fs::stat(path).unwrap();
        DeviceNumber { major: major(stat.st_rdev), minor: minor(stat.st_rdev) }
    }

    fn ask(name: &str, number: DeviceNumber) -> Result<OwnedFd, OpenError> {
        let opener = Opener::start("/dev".into()).unwrap();
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(opener.open(name, number))
    }

    #[test]
    fn a_device_with_its_number_is_opened() {
        assert!(ask("null", number_of("/dev/null")).is_ok());
    }

    #[test]
    fn a_device_with_another_number_is_not() {
        assert_eq!(ask("null", number_of("/dev/zero")).unwrap_err(), OpenError::OtherDevice);
    }

    #[test]
    fn what_is_gone_is_told_by_its_errno() {
        let error = ask("no-such-tty", number_of("/dev/null")).unwrap_err();
        assert_eq!(error, OpenError::Errno(Errno::NOENT));
    }

    #[test]
    fn no_name_leads_out_of_the_device_directory() {
        for name in ["", ".", "..", "../etc/passwd", "shm/x", "a\0b", &"x".repeat(65)] {
            assert_eq!(ask(name, number_of("/dev/null")).unwrap_err(), OpenError::Name, "{name:?}");
        }
    }
}
