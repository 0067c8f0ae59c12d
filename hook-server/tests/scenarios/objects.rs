//! Children that are missing, keep old values, or are refused.

use std::time::Duration;

use serde_json::{Value, json};

use crate::world::*;

/// A request after an edit, and its first answer written back.
fn edited(edit: impl Fn(&mut Value)) -> (Value, Value) {
    let mut request = recorded("served");
    request = next(&request, &answer(&request));
    request["parent"]["metadata"]["generation"] = json!(2);
    edit(&mut request);
    let first = answer(&request);
    (next(&request, &first), first)
}

#[test]
fn a_port_that_does_not_arrive_is_first_waited_for_and_then_stale() {
    let (request, first) = edited(|it| it["parent"]["spec"]["devices"][0]["port"] = json!(7000));
    assert_eq!(reason(&first, "Reconciling"), ("True", "ChildrenOutdated"));
    assert_eq!(reason(&first, "Applied"), ("False", "ChildrenOutdated"));
    assert_eq!(reason(&first, "Stalled").0, "False");
    assert_eq!(first["resyncAfterSeconds"], 2.0);

    // Syncs that follow at once prove nothing, however many.
    let mut request = request;
    for seconds in [0, 0, 1, 5] {
        let soon = answer_at(&request, seconds);
        assert_eq!(reason(&soon, "Stalled").0, "False", "after {seconds} s");
        request = next(&request, &soon);
    }
    let late = answer_at(&request, 15);
    assert_eq!(reason(&late, "Stalled"), ("True", "StalePort"));
    assert!(message(&late, "Stalled").contains("iot-system/zigbee"));
    assert_eq!(condition(&late, "Applied")["lastTransitionTime"], START);

    // Whoever looks when asked to sees it as soon as it can be told, and not at the next power of two.
    let (mut looking, _) = edited(|it| it["parent"]["spec"]["devices"][0]["port"] = json!(7000));
    let (mut passed, mut told) = (0, None);
    while told.is_none() && passed < 60 {
        let look = answer_at(&looking, passed);
        told = (reason(&look, "Stalled").0 == "True").then_some(passed);
        passed += Duration::from_secs_f64(look["resyncAfterSeconds"].as_f64().unwrap()).as_secs();
        looking = next(&looking, &look);
    }
    assert!(told.is_some_and(|told| (10..15).contains(&told)), "{told:?}");

    // An edit that changes no child: the verdict is looked at anew, and soon.
    let mut described = next(&request, &late);
    described["parent"]["metadata"]["generation"] = json!(3);
    described["parent"]["spec"]["devices"][0]["description"] = json!("behind the furnace");
    let look = answer_at(&described, 3600);
    assert!(look["resyncAfterSeconds"].as_f64().unwrap() < 15.0);

    // A clock that is set back does not take the verdict back.
    let stalled = next(&request, &late);
    assert_eq!(reason(&answer_at(&stalled, 0), "Stalled"), ("True", "StalePort"));

    let mut arrived = stalled;
    child(&mut arrived, "Service.v1", "iot-system/zigbee")["spec"]["ports"][0]["port"] = json!(7000);
    let healed = answer_at(&arrived, 20);
    assert_eq!((reason(&healed, "Stalled").0, reason(&healed, "Reconciling").0), ("False", "False"));
    assert_eq!(reason(&healed, "Applied").0, "True");
    assert_eq!(healed.get("resyncAfterSeconds"), None);
}

/// A roll that waits for a node for hours must not make a fresh edit look old.
#[test]
fn how_long_a_roll_has_lasted_says_nothing_about_an_edit() {
    let mut request = recorded("served");
    request.pointer_mut(DAEMON_SET).unwrap()["status"]["updatedNumberScheduled"] = json!(1);
    request = next(&request, &answer(&request));
    request["parent"]["metadata"]["generation"] = json!(2);
    request["parent"]["spec"]["devices"][0]["port"] = json!(7000);
    let first = answer_at(&request, 7200);
    let second = answer_at(&next(&request, &first), 7200);
    assert_eq!(reason(&second, "Reconciling").0, "True");
    assert_eq!(condition(&second, "Reconciling")["lastTransitionTime"], START);
    assert_eq!(reason(&second, "Stalled").0, "False");
}

