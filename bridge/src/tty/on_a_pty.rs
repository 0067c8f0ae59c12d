//! A tty whose device is the test: a PTY, adopted and configured as the supervisor does it. What a PTY cannot show:
//! modem lines, counters, pacing; and it forces 8 data bits and no parity.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
};

use rustix::{
    pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt},
    termios::{Termios, tcgetattr},
};
use serialfleet_api::{fleet::FlowControl, line::Format, resolve::Line};
use tokio::sync::Notify;

use super::Tty;
use crate::closer::Closer;

pub(crate) struct Bench {
    pub(crate) tty: Arc<Tty>,
    /// The device's end; dropped, the device is unplugged.
    pub(crate) device: OwnedFd,
    pub(crate) released: Arc<Notify>,
}

pub(crate) fn line() -> Line {
    Line {
        baud_rate: 115_200,
        format: Format::default(),
        flow_control: FlowControl::None,
        dtr: None,
        rts: None,
        low_latency: None,
        rs485: None,
    }
}

impl Bench {
    /// As the opener hands it out: nothing set yet.
    pub(crate) fn unconfigured() -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let device = openpt(flags).unwrap();
        unlockpt(&device).unwrap();
        let slave = ioctl_tiocgptpeer(&device, flags).unwrap();
        rustix::io::ioctl_fionbio(&slave, true).unwrap();
        let released = Arc::new(Notify::new());
        let tty = Tty::adopt(slave, "ttyUSB0", Closer::default(), Arc::clone(&released)).unwrap();
        Self { tty: Arc::new(tty), device, released }
    }

    pub(crate) fn new() -> Self {
        let bench = Self::unconfigured();
        bench.tty.configure(&line()).unwrap();
        bench
    }

    /// What is in force, as the device sees it.
    pub(crate) fn termios(&self) -> Termios {
        tcgetattr(&self.device).unwrap()
    }

    pub(crate) fn baud_rate(&self) -> u32 {
        self.termios().output_speed()
    }

    /// Each flush from now on is told by [`Self::next_packet`].
    #[allow(unsafe_code, reason = "TIOCPKT has no safe wrapper")]
    pub(crate) fn tell_flushes(&self) {
        // SAFETY: TIOCPKT reads one int.
        unsafe { rustix::ioctl::ioctl(&self.device, rustix::ioctl::Setter::<0x5420, i32>::new(1)).unwrap() };
        rustix::io::ioctl_fionbio(self.device.as_fd(), true).unwrap();
    }

    /// The next packet's kind: 0 is data, bit 0 a flushed input, bit 1 a flushed output. `None`: nothing there.
    pub(crate) fn next_packet(&self) -> Option<u8> {
        let mut packet = [0; 64];
        match rustix::io::read(&self.device, &mut packet) {
            Ok(_) => Some(packet[0]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(error) => panic!("{error}"),
        }
    }
}
