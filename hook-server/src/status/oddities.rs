//! What works but is odd: rivals for a device, a CompositeController that is set up wrongly. Never affects Ready.

use super::causes::{Causes, cause};
use crate::{
    doctor::doctor,
    observed::Observed,
    outcome::{CONFLICT, Outcome, list},
    request::SyncRequest,
};

impl Causes {
    pub(super) fn conflicts(&mut self, outcomes: &[Outcome<'_>]) {
        let contested: Vec<&str> = outcomes
            .iter()
            .filter(|it| it.contested || it.state.as_str() == CONFLICT)
            .map(|it| it.wanted.device.name.as_str())
            .collect();
        if !contested.is_empty() {
            let message =
                format!("Several nodes serve the same device: {}. See status.devices.", list(&contested));
            self.degraded.insert(0, cause(CONFLICT, message));
        }
    }

    pub(super) fn controller(&mut self, request: &SyncRequest, observed: &Observed<'_>) {
        let found = request.controller.as_deref().map_or_else(Vec::new, doctor);
        let mut wrong: Vec<String> = found.iter().map(ToString::to_string).collect();
        if !observed.reports_known && !found.iter().any(|it| it.setting == "hooks.customize") {
            wrong.push("no SerialNodes arrive: is hooks.customize this hook server's?".to_owned());
        }
        if !wrong.is_empty() {
            let message = format!(
                "The CompositeController is set up wrongly: {}. Apply the shipped manifests again.",
                list(&wrong)
            );
            self.degraded.push(cause("Controller", message));
        }
    }
}
