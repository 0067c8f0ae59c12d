//! A call that Metacontroller made (recorded; the fleet and the SerialNode in their present form) is read whole.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use serde_json::Value;
use serialfleet_api::{
    hook::{CustomizeRequest, SyncRequest, SyncResponse},
    node::{PortState, SerialNode},
    validate::validate,
};

const REQUEST: &str = include_str!("fixtures/sync-request.json");

#[test]
fn a_recorded_sync_request_is_read() {
    let request: SyncRequest = serde_json::from_str(REQUEST).unwrap();
    assert!(!request.finalizing);
    assert_eq!(request.controller["metadata"]["name"], "serialfleet");
    let fleet = validate(&request.parent).unwrap();
    assert_eq!(fleet.metadata.name.as_deref(), Some("home"));
    assert_eq!(fleet.spec.devices.len(), 3);
    let children = request.children.unwrap();
    assert!(children["DaemonSet.apps/v1"].contains_key("serialfleet-system/home-bridge"));
    let node = &request.related.unwrap()["SerialNode.serialfleet.io/v1alpha1"]["home.node-a"];
    let node: SerialNode = serde_json::from_value(node.clone()).unwrap();
    assert_eq!(node.ports[0].state, PortState::Serving);
    assert_eq!(node.metadata.owner_references[0].kind, "Node");
}

#[test]
fn a_serial_node_is_written_as_it_was_read() {
    let request: SyncRequest = serde_json::from_str(REQUEST).unwrap();
    let mut before = request.related.unwrap()["SerialNode.serialfleet.io/v1alpha1"]["home.node-a"].clone();
    let node: SerialNode = serde_json::from_value(before.clone()).unwrap();
    let mut after = serde_json::to_value(node).unwrap();
    for value in [&mut before, &mut after] {
        value.as_object_mut().unwrap().remove("metadata");
    }
    assert_eq!(before, after);
}

#[test]
fn envelopes_may_lack_what_metacontroller_leaves_out() {
    let request: SyncRequest =
        serde_json::from_str(r#"{"parent": {}, "children": null, "later": 1}"#).unwrap();
    assert_eq!((request.children, request.related, request.finalizing), (None, None, false));
    let request: CustomizeRequest = serde_json::from_str(r#"{"parent": {"kind": "SerialFleet"}}"#).unwrap();
    assert_eq!(request.parent["kind"], "SerialFleet");
}

/// Metacontroller reads answers strictly: a field that it does not know, or a null, fails the sync.
#[test]
fn answers_have_no_fields_that_say_nothing() {
    let answer =
        serde_json::to_value(SyncResponse { status: Value::Null, ..SyncResponse::default() }).unwrap();
    let fields: Vec<&String> = answer.as_object().unwrap().keys().collect();
    assert_eq!(fields, ["children", "status"]);
}
