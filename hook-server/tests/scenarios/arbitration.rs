//! Who gets a device, through restarts, deaths, moves and conflicts.

use serde_json::{Value, json};

use crate::world::*;

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

fn move_to(request: &mut Value, namespace: &str) {
    request["parent"]["spec"]["serviceNamespace"] = json!(namespace);
    request["related"]["Namespace.v1"] = json!({namespace: {"metadata": {
        "name": namespace, "labels": {"serialfleet.io/services": "allowed"}}}});
}

/// Two serve, wyse-1 has the endpoint: what must not change that.
#[test]
fn who_is_served_stays_so_through_a_change_of_namespace() {
    let mut request = recorded("rival");
    move_to(&mut request, "new");
    let first = answer(&request);
    assert_eq!(served_by(&first, "zigbee").as_deref(), Some("wyse-1"));
    assert!(children(&first, "EndpointSlice").all(|it| it["metadata"]["namespace"] == "new"));

    // The old slices are gone, the new ones not seen yet.
    let mut between = next(&request, &first);
    between["children"][SLICES] = json!({});
    let second = answer(&between);
    assert_eq!(served_by(&second, "zigbee").as_deref(), Some("wyse-1"));
    let third = answer(&settled(&between, &second));
    assert_eq!(served_by(&third, "zigbee").as_deref(), Some("wyse-1"));
    assert_eq!(device(&third, "zigbee")["reason"], "Conflict");
}

#[test]
fn who_is_served_stays_so_when_somebody_deletes_the_slice() {
    let request = recorded("rival");
    let mut deleted = next(&request, &answer(&request));
    deleted["children"][SLICES].as_object_mut().unwrap().remove("iot-system/zigbee-ipv4");
    assert_eq!(served_by(&answer(&deleted), "zigbee").as_deref(), Some("wyse-1"));
}

/// Nobody can tell a dead node from one that restarts: who still has the device, or has it now, is served.
#[test]
fn when_the_one_that_is_served_falls_silent_its_rival_is_served() {
    let mut request = recorded("rival");
    request = next(&request, &answer(&request));
    assert_eq!(request["parent"]["status"]["devices"][0]["reason"], "Conflict");

    set_ready(&mut request, "wyse-1", false);
    let away = answer(&request);
    assert_eq!(served_by(&away, "zigbee").as_deref(), Some("wyse-2"));

    // And stays so when the first one is back.
    let mut back = next(&request, &away);
    set_ready(&mut back, "wyse-1", true);
    let again = answer(&back);
    assert_eq!(served_by(&again, "zigbee").as_deref(), Some("wyse-2"));
    assert_eq!(device(&again, "zigbee")["reason"], "Conflict");
}

#[test]
fn a_restart_without_rival_empties_the_slice_and_fills_it_again() {
    let request = recorded("served");
    let mut request = next(&request, &answer(&request));
    new_pod(&mut request, "wyse-1", "new-pod");
    let silent = answer(&request);
    assert_eq!(
        (served_by(&silent, "zigbee"), device(&silent, "zigbee")["state"].as_str()),
        (None, Some("Absent"))
    );
    assert!(device(&silent, "zigbee")["message"].as_str().unwrap().contains("Last seen on wyse-1"));
    let mut reported = next(&request, &silent);
    reported["related"][NODES]["home.wyse-1"]["podUID"] = json!("new-pod");
    let again = answer(&reported);
    assert_eq!(served_by(&again, "zigbee").as_deref(), Some("wyse-1"));
    let slice = children(&again, "EndpointSlice").next().unwrap();
    assert_eq!(slice["endpoints"][0]["targetRef"]["uid"], "new-pod");
}

/// A dead node's endpoint turns unready; a removed node's is gone; a report of an earlier pod proves nothing.
#[test]
fn nobody_is_served_from_a_node_that_is_dead_gone_or_speaks_with_an_old_voice() {
    let dead = |request: &mut Value| set_ready(request, "wyse-1", false);
    let gone = |request: &mut Value| no_pod(request, "wyse-1");
    let stale = |request: &mut Value| new_pod(request, "wyse-1", "another");
    let deleted = |request: &mut Value| {
        no_pod(request, "wyse-1");
        request["related"][NODES].as_object_mut().unwrap().remove("home.wyse-1");
    };
    let renamed =
        |request: &mut Value| request["related"][NODES]["home.wyse-1"]["nodeName"] = json!("wyse-7");
    for (sentence, change, says) in [
        ("dead", &dead as &dyn Fn(&mut Value), "Last seen on wyse-1"),
        ("gone", &gone, "Last seen on wyse-1"),
        ("stale", &stale, "Last seen on wyse-1"),
        ("deleted", &deleted, "No such device on any node"),
        ("a report under another node's name", &renamed, "No such device on any node"),
    ] {
        let mut request = recorded("served");
        change(&mut request);
        let answer = answer(&request);
        assert_eq!(served_by(&answer, "zigbee"), None, "{sentence}");
        let told = device(&answer, "zigbee")["message"].as_str().unwrap();
        assert!(told.contains(says), "{sentence}: {told}");
        assert!(children(&answer, "Service").any(|it| it["metadata"]["name"] == "zigbee"), "{sentence}");
        assert_eq!(reason(&answer, "Ready"), ("False", "RequiredDevice"), "{sentence}");
    }
}

