//! What is predicted, from a fleet whose children are as Metacontroller left them, and what somebody or something did
//! since.

use std::time::SystemTime;

use serde_json::{Value, json};

use super::*;
use crate::{config::Config, merge::LAST_APPLIED, request::SyncRequest, sync::respond};

const SLICE: &str = "EndpointSlice.discovery.k8s.io/v1";

fn answer(request: &Value) -> String {
    let request = SyncRequest::parse(request.to_string().as_bytes()).unwrap();
    let config = Config::with_image("example/serialfleet:test");
    serde_json::to_string(&respond(&request, &config, SystemTime::UNIX_EPOCH)).unwrap()
}

fn predicted(request: &Value) -> Prediction {
    predict(request.to_string().as_bytes(), answer(request).as_bytes()).unwrap()
}

/// A fleet that was never synced.
fn new() -> Value {
    json!({
        "parent": {"apiVersion": "serialfleet.io/v1alpha1", "kind": "SerialFleet",
            "metadata": {"name": "home", "uid": "u", "generation": 2},
            "spec": {"devices": [{"name": "zigbee", "match": {"usb": "10c4:ea60"}}]}},
        "children": {"Service.v1": {}, "DaemonSet.apps/v1": {}, SLICE: {}, "NetworkPolicy.networking.k8s.io/v1": {}},
        "related": {
            "SerialNode.serialfleet.io/v1alpha1": {"home.a": node("a", "Serving"), "home.b": node("b", "Absent")},
            SLICE: {"anchor": {"metadata": {"namespace": "serialfleet-system", "name": "anchor",
                    "labels": {"kubernetes.io/service-name": "home-anchor"}},
                "addressType": "IPv4", "endpoints": [endpoint("a", 1), endpoint("b", 2)]}},
            "Namespace.v1": {"serialfleet-system": {"metadata": {"name": "serialfleet-system",
                "labels": {"serialfleet.io/services": "allowed"}}}},
        },
    })
}

fn node(name: &str, state: &str) -> Value {
    json!({"metadata": {"name": format!("home.{name}")}, "nodeName": name, "fleet": "home", "podUID": name,
        "ports": [{"name": "zigbee", "state": state, "tty": "ttyUSB0"}]})
}

fn endpoint(node: &str, number: u8) -> Value {
    json!({"addresses": [format!("10.0.0.{number}")], "nodeName": node,
        "targetRef": {"kind": "Pod", "name": node, "uid": node}})
}

/// The same, with each child as it was made.
fn settled() -> Value {
    let mut request = new();
    let told: Value = serde_json::from_str(&answer(&request)).unwrap();
    for child in told["children"].as_array().unwrap() {
        let mut child = child.clone();
        merge::add_controller_uid(&mut child, "u");
        let mut made = merge::create(&request["parent"], &child);
        made["metadata"]["managedFields"] = json!([{"manager": "metacontroller"}]);
        made["metadata"]["resourceVersion"] = json!("7");
        let kind = made["kind"].as_str().unwrap();
        let group = match made["apiVersion"].as_str().unwrap() {
            "v1" => format!("{kind}.v1"),
            version => format!("{kind}.{version}"),
        };
        let key = format!("{}/{}", made["metadata"]["namespace"], made["metadata"]["name"]).replace('"', "");
        request["children"][group][key] = made;
    }
    request
}

/// What is predicted for what was settled and then changed, as `action title: reason` and paths.
fn after(change: impl FnOnce(&mut Value)) -> Vec<String> {
    let mut request = settled();
    change(&mut request);
    lines(&predicted(&request))
}

fn lines(prediction: &Prediction) -> Vec<String> {
    let mut lines = Vec::new();
    for change in &prediction.changes {
        lines.push(format!("{} {}: {}", change.action.as_str(), change.title(), change.reason));
        lines.extend(change.paths.iter().map(|it| format!("{} {:?}", it.path, it.from)));
    }
    lines
}

fn service(request: &mut Value) -> &mut Value {
    &mut request["children"]["Service.v1"]["serialfleet-system/zigbee"]
}

fn slice(request: &mut Value) -> &mut Value {
    &mut request["children"][SLICE]["serialfleet-system/zigbee-ipv4"]
}

