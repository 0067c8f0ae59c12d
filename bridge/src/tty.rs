//! One open serial device: the only module with termios and serial ioctls.
//!
//! Adopts a descriptor from the opener, takes it for exclusive use, sets the line and reads back what is in force.
//! The port object underneath is tokio-serial's (`serialport::TTYPort`, adopted from the descriptor); its async
//! stream is not used, because that registers for both directions and flushes with a blocking tcdrain(3).
//! Here nothing is ever flushed or drained, and dropping a [`Tty`] never blocks: see [`crate::closer`].
#![allow(unsafe_code, reason = "ioctls that no crate wraps: TIOCM*, TIOC[GS]SERIAL, TIOCGICOUNT")]

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd},
};

use rustix::{
    fs::FlockOperation,
    io::Errno,
    termios::{ControlModes, InputModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr},
};
use serialfleet_api::{
    fleet::FlowControl,
    line::{Format, Parity, StopBits},
    node::Warning,
    resolve::Line,
};
use serialport::TTYPort;
use tokio_serial::SerialPort;

use crate::closer::Closer;

/// `ASYNC_LOW_LATENCY` of `serial_struct.flags` (linux/tty_flags.h).
const ASYNC_LOW_LATENCY: libc::c_int = 0x2000;
/// `ASYNC_CLOSING_WAIT_NONE` of `serial_struct.closing_wait` (linux/serial.h).
const ASYNC_CLOSING_WAIT_NONE: libc::c_ushort = 65535;
/// Mark or space parity instead of odd or even (asm-generic/termbits.h).
const CMSPAR: u32 = 0o10_000_000_000;

/// Reason of the warning that named modem lines cannot be set.
const NO_MODEM_LINES: &str = "ModemLinesUnsupported";

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

/// What is in force after the line was set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InForce {
    /// Bits per second, as the driver says.
    pub baud_rate: u32,
    /// Character format, as the driver says.
    pub format: Format,
    /// Whether the driver took low latency.
    pub low_latency: bool,
    /// What was asked for and did not come about.
    pub warnings: Vec<Warning>,
}

impl InForce {
    /// With what is known from `before`, where modem lines were not touched this time.
    pub fn after(mut self, before: &Self) -> Self {
        let known = before.warnings.iter().find(|warning| warning.reason == NO_MODEM_LINES);
        if let Some(known) = known
            && self.warnings.iter().all(|warning| warning.reason != NO_MODEM_LINES)
        {
            self.warnings.push(known.clone());
        }
        self
    }
}

/// Line errors since the driver was bound, where it counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LineErrors {
    /// Framing errors.
    pub frame: u64,
    /// Overruns in the device.
    pub overrun: u64,
    /// Parity errors.
    pub parity: u64,
    /// Breaks.
    pub brk: u64,
    /// Overruns of the kernel's buffer.
    pub buf_overrun: u64,
}

/// An open serial device in exclusive use.
pub struct Tty {
    /// Taken out only by `drop`.
    port: Option<TTYPort>,
    fd: RawFd,
    name: String,
    closer: Closer,
}

impl Tty {
    /// Takes the descriptor for exclusive use: flock(2) first, which a holder's lock refuses without touching its
    /// TIOCEXCL; then TIOCEXCL, so that later openers get EBUSY.
    ///
    /// # Errors
    /// [`AdoptError::Busy`] if another process holds the lock.
    pub fn adopt(fd: OwnedFd, name: &str, closer: Closer) -> Result<Self, AdoptError> {
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
        Ok(Self { port: Some(port), fd: raw, name: name.to_owned(), closer })
    }