#[test]
fn no_bridge_yet_leaves_services_without_endpoints_and_says_where_to_look() {
    let request = recorded("first_sync");
    let answer = answer(&request);
    assert_eq!(children(&answer, "Service").count(), 3);
    assert_eq!(children(&answer, "EndpointSlice").count(), 0);
    assert!(device(&answer, "zigbee")["message"].as_str().unwrap().contains("kubectl get pods"));
    assert_eq!(reason(&answer, "Ready"), ("False", "ChildrenMissing"));
    assert_eq!(answer["resyncAfterSeconds"], 2.0);
}

#[test]
fn held_gives_way_to_serving_and_several_held_stay_with_the_one_that_had_it() {
    let mut request = recorded("rival");
    says(&mut request, "wyse-1", "zigbee", "Held");
    assert_eq!(served_by(&answer(&request), "zigbee").as_deref(), Some("wyse-2"), "the stick moved");

    says(&mut request, "wyse-2", "zigbee", "Held");
    let held = answer(&request);
    assert_eq!(served_by(&held, "zigbee").as_deref(), Some("wyse-1"));
    assert_eq!(device(&held, "zigbee")["state"], "Held");
    assert_eq!(reason(&held, "Ready").0, "True");

    request["children"][SLICES]["iot-system/zigbee-ipv4"]["endpoints"] = Value::Null;
    request["parent"]["status"]["devices"][0]["reason"] = json!("");
    let nobody = answer(&request);
    assert_eq!(
        (served_by(&nobody, "zigbee"), device(&nobody, "zigbee")["state"].as_str()),
        (None, Some("Held"))
    );
}

#[test]
fn a_renamed_device_is_a_new_service_and_the_old_pair_goes() {
    let mut request = recorded("served");
    request["parent"]["spec"]["devices"][0]["name"] = json!("zigbee2");
    says(&mut request, "wyse-1", "zigbee2", "Serving");
    let answer = answer(&request);
    assert_eq!(services(&answer), ["home-anchor", "zigbee2", "zwave"]);
    assert_eq!(served_by(&answer, "zigbee2").as_deref(), Some("wyse-1"));
    let names: Vec<&Value> =
        answer["status"]["devices"].as_array().unwrap().iter().map(|it| &it["name"]).collect();
    assert_eq!(names, ["zigbee2", "zwave"]);
}

#[test]
fn a_change_of_scope_makes_one_service_a_node_and_back() {
    let mut request = recorded("rival");
    request["parent"]["spec"]["devices"][0]["scope"] = json!("Node");
    let per_node = answer(&request);
    assert_eq!(services(&per_node), ["home-anchor", "zigbee-wyse-1", "zigbee-wyse-2", "zwave"]);
    for node in ["wyse-1", "wyse-2"] {
        assert_eq!(served_by(&per_node, &format!("zigbee-{node}")).as_deref(), Some(node));
    }
    let mut back = settled(&request, &per_node);
    back["parent"]["spec"]["devices"][0].as_object_mut().unwrap().remove("scope");
    let conflict = answer(&back);
    assert_eq!(services(&conflict), ["home-anchor", "zigbee", "zwave"]);
    assert_eq!(
        (served_by(&conflict, "zigbee"), device(&conflict, "zigbee")["state"].as_str()),
        (None, Some("Conflict"))
    );
}

/// Scope Node: the Service goes with the node, and only with the node.
#[test]
fn a_deleted_node_takes_its_service_along_and_a_renamed_one_gets_another() {
    let mut renamed = recorded("scope_node");
    let mut report = renamed["related"][NODES].as_object_mut().unwrap().remove("home.wyse-1").unwrap();
    report["nodeName"] = json!("wyse-7");
    report["metadata"]["name"] = json!("home.wyse-7");
    renamed["related"][NODES]["home.wyse-7"] = report;
    for slice in renamed["related"][SLICES].as_object_mut().unwrap().values_mut() {
        for endpoint in slice["endpoints"].as_array_mut().unwrap() {
            if endpoint["nodeName"] == "wyse-1" {
                endpoint["nodeName"] = json!("wyse-7");
            }
        }
    }
    let answer = answer(&renamed);
    let services = services(&answer);
    assert!(services.contains(&"meter-wyse-7") && !services.contains(&"meter-wyse-1"), "{services:?}");
    // Those that match.nodes names are expected whether or not there is such a node.
    assert!(services.contains(&"ups-wyse-1") && services.contains(&"ups-wyse-9"), "{services:?}");
}

#[test]
fn two_fleets_take_no_notice_of_each_others_nodes_and_pods() {
    let mut request = recorded("served");
    let mut foreign = request["related"][NODES]["home.wyse-1"].clone();
    foreign["fleet"] = json!("shed");
    foreign["metadata"]["name"] = json!("shed.wyse-2");
    foreign["nodeName"] = json!("wyse-2");
    request["related"][NODES]["shed.wyse-2"] = foreign;
    // Even one that was given our label.
    let mut liar = request["related"][NODES]["home.wyse-1"].clone();
    liar["nodeName"] = json!("wyse-2");
    request["related"][NODES]["home.wyse-2-liar"] = liar;
    let answer = answer(&request);
    assert_eq!(served_by(&answer, "zigbee").as_deref(), Some("wyse-1"));
    assert_ne!(reason(&answer, "Degraded").1, "Conflict");
}
