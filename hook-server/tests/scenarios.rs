//! What a fleet goes through: sequences of syncs that start from a recorded request.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use std::{path::Path, time::SystemTime};

use serde_json::{Value, json};
use serialfleet_hook::{config::Config, request::SyncRequest, sync::sync};

const NODES: &str = "SerialNode.serialfleet.io/v1alpha1";
const SLICES: &str = "EndpointSlice.discovery.k8s.io/v1";
const ANCHOR: &str = "serialfleet-system/home-anchor-skxhg";
const DAEMON_SET: &str = "/children/DaemonSet.apps~1v1/serialfleet-system~1home-bridge";

fn recorded(case: &str) -> Value {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(case).join("request.json");
    serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
}

fn at(time: &str) -> SystemTime {
    humantime::parse_rfc3339(time).unwrap()
}

fn config() -> Config {
    Config::with_image("example/serialfleet:test")
}

fn answer_with(request: &Value, config: &Config, now: SystemTime) -> Value {
    let request = SyncRequest::parse(request.to_string().as_bytes()).unwrap();
    serde_json::to_value(sync(&request, config, now).unwrap()).unwrap()
}

fn answer(request: &Value) -> Value {
    answer_with(request, &config(), at("2026-11-21T09:00:00Z"))
}

/// The next request: the status was written, and the slices are as answered.
fn next(request: &Value, answer: &Value) -> Value {
    let mut request = request.clone();
    request["parent"]["status"] = answer["status"].clone();
    request["parent"]["status"]["observedGeneration"] = request["parent"]["metadata"]["generation"].clone();
    for slice in children(answer, "EndpointSlice") {
        let key = format!("iot-system/{}", slice["metadata"]["name"].as_str().unwrap());
        request["children"][SLICES][key] = slice.clone();
    }
    request
}

fn children<'a>(answer: &'a Value, kind: &'a str) -> impl Iterator<Item = &'a Value> {
    answer["children"].as_array().unwrap().iter().filter(move |child| child["kind"] == kind)
}

fn condition<'a>(answer: &'a Value, type_: &str) -> &'a Value {
    answer["status"]["conditions"].as_array().unwrap().iter().find(|it| it["type"] == type_).unwrap()
}

fn reason<'a>(answer: &'a Value, type_: &str) -> (&'a str, &'a str) {
    let it = condition(answer, type_);
    (it["status"].as_str().unwrap(), it["reason"].as_str().unwrap())
}

fn message<'a>(answer: &'a Value, type_: &str) -> &'a str {
    condition(answer, type_)["message"].as_str().unwrap()
}

fn device<'a>(answer: &'a Value, name: &str) -> &'a Value {
    answer["status"]["devices"].as_array().unwrap().iter().find(|it| it["name"] == name).unwrap()
}

/// The node behind a Service.
fn served_by(answer: &Value, service: &str) -> Option<String> {
    let slice =
        children(answer, "EndpointSlice").find(|it| it["metadata"]["name"] == format!("{service}-ipv4"));
    slice.unwrap()["endpoints"][0]["nodeName"].as_str().map(str::to_owned)
}

fn set_ready(request: &mut Value, node: &str, ready: bool) {
    let endpoints = request["related"][SLICES][ANCHOR]["endpoints"].as_array_mut().unwrap();
    for endpoint in endpoints.iter_mut().filter(|it| it["nodeName"] == node) {
        endpoint["conditions"]["ready"] = json!(ready);
    }
}

#[test]
fn a_conflict_is_not_decided_by_who_happens_to_be_away() {
    let request = recorded("conflict");
    let first = answer(&request);
    assert_eq!(device(&first, "zigbee")["state"], "Conflict");
    let incumbent = device(&first, "zigbee")["node"].as_str().unwrap().to_owned();
    assert_eq!((incumbent.as_str(), served_by(&first, "zigbee")), ("wyse-1", None));

    let mut away = next(&request, &first);
    set_ready(&mut away, &incumbent, false);
    let second = answer(&away);
    assert_eq!(served_by(&second, "zigbee"), None);
    assert_eq!(device(&second, "zigbee")["state"], "Conflict");
    assert!(device(&second, "zigbee")["message"].as_str().unwrap().contains("not ready"));

    let mut gone = next(&away, &second);
    gone["related"][NODES].as_object_mut().unwrap().remove("home.wyse-1");
    let third = answer(&gone);
    assert_eq!(served_by(&third, "zigbee").as_deref(), Some("wyse-2"));
    assert_eq!(device(&third, "zigbee")["state"], "Serving");

    // It comes back: who has the endpoint keeps it, and the rival is named.
    let mut back = next(&request, &third);
    back["related"] = request["related"].clone();
    let fourth = answer(&back);
    assert_eq!(served_by(&fourth, "zigbee").as_deref(), Some("wyse-2"));
    assert!(device(&fourth, "zigbee")["message"].as_str().unwrap().contains("wyse-1"));
    assert_eq!(reason(&fourth, "Degraded"), ("True", "Conflict"));
}