    /// Name of the tty, for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Raw mode and the whole line in one TCSETS2, then modem lines (if `modem_lines`) in one TIOCMSET, then low
    /// latency; reads everything back. Blocks for a few USB transfers: not on the data thread.
    ///
    /// HUPCL is always cleared, so that no close ever drops DTR. A fresh port echoes input to the device until this
    /// is done (kernel default: 9600 8N1 cooked with ECHO), so it comes first after open.
    ///
    /// # Errors
    /// [`AdoptError::Refused`] names the ioctl and errno.
    pub fn configure(&self, line: &Line, modem_lines: bool) -> Result<InForce, AdoptError> {
        let mut termios = tcgetattr(self).map_err(AdoptError::from_ioctl("TCGETS2"))?;
        shape(&mut termios, line);
        termios.set_speed(line.baud_rate).map_err(AdoptError::from_ioctl("TCSETS2"))?;
        tcsetattr(self, OptionalActions::Now, &termios).map_err(AdoptError::from_ioctl("TCSETS2"))?;
        let found = tcgetattr(self).map_err(AdoptError::from_ioctl("TCGETS2"))?;

        let mut warnings = Vec::new();
        let mut warn = |reason: &str, message: String| {
            warnings.push(Warning { reason: reason.into(), message });
        };
        let (baud_rate, format) = (found.output_speed(), format_of(&found));
        if baud_rate != line.baud_rate {
            warn(
                "BaudRateAdjusted",
                format!(
                    "The driver of {} set {baud_rate} baud where {} was asked: set line.baudRate to a rate that the device can do.",
                    self.name, line.baud_rate
                ),
            );
        }
        if format != line.format {
            warn(
                "FormatIgnored",
                format!(
                    "The driver of {} keeps {format} where {} was asked: set line.format to what the device can do.",
                    self.name, line.format
                ),
            );
        }
        if modem_lines && (line.dtr.is_some() || line.rts.is_some()) {
            match self.set_modem_lines(line.dtr, line.rts) {
                Ok(()) => {}
                Err(Errno::NOTTY | Errno::INVAL | Errno::OPNOTSUPP) => warn(
                    NO_MODEM_LINES,
                    format!("{} has no modem lines: remove line.dtr and line.rts.", self.name),
                ),
                Err(errno) => return Err(AdoptError::from_ioctl("TIOCMSET")(errno)),
            }
        }
        let low_latency = self.set_low_latency(line.low_latency != Some(false));
        if line.low_latency == Some(true) && !low_latency {
            warnings.push(Warning {
                reason: "LowLatencyUnsupported".into(),
                message: format!("The driver of {} has no low latency: remove line.lowLatency.", self.name),
            });
        }
        Ok(InForce { baud_rate, format, low_latency, warnings })
    }

    /// Sets the named modem lines in one TIOCMSET: two ioctls would pass through a state that the reset circuits of
    /// many boards act on. No ioctl where they are as wanted already.
    fn set_modem_lines(&self, dtr: Option<bool>, rts: Option<bool>) -> Result<(), Errno> {
        let mut lines: libc::c_int = 0;
        self.ioctl(libc::TIOCMGET, &raw mut lines)?;
        let before = lines;
        for (bit, wanted) in [(libc::TIOCM_DTR, dtr), (libc::TIOCM_RTS, rts)] {
            match wanted {
                Some(true) => lines |= bit,
                Some(false) => lines &= !bit,
                None => {}
            }
        }
        if lines == before { Ok(()) } else { self.ioctl(libc::TIOCMSET, &raw mut lines) }
    }

    /// Sets or clears low latency, and the lingering at close, by TIOCSSERIAL where the driver has it; whether the
    /// former is in force. `closing_wait` needs CAP_SYS_ADMIN: without it only the flag is set.
    fn set_low_latency(&self, wanted: bool) -> bool {
        let mut serial = SerialStruct::default();
        if self.ioctl(libc::TIOCGSERIAL, &raw mut serial).is_err() {
            return false;
        }
        let flag = if wanted { ASYNC_LOW_LATENCY } else { 0 };
        let mut unprivileged = SerialStruct { flags: (serial.flags & !ASYNC_LOW_LATENCY) | flag, ..serial };
        let mut privileged = SerialStruct { closing_wait: ASYNC_CLOSING_WAIT_NONE, ..unprivileged };
        if self.ioctl(libc::TIOCSSERIAL, &raw mut privileged).is_err() {
            // What the driver keeps is read back below; a refusal changes nothing.
            self.ioctl(libc::TIOCSSERIAL, &raw mut unprivileged).ok();
        }
        let mut found = SerialStruct::default();
        self.ioctl(libc::TIOCGSERIAL, &raw mut found).is_ok() && found.flags & ASYNC_LOW_LATENCY != 0
    }

    /// Line errors, where the driver counts them: `None` is "not counted", not zero.
    pub fn line_errors(&self) -> Option<LineErrors> {
        let mut count = SerialIcounter::default();
        self.ioctl(libc::TIOCGICOUNT, &raw mut count).ok()?;
        let unsigned = |n: libc::c_int| u64::from(n.cast_unsigned());
        Some(LineErrors {
            frame: unsigned(count.frame),
            overrun: unsigned(count.overrun),
            parity: unsigned(count.parity),
            brk: unsigned(count.brk),
            buf_overrun: unsigned(count.buf_overrun),
        })
    }

    /// Bytes that the kernel holds and the device has not taken (TIOCOUTQ): one that stays above zero is an output
    /// that does not move. `None` where the device is gone.
    pub fn queued(&self) -> Option<u32> {
        self.port.as_ref()?.bytes_to_write().ok()
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

    fn ioctl<T>(&self, request: libc::Ioctl, argument: *mut T) -> Result<(), Errno> {
        // SAFETY: the descriptor is open for as long as `self` is, and every caller passes the address of a local of
        // the type that the request is defined with.
        let result = unsafe { libc::ioctl(self.fd, request, argument) };
        if result < 0 {
            return Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::INVAL));
        }
        Ok(())
    }
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

