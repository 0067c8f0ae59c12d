//! Whether two hooks answered alike where it matters: the children by kind and name, their ports and endpoints, and
//! where each device is.
//!
//! Owner: the plan, once for each size. Labels and messages may differ; how long the answers are is shown.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::stored::{group, key};

/// Fails with the first difference.
pub(crate) fn check(ours: &[u8], theirs: &[u8]) -> Result<()> {
    let (ours, theirs) = (essence(ours)?, essence(theirs)?);
    for (name, our) in &ours {
        match theirs.get(name) {
            Some(their) if our == their => {}
            their => bail!("{name}: ours {our}, theirs {}", their.unwrap_or(&Value::Null)),
        }
    }
    match theirs.keys().find(|name| !ours.contains_key(*name)) {
        Some(name) => bail!("{name} is theirs alone"),
        None => Ok(()),
    }
}

fn essence(answer: &[u8]) -> Result<BTreeMap<String, Value>> {
    let answer: Value = serde_json::from_slice(answer)?;
    let mut essence = BTreeMap::new();
    for child in answer["children"].as_array().context("no children")? {
        let spec = &child["spec"];
        let what = match child["kind"].as_str() {
            Some("EndpointSlice") => json!([child["addressType"], child["endpoints"], child["ports"]]),
            Some("Service") => json!([spec["type"], spec["clusterIP"], spec["selector"], spec["ports"]]),
            // Its template is one constant: not what answers are made of.
            Some("DaemonSet") => spec["selector"].clone(),
            _ => spec.clone(),
        };
        essence.insert(format!("{} {}", group(child), key(child)), what);
    }
    for device in answer["status"]["devices"].as_array().context("no devices in the status")? {
        let name = device["name"].as_str().unwrap_or_default();
        essence.insert(format!("device {name}"), json!([device["state"], device["node"], device["tty"]]));
    }
    Ok(essence)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(node: &str, label: &str) -> Vec<u8> {
        json!({
            "children": [{"kind": "EndpointSlice", "apiVersion": "discovery.k8s.io/v1", "endpoints": [{"nodeName": node}],
                "metadata": {"name": "a", "namespace": "n", "labels": {"x": label}}}],
            "status": {"devices": [{"name": "a", "state": "Serving", "node": node, "message": label}]},
        })
        .to_string()
        .into_bytes()
    }

    #[test]
    fn endpoints_must_be_the_same_and_labels_need_not() {
        assert!(check(&answer("one", "x"), &answer("one", "y")).is_ok());
        let error = check(&answer("one", "x"), &answer("two", "x")).unwrap_err().to_string();
        assert!(error.starts_with("EndpointSlice.discovery.k8s.io/v1 n/a: "), "{error}");
        let nothing = json!({"children": [], "status": {"devices": []}}).to_string();
        assert!(check(nothing.as_bytes(), &answer("one", "x")).is_err());
    }
}
