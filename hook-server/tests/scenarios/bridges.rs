//! The bridges as a whole: nodes, rolls, refused pods, the host network.

use serde_json::{Value, json};

use serialfleet_hook::config::Config;

use crate::world::*;

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

/// A fleet that comes up is not odd, and one whose node stays away is.
#[test]
fn bridges_that_have_yet_to_be_ready_are_under_way_for_a_while() {
    let mut request = recorded("served");
    request = next(&request, &answer(&request));
    set_ready(&mut request, "wyse-2", false);
    request.pointer_mut(DAEMON_SET).unwrap()["status"]["numberAvailable"] = json!(1);
    for condition in request["parent"]["status"]["conditions"].as_array_mut().unwrap() {
        if condition["type"] == "Reconciling" {
            condition["status"] = json!("True");
            condition["lastTransitionTime"] = json!("2026-11-21T09:00:00Z");
        }
    }
    let is_odd = |answer: &Value| message(answer, "Degraded").contains("1 of 2 nodes have no ready bridge");
    for (time, odd, reconciling) in [
        ("2026-11-21T09:00:05Z", false, "True"),
        ("2026-11-21T09:00:28Z", false, "True"),
        ("2026-11-21T09:00:30Z", true, "False"),
        ("2026-11-21T09:00:31Z", true, "False"),
    ] {
        let answer = answer_with(&request, &config(), at(time));
        assert_eq!((is_odd(&answer), reason(&answer, "Reconciling").0), (odd, reconciling), "{time}");
        let says = message(&answer, if odd { "Degraded" } else { "Reconciling" });
        assert!(says.contains("wyse-2"), "{time}: {says}");
        assert_eq!(answer["resyncAfterSeconds"].is_number(), !odd, "{time}: another look is due");
        request = next(&request, &answer);
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

/// It was away before, so nothing is starting.
#[test]
fn a_node_that_is_away_stays_told_while_an_edit_is_applied() {
    let mut request = recorded("served");
    set_ready(&mut request, "wyse-2", false);
    request.pointer_mut(DAEMON_SET).unwrap()["status"]["numberAvailable"] = json!(1);
    let away = answer(&request);
    assert_eq!(reason(&away, "Degraded"), ("True", "NodesUnavailable"));
    request = next(&request, &away);
    request["parent"]["metadata"]["generation"] = json!(2);
    let added = json!({"name": "added", "match": {"usb": "0403:6001"}});
    request["parent"]["spec"]["devices"].as_array_mut().unwrap().push(added);
    for _ in 0..3 {
        let edited = answer_at(&request, 60);
        assert_eq!(reason(&edited, "Degraded"), ("True", "NodesUnavailable"));
        request = next(&request, &edited);
    }
}

#[test]
fn the_last_pod_of_a_roll_has_its_own_time() {
    let mut request = recorded("served");
    let status = |request: &mut Value, field: &str, value: i32| {
        request.pointer_mut(DAEMON_SET).unwrap()["status"][field] = json!(value);
    };
    status(&mut request, "updatedNumberScheduled", 1);
    let rolling = answer(&request);
    assert_eq!(reason(&rolling, "Reconciling").1, "RollUnderWay");
    request = next(&request, &rolling);
    status(&mut request, "updatedNumberScheduled", 2);
    status(&mut request, "numberAvailable", 1);
    let last = answer_at(&request, 300);
    assert_ne!(reason(&last, "Degraded").1, "NodesUnavailable");
    assert_eq!(reason(&last, "Reconciling"), ("True", "BridgesStarting"));
    assert!(last["resyncAfterSeconds"].as_f64().unwrap() <= 30.0);
}

/// A DaemonSet looks like that also in the moment after its pods were made.
#[test]
fn pods_that_never_start_are_blamed_on_pod_security_after_some_seconds() {
    let mut request = recorded("served");
    request.pointer_mut(DAEMON_SET).unwrap()["status"]["currentNumberScheduled"] = json!(0);
    let first = answer(&request);
    assert_eq!((reason(&first, "Stalled").0, reason(&first, "Reconciling").1), ("False", "BridgesStarting"));
    assert!(first["resyncAfterSeconds"].as_f64().unwrap() <= 2.0);
    let mut request = next(&request, &first);
    let at_once = answer(&request);
    assert_eq!(reason(&at_once, "Stalled").0, "False");
    request = next(&request, &at_once);
    let late = answer_at(&request, 10);
    assert_eq!(reason(&late, "Stalled"), ("True", "PodSecurity"));
    assert!(message(&late, "Stalled").contains("pod-security.kubernetes.io/enforce=privileged"));
    let again = answer_at(&next(&request, &late), 11);
    assert_eq!(reason(&again, "Stalled"), ("True", "PodSecurity"));
    request.pointer_mut(DAEMON_SET).unwrap()["status"]["currentNumberScheduled"] = json!(2);
    assert_eq!(reason(&answer_at(&request, 12), "Stalled").0, "False");
}
