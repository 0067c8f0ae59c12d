//! Line errors as the driver counts them (TIOCGICOUNT); for the metrics.

use super::Tty;

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

impl Tty {
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