#[test]
fn what_is_not_there_is_made() {
    let prediction = predicted(&new());
    assert_eq!(
        lines(&prediction),
        [
            "Create DaemonSet serialfleet-system/home-bridge: not there: the fleet is new, or somebody deleted it",
            "Create Service serialfleet-system/home-anchor: not there: the fleet is new, or somebody deleted it",
            "Create NetworkPolicy serialfleet-system/home-bridge: not there: the fleet is new, or somebody deleted it",
            "Create Service serialfleet-system/zigbee: nothing is there of device zigbee: new, or somebody deleted it",
            "Create EndpointSlice serialfleet-system/zigbee-ipv4: device zigbee has none of this address family yet: new, \
             or somebody deleted it",
        ]
    );
    assert_eq!(prediction.summary(), "5 created, status changed");
    assert!(!prediction.is_at_rest());
}

#[test]
fn what_was_settled_stays_and_the_status_is_written_once() {
    let mut request = settled();
    for _ in 0..2 {
        let prediction = predicted(&request);
        assert_eq!((lines(&prediction), prediction.unchanged), (vec![], 5));
        let told: Value = serde_json::from_str(&answer(&request)).unwrap();
        request["parent"]["status"] = told["status"].clone();
        request["parent"]["status"]["observedGeneration"] = json!(2);
    }
    let prediction = predicted(&request);
    assert!(prediction.is_at_rest(), "{prediction}");
    assert_eq!(prediction.summary(), "nothing");
    request["parent"]["metadata"]["generation"] = json!(3);
    let paths: Vec<String> = predicted(&request).status.into_iter().map(|it| it.path).collect();
    assert!(paths.contains(&"observedGeneration".to_owned()), "{paths:?}");
    assert!(paths.contains(&"conditions.Ready.observedGeneration".to_owned()), "{paths:?}");
}

#[test]
fn what_changed_is_told_path_by_path_with_its_reason() {
    assert_eq!(
        after(|it| service(it)["metadata"]["labels"]["serialfleet.io/fleet"] = json!("other")),
        [
            "Update Service serialfleet-system/zigbee: somebody changed it: set back",
            "metadata.labels[\"serialfleet.io/fleet\"] Drift"
        ]
    );
    assert_eq!(
        after(|it| it["related"]["SerialNode.serialfleet.io/v1alpha1"] = json!({
            "home.a": node("a", "Held"), "home.b": node("b", "Serving")})),
        [
            "Update EndpointSlice serialfleet-system/zigbee-ipv4: the device moved from a to b",
            "endpoints[0].addresses[0] Wish",
            "endpoints[0].nodeName Wish",
            "endpoints[0].targetRef.name Wish",
            "endpoints[0].targetRef.uid Wish"
        ]
    );
    let gone =
        "Update EndpointSlice serialfleet-system/zigbee-ipv4: nobody serves the device any more, it was a";
    assert_eq!(
        after(|it| it["related"]["SerialNode.serialfleet.io/v1alpha1"] = json!({})),
        [gone, "endpoints Wish"]
    );
    assert_eq!(
        after(|it| it["parent"]["spec"]["devices"] = json!([])),
        [
            "Update NetworkPolicy serialfleet-system/home-bridge: other clients or ports are let in",
            "spec.ingress[0].ports Wish",
            "Delete EndpointSlice serialfleet-system/zigbee-ipv4: the fleet has no device zigbee any more",
            "Delete Service serialfleet-system/zigbee: the fleet has no device zigbee any more"
        ]
    );
    let lines = after(|it| it["parent"]["spec"]["bridge"] = json!({"nodeSelector": {"a": "b"}}));
    assert_eq!(
        lines,
        [
            "Update DaemonSet serialfleet-system/home-bridge: other pods: bridges restart one node at a time",
            "spec.template.spec.nodeSelector.a Wish"
        ]
    );
}

#[test]
fn what_metacontroller_never_does_is_not_predicted() {
    // Not named by us: neither under dynamic nor under server-side apply is it taken away.
    let foreign = |it: &mut Value| service(it)["metadata"]["labels"]["mine"] = json!("x");
    assert_eq!(after(foreign), Vec::<String>::new());
    let leaving = after(|it| slice(it)["metadata"]["deletionTimestamp"] = json!("2026-11-21T08:41:04Z"));
    assert!(leaving.len() == 1 && leaving[0].starts_with("Leave EndpointSlice"), "{leaving:?}");
    let undesired = after(|it| {
        slice(it)["metadata"]["deletionTimestamp"] = json!("2026-11-21T08:41:04Z");
        it["parent"]["spec"]["devices"] = json!([]);
    });
    assert!(!undesired.iter().any(|it| it.contains("EndpointSlice")), "{undesired:?}");
    let broken = after(|it| service(it)["metadata"]["annotations"][LAST_APPLIED] = json!("{"));
    assert!(broken.len() == 1 && broken[0].contains("remove that annotation"), "{broken:?}");
}

