//! One open serial device: this module and those below are the only ones with termios and serial ioctls.
//!
//! Adopts a descriptor from the opener and takes it for exclusive use; what is set on it is in [`line`], with one file
//! per kind of ioctl beside it. The port object underneath is tokio-serial's (`serialport::TTYPort`, adopted from the
//! descriptor); its async stream is not used, because that registers for both directions and flushes with a blocking
//! tcdrain(3). Here nothing is ever flushed or drained behind anybody's back, and dropping a [`Tty`] never blocks: see
//! [`crate::closer`].
//!
//! | who | calls |
//! |---|---|
//! | supervisor, beside its thread | [`Tty::adopt`], [`Tty::configure`] |
//! | [`crate::port::LineThread`] | what RFC 2217 clients ask for: [`Tty::change`] and its neighbours |
//! | data thread | [`Tty::poll_enter`], [`Tty::read`], [`Tty::write`], [`Tty::queued`]: nothing else, for all else may block |
//! | admin | [`Tty::line_errors`], [`Tty::queued`] |
#![allow(
    unsafe_code,
    reason = "ioctls that no crate wraps: TIOCM*, TIOC[GS]SERIAL, TIOC[GS]RS485, TIOCGICOUNT"
)]

mod change;
mod configure;
mod counters;
mod gate;
mod line;
mod low_latency;
mod modem;
mod rs485;
mod termios;

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd},
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::FlockOperation,
    io::Errno,
    termios::QueueSelector,
};
use serialport::TTYPort;
use tokio::sync::Notify;
use tokio_serial::SerialPort;

pub use self::{configure::InForce, counters::LineErrors, gate::Inside};
use self::{gate::Gate, line::State};
use crate::closer::Closer;

/// Why a descriptor did not become a serving tty.
#[derive(Debug, thiserror::Error)]
pub enum AdoptError {
    /// Another process holds the lock.
    #[error("another process holds the lock")]
    Busy,
    /// The device went away meanwhile.
    #[error("the device went away")]
    Gone,
    /// The kernel refused a setting.
    #[error("{ioctl}: {errno}")]
    Refused {
        /// The call.
        ioctl: &'static str,
        /// Its answer.
        errno: Errno,
    },
}

impl AdoptError {
    fn from_ioctl(ioctl: &'static str) -> impl Fn(Errno) -> Self {
        move |errno| match errno {
            Errno::IO | Errno::NODEV | Errno::NXIO => Self::Gone,
            errno => Self::Refused { ioctl, errno },
        }
    }
}

/// The device went away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the device went away")]
pub struct Gone;

/// What the kernel holds of a tty's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queues {
    /// Received and not read yet.
    Input,
    /// Written and not sent yet. Most USB drivers keep what they have (kernel 6.12: ftdi_sio, cp210x).
    Output,
    /// Both.
    Both,
}

/// An open serial device in exclusive use.
pub struct Tty {
    /// Taken out only by `drop`.
    port: Option<TTYPort>,
    fd: RawFd,
    name: String,
    closer: Closer,
    released: Arc<Notify>,
    gate: Gate,
    /// Held while anything is set, USB transfers included: never to be locked by the data thread.
    state: Mutex<State>,
}

