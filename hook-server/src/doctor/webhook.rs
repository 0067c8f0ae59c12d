//! The doctor's look at the hooks of a CompositeController: versions, addresses, revisions, time limits, ETag.

use serde_json::Value;

use super::{Findings, said};

/// Below this Metacontroller gives up on an answer that the hook server still works on, in seconds.
const SHORTEST_TIMEOUT: f64 = 10.0;

pub(super) fn hooks(hooks: &Value, findings: &mut Findings) {
    for (hook, without) in [
        ("sync", "so nothing is ever made"),
        ("customize", "so no SerialNodes arrive and no device is ever served"),
    ] {
        let settings = &hooks[hook];
        if settings["webhook"].is_null() {
            findings.add(
                format!("hooks.{hook}"),
                format!("is missing, {without}"),
                "apply the shipped manifest again",
            );
            continue;
        }
        if settings["version"] != "v2" {
            findings.add(
                format!("hooks.{hook}.version"),
                wrong_version(&settings["version"]),
                "set it to v2",
            );
        }
        webhook(hook, &settings["webhook"], findings);
    }
    revisions(hooks, findings);
    if !hooks["finalize"].is_null() {
        findings.add(
            "hooks.finalize",
            "puts a finalizer on each fleet, which then cannot be deleted while the hook is away",
            "remove it: there is nothing to clean up",
        );
    }
}

fn wrong_version(version: &Value) -> String {
    let meant = if version.is_null() { ", which means v1" } else { "" };
    format!("is {}{meant}: calls of another form than the hook is made for", said(version))
}

fn webhook(hook: &str, webhook: &Value, findings: &mut Findings) {
    let setting = |field: &str| format!("hooks.{hook}.webhook.{field}");
    if let Some(address) = address(webhook) {
        let path = address.split(['?', '#']).next().unwrap_or_default().trim_end_matches('/');
        let end = path.rsplit('/').next().unwrap_or_default();
        if end != hook {
            findings.add(
                setting("url"),
                format!("is {}, which is not the {hook} hook", said(&Value::from(address))),
                format!("let its path end in /{hook}"),
            );
        }
    } else {
        findings.add(
            setting("url"),
            "is missing, so the hook is never called",
            format!("set it to http://serialfleet-hook.serialfleet-system.svc:8080/{hook}?rev= and the hook server's --rev"),
        );
    }
    let timeout = &webhook["timeout"];
    if !timeout.is_null() {
        match timeout.as_str().and_then(seconds) {
            // Zero and less mean the default, 10 s.
            Some(seconds) if seconds <= 0.0 || seconds >= SHORTEST_TIMEOUT => {}
            Some(_) => findings.add(
                setting("timeout"),
                format!("is {}: Metacontroller gives up before a slow answer comes", said(timeout)),
                "set it to 10s",
            ),
            None => findings.add(
                setting("timeout"),
                format!("is {}, which is no duration", said(timeout)),
                "set it to 10s",
            ),
        }
    }
    let mode = &webhook["responseUnMarshallMode"];
    if !mode.is_null() && mode != "strict" {
        findings.add(
            setting("responseUnMarshallMode"),
            format!("is {}: an answer that is not understood would pass for one", said(mode)),
            "set it to strict",
        );
    }
    etag(&setting("etag"), &webhook["etag"], findings);
}

/// With one of the two times alone, Metacontroller follows a null pointer and the controller never starts.
fn etag(setting: &str, etag: &Value, findings: &mut Findings) {
    if etag["enabled"] != true {
        return;
    }
    let (keep, sweep) = (etag["cacheTimeoutSeconds"].is_null(), etag["cacheCleanupSeconds"].is_null());
    if keep != sweep {
        let (has, lacks, value) = if sweep {
            ("cacheTimeoutSeconds", "cacheCleanupSeconds", 600)
        } else {
            ("cacheCleanupSeconds", "cacheTimeoutSeconds", 3600)
        };
        findings.add(
            format!("{setting}.{lacks}"),
            format!("is missing beside {has}: Metacontroller panics and never starts this controller"),
            format!("set it to {value}"),
        );
    }
}

/// One value in both URLs, that of the hook server's `--rev`: replicas of another version then answer nothing.
fn revisions(hooks: &Value, findings: &mut Findings) {
    let rev = |hook: &str| address(&hooks[hook]["webhook"]).map(|address| revision(&address));
    let (Some(sync), Some(customize)) = (rev("sync"), rev("customize")) else { return };
    for (hook, rev) in [("sync", &sync), ("customize", &customize)] {
        if rev.is_none() {
            findings.add(
                format!("hooks.{hook}.webhook.url"),
                "says no revision, so two versions of the hook server undo each other's children during an upgrade",
                "add ?rev= with the value of the hook server's --rev",
            );
        }
    }
    if let (Some(sync), Some(customize)) = (sync, customize)
        && sync != customize
    {
        findings.add(
            "hooks.customize.webhook.url",
            format!(
                "says revision {} and that of sync {}: one of the two gets no answer",
                said(&Value::from(customize)),
                said(&Value::from(sync))
            ),
            "write the hook server's --rev into both",
        );
    }
}

/// The URL, or of the form with a Service the path, where a query may stand as well.
fn address(webhook: &Value) -> Option<String> {
    let url = webhook["url"].as_str().or_else(|| webhook["path"].as_str())?;
    Some(url.to_owned())
}

fn revision(address: &str) -> Option<String> {
    let (_, query) = address.split_once('?')?;
    let query = query.split('#').next().unwrap_or_default();
    let rev = query.split('&').find_map(|pair| pair.strip_prefix("rev="))?;
    (!rev.is_empty()).then(|| rev.to_owned())
}

/// A duration as Go writes it: `1m30s`, `500ms`, `-2s`, `0`.
fn seconds(text: &str) -> Option<f64> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0.0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at_checked(end)?;
        let number: f64 = number.parse().ok()?;
        let units =
            [("ms", 1e-3), ("us", 1e-6), ("µs", 1e-6), ("ns", 1e-9), ("h", 3600.0), ("m", 60.0), ("s", 1.0)];
        let (tail, unit) =
            units.into_iter().find_map(|(unit, size)| Some((tail.strip_prefix(unit)?, size)))?;
        total += number * unit;
        rest = tail;
    }
    Some(sign * total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_writes_them() {
        for (text, expected) in [
            ("10s", Some(10.0)),
            ("1m30s", Some(90.0)),
            ("500ms", Some(0.5)),
            ("1.5h", Some(5400.0)),
            ("0", Some(0.0)),
            ("-2s", Some(-2.0)),
            ("10", None),
            ("", None),
            ("s", None),
            ("ten", None),
        ] {
            assert_eq!(seconds(text), expected, "{text}");
        }
    }

    #[test]
    fn a_revision_is_read_from_a_query() {
        for (address, expected) in [
            ("http://hook/sync?rev=3", Some("3")),
            ("/sync?a=b&rev=0.1.0-x#top", Some("0.1.0-x")),
            ("http://hook/sync?rev=", None),
            ("http://hook/sync", None),
            ("http://hook/sync?revision=3", None),
        ] {
            assert_eq!(revision(address).as_deref(), expected, "{address}");
        }
    }
}
