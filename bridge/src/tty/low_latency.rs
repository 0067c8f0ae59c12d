//! Low latency and lingering at close, by `struct serial_struct` (TIOCGSERIAL, TIOCSSERIAL).

use super::Tty;

/// `ASYNC_LOW_LATENCY` of `serial_struct.flags` (linux/tty_flags.h).
const ASYNC_LOW_LATENCY: libc::c_int = 0x2000;
/// `ASYNC_CLOSING_WAIT_NONE` of `serial_struct.closing_wait` (linux/serial.h).
const ASYNC_CLOSING_WAIT_NONE: libc::c_ushort = 65535;

impl Tty {
    /// Sets or clears low latency, and the lingering at close, where the driver has them; whether the former is in
    /// force. `closing_wait` needs CAP_SYS_ADMIN: without it only the flag is set.
    pub(super) fn set_low_latency(&self, wanted: bool) -> bool {
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
}

/// `struct serial_struct` of linux/serial.h.
#[repr(C)]
#[derive(Clone, Copy, Default)]
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
    /// An address of the kernel's, handed back as it came.
    iomem_base: usize,
    iomem_reg_shift: libc::c_ushort,
    port_high: libc::c_uint,
    iomap_base: libc::c_ulong,
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use std::mem::{offset_of, size_of};

    use super::SerialStruct;

    /// Where the kernel's compiler puts the fields.
    #[test]
    fn the_structure_is_the_kernels() {
        assert_eq!(offset_of!(SerialStruct, flags), 16);
        assert_eq!(offset_of!(SerialStruct, closing_wait), 40);
        assert_eq!(size_of::<SerialStruct>(), 72);
    }
}
