//! The PTY behind a simulated tty: open, read, hang up, and what the program under test has set on it.
//!
//! Owner: `stick::port`. The only place with ioctls that need `unsafe`.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use rustix::fs::{fstat, major, minor};
use rustix::io::{ioctl_fionbio, ioctl_fionread, read, write};
use rustix::ioctl::{NoArg, Setter, ioctl};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, ptsname, unlockpt};
use rustix::termios::{
    ControlModes, InputModes, LocalModes, OptionalActions, OutputModes, QueueSelector, Termios,
    ioctl_tiocnxcl, tcflush, tcgetattr, tcsetattr,
};
use serde::Serialize;

/// The settings of a line as last set by the program under test. A PTY forces eight data bits and no parity, so
/// those two cannot be seen here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[allow(clippy::struct_excessive_bools, reason = "flags of one word in the kernel")]
pub struct Line {
    /// As asked for, any number.
    pub baud: u32,
    /// CSTOPB.
    pub two_stop_bits: bool,
    /// CRTSCTS.
    pub rtscts: bool,
    /// IXON or IXOFF.
    pub xonxoff: bool,
    /// Whether the last close drops DTR and RTS.
    pub hupcl: bool,
    /// Neither line editing nor echo nor output processing.
    pub raw: bool,
}

impl Line {
    fn of(termios: &Termios) -> Self {
        let control = termios.control_modes;
        Self {
            baud: termios.output_speed(),
            two_stop_bits: control.contains(ControlModes::CSTOPB),
            rtscts: control.contains(ControlModes::CRTSCTS),
            xonxoff: termios.input_modes.intersects(InputModes::IXON | InputModes::IXOFF),
            hupcl: control.contains(ControlModes::HUPCL),
            raw: !termios.local_modes.intersects(LocalModes::ICANON | LocalModes::ECHO)
                && !termios.output_modes.contains(OutputModes::OPOST),
        }
    }
}

/// What a read from the device's side gave.
#[derive(Debug)]
pub(crate) enum Packet<'a> {
    Data(&'a [u8]),
    /// The program dropped a queue.
    Flushed {
        input: bool,
        output: bool,
    },
    /// Something else about flow control.
    Other,
}

/// Both ends. Our own hold on the slave keeps the PTY alive while the program has it closed.
#[derive(Debug)]
pub(crate) struct Pty {
    master: OwnedFd,
    slave: OwnedFd,
    pub(crate) path: PathBuf,
    pub(crate) major: u32,
    pub(crate) minor: u32,
}

impl Pty {
    /// A fresh port: 9600 8N1, HUPCL, CLOCAL; cooked with ECHO as hardware, or raw.
    pub(crate) fn open(cooked: bool) -> io::Result<Self> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags)?;
        unlockpt(&master)?;
        let path = PathBuf::from(OsString::from_vec(ptsname(&master, Vec::new())?.into_bytes()));
        let slave = ioctl_tiocgptpeer(&master, flags)?;
        let mut termios = tcgetattr(&slave)?;
        if !cooked {
            termios.make_raw();
        }
        termios.control_modes |= ControlModes::CLOCAL | ControlModes::HUPCL;
        termios.set_speed(9600)?;
        tcsetattr(&slave, OptionalActions::Now, &termios)?;
        ioctl_fionbio(&master, true)?;
        packet_mode(master.as_fd())?;
        let device = fstat(&slave)?.st_rdev;
        Ok(Self { master, slave, path, major: major(device), minor: minor(device) })
    }

    pub(crate) fn master(&self) -> BorrowedFd<'_> {
        self.master.as_fd()
    }

    pub(crate) fn line(&self) -> io::Result<Line> {
        Ok(Line::of(&tcgetattr(&self.slave)?))
    }

    /// What waits for the program.
    pub(crate) fn unread(&self) -> io::Result<u64> {
        Ok(ioctl_fionread(&self.slave)?)
    }

    /// `None`: nothing there now.
    pub(crate) fn read<'a>(&self, buffer: &'a mut [u8]) -> io::Result<Option<Packet<'a>>> {
        let length = match read(&self.master, &mut *buffer) {
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        // Packet mode: data after a zero, anything else alone.
        Ok(match buffer.get(..length) {
            Some([0, data @ ..]) => Some(Packet::Data(data)),
            Some([flags, ..]) => {
                let (input, output) = (flags & TIOCPKT_FLUSHREAD != 0, flags & TIOCPKT_FLUSHWRITE != 0);
                Some(if input || output { Packet::Flushed { input, output } } else { Packet::Other })
            }
            _ => None,
        })
    }

    /// How much was taken; 0 if the queue to the program is full.
    pub(crate) fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        match write(&self.master, bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            result => Ok(result?),
        }
    }

    /// What the last close of a real port does: unread input and the exclusive lock go.
    pub(crate) fn forget_last_user(&self) -> io::Result<()> {
        ioctl_tiocnxcl(&self.slave)?;
        tcflush(&self.slave, QueueSelector::IFlush)?;
        // Our own flush must not look like the program's.
        self.read(&mut [0; 1])?;
        Ok(())
    }

    /// As a driver does on disconnect: a blocked read ends with 0. That needs CAP_SYS_ADMIN in the initial user
    /// namespace; elsewhere closing both ends gives EIO instead.
    pub(crate) fn hang_up(self) {
        drop(vhangup(self.slave.as_fd()));
        drop(self.slave);
        drop(self.master);
    }
}

#[allow(unsafe_code)]
fn packet_mode(master: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: TIOCPKT reads one int through the pointer; a Setter of i32 gives it exactly that.
    Ok(unsafe { ioctl(master, Setter::<TIOCPKT, i32>::new(1)) }?)
}

#[allow(unsafe_code)]
fn vhangup(slave: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: TIOCVHANGUP takes no argument.
    Ok(unsafe { ioctl(slave, NoArg::<TIOCVHANGUP>::new()) }?)
}

const TIOCPKT: rustix::ioctl::Opcode = 0x5420;
const TIOCVHANGUP: rustix::ioctl::Opcode = 0x5437;
const TIOCPKT_FLUSHREAD: u8 = 1;
const TIOCPKT_FLUSHWRITE: u8 = 2;
