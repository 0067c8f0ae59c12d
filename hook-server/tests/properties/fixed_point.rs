//! The answer comes to rest: applied to what the API server stored of it, it changes nothing, under either of
//! Metacontroller's apply strategies; for every example, and for whatever fleet.

use std::path::Path;

use proptest::prelude::*;
use serde_json::{Value, json};
use serialfleet_hook::{config::Config, request::SyncRequest, sync::sync};

use super::{
    DEVICES, answer,
    api_server::{dynamic_apply, owned, server_side_apply, stored},
    bridge, devices, request, spec, world,
};

fn assert_at_rest(answer: &Value) {
    for child in answer["children"].as_array().unwrap() {
        let (desired, stored) = (owned(child), stored(child));
        assert_eq!(dynamic_apply(&stored, &desired), stored, "dynamic apply");
        assert_eq!(server_side_apply(&stored, &desired), stored, "server-side apply");
    }
}

/// The answer's children as the API server stores them, by group and name.
fn observed(answer: &Value) -> Value {
    let mut stored_answer = answer.clone();
    for child in stored_answer["children"].as_array_mut().unwrap() {
        *child = stored(child);
    }
    super::observed(&stored_answer)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_was_stored_is_left_alone(devices in devices(), bridge in bridge(), world in world(DEVICES)) {
        let spec = spec(&devices, &bridge);
        let first = answer(&request(&spec, &world, &json!({})));
        assert_at_rest(&first);
        let second = answer(&request(&spec, &world, &observed(&first)));
        prop_assert_eq!(&first["children"], &second["children"]);
        let conditions = second["status"]["conditions"].as_array().unwrap();
        let degraded = conditions.iter().find(|it| it["type"] == "Degraded").unwrap();
        prop_assert!(degraded["reason"] != "Drift", "{}", degraded);
        let applied = conditions.iter().find(|it| it["type"] == "Applied").unwrap();
        // A nodePort that two devices want is the one thing that the API server would not store.
        prop_assert!(applied["status"] == "True" || second.to_string().contains("NodePortTaken"), "{}", applied);
    }
}

#[test]
fn every_example_comes_to_rest() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let mut seen = 0;
    for file in examples.read_dir().unwrap().map(|entry| entry.unwrap().path()) {
        if file.extension().is_none_or(|it| it != "yaml") {
            continue;
        }
        let fleet = serialfleet_api::manifest::read_fleet(&std::fs::read_to_string(&file).unwrap());
        let fleet = fleet.unwrap_or_else(|problems| panic!("{}: {problems:?}", file.display()));
        let namespace = fleet.spec.service_namespace.clone().unwrap_or_default();
        let mut parent = serde_json::to_value(&fleet).unwrap();
        parent["metadata"]["uid"] = json!("u");
        let request = json!({"parent": parent, "children": {}, "related": {
            "SerialNode.serialfleet.io/v1alpha1": {},
            "EndpointSlice.discovery.k8s.io/v1": {"a": {"metadata": {"name": "x", "namespace": "serialfleet-system",
                "labels": {"kubernetes.io/service-name": format!("{}-anchor", parent["metadata"]["name"].as_str().unwrap())}},
                "addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"], "nodeName": "a",
                    "targetRef": {"kind": "Pod", "name": "p", "uid": "p"}}]}},
            "Namespace.v1": {"n": {"metadata": {"name": namespace, "labels": {"serialfleet.io/services": "allowed"}}}},
        }});
        for allow_host_network in [false, true] {
            let config = Config { allow_host_network, ..Config::with_image("example/serialfleet:test") };
            let request = SyncRequest::parse(request.to_string().as_bytes()).unwrap();
            let answer = sync(&request, &config, std::time::SystemTime::UNIX_EPOCH).unwrap();
            assert_at_rest(&serde_json::to_value(answer).unwrap());
        }
        seen += 1;
    }
    assert!(seen > 4, "{seen}");
}

/// The models above can tell: each of these is known to be written again and again.
#[test]
fn what_never_comes_to_rest_is_noticed() {
    let child = |endpoints: Value| {
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": "a", "namespace": "b", "labels": {}}, "endpoints": endpoints})
    };
    let mut stored = stored(&child(Value::Null));
    assert_eq!(dynamic_apply(&stored, &owned(&child(Value::Null))), stored);
    assert_ne!(dynamic_apply(&stored, &owned(&child(json!([])))), stored);
    // An endpoint that somebody put there goes.
    stored["endpoints"] = json!([{"addresses": ["10.0.0.9"]}]);
    assert_eq!(dynamic_apply(&stored, &owned(&child(Value::Null)))["endpoints"], Value::Null);
    assert_eq!(server_side_apply(&stored, &owned(&child(Value::Null)))["endpoints"], Value::Null);
}
