//! RS485 direction control by the driver (TIOCGRS485, TIOCSRS485). On-board UARTs have it; USB adapters switch by
//! themselves and answer ENOTTY.

use rustix::io::Errno;
use serialfleet_api::fleet::Rs485;

use super::Tty;

/// `struct serial_rs485` of linux/serial.h.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SerialRs485 {
    flags: u32,
    /// Milliseconds.
    delay_rts_before_send: u32,
    /// Milliseconds.
    delay_rts_after_send: u32,
    /// Addresses on newer kernels: handed back as they came.
    padding: [u32; 5],
}

const ENABLED: u32 = 1;
const RTS_ON_SEND: u32 = 1 << 1;
const RTS_AFTER_SEND: u32 = 1 << 2;
const RX_DURING_TX: u32 = 1 << 4;

impl Tty {
    /// Sets what `wanted` says, defaults where it says nothing, and leaves all else as the device tree has it. What the
    /// driver did otherwise, in words; `None` where it did everything.
    pub(super) fn set_rs485(&self, wanted: &Rs485) -> Result<Option<String>, Errno> {
        let mut before = SerialRs485::default();
        self.ioctl(libc::TIOCGRS485, &raw mut before)?;
        let wanted = before.with(wanted);
        let mut asked = wanted;
        self.ioctl(libc::TIOCSRS485, &raw mut asked)?;
        let mut found = SerialRs485::default();
        self.ioctl(libc::TIOCGRS485, &raw mut found)?;
        if found.flags & ENABLED == 0 {
            // A driver that drops it without a word.
            return Err(Errno::OPNOTSUPP);
        }
        Ok(difference(&wanted, &found))
    }
}

impl SerialRs485 {
    fn with(self, wanted: &Rs485) -> Self {
        let flag = |flag: u32, wanted: Option<bool>, default: bool| {
            if wanted.unwrap_or(default) { flag } else { 0 }
        };
        let delay = |wanted: Option<i32>| wanted.and_then(|delay| u32::try_from(delay).ok()).unwrap_or(0);
        let others = self.flags & !(ENABLED | RTS_ON_SEND | RTS_AFTER_SEND | RX_DURING_TX);
        Self {
            flags: others
                | ENABLED
                | flag(RTS_ON_SEND, wanted.rts_on_send, true)
                | flag(RTS_AFTER_SEND, wanted.rts_after_send, false)
                | flag(RX_DURING_TX, wanted.rx_during_tx, false),
            delay_rts_before_send: delay(wanted.delay_before_milliseconds),
            delay_rts_after_send: delay(wanted.delay_after_milliseconds),
            ..self
        }
    }
}

fn difference(wanted: &SerialRs485, found: &SerialRs485) -> Option<String> {
    let flag = |name, flag| {
        let on = |it: &SerialRs485| (it.flags & flag != 0).to_string();
        (name, on(wanted), on(found))
    };
    let delay = |name, wanted: u32, found: u32| (name, wanted.to_string(), found.to_string());
    let differing: Vec<String> = [
        delay("delayBeforeMilliseconds", wanted.delay_rts_before_send, found.delay_rts_before_send),
        delay("delayAfterMilliseconds", wanted.delay_rts_after_send, found.delay_rts_after_send),
        flag("rtsOnSend", RTS_ON_SEND),
        flag("rtsAfterSend", RTS_AFTER_SEND),
        flag("rxDuringTx", RX_DURING_TX),
    ]
    .into_iter()
    .filter(|(_, wanted, found)| wanted != found)
    .map(|(name, wanted, found)| format!("{name} {found} instead of {wanted}"))
    .collect();
    (!differing.is_empty()).then(|| differing.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_structure_is_the_kernels() {
        assert_eq!(size_of::<SerialRs485>(), 32);
    }

    #[test]
    fn what_is_not_named_has_its_default_and_what_is_not_ours_stays() {
        let terminated = 1 << 5;
        let tree = SerialRs485 {
            flags: terminated | RTS_AFTER_SEND,
            delay_rts_before_send: 7,
            delay_rts_after_send: 7,
            padding: [3; 5],
        };
        let plain = tree.with(&Rs485::default());
        assert_eq!(
            plain,
            SerialRs485 {
                flags: terminated | ENABLED | RTS_ON_SEND,
                delay_rts_before_send: 0,
                delay_rts_after_send: 0,
                padding: [3; 5]
            }
        );
        let all = tree.with(&Rs485 {
            delay_before_milliseconds: Some(1),
            delay_after_milliseconds: Some(2),
            rts_on_send: Some(false),
            rts_after_send: Some(true),
            rx_during_tx: Some(true),
            mandatory: Some(true),
        });
        assert_eq!(all.flags, terminated | ENABLED | RTS_AFTER_SEND | RX_DURING_TX);
        assert_eq!((all.delay_rts_before_send, all.delay_rts_after_send), (1, 2));
    }

    #[test]
    fn what_the_driver_did_otherwise_is_said_with_both_values() {
        let wanted =
            SerialRs485::default().with(&Rs485 { delay_before_milliseconds: Some(5), ..Rs485::default() });
        assert_eq!(difference(&wanted, &wanted), None);
        let found = SerialRs485 { flags: wanted.flags | RX_DURING_TX, delay_rts_before_send: 0, ..wanted };
        assert_eq!(
            difference(&wanted, &found).as_deref(),
            Some("delayBeforeMilliseconds 0 instead of 5, rxDuringTx true instead of false")
        );
    }
}