#[test]
fn transition_times_move_on_a_flip_and_an_answer_that_is_steady_does_not_depend_on_the_clock() {
    let request = recorded("served");
    let first = answer_with(&request, &config(), at("2026-11-21T09:00:00Z"));
    let steady = next(&request, &first);
    let (early, late) = (
        answer_with(&steady, &config(), at("2026-11-21T09:00:01Z")),
        answer_with(&steady, &config(), at("2027-01-01T00:00:00Z")),
    );
    assert_eq!(early, late);
    assert_eq!(early["status"], first["status"]);
    assert_eq!(early.get("resyncAfterSeconds"), None);

    let mut away = next(&request, &early);
    set_ready(&mut away, "wyse-1", false);
    let flipped = answer_with(&away, &config(), at("2027-01-01T00:00:00Z"));
    assert_eq!(condition(&flipped, "Ready")["lastTransitionTime"], "2027-01-01T00:00:00Z");
    assert_eq!(condition(&flipped, "Stalled"), condition(&early, "Stalled"));
}

#[test]
fn a_port_that_does_not_arrive_is_first_waited_for_and_then_stale() {
    let mut request = recorded("served");
    request["parent"]["metadata"]["generation"] = json!(2);
    request["parent"]["spec"]["devices"][0]["port"] = json!(7000);
    let first = answer(&request);
    assert_eq!(reason(&first, "Reconciling"), ("True", "ChildrenOutdated"));
    assert_eq!(reason(&first, "Stalled").0, "False");
    assert_eq!(first["resyncAfterSeconds"], 2.0);

    let second = answer(&next(&request, &first));
    assert_eq!(reason(&second, "Stalled"), ("True", "StalePort"));
    assert!(message(&second, "Stalled").contains("iot-system/zigbee"));

    let mut arrived = next(&request, &second);
    arrived["children"]["Service.v1"]["iot-system/zigbee"]["spec"]["ports"][0]["port"] = json!(7000);
    let third = answer(&arrived);
    assert_eq!((reason(&third, "Stalled").0, reason(&third, "Reconciling").0), ("False", "False"));
    assert_eq!(third.get("resyncAfterSeconds"), None);
}

#[test]
fn a_move_to_a_namespace_that_is_missing_or_not_allowed_leaves_everything_where_it_is() {
    for (namespaces, expected) in [
        (json!({}), "NamespaceMissing"),
        (json!({"new": {"metadata": {"name": "new"}}}), "NamespaceNotAllowed"),
        (
            json!({"new": {"metadata": {"name": "new", "deletionTimestamp": "2026-11-21T08:41:06Z",
                "labels": {"serialfleet.io/services": "allowed"}}}}),
            "NamespaceMissing",
        ),
    ] {
        let mut request = recorded("served");
        request["parent"]["spec"]["serviceNamespace"] = json!("new");
        request["related"]["Namespace.v1"] = namespaces;
        let answer = answer(&request);
        assert_eq!(reason(&answer, "Stalled"), ("True", expected));
        assert!(message(&answer, "Stalled").contains("kubectl label namespace new"));
        assert_eq!(served_by(&answer, "zigbee").as_deref(), Some("wyse-1"));
        assert!(
            children(&answer, "Service")
                .filter(|it| it["metadata"]["name"] != "home-anchor")
                .all(|it| { it["metadata"]["namespace"] == "iot-system" })
        );
        assert_eq!(device(&answer, "zigbee")["address"], "zigbee.iot-system.svc:6638");
    }
    let mut request = recorded("served");
    request["parent"]["spec"]["serviceNamespace"] = json!("new");
    request["related"]["Namespace.v1"] =
        json!({"new": {"metadata": {"name": "new", "labels": {"serialfleet.io/services": "allowed"}}}});
    assert!(children(&answer(&request), "EndpointSlice").all(|it| it["metadata"]["namespace"] == "new"));
}

