//! Namespaces, names that somebody else has, and Services that are kept.

use serde_json::{Value, json};

use crate::world::*;

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

fn foreign(name: &str, namespace: &str) -> Value {
    json!({"metadata": {"name": name, "namespace": namespace, "uid": "somebody-elses",
        "labels": {"app": "theirs"}}, "spec": {}})
}

/// Under server-side apply Metacontroller would take it over, and delete it with the fleet.
#[test]
fn an_object_of_somebody_else_that_has_a_name_of_ours_is_not_desired_and_is_named() {
    for (kind, group, name, namespace) in [
        ("DaemonSet", "DaemonSet.apps/v1", "home-bridge", "serialfleet-system"),
        ("Service", "Service.v1", "home-anchor", "serialfleet-system"),
        ("NetworkPolicy", "NetworkPolicy.networking.k8s.io/v1", "home-bridge", "serialfleet-system"),
        ("Service", "Service.v1", "zigbee", "iot-system"),
        ("EndpointSlice", SLICES, "zigbee-ipv4", "iot-system"),
    ] {
        let mut request = recorded("served");
        let key = format!("{namespace}/{name}");
        request["children"][group].as_object_mut().unwrap().remove(&key);
        request["related"][group][&key] = foreign(name, namespace);
        let answer = answer(&request);
        let desired = children(&answer, kind).any(|it| crate::world::key(it) == key);
        assert!(!desired, "{kind} {key}");
        assert_eq!(reason(&answer, "Stalled"), ("True", "NameTaken"), "{kind} {key}");
        assert!(message(&answer, "Stalled").contains(name), "{}", message(&answer, "Stalled"));
        assert_eq!(reason(&answer, "Ready").0, "False");
        assert!(answer["resyncAfterSeconds"].is_number(), "{kind} {key}");
        if namespace == "iot-system" {
            assert_eq!(device(&answer, "zigbee")["reason"], "NameTaken");
            assert_eq!(device(&answer, "zigbee")["state"], "Failed");
        }
    }
}

/// Related objects that are ours are there twice, as related and as children.
#[test]
fn our_own_objects_among_the_related_ones_stand_in_nobodys_way() {
    let mut request = recorded("served");
    let before = answer(&request);
    for group in ["DaemonSet.apps/v1", "Service.v1", "NetworkPolicy.networking.k8s.io/v1"] {
        let own = request["children"][group].as_object().unwrap().clone();
        request["related"][group] = own.into();
    }
    assert_eq!(answer(&request), before);
}

#[test]
fn what_an_earlier_fleet_left_is_waited_for_and_then_named_with_what_to_type() {
    let mut request = recorded("served");
    for (group, key) in
        [("Service.v1", "iot-system/zigbee"), ("DaemonSet.apps/v1", "serialfleet-system/home-bridge")]
    {
        let mut old = request["children"][group].as_object_mut().unwrap().remove(key).unwrap();
        old["metadata"]["labels"]["controller-uid"] = json!("an-earlier-one");
        old["metadata"].as_object_mut().unwrap().remove("ownerReferences");
        request["related"][group][key] = old;
    }
    let first = answer(&request);
    // Still desired: under server-side apply it is simply taken back.
    assert!(services(&first).contains(&"zigbee"));
    assert_eq!(reason(&first, "Applied"), ("False", "ChildrenMissing"));
    assert_eq!(reason(&first, "Stalled").0, "False");
    let late = answer_at(&next(&request, &first), 15);
    assert_eq!(reason(&late, "Stalled"), ("True", "NameTaken"));
    let uid = request["parent"]["metadata"]["uid"].as_str().unwrap();
    for says in [
        "Service iot-system/zigbee",
        "DaemonSet serialfleet-system/home-bridge",
        &format!("-l 'serialfleet.io/fleet=home,controller-uid!={uid}'"),
    ] {
        assert!(message(&late, "Stalled").contains(says), "{}", message(&late, "Stalled"));
    }
}

/// Of two fleets that want one name in one namespace, the later one is told.
#[test]
fn the_service_of_another_fleet_is_somebody_elses() {
    let mut request = recorded("served");
    let mut theirs =
        request["children"]["Service.v1"].as_object_mut().unwrap().remove("iot-system/zigbee").unwrap();
    theirs["metadata"]["labels"]["serialfleet.io/fleet"] = json!("shed");
    theirs["metadata"]["labels"]["controller-uid"] = json!("of-shed");
    theirs["metadata"]["ownerReferences"] = json!([{"uid": "of-shed", "controller": true}]);
    request["related"]["Service.v1"]["iot-system/zigbee"] = theirs;
    let answer = answer(&request);
    assert!(!services(&answer).contains(&"zigbee"));
    assert_eq!(reason(&answer, "Stalled"), ("True", "NameTaken"));
    assert_eq!(device(&answer, "zwave")["state"], "Absent", "the others go on");
}