#[test]
fn without_its_annotation_only_what_is_named_is_compared() {
    let lines = after(|it| {
        let service = service(it);
        service["metadata"]["annotations"] = json!({"mine": "x"});
        service["spec"]["clusterIP"] = json!("10.96.0.7");
    });
    assert_eq!(lines, Vec::<String>::new());
    let lines = after(|it| {
        let service = service(it);
        service["metadata"]["annotations"] = json!({});
        service["spec"]["ports"][0]["targetPort"] = json!(1);
    });
    assert_eq!(
        lines,
        ["Update Service serialfleet-system/zigbee: another port", "spec.ports[0].targetPort Unknown"]
    );
}

#[test]
fn the_update_method_decides() {
    for (method, action) in
        [("InPlace", "Update"), ("Recreate", "Recreate"), ("OnDelete", "Leave"), ("", "Leave")]
    {
        let lines = after(|it| {
            it["controller"] = json!({"spec": {"generateSelector": true, "childResources": [
                {"apiVersion": "v1", "resource": "services", "updateStrategy": {"method": method}}]}});
            service(it)["metadata"]["labels"]["serialfleet.io/fleet"] = json!("other");
        });
        assert!(lines[0].starts_with(&format!("{action} Service")), "{method}: {lines:?}");
    }
}

#[test]
fn an_annotation_alone_is_told_by_what_is_in_it() {
    let lines = after(|it| {
        let annotation = &mut service(it)["metadata"]["annotations"][LAST_APPLIED];
        *annotation = json!(annotation.as_str().unwrap().replace("\"controller-uid\":\"u\",", ""));
    });
    assert_eq!(
        lines,
        [
            "Update Service serialfleet-system/zigbee: the object stays, only what was applied last is written anew",
            "(last applied): metadata.labels.controller-uid Wish"
        ]
    );
}

#[test]
fn each_write_has_a_number_of_its_own_that_stays() {
    let mut request = settled();
    service(&mut request)["metadata"]["labels"]["serialfleet.io/fleet"] = json!("other");
    let writes: Vec<_> = predicted(&request).writes().collect();
    assert_eq!(writes, predicted(&request).writes().collect::<Vec<_>>());
    let mut numbers: Vec<u64> = writes.iter().map(|(number, _)| *number).collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), writes.len());
    assert!(
        writes.iter().any(|(_, name)| name.starts_with("Service serialfleet-system/zigbee metadata.labels"))
    );
}

#[test]
fn what_is_no_request_is_told() {
    let request = new().to_string();
    assert!(predict(b"{", b"{}").is_err());
    assert!(predict(request.as_bytes(), b"[").is_err());
    assert!(predict(br#"{"parent": 1}"#, b"{}").is_err());
    let odd = json!({"parent": {}, "controller": "x", "children": {"A.b/c": {"d": {}}, "E": null}});
    let prediction = predict(odd.to_string().as_bytes(), b"{}").unwrap();
    assert_eq!(lines(&prediction), ["Delete A /: the answer does not name it"]);
    assert!(predict(request.as_bytes(), br#"{"children": [1]}"#).is_err());
}

#[test]
fn the_text_is_for_a_terminal() {
    let mut request = settled();
    service(&mut request)["metadata"]["labels"]["serialfleet.io/fleet"] = json!("o\u{202e}ther\u{1b}[2J");
    let text = predicted(&request).to_string();
    assert!(!text.contains(|c: char| c == '\u{202e}' || (c.is_control() && c != '\n')), "{text:?}");
    assert!(
        text.contains("change Service serialfleet-system/zigbee: somebody changed it: set back\n"),
        "{text}"
    );
    assert!(
        text.contains("  metadata.labels[\"serialfleet.io/fleet\"]  (somebody changed it)\n    - "),
        "{text}"
    );
    assert!(text.contains("    + \"home\"\n"), "{text}");
}