/// Raw mode with the line's format and flow control; CLOCAL and CREAD set, HUPCL cleared.
fn shape(termios: &mut Termios, line: &Line) {
    termios.make_raw();
    // A break or a badly framed byte must not vanish silently: it reads as NUL.
    termios.input_modes.remove(InputModes::IGNPAR | InputModes::INPCK | InputModes::IXANY);
    termios.special_codes[SpecialCodeIndex::VMIN] = 1;
    termios.special_codes[SpecialCodeIndex::VTIME] = 0;

    let mut control = termios.control_modes;
    control.remove(
        ControlModes::CSIZE
            | ControlModes::PARENB
            | ControlModes::PARODD
            | ControlModes::CSTOPB
            | ControlModes::CRTSCTS
            | ControlModes::HUPCL
            | ControlModes::from_bits_retain(CMSPAR),
    );
    control.insert(ControlModes::CREAD | ControlModes::CLOCAL);
    control.insert(match line.format.data_bits {
        5 => ControlModes::CS5,
        6 => ControlModes::CS6,
        7 => ControlModes::CS7,
        _ => ControlModes::CS8,
    });
    control.insert(match line.format.parity {
        Parity::None => ControlModes::empty(),
        Parity::Even => ControlModes::PARENB,
        Parity::Odd => ControlModes::PARENB | ControlModes::PARODD,
        Parity::Mark => ControlModes::PARENB | ControlModes::PARODD | ControlModes::from_bits_retain(CMSPAR),
        Parity::Space => ControlModes::PARENB | ControlModes::from_bits_retain(CMSPAR),
    });
    // A UART with CSTOPB sends two stop bits, with 5 data bits one and a half.
    if line.format.stop_bits != StopBits::One {
        control.insert(ControlModes::CSTOPB);
    }
    match line.flow_control {
        FlowControl::None => {}
        FlowControl::RtsCts => control.insert(ControlModes::CRTSCTS),
        FlowControl::XonXoff => termios.input_modes.insert(InputModes::IXON | InputModes::IXOFF),
    }
    termios.control_modes = control;
}

fn format_of(termios: &Termios) -> Format {
    let control = termios.control_modes;
    let data_bits = match control & ControlModes::CSIZE {
        bits if bits == ControlModes::CS5 => 5,
        bits if bits == ControlModes::CS6 => 6,
        bits if bits == ControlModes::CS7 => 7,
        _ => 8,
    };
    let stick = control.contains(ControlModes::from_bits_retain(CMSPAR));
    let odd = control.contains(ControlModes::PARODD);
    let parity = match (control.contains(ControlModes::PARENB), stick, odd) {
        (false, ..) => Parity::None,
        (true, false, false) => Parity::Even,
        (true, false, true) => Parity::Odd,
        (true, true, true) => Parity::Mark,
        (true, true, false) => Parity::Space,
    };
    let stop_bits = match (control.contains(ControlModes::CSTOPB), data_bits) {
        (false, _) => StopBits::One,
        (true, 5) => StopBits::OnePointFive,
        (true, _) => StopBits::Two,
    };
    Format { data_bits, parity, stop_bits }
}

/// `struct serial_struct` of linux/serial.h.
#[repr(C)]
#[derive(Clone, Copy)]
struct SerialStruct {
    kind: libc::c_int,
    line: libc::c_int,
    port: libc::c_uint,
    irq: libc::c_int,
    flags: libc::c_int,
    xmit_fifo_size: libc::c_int,
    custom_divisor: libc::c_int,
    baud_base: libc::c_int,
    close_delay: libc::c_ushort,
    io_type: libc::c_char,
    reserved_char: [libc::c_char; 1],
    hub6: libc::c_int,
    closing_wait: libc::c_ushort,
    closing_wait2: libc::c_ushort,
    iomem_base: *mut libc::c_uchar,
    iomem_reg_shift: libc::c_ushort,
    port_high: libc::c_uint,
    iomap_base: libc::c_ulong,
}

impl Default for SerialStruct {
    fn default() -> Self {
        // SAFETY: integers and a pointer that is never followed: all zeros is a valid value.
        unsafe { std::mem::zeroed() }
    }
}

/// `struct serial_icounter_struct` of linux/serial.h.
#[repr(C)]
#[derive(Default)]
struct SerialIcounter {
    cts: libc::c_int,
    dsr: libc::c_int,
    rng: libc::c_int,
    dcd: libc::c_int,
    rx: libc::c_int,
    tx: libc::c_int,
    frame: libc::c_int,
    overrun: libc::c_int,
    parity: libc::c_int,
    brk: libc::c_int,
    buf_overrun: libc::c_int,
    reserved: [libc::c_int; 9],
}