#[test]
fn bridges_that_are_not_as_they_should_be_say_why() {
    for (sentence, status, condition, expected, says) in [
        ("no node", json!({"desiredNumberScheduled": 0}), "Stalled", "NoNodes", "Linux node"),
        (
            "Kubernetes has not looked yet",
            json!({"observedGeneration": 0, "desiredNumberScheduled": 0}),
            "Reconciling",
            "BridgesChanging",
            "home-bridge",
        ),
        ("a roll that waits", json!({"updatedNumberScheduled": 1}), "Reconciling", "RollUnderWay", "wyse-2"),
        ("a node away", json!({"numberAvailable": 1}), "Degraded", "NodesUnavailable", "wyse-2"),
        ("all nodes away", json!({"numberAvailable": 0}), "Ready", "NoBridge", "kubectl get pods"),
        ("no pod yet", json!({"currentNumberScheduled": 0}), "Reconciling", "BridgesStarting", "started"),
    ] {
        let mut request = recorded("served");
        request["parent"]["spec"]["devices"] = json!([]);
        set_ready(&mut request, "wyse-2", false);
        let observed = &mut request.pointer_mut(DAEMON_SET).unwrap()["status"];
        observed.as_object_mut().unwrap().extend(status.as_object().unwrap().clone());
        let answer = answer(&request);
        assert_eq!(reason(&answer, condition).1, expected, "{sentence}");
        assert!(message(&answer, condition).contains(says), "{sentence}: {}", message(&answer, condition));
    }
}

#[test]
fn with_on_delete_old_pods_are_no_roll() {
    let mut request = recorded("served");
    request["parent"]["spec"]["bridge"] = json!({"updateStrategy": "OnDelete"});
    request.pointer_mut(DAEMON_SET).unwrap()["status"]["updatedNumberScheduled"] = json!(1);
    assert_eq!(reason(&answer(&request), "Reconciling").0, "False");
}

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
    request["related"].as_object_mut().unwrap().remove(NODES);
    let answer = answer(&request);
    for says in ["daemonsets", "hooks.sync.version", "hooks.customize"] {
        assert!(message(&answer, "Degraded").contains(says), "{}", message(&answer, "Degraded"));
    }
    assert_eq!(children(&answer, "Service").count(), 3);
}

#[test]
fn the_nodes_own_network_needs_the_flag_and_is_then_served_on_the_devices_own_ports() {
    let request = recorded("host_network_refused");
    let refused = answer(&request);
    let pod =
        |answer: &Value| children(answer, "DaemonSet").next().unwrap()["spec"]["template"]["spec"].clone();
    assert_eq!(pod(&refused).get("hostNetwork"), None);
    assert_eq!(reason(&refused, "Stalled"), ("True", "HostNetworkNotAllowed"));

    let allowing = Config { allow_host_network: true, ..config() };
    let allowed = answer_with(&request, &allowing, at("2026-11-21T09:00:00Z"));
    assert_eq!(pod(&allowed)["hostNetwork"], true);
    assert_eq!(reason(&allowed, "Stalled").0, "False");
    assert_eq!(reason(&allowed, "Degraded"), ("True", "HostNetwork"));
    let service = children(&allowed, "Service").find(|it| it["metadata"]["name"] == "zigbee").unwrap();
    assert_eq!(service["spec"]["ports"][0]["targetPort"], service["spec"]["ports"][0]["port"]);
}

#[test]
fn two_devices_that_want_one_name_leave_it_to_the_one_that_has_it() {
    let mut request = recorded("scope_node");
    let devices = request["parent"]["spec"]["devices"].as_array_mut().unwrap();
    devices.push(json!({"name": "ups-wyse-1", "match": {"usb": "1:2"}}));
    let answer = answer(&request);
    let service = children(&answer, "Service").filter(|it| it["metadata"]["name"] == "ups-wyse-1");
    let labels: Vec<&Value> = service.map(|it| &it["metadata"]["labels"]["serialfleet.io/device"]).collect();
    assert_eq!(labels, [&json!("ups")]);
    assert_eq!(reason(&answer, "Stalled"), ("True", "NameTaken"));
    assert_eq!(device(&answer, "ups-wyse-1")["reason"], "NameTaken");
}