impl Tty {
    /// Takes the descriptor for exclusive use: flock(2) first, which a holder's lock refuses without touching its
    /// TIOCEXCL; then TIOCEXCL, so that later openers get EBUSY. `released` is notified when the last handle is gone.
    ///
    /// # Errors
    /// [`AdoptError::Busy`] if another process holds the lock.
    pub fn adopt(fd: OwnedFd, name: &str, closer: Closer, released: Arc<Notify>) -> Result<Self, AdoptError> {
        closer.hold(name);
        match rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                closer.close(fd, name);
                return Err(AdoptError::Busy);
            }
            Err(errno) => {
                closer.close(fd, name);
                return Err(AdoptError::from_ioctl("flock")(errno));
            }
        }
        let raw = fd.into_raw_fd();
        // SAFETY: the descriptor is open, and its ownership moves into the port object.
        let port = unsafe { TTYPort::from_raw_fd(raw) };
        Ok(Self {
            port: Some(port),
            fd: raw,
            name: name.to_owned(),
            closer,
            released,
            gate: Gate::default(),
            state: Mutex::default(),
        })
    }

    /// Name of the tty, for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Bytes that the kernel holds and the device has not taken (TIOCOUTQ): one that stays above zero is an output
    /// that does not move, for want of CTS or XON, or because the device takes nothing. `None` where the device is gone.
    ///
    /// Answered from the kernel's memory: never a transfer, a lock of ours or a wait, on any driver that matters here
    /// (`tty_chars_in_buffer`, `usb_serial_generic_chars_in_buffer`, `acm_tty_chars_in_buffer`). On the data thread this
    /// is the only question that may be asked. *Why* it does not move, no thread is told without a transfer.
    pub fn queued(&self) -> Option<u32> {
        self.port.as_ref()?.bytes_to_write().ok()
    }

    /// Leave for one [`Self::read`] or [`Self::write`]: pending, and woken later, while the line is being set, when both
    /// would wait for the driver. Only for the port's task.
    pub fn poll_enter(&self, cx: &Context<'_>) -> Poll<Inside<'_>> {
        self.gate.poll_enter(cx)
    }

    /// One read(2): 0 and EIO both mean that the device is gone.
    ///
    /// # Errors
    /// The errno of read(2).
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::read(self, buffer)?)
    }

    /// One write(2).
    ///
    /// # Errors
    /// The errno of write(2).
    pub fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(self, bytes)?)
    }

    /// A second descriptor of the same open file, to wait for room to write.
    ///
    /// # Errors
    /// The errno of fcntl(2).
    pub fn duplicate(&self) -> io::Result<OwnedFd> {
        self.as_fd().try_clone_to_owned()
    }

    /// Whether the device is gone for good. EIO alone does not say so: to an ioctl it may be a transfer that went wrong.
    fn is_hung_up(&self) -> bool {
        let mut fds = [PollFd::new(self, PollFlags::empty())];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        matches!(poll(&mut fds, Some(&now)), Ok(1))
            && fds.iter().all(|fd| fd.revents().contains(PollFlags::HUP))
    }

    fn flush(&self, queues: Queues) -> Result<(), Errno> {
        rustix::termios::tcflush(
            self,
            match queues {
                Queues::Input => QueueSelector::IFlush,
                Queues::Output => QueueSelector::OFlush,
                Queues::Both => QueueSelector::IOFlush,
            },
        )
    }

    fn ioctl<T>(&self, request: libc::Ioctl, argument: *mut T) -> Result<(), Errno> {
        // SAFETY: the descriptor is open for as long as `self` is, and every caller passes the address of a local of
        // the type that the request is defined with.
        errno_of(unsafe { libc::ioctl(self.fd, request, argument) })
    }

    /// For requests that take a number, or nothing, in the place of an address.
    fn ioctl_with(&self, request: libc::Ioctl, argument: libc::c_int) -> Result<(), Errno> {
        // SAFETY: the descriptor is open for as long as `self` is, and the kernel follows no address here.
        errno_of(unsafe { libc::ioctl(self.fd, request, libc::c_long::from(argument)) })
    }
}

fn errno_of(result: libc::c_int) -> Result<(), Errno> {
    if result < 0 {
        return Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::INVAL));
    }
    Ok(())
}

/// Whether this is what drivers and devices answer to an ioctl that they do not have: EPIPE is a USB device that refuses the request
/// (cdc_acm passes it on), the others are the kernel's.
pub fn is_unsupported(errno: Errno) -> bool {
    matches!(errno, Errno::NOTTY | Errno::INVAL | Errno::OPNOTSUPP | Errno::PIPE)
}

impl Drop for Tty {
    fn drop(&mut self) {
        if let Some(port) = self.port.take() {
            // SAFETY: the port object gives its descriptor up here.
            let fd = unsafe { OwnedFd::from_raw_fd(port.into_raw_fd()) };
            // The kernel clears the flag with a tty's last close, but a PTY's stays; where the device is gone there is
            // nothing to clear.
            rustix::termios::ioctl_tiocnxcl(&fd).ok();
            self.closer.close(fd, &self.name);
        }
        // By now nobody can get a handle from a weak one.
        self.released.notify_one();
    }
}

impl AsRawFd for Tty {
    fn as_raw_fd(&self) -> RawFd {
        self.fd
    }
}

impl AsFd for Tty {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor is open for as long as `self` is.
        unsafe { BorrowedFd::borrow_raw(self.fd) }
    }
}
