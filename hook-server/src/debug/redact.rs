//! A captured request, fit to be shown and to be replayed: what the CompositeController says about credentials is taken
//! out, annotations of others are bounded. Goes through the request one object at a time, so that a large one never
//! stands in memory as a tree. Everything that the hook decides by stays as it is.

use std::{borrow::Cow, collections::BTreeMap};

use serde_json::{Map, Value, value::RawValue};

use crate::merge::LAST_APPLIED;

/// What stands for what was taken out.
pub(super) const REDACTED: &str = "[redacted]";
/// Longest value of an annotation, in bytes; but for what Metacontroller remembers, without which nothing can be predicted.
const ANNOTATION: usize = 1024;

type Envelope<'a> = BTreeMap<Cow<'a, str>, &'a RawValue>;

/// The request without what is secret, indented where `pretty`.
pub(super) fn redacted(request: &[u8], pretty: bool) -> serde_json::Result<Vec<u8>> {
    let envelope: Envelope<'_> = serde_json::from_slice(request)?;
    let mut out = Vec::with_capacity(request.len());
    let mut separator: &[u8] = b"{";
    for (field, raw) in &envelope {
        out.extend_from_slice(separator);
        separator = b",";
        serde_json::to_writer(&mut out, field)?;
        out.push(b':');
        match field.as_ref() {
            "controller" => write(&mut out, &controller(serde_json::from_str(raw.get())?), pretty)?,
            "children" | "related" => groups(&mut out, raw, pretty)?,
            _ => write(&mut out, &object(raw)?, pretty)?,
        }
    }
    out.extend_from_slice(if envelope.is_empty() { b"{}\n" } else { b"}\n" });
    Ok(out)
}

fn groups(out: &mut Vec<u8>, raw: &RawValue, pretty: bool) -> serde_json::Result<()> {
    let Ok(groups) = serde_json::from_str::<BTreeMap<Cow<'_, str>, Option<Envelope<'_>>>>(raw.get()) else {
        return write(out, &object(raw)?, pretty);
    };
    let mut separator: &[u8] = b"{";
    for (group, objects) in &groups {
        out.extend_from_slice(separator);
        separator = if pretty { b",\n" } else { b"," };
        serde_json::to_writer(&mut *out, group)?;
        out.extend_from_slice(b":");
        let mut inner: &[u8] = b"{";
        for (name, raw) in objects.iter().flatten() {
            out.extend_from_slice(inner);
            inner = if pretty { b",\n" } else { b"," };
            serde_json::to_writer(&mut *out, name)?;
            out.push(b':');
            write(out, &object(raw)?, pretty)?;
        }
        out.extend_from_slice(if inner == b"{" { b"{}" } else { b"}" });
    }
    out.extend_from_slice(if groups.is_empty() { b"{}" } else { b"}" });
    Ok(())
}

fn write(out: &mut Vec<u8>, value: &Value, pretty: bool) -> serde_json::Result<()> {
    if pretty { serde_json::to_writer_pretty(out, value) } else { serde_json::to_writer(out, value) }
}

fn object(raw: &RawValue) -> serde_json::Result<Value> {
    let mut value = serde_json::from_str(raw.get())?;
    bound_annotations(&mut value);
    Ok(value)
}

/// Only what is known to be harmless of its metadata; annotations may hold a copy of the whole.
fn controller(mut controller: Value) -> Value {
    if let Some(Value::Object(metadata)) = controller.get_mut("metadata") {
        metadata.remove("annotations");
        metadata.remove("managedFields");
    }
    redact(&mut controller);
    controller
}

