//! The port state of a device, as reported, and what is odd although it works. Used by the supervisor's view alone; must
//! not change a slot.

use serialfleet_api::{
    fleet::FlowControl,
    node::{PortState, Warning},
};

use super::{Open, PUBLISHED_WITHIN, Slot};
use crate::{
    matching::Verdict,
    port::{Link, Phase},
    report::PortReport,
};

impl Slot {
    /// The port state, as reported.
    pub(in crate::supervisor) fn report(&self, in_cluster: bool) -> PortReport {
        let link = self.link.borrow();
        let mut report = PortReport {
            name: self.device.name.clone(),
            state: PortState::Absent,
            reason: String::new(),
            message: String::new(),
            tty: None,
            identity: None,
            baud_rate: None,
            warnings: Vec::new(),
        };
        let mut say = |state: PortState, reason: &str, message: &str| {
            report.state = state;
            report.reason = reason.to_owned();
            report.message = message.to_owned();
        };
        // Only where the device is: the others' ports miss nothing.
        let certificate = self.certificate.as_ref().filter(|_| self.open.is_some());
        match (certificate, &link.phase, &self.failed, &self.verdict) {
            (Some(missing), ..) => say(missing.state, missing.reason, &missing.message),
            _ if self.device.suspend => {
                say(
                    PortState::Suspended,
                    "",
                    "Closed because `suspend` is true: set it to false to serve the device.",
                );
            }
            (_, Phase::Serving, ..) if self.open.is_some() => say(PortState::Serving, "", ""),
            (_, Phase::ListenFailed(error), ..) if self.open.is_some() => {
                say(
                    PortState::Failed,
                    "ListenFailed",
                    &format!("The bridge {error}: free that address, or change `port`."),
                );
            }
            (_, Phase::Held, ..) => {
                say(
                    PortState::Held,
                    "",
                    "Unplugged; its clients are kept for `holdSeconds`: plug it in again.",
                );
            }
            (_, _, Some(failed), _) => {
                say(failed.failure.state, failed.failure.reason, &failed.failure.message)
            }
            (_, _, _, Verdict::Ambiguous { message }) => say(PortState::Ambiguous, "", message),
            (_, _, _, Verdict::Denied { message }) => say(PortState::Denied, "Console", message),
            (_, _, _, Verdict::Absent { reason, message }) => say(PortState::Absent, reason, message),
            (_, _, _, Verdict::Bound { .. }) => {}
        }
        // Between opening and listening there is nothing to show yet.
        if let Some(open) = self.open.as_ref().filter(|_| report.state != PortState::Absent) {
            report.tty = Some(open.name.clone());
            report.identity = Some(open.identity.to_string());
            report.baud_rate = i32::try_from(open.in_force.baud_rate).ok();
            report.warnings = self.warnings(open, &link, in_cluster);
        } else if let Some(failed) =
            self.failed.as_ref().filter(|failed| failed.failure.state == report.state)
        {
            report.tty = failed.tty.clone();
        } else if let Some(last) = self.last.as_ref().filter(|_| report.state == PortState::Held) {
            report.identity = Some(last.to_string());
        }
        report
    }

    fn warnings(&self, open: &Open, link: &Link, in_cluster: bool) -> Vec<Warning> {
        let mut warnings = open.in_force.warnings.clone();
        warnings.extend(self.certificate_warnings.iter().cloned());
        let mut warn = |reason: &str, message: String| {
            warnings.push(Warning { reason: reason.to_owned(), message });
        };
        if let Verdict::Bound { warning, .. } = &self.verdict
            && !warning.is_empty()
        {
            warn("Ambiguous", warning.clone());
        }
        if self.device.clients.allow_from.is_some() && self.device.clients.networks().is_none() {
            warn(
                "PolicyOnly",
                format!(
                    "allowFrom of {} names pods, so only the NetworkPolicy enforces it: list networks if the cluster's network does not enforce policies.",
                    self.device.name
                ),
            );
        }
        if link.output_stalled {
            let (name, tty) = (&self.device.name, &open.name);
            let flow_control = link.overlay.flow_control.unwrap_or(open.asked.flow_control);
            warn("OutputStalled", output_stalled(name, tty, flow_control));
        }
        let served = self.certificate.is_none();
        if in_cluster && served && !open.published && open.since.elapsed() >= PUBLISHED_WITHIN {
            warn(
                "NotPublished",
                format!(
                    "{} is served here for a minute but the fleet's status does not say so: is Metacontroller or the hook server down?",
                    self.device.name
                ),
            );
        }
        warnings
    }
}

/// What to look at when bytes for a device do not move.
fn output_stalled(device: &str, tty: &str, flow_control: FlowControl) -> String {
    match flow_control {
        FlowControl::RtsCts => format!(
            "Bytes for {device} ({tty}) have not moved for 5 s because the device does not raise CTS: check that CTS is wired and the device is powered, or set line.flowControl to None."
        ),
        FlowControl::XonXoff => format!(
            "Bytes for {device} ({tty}) have not moved for 5 s, probably because the device sent XOFF and no XON: check that it is ready, or set line.flowControl to None if it sends binary data."
        ),
        FlowControl::None => format!(
            "Bytes for {device} ({tty}) have not moved for 5 s: the device takes no data; unplug it and plug it in again."
        ),
    }
}