#[test]
fn a_load_balancer_class_is_known_to_be_fixed_and_told_at_once() {
    let service = json!({"type": "LoadBalancer", "loadBalancerClass": "b"});
    let (request, _) = edited(|it| {
        it["parent"]["spec"]["devices"][0]["service"] = service.clone();
        let spec = &mut child(it, "Service.v1", "iot-system/zigbee")["spec"];
        spec["type"] = json!("LoadBalancer");
        spec["loadBalancerClass"] = json!("a");
    });
    let answer = answer(&request);
    assert_eq!(reason(&answer, "Stalled"), ("True", "Immutable"));
    let told = message(&answer, "Stalled");
    assert!(told.contains("iot-system/zigbee") && told.contains("Delete them"), "{told}");

    // One that the fleet does not name may be the cloud's own.
    let (request, first) = edited(|it| {
        it["parent"]["spec"]["devices"][0]["service"] = json!({"type": "LoadBalancer"});
        let spec = &mut child(it, "Service.v1", "iot-system/zigbee")["spec"];
        spec["type"] = json!("LoadBalancer");
        spec["loadBalancerClass"] = json!("cloud");
    });
    assert_eq!(reason(&first, "Applied").0, "True");
    drop(request);
}

#[test]
fn a_node_port_that_another_service_has_is_named_with_that_service() {
    let wants = |it: &mut Value| {
        it["parent"]["spec"]["devices"][0]["service"] = json!({"type": "NodePort", "nodePort": 30638});
        let spec = &mut child(it, "Service.v1", "iot-system/zigbee")["spec"];
        spec["type"] = json!("NodePort");
        spec["ports"][0]["nodePort"] = json!(31000);
    };
    let (request, first) = edited(wants);
    assert_eq!((reason(&first, "Stalled").0, reason(&first, "Applied").1), ("False", "ChildrenOutdated"));
    let late = answer_at(&request, 15);
    assert_eq!(reason(&late, "Stalled"), ("True", "NodePortTaken"));
    assert!(message(&late, "Stalled").contains("kubectl get services -A"));

    let mut seen = request;
    seen["related"]["Service.v1"] = json!({"iot-system/web": {"metadata": {"name": "web", "namespace": "iot-system"},
        "spec": {"type": "NodePort", "ports": [{"port": 80, "nodePort": 30638}]}}});
    let at_once = answer(&seen);
    assert_eq!(reason(&at_once, "Stalled"), ("True", "NodePortTaken"));
    assert!(message(&at_once, "Stalled").contains("iot-system/web"), "{}", message(&at_once, "Stalled"));
}

#[test]
fn two_devices_with_one_node_port_are_told_and_a_swap_is_given_time() {
    let (request, _) = edited(|it| {
        for device in it["parent"]["spec"]["devices"].as_array_mut().unwrap() {
            device["service"] = json!({"type": "NodePort", "nodePort": 30638});
        }
        for (name, number) in [("zigbee", 30638), ("zwave", 31000)] {
            let spec = &mut child(it, "Service.v1", &format!("iot-system/{name}"))["spec"];
            spec["type"] = json!("NodePort");
            spec["ports"][0]["nodePort"] = json!(number);
        }
    });
    let told = answer(&request);
    assert_eq!(reason(&told, "Stalled"), ("True", "NodePortTaken"));
    assert!(message(&told, "Stalled").contains("iot-system/zwave wants 30638, which iot-system/zigbee has"));

    let mut swap = request;
    swap["parent"]["metadata"]["generation"] = json!(3);
    swap["parent"]["spec"]["devices"][0]["service"]["nodePort"] = json!(31000);
    let first = answer(&swap);
    assert_eq!(reason(&first, "Stalled").0, "False");
    assert_eq!(reason(&answer_at(&next(&swap, &first), 15), "Stalled"), ("True", "NodePortTaken"));
}

#[test]
fn what_never_appears_is_waited_for_and_then_called_refused() {
    let request = recorded("first_sync");
    let first = answer(&request);
    assert_eq!(reason(&first, "Reconciling"), ("True", "ChildrenMissing"));
    let mut request = next(&request, &first);
    for seconds in [0, 5, 29] {
        let soon = answer_at(&request, seconds);
        assert_eq!(reason(&soon, "Stalled").0, "False", "after {seconds} s");
        request = next(&request, &soon);
    }
    let late = answer_at(&request, 40);
    assert_eq!(reason(&late, "Stalled"), ("True", "ChildrenRefused"));
    assert!(message(&late, "Stalled").contains("kubectl describe serialfleet home"));
    assert_eq!(late["resyncAfterSeconds"], 2.0, "counted from the last transition");
    let next = answer_at(&next(&request, &late), 100);
    assert_eq!(next["resyncAfterSeconds"], 30.0);
}

#[test]
fn a_child_that_is_being_deleted_is_neither_there_nor_refused() {
    let mut request = recorded("served");
    child(&mut request, "Service.v1", "iot-system/zigbee")["metadata"]["deletionTimestamp"] = json!(START);
    let first = answer(&request);
    assert_eq!(reason(&first, "Applied"), ("False", "ChildrenMissing"));
    assert!(
        message(&first, "Applied")
            .contains("Being deleted, and made again once gone: Service iot-system/zigbee")
    );
    let late = answer_at(&next(&request, &first), 3600);
    assert_eq!(reason(&late, "Stalled").0, "False");
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