fn redact(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields.iter_mut() {
                if is_secret(key) && !value.is_null() {
                    *value = Value::from(REDACTED);
                } else if let (true, Value::String(url)) = (key == "url", &mut *value) {
                    *url = without_user(url);
                } else {
                    redact(value);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(redact),
        _ => {}
    }
}

fn is_secret(key: &str) -> bool {
    const WORDS: [&str; 9] =
        ["auth", "tls", "cabundle", "secret", "token", "password", "credential", "certificate", "header"];
    let key = key.to_ascii_lowercase();
    WORDS.iter().any(|word| key.contains(word))
}

/// `http://user:password@host/` without user and password, and of the query no more than the revision.
fn without_user(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let user = if host.len() < authority.len() { "[redacted]@" } else { "" };
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let query: Vec<String> = query
        .split('&')
        .filter(|it| !it.is_empty())
        .map(|pair| match pair.split_once('=') {
            Some((key, _)) if key != "rev" => format!("{key}={REDACTED}"),
            _ => pair.to_owned(),
        })
        .collect();
    let scheme = if scheme.is_empty() { String::new() } else { format!("{scheme}://") };
    let mark = if query.is_empty() { "" } else { "?" };
    format!("{scheme}{user}{host}{path}{mark}{}", query.join("&"))
}

fn bound_annotations(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields.iter_mut() {
                match value {
                    Value::Object(annotations) if key == "annotations" => bound(annotations),
                    other => bound_annotations(other),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(bound_annotations),
        _ => {}
    }
}

fn bound(annotations: &mut Map<String, Value>) {
    for (_, value) in annotations.iter_mut().filter(|(key, _)| *key != LAST_APPLIED) {
        if let Value::String(text) = value
            && text.len() > ANNOTATION
        {
            let end = text.char_indices().map(|(at, _)| at).take_while(|at| *at <= ANNOTATION).last();
            *text = format!(
                "{}… [cut from {} bytes]",
                text.get(..end.unwrap_or_default()).unwrap_or_default(),
                text.len()
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(request: &Value) -> Value {
        let plain = redacted(request.to_string().as_bytes(), false).unwrap();
        let pretty = redacted(request.to_string().as_bytes(), true).unwrap();
        let value: Value = serde_json::from_slice(&plain).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&pretty).unwrap(), value);
        value
    }

    #[test]
    fn what_the_hook_decides_by_stays_and_credentials_go() {
        let mut request = json!({
            "controller": {"kind": "CompositeController", "metadata": {"name": "c",
                "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "hunter2"}},
                "spec": {"generateSelector": true, "hooks": {"sync": {"version": "v2", "webhook": {
                    "url": "https://me:hunter2@hook.svc:8443/sync?rev=7&key=hunter2", "timeout": "10s",
                    "authorization": {"credentials": {"name": "hunter2", "key": "token"}},
                    "basicAuth": {"username": {"name": "hunter2"}}, "caBundle": "hunter2",
                    "clientTLS": {"secretName": "hunter2"}, "etag": {"enabled": true}}}},
                  "endpointConfigs": [{"bearerTokenFile": "hunter2"}]}},
            "parent": {"metadata": {"name": "home"}, "spec": {"devices": []}},
            "children": {"Service.v1": {"a/b": {"metadata": {"name": "b"}}}, "DaemonSet.apps/v1": {}, "Pod.v1": null},
            "related": {}, "finalizing": false,
        });
        let shown = shown(&request);
        assert!(!shown.to_string().contains("hunter2"), "{shown}");
        let webhook = &shown["controller"]["spec"]["hooks"]["sync"]["webhook"];
        assert_eq!(webhook["url"], "https://[redacted]@hook.svc:8443/sync?rev=7&key=[redacted]");
        assert_eq!(webhook["etag"], json!({"enabled": true}));
        assert_eq!(webhook["timeout"], "10s");
        assert_eq!(webhook["authorization"], REDACTED);
        for field in ["parent", "children", "related", "finalizing"] {
            let whole = request[field].take();
            let whole = if field == "children" {
                json!({"Service.v1": whole["Service.v1"], "DaemonSet.apps/v1": {}, "Pod.v1": {}})
            } else {
                whole
            };
            assert_eq!(shown[field], whole, "{field}");
        }
    }

    #[test]
    fn annotations_are_bounded_but_for_what_metacontroller_remembers() {
        let long = "ä".repeat(4000);
        let request = json!({"parent": {"metadata": {"annotations": {"a": long, LAST_APPLIED: long}}},
            "children": {"DaemonSet.apps/v1": {"x": {"spec": {"template": {"metadata": {"annotations": {"b": long}}}}}}}});
        let shown = shown(&request);
        let annotations = &shown["parent"]["metadata"]["annotations"];
        assert_eq!(annotations[LAST_APPLIED], json!(long));
        for text in [
            &annotations["a"],
            &shown["children"]["DaemonSet.apps/v1"]["x"]["spec"]["template"]["metadata"]["annotations"]["b"],
        ] {
            let text = text.as_str().unwrap();
            assert!(text.len() < 1100 && text.ends_with("[cut from 8000 bytes]"), "{text}");
        }
    }

    #[test]
    fn what_is_no_object_of_objects_is_shown_all_the_same() {
        assert_eq!(shown(&json!({})), json!({}));
        let odd = json!({"controller": null, "children": [1, {"a": 2}], "parent": "x"});
        assert_eq!(shown(&odd), odd);
        assert!(redacted(b"hello", false).is_err());
    }
}
