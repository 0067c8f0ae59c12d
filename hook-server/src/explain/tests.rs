//! Each explanation whole, from the recorded requests. `UPDATE_GOLDEN=1` records anew; read it as an operator would.

use std::path::Path;

use serde_json::{Value, json};

use super::*;

fn recorded(case: &str) -> Value {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(case).join("request.json");
    serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
}

fn explained(request: &Value, device: &str) -> String {
    explain(&SyncRequest::parse(request.to_string().as_bytes()).unwrap(), device).unwrap()
}

const NODES: &str = "SerialNode.serialfleet.io/v1alpha1";
const SLICES: &str = "EndpointSlice.discovery.k8s.io/v1";

/// Name, recorded request, device, what is changed in it.
type Case = (&'static str, &'static str, &'static str, fn(&mut Value));

const CASES: &[Case] = &[
    ("served", "served", "zigbee", |_| {}),
    ("absent", "served", "zwave", |_| {}),
    ("rival", "rival", "zigbee", |_| {}),
    ("conflict", "conflict", "zigbee", |_| {}),
    ("moved", "moved", "zigbee", |_| {}),
    ("held", "held", "zigbee", |_| {}),
    ("bridge_not_ready", "node_not_ready", "zigbee", |_| {}),
    ("no_bridge", "first_sync", "zigbee", |_| {}),
    ("name_taken", "foreign_service", "zigbee", |_| {}),
    ("namespace_missing", "namespace_missing", "zigbee", |_| {}),
    ("scope_node", "scope_node", "meter", |_| {}),
    ("scope_node_expected", "scope_node", "ups", |_| {}),
    ("scope_node_nowhere", "scope_node", "meter", |request| {
        request["children"] = json!({});
        for node in request["related"][NODES].as_object_mut().unwrap().values_mut() {
            node["ports"] = json!([]);
        }
    }),
    ("stale_report", "served", "zigbee", |request| {
        request["related"][NODES]["home.wyse-1"]["podUID"] = json!("an-earlier-pod");
    }),
    ("other_node_allowed", "served", "zigbee", |request| {
        request["parent"]["spec"]["devices"][0]["match"]["nodes"] = json!(["wyse-2"]);
    }),
    ("incumbent_away", "rival", "zigbee", |request| {
        request["parent"]["status"]["devices"][0]["state"] = json!("Conflict");
        for slice in request["related"][SLICES].as_object_mut().unwrap().values_mut() {
            slice["endpoints"][0]["conditions"]["ready"] = json!(false);
        }
    }),
    ("foreign_slice", "served", "zigbee", |request| {
        request["related"][SLICES]["iot-system/mine"] = json!({"metadata": {"name": "mine",
            "namespace": "iot-system", "labels": {"kubernetes.io/service-name": "zigbee"}}});
    }),
    ("hostile", "served", "zigbee", |request| {
        request["related"][NODES]["home.wyse-1"]["ports"] = json!([{"name": "zigbee", "state": "Failed\u{1b}[2J",
            "reason": "x\ny", "tty": "t\u{7}", "message": "m".repeat(9000),
            "warnings": [{"reason": "\u{0}", "message": "w\r"}]}]);
    }),
];

#[test]
fn every_explanation_is_as_recorded() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden-explain");
    let mut differing = Vec::new();
    for (name, case, device, change) in CASES {
        let mut request = recorded(case);
        change(&mut request);
        let text = explained(&request, device);
        assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{name}: {text:?}");
        let file = root.join(format!("{name}.txt"));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::create_dir_all(&root).unwrap();
            std::fs::write(&file, &text).unwrap();
        } else if std::fs::read_to_string(&file).ok().as_deref() != Some(text.as_str()) {
            differing.push(*name);
        }
    }
    assert!(differing.is_empty(), "not as recorded (UPDATE_GOLDEN=1 records anew): {differing:?}");
}

#[test]
fn a_device_that_the_fleet_does_not_have_is_answered_with_those_it_has() {
    let request = recorded("served").to_string();
    let error = explain(&SyncRequest::parse(request.as_bytes()).unwrap(), "zigbe\n").unwrap_err().to_string();
    assert_eq!(error, r#"fleet home has no device "zigbe "; it has zigbee, zwave"#);
}