#[test]
fn a_list_that_names_nobody_lets_nobody_in() {
    let mut request = recorded("served");
    request["parent"]["spec"]["devices"][0]["clients"] = json!({"allowFrom": []});
    let answer = answer(&request);
    let ports =
        children(&answer, "EndpointSlice").find(|it| it["metadata"]["name"] == "zigbee-ipv4").unwrap();
    let policy = children(&answer, "NetworkPolicy").next().unwrap()["spec"]["ingress"].to_string();
    assert!(!policy.contains(&ports["ports"][0]["port"].to_string()), "{policy}");
    assert!(!policy.contains(r#""from":[]"#), "{policy}");
}

#[test]
fn hostile_text_from_hardware_stays_short_and_printable() {
    let mut request = recorded("served");
    request["related"][NODES]["home.wyse-1"]["ports"] = json!([{"name": "zigbee", "state": "Failed", "message": format!("a\u{1b}[31m\n{}", "x".repeat(9000))}]);
    let answer = answer(&request);
    let told = device(&answer, "zigbee")["message"].as_str().unwrap();
    assert!(told.chars().count() <= 512 && !told.contains(char::is_control), "{told}");
    assert!(answer["status"]["summary"]["problem"].as_str().unwrap().chars().count() <= 128);
}

fn services(answer: &Value) -> Vec<&str> {
    children(answer, "Service").map(|it| it["metadata"]["name"].as_str().unwrap()).collect()
}

/// Every bridge says these, with or without a stick: they are no sight of one.
#[test]
fn a_device_that_is_suspended_or_not_understood_makes_no_services() {
    for port in [
        json!({"name": "meter", "state": "Suspended", "message": "Closed."}),
        json!({"name": "meter", "state": "Failed", "reason": "Unsupported", "message": "Not yet."}),
    ] {
        let mut request = recorded("scope_node");
        request["children"]["Service.v1"].as_object_mut().unwrap().retain(|key, _| !key.contains("/meter-"));
        for node in request["related"][NODES].as_object_mut().unwrap().values_mut() {
            node["ports"] = json!([port]);
        }
        let answer = answer(&request);
        assert!(!services(&answer).iter().any(|name| name.starts_with("meter-")), "{:?}", services(&answer));
    }
}

#[test]
fn a_service_is_kept_by_its_name_whatever_was_done_to_its_labels_and_reports() {
    let before = recorded("scope_node");
    let wanted = ["meter-wyse-1", "meter-wyse-3-lan-1f5c0a01"];
    let mut unlabelled = before.clone();
    for key in ["iot-system/meter-wyse-1", "iot-system/meter-wyse-3-lan-1f5c0a01"] {
        let metadata = unlabelled["children"]["Service.v1"][key]["metadata"].as_object_mut().unwrap();
        metadata.remove("annotations");
        metadata["labels"].as_object_mut().unwrap().remove("serialfleet.io/device");
    }
    for node in unlabelled["related"][NODES].as_object_mut().unwrap().values_mut() {
        node["ports"] = json!([]);
    }
    let mut unreported = before;
    unreported["related"][NODES].as_object_mut().unwrap().remove("home.wyse-1");
    for (request, kept) in [(unlabelled, &wanted[..]), (unreported, &wanted[..1])] {
        let answer = answer(&request);
        for name in kept {
            assert!(services(&answer).contains(name), "{name}: {:?}", services(&answer));
        }
    }
}

#[test]
fn a_move_to_a_name_that_is_taken_leaves_the_working_service() {
    let mut request = recorded("served");
    request["parent"]["spec"]["serviceNamespace"] = json!("serialfleet-system");
    request["related"]["Service.v1"] = json!({"serialfleet-system/zigbee": {
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "zigbee", "namespace": "serialfleet-system", "uid": "somebody-elses"},
        "spec": {"ports": [{"port": 80}]},
    }});
    let answer = answer(&request);
    let left = children(&answer, "Service").find(|it| it["metadata"]["name"] == "zigbee").unwrap();
    assert_eq!(left["metadata"]["namespace"], "iot-system");
    assert_eq!(reason(&answer, "Stalled"), ("True", "NameTaken"));
}

/// A DaemonSet looks like that also in the moment after its pods were made.
#[test]
fn pods_that_never_start_are_blamed_on_pod_security_at_the_second_sight() {
    let mut request = recorded("served");
    let observed = &mut request.pointer_mut(DAEMON_SET).unwrap()["status"];
    observed["currentNumberScheduled"] = json!(0);
    let first = answer(&request);
    assert_eq!(reason(&first, "Stalled").0, "False");
    assert!(first["resyncAfterSeconds"].as_f64().unwrap() <= 2.0);
    let second = answer(&next(&request, &first));
    assert_eq!(reason(&second, "Stalled"), ("True", "PodSecurity"));
    let third = answer(&next(&request, &second));
    assert_eq!(reason(&third, "Stalled"), ("True", "PodSecurity"));
}
