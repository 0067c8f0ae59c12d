//! What somebody added, and a CompositeController that is set up wrongly.

use serde_json::{Value, json};

use crate::world::*;

#[test]
fn what_somebody_added_is_named_and_not_fought() {
    let mut request = recorded("served");
    request["children"]["Service.v1"]["iot-system/zigbee"]["spec"]["selector"] = json!({"app": "x"});
    request["related"][SLICES]["iot-system/mine"] = json!({"metadata": {"name": "mine", "namespace": "iot-system",
        "labels": {"kubernetes.io/service-name": "zwave"}}, "addressType": "IPv4", "endpoints": null});
    let answer = answer(&request);
    assert_eq!(reason(&answer, "Degraded").0, "True");
    for says in ["Service iot-system/zigbee has a selector", "EndpointSlice iot-system/mine takes clients of"]
    {
        assert!(message(&answer, "Degraded").contains(says), "{}", message(&answer, "Degraded"));
    }
    assert_eq!(reason(&answer, "Ready").0, "True");
}

#[test]
fn a_controller_that_is_set_up_wrongly_is_told_so() {
    let mut request = recorded("served");
    request["controller"]["spec"]["childResources"][0]["updateStrategy"] = json!({});
    request["controller"]["spec"]["hooks"]["sync"]["version"] = json!("v1");
    request["controller"]["spec"]["hooks"].as_object_mut().unwrap().remove("customize");
    let answer = answer(&request);
    for says in ["daemonsets", "hooks.sync.version", "hooks.customize"] {
        assert!(message(&answer, "Degraded").contains(says), "{}", message(&answer, "Degraded"));
    }
    assert_eq!(children(&answer, "Service").count(), 3);
}

/// One drift each that Metacontroller leaves for ever, and the words that name it.
#[test]
fn everything_that_nobody_takes_back_is_named() {
    const SERVICE: &str = "/children/Service.v1/iot-system~1zigbee";
    const ANCHOR_SERVICE: &str = "/children/Service.v1/serialfleet-system~1home-anchor";
    const SLICE: &str = "/children/EndpointSlice.discovery.k8s.io~1v1/iot-system~1zigbee-ipv4";
    const POLICY: &str = "/children/NetworkPolicy.networking.k8s.io~1v1/serialfleet-system~1home-bridge";
    let pod = format!("{DAEMON_SET}/spec/template/spec");
    let container = format!("{pod}/containers/0");
    for (object, field, value, says) in [
        (SERVICE, "/metadata/labels/team", json!("x"), "Service iot-system/zigbee has label team"),
        (SERVICE, "/spec/selector", json!({"app": "x"}), "Service iot-system/zigbee has a selector"),
        (
            SERVICE,
            "/spec/ports/-",
            json!({"name": "x", "port": 1}),
            "Service iot-system/zigbee has a second port",
        ),
        (SERVICE, "/spec/internalTrafficPolicy", json!("Local"), "internalTrafficPolicy Local"),
        (ANCHOR_SERVICE, "/spec/selector/app", json!("x"), "home-anchor has a narrower selector"),
        (ANCHOR_SERVICE, "/spec/publishNotReadyAddresses", json!(true), "publishNotReadyAddresses"),
        (
            SLICE,
            "/ports/-",
            json!({"name": "x", "port": 1}),
            "EndpointSlice iot-system/zigbee-ipv4 has a second port",
        ),
        (SLICE, "/metadata/labels/team", json!("x"), "EndpointSlice iot-system/zigbee-ipv4 has label team"),
        (POLICY, "/spec/podSelector/matchLabels/app", json!("x"), "narrower podSelector"),
        (POLICY, "/spec/podSelector/matchExpressions", json!([{"key": "a"}]), "narrower podSelector"),
        (
            DAEMON_SET,
            "/metadata/labels/team",
            json!("x"),
            "DaemonSet serialfleet-system/home-bridge has label team",
        ),
        (&container, "/env/-", json!({"name": "LD_PRELOAD", "value": "x"}), "environment LD_PRELOAD"),
        (&container, "/volumeMounts/-", json!({"name": "x", "mountPath": "/x"}), "mount /x"),
        (&container, "/ports/-", json!({"name": "x", "containerPort": 1}), "a further container port"),
        (&pod, "/containers/-", json!({"name": "sidecar"}), "further containers"),
        (&pod, "/initContainers", json!([{"name": "init"}]), "further containers"),
        (&pod, "/volumes/-", json!({"name": "x"}), "volume x"),
        (&pod, "/nodeSelector/disk", json!("ssd"), "a narrower choice of nodes"),
        (&pod, "/affinity", json!({"nodeAffinity": {}}), "a narrower choice of nodes"),
        (&pod, "/hostNetwork", json!(true), "hostNetwork"),
        (&pod, "/hostPID", json!(true), "hostPID"),
    ] {
        let mut request = recorded("served");
        put(&mut request, &format!("{object}{field}"), value);
        let answer = answer(&request);
        assert_eq!(reason(&answer, "Degraded"), ("True", "Drift"), "{object}{field}");
        assert!(message(&answer, "Degraded").contains(says), "{}", message(&answer, "Degraded"));
        assert_eq!(reason(&answer, "Ready").0, "True", "{object}{field}");
        assert_eq!(answer.get("resyncAfterSeconds"), None, "it may last: {object}{field}");
    }
}

fn put(request: &mut Value, pointer: &str, value: Value) {
    let (parent, last) = pointer.rsplit_once('/').unwrap();
    match request.pointer_mut(parent).unwrap_or_else(|| panic!("{parent}")) {
        Value::Array(items) => items.push(value),
        parent => parent[last] = value,
    }
}

/// What the API server fills in, and what users asked for, is no drift.
#[test]
fn defaults_and_the_users_own_labels_are_no_drift() {
    for case in ["served", "scope_node", "rival", "held"] {
        let answer = answer(&recorded(case));
        assert!(!message(&answer, "Degraded").contains("added"), "{case}: {}", message(&answer, "Degraded"));
    }
    let mut request = recorded("served");
    request["parent"]["spec"]["devices"][0]["service"] = json!({"labels": {"team": "x"}});
    child(&mut request, "Service.v1", "iot-system/zigbee")["metadata"]["labels"]["team"] = json!("x");
    assert_eq!(reason(&answer(&request), "Degraded"), ("True", "PolicyOnly"));
}

#[test]
fn what_the_doctor_finds_in_the_calling_controller_is_on_the_fleet_with_the_fix() {
    let mut request = recorded("served");
    let etag = &mut request["controller"]["spec"]["hooks"]["sync"]["webhook"]["etag"];
    etag.as_object_mut().unwrap().remove("cacheCleanupSeconds");
    let answer = answer(&request);
    assert_eq!(reason(&answer, "Degraded"), ("True", "Controller"));
    let told = message(&answer, "Degraded");
    assert!(
        told.contains("spec.hooks.sync.webhook.etag.cacheCleanupSeconds") && told.contains("set it to 600"),
        "{told}"
    );
    assert_eq!(reason(&answer, "Ready").0, "True");
}

#[test]
fn a_controller_that_cannot_be_read_stands_in_nobodys_way() {
    for controller in [json!(3), json!([]), json!({"spec": [1]}), json!(null)] {
        let mut request = recorded("served");
        request["controller"] = controller;
        assert_eq!(reason(&answer(&request), "Ready").0, "True");
    }
}
