//! Sets the line that the fleet asks for, and says what did not come about. Used by the supervisor, beside its thread.

use serialfleet_api::{line::Format, node::Warning, resolve::Line};

use super::{AdoptError, Tty, is_unsupported};

/// What is in force of a configured line.
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
    fn warn(&mut self, reason: &str, message: String) {
        self.warnings.push(Warning { reason: reason.into(), message });
    }
}

impl Tty {
    /// Raw mode and the whole line in one TCSETS2, then modem lines that are newly named in one TIOCMSET, then RS485 and
    /// low latency; reads everything back. What clients have set stays in force, and what is said of the line is then
    /// what was asked for. Blocks for a few USB transfers and, if something was configured before, up to half a second
    /// for queued output: not on the data thread.
    ///
    /// HUPCL is always cleared, so that no close ever drops DTR. A fresh port echoes input to the device until this
    /// is done (kernel default: 9600 8N1 cooked with ECHO), so it comes first after open.
    ///
    /// # Errors
    /// [`AdoptError::Refused`] names the ioctl and errno.
    pub fn configure(&self, line: &Line) -> Result<InForce, AdoptError> {
        let mut state = self.state();
        let before = state.line.replace(line.clone());
        let found = self.apply(&mut state, before.is_none())?;
        let mut in_force = InForce { baud_rate: found.baud_rate, format: found.format, ..InForce::default() };
        if state.overlay.baud_rate.is_some() {
            in_force.baud_rate = line.baud_rate;
        }
        if state.overlay.has_format() {
            in_force.format = line.format;
        }
        if in_force.baud_rate != line.baud_rate {
            in_force.warn(
                "BaudRateAdjusted",
                format!(
                    "The driver of {} set {} baud where {} was asked: set line.baudRate to a rate that the device can do.",
                    self.name(), found.baud_rate, line.baud_rate
                ),
            );
        }
        if in_force.format != line.format {
            in_force.warn(
                "FormatIgnored",
                format!(
                    "The driver of {} keeps {} where {} was asked: set line.format to what the device can do.",
                    self.name(), found.format, line.format
                ),
            );
        }
        let (dtr_before, rts_before) = before.map_or((None, None), |before| (before.dtr, before.rts));
        let dtr = line.dtr.filter(|_| line.dtr != dtr_before && state.overlay.dtr.is_none());
        let rts = line.rts.filter(|_| line.rts != rts_before && state.overlay.rts.is_none());
        self.set_both(&mut state, dtr, rts).map_err(AdoptError::from_ioctl("TIOCMSET"))?;
        if state.without_modem_lines && (line.dtr.is_some() || line.rts.is_some()) {
            in_force.warn(
                "ModemLinesUnsupported",
                format!("{} has no modem lines: remove line.dtr and line.rts.", self.name()),
            );
        }
        self.configure_rs485(line, &mut in_force)?;
        in_force.low_latency = self.set_low_latency(line.low_latency != Some(false));
        if line.low_latency == Some(true) && !in_force.low_latency {
            in_force.warn(
                "LowLatencyUnsupported",
                format!("The driver of {} has no low latency: remove line.lowLatency.", self.name()),
            );
        }
        Ok(in_force)
    }

    fn configure_rs485(&self, line: &Line, in_force: &mut InForce) -> Result<(), AdoptError> {
        let Some(wanted) = &line.rs485 else { return Ok(()) };
        let result = {
            // Set under the same lock of the kernel as termios (`uart_ioctl` in serial_core.c).
            let _closed = self.gate.close();
            self.set_rs485(wanted)
        };
        match result {
            Ok(None) => {}
            Ok(Some(difference)) => in_force.warn(
                "Rs485Adjusted",
                format!(
                    "The driver of {} set {difference}: set line.rs485 to what the device can do.",
                    self.name()
                ),
            ),
            Err(errno) if is_unsupported(errno) && wanted.mandatory != Some(true) => in_force.warn(
                "Rs485Unsupported",
                format!(
                    "The driver of {} has no RS485 ({errno}): remove line.rs485; USB adapters switch by themselves.",
                    self.name()
                ),
            ),
            Err(errno) => return Err(AdoptError::from_ioctl("TIOCSRS485")(errno)),
        }
        Ok(())
    }
}
