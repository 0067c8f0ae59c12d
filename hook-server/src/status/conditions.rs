//! Conditions in the manner of kstatus: Ready, Stalled and Reconciling, and our own DevicesBound, Degraded and Applied.
//! All six are always there. `lastTransitionTime` moves when `status` flips and never otherwise.
//!
//! Stalled stands before Reconciling: kstatus takes the first of the two that holds, and "waits for a person" must not
//! hide behind "still at it". Applied has a transition time of its own so that a change that is refused can be told
//! from one that is under way; Reconciling's may be that of a roll.

use std::time::{Duration, SystemTime};

use serialfleet_api::{meta::Condition, resolve::ResolvedDevice};

use super::{Causes, causes::Cause, clip};
use crate::{
    outcome::{Outcome, list},
    request::Parent,
};

/// Longest message of a condition, in characters.
const MAX_MESSAGE: usize = 1024;

/// The conditions, and after how many seconds another sync is wanted.
pub(super) fn conditions(
    parent: &Parent,
    devices: &[(&ResolvedDevice, &[Outcome<'_>])],
    causes: &Causes,
    now: SystemTime,
) -> (Vec<Condition>, Option<u32>) {
    let verdicts = [
        ready(devices, causes),
        abnormal("Stalled", &causes.stalled, "Nothing waits for a person."),
        abnormal("Reconciling", &causes.reconciling, "Nothing is under way."),
        devices_bound(devices),
        abnormal("Degraded", &causes.degraded, "Nothing is odd."),
        applied(causes),
    ];
    let stamp = humantime::format_rfc3339_seconds(now).to_string();
    let conditions: Vec<Condition> = verdicts
        .into_iter()
        .map(|verdict| {
            let status = if verdict.holds { "True" } else { "False" };
            let last = parent.status.conditions.iter().find(|it| it.type_ == verdict.type_);
            let since = last.filter(|it| it.status == status && !it.last_transition_time.is_empty());
            Condition {
                type_: verdict.type_.to_owned(),
                status: status.to_owned(),
                reason: verdict.reason.to_owned(),
                message: clip(&verdict.message, MAX_MESSAGE),
                observed_generation: parent.metadata.generation,
                last_transition_time: since
                    .map_or_else(|| stamp.clone(), |it| it.last_transition_time.clone()),
            }
        })
        .collect();
    let resync = causes.unobserved.then(|| {
        // In time to tell a standstill from a delay.
        let due = causes.due.map_or(u32::MAX, |due| u32::try_from(due).unwrap_or(u32::MAX).max(1));
        resync_after(&conditions, now).min(due)
    });
    (conditions, resync)
}

struct Verdict {
    type_: &'static str,
    holds: bool,
    reason: &'static str,
    message: String,
}

fn abnormal(type_: &'static str, causes: &[Cause], none: &str) -> Verdict {
    let Some(first) = causes.first() else {
        return Verdict { type_, holds: false, reason: "AsExpected", message: none.to_owned() };
    };
    let messages: Vec<&str> = causes.iter().map(|it| it.message.as_str()).collect();
    Verdict { type_, holds: true, reason: first.reason, message: messages.join(" ") }
}

fn applied(causes: &Causes) -> Verdict {
    let none = "Every object of the fleet is as it should be.";
    let unapplied = abnormal("Applied", &causes.unapplied, none);
    Verdict { holds: !unapplied.holds, ..unapplied }
}

fn ready(devices: &[(&ResolvedDevice, &[Outcome<'_>])], causes: &Causes) -> Verdict {
    let absent: Vec<&str> = devices
        .iter()
        .filter(|(device, of)| device.required && (of.is_empty() || of.iter().any(|it| !it.state.is_bound())))
        .map(|(device, _)| device.name.as_str())
        .collect();
    let missing = causes.unapplied.iter().find(|it| it.reason == "ChildrenMissing");
    let obstacle = causes.stalled.first().or(missing).or(causes.bridges.as_ref());
    let (holds, reason, message) = match (obstacle, absent.is_empty()) {
        (Some(cause), _) => (false, cause.reason, cause.message.clone()),
        (None, false) => (
            false,
            "RequiredDevice",
            format!("Required and not served: {}. See status.devices.", list(&absent)),
        ),
        (None, true) => (true, "Ready", "Bridges run, and every required device is served.".to_owned()),
    };
    Verdict { type_: "Ready", holds, reason, message }
}

fn devices_bound(devices: &[(&ResolvedDevice, &[Outcome<'_>])]) -> Verdict {
    let unbound: Vec<&str> = devices
        .iter()
        .filter(|(_, of)| of.is_empty() || of.iter().any(|it| !it.state.is_bound()))
        .map(|(device, _)| device.name.as_str())
        .collect();
    let (holds, reason, message) = match (devices, unbound.as_slice()) {
        ([], _) => (true, "NoDevices", "The fleet has no devices: discovery only.".to_owned()),
        (_, []) => (true, "AllBound", "Every device is served.".to_owned()),
        (_, unbound) => {
            (false, "DevicesMissing", format!("Not served: {}. See status.devices.", list(unbound)))
        }
    };
    Verdict { type_: "DevicesBound", holds, reason, message }
}

/// Half of the time that this has lasted, between 2 and 300 seconds: soon at first, seldom where it needs a person.
fn resync_after(conditions: &[Condition], now: SystemTime) -> u32 {
    let last = conditions
        .iter()
        .filter(|it| match it.type_.as_str() {
            "Reconciling" | "Stalled" => it.status == "True",
            "Applied" => it.status == "False",
            _ => false,
        })
        .filter_map(|it| humantime::parse_rfc3339_weak(&it.last_transition_time).ok())
        .max();
    // A clock that was set back counts as no time at all.
    let lasted = last.and_then(|last| now.duration_since(last).ok()).unwrap_or(Duration::ZERO);
    u32::try_from(lasted.as_secs() / 2).unwrap_or(u32::MAX).clamp(2, 300)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_look_comes_soon_at_first_and_seldom_later() {
        let at = |time: &str| humantime::parse_rfc3339(time).unwrap();
        let since = |type_: &str, status: &str, time: &str| Condition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            last_transition_time: time.to_owned(),
            ..Condition::default()
        };
        for (sentence, time, seconds) in [
            ("just now", "2026-01-01T00:00:00Z", 2),
            ("after a minute", "2026-01-01T00:01:00Z", 30),
            ("after a day", "2026-01-02T00:00:00Z", 300),
            ("a clock that woke up in the past", "2016-01-01T00:00:00Z", 2),
        ] {
            let conditions = [
                since("Ready", "False", "2015-01-01T00:00:00Z"),
                since("Reconciling", "False", "2015-01-01T00:00:00Z"),
                since("Stalled", "True", "2026-01-01T00:00:00Z"),
                since("Applied", "True", "2025-12-31T00:00:00Z"),
            ];
            assert_eq!(resync_after(&conditions, at(time)), seconds, "{sentence}");
        }
        assert_eq!(resync_after(&[since("Stalled", "True", "long ago")], at("2026-01-01T00:00:00Z")), 2);
    }
}
