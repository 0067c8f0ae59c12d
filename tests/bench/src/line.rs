//! A PTY that the bench drives itself: the far end is the device, the near end is what a forwarder opens.
//!
//! Owner: the measures. The sticks of `serialfleet_sim` keep journals and look at settings, which would be measured
//! with the forwarder; these do nothing of their own.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use anyhow::Result;
use rustix::fs::{Mode, OFlags, fstat, major, minor};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, ptsname, unlockpt};
use rustix::termios::{ControlModes, OptionalActions, tcgetattr, tcsetattr};

/// Both ends. Our hold on the near end keeps the PTY alive while no forwarder has it open.
pub(crate) struct Line {
    /// The device.
    pub(crate) far: File,
    _near: File,
    /// What a forwarder opens.
    pub(crate) path: PathBuf,
    /// Device number, as sysfs writes it.
    pub(crate) number: String,
}

impl Line {
    /// A fresh one, raw.
    pub(crate) fn open() -> Result<Self> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let far = openpt(flags)?;
        unlockpt(&far)?;
        let path = PathBuf::from(OsString::from_vec(ptsname(&far, Vec::new())?.into_bytes()));
        let near = ioctl_tiocgptpeer(&far, flags)?;
        let mut termios = tcgetattr(&near)?;
        termios.make_raw();
        termios.control_modes |= ControlModes::CLOCAL;
        tcsetattr(&near, OptionalActions::Now, &termios)?;
        let device = fstat(&near)?.st_rdev;
        let number = format!("{}:{}", major(device), minor(device));
        Ok(Self { far: far.into(), _near: near.into(), path, number })
    }

    /// The near end without any forwarder.
    pub(crate) fn direct(&self) -> Result<File> {
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        Ok(rustix::fs::open(&self.path, flags, Mode::empty())?.into())
    }
}
