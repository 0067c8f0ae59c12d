//! What works but is odd: rivals for a device, additions of others that nobody takes back, a CompositeController that is
//! set up wrongly. Never affects Ready.

use serde_json::Value;

use super::causes::{Causes, cause, services};
use crate::{
    observed::Observed,
    outcome::{CONFLICT, Outcome, list},
    request::{Controller, SyncRequest},
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

    /// What Metacontroller never takes back because nobody desires it.
    pub(super) fn drift(&mut self, observed: &Observed<'_>, children: &[Value]) {
        let mut odd = Vec::new();
        for (key, child) in services(children) {
            if let Some(slice) = observed.foreign_slices.get(&key) {
                odd.push(format!("EndpointSlice {}/{slice} takes clients of Service {}", key.0, key.1));
            }
            let Some(service) = observed.services.get(&key) else { continue };
            if child["spec"].get("selector").is_none() && !service.spec.selector.is_empty() {
                odd.push(format!("Service {}/{} has a selector", key.0, key.1));
            }
            if service.spec.ports.len() > 1 {
                odd.push(format!("Service {}/{} has a second port", key.0, key.1));
            }
        }
        if let Some(set) = observed.daemon_set {
            let pod = &set.spec.template.spec;
            if pod.containers.len() > 1 || !pod.init_containers.is_empty() {
                odd.push(format!("DaemonSet {} has further containers", set.metadata.name));
            }
        }
        if !odd.is_empty() {
            let message = format!("Somebody added what is not ours: {}. Remove it.", list(&odd));
            self.degraded.push(cause("Drift", message));
        }
    }

    pub(super) fn controller(&mut self, request: &SyncRequest, observed: &Observed<'_>) {
        let mut wrong = request.controller.as_ref().map_or_else(Vec::new, settings);
        if !observed.reports_known {
            wrong.push("hooks.customize (no SerialNodes arrive)");
        }
        if !wrong.is_empty() {
            self.degraded.push(cause(
                "Controller",
                format!(
                    "The CompositeController's settings are wrong: {}. Apply the shipped manifests again.",
                    list(&wrong)
                ),
            ));
        }
    }
}

/// Settings without which fleets do not work, or only seem to.
fn settings(controller: &Controller) -> Vec<&'static str> {
    let spec = &controller.spec;
    let mut wrong = Vec::new();
    let mut check = |right: bool, name: &'static str| {
        if !right {
            wrong.push(name);
        }
    };
    check(spec.generate_selector == Some(true), "generateSelector (must be true)");
    check(
        spec.parent_resource.ignore_status_changes == Some(true),
        "parentResource.ignoreStatusChanges (must be true)",
    );
    for (kind, name) in [
        ("daemonsets", "childResources: daemonsets (must be InPlace)"),
        ("services", "childResources: services (must be InPlace)"),
        ("endpointslices", "childResources: endpointslices (must be InPlace)"),
        ("networkpolicies", "childResources: networkpolicies (must be InPlace)"),
    ] {
        let in_place = spec
            .child_resources
            .iter()
            .any(|it| it.resource == kind && it.update_strategy.method == "InPlace");
        check(in_place, name);
    }
    check(spec.hooks.sync.version == "v2", "hooks.sync.version (must be v2)");
    check(
        spec.hooks.customize.as_ref().is_some_and(|hook| hook.version == "v2"),
        "hooks.customize.version (must be v2)",
    );
    wrong
}
