//! What Metacontroller may send and may read: both forms of keys, missing groups, the finalize hook, a fleet that is
//! being deleted; and an answer that its strict mode accepts.

use serde_json::{Map, Value, json};
use serialfleet_hook::request::{Refusal, SyncRequest};

use crate::world::*;

/// Hooks of version 1 name objects without their namespace in some cases.
#[test]
fn keys_say_nothing_that_the_objects_do_not_say_themselves() {
    let request = recorded("rival");
    let mut renamed = request.clone();
    for part in ["children", "related"] {
        for group in renamed[part].as_object_mut().unwrap().values_mut() {
            let objects = group.as_object().unwrap().values().cloned();
            *group = objects.enumerate().map(|(i, it)| (format!("{i}"), it)).collect::<Map<_, _>>().into();
        }
    }
    assert_eq!(answer(&request), answer(&renamed));
}

#[test]
fn a_group_that_is_missing_is_no_reason_to_let_go_of_anything() {
    let mut request = recorded("scope_node");
    request["related"].as_object_mut().unwrap().remove("Service.v1");
    assert_eq!(services(&answer(&request)), services(&answer(&recorded("scope_node"))));
    // Without the Namespace nothing new is made, and what is there stays.
    let mut request = recorded("served");
    request["related"].as_object_mut().unwrap().remove("Namespace.v1");
    assert_eq!(services(&answer(&request)), ["home-anchor", "zigbee", "zwave"]);
    assert_eq!(reason(&answer(&request), "Stalled"), ("True", "NamespaceMissing"));
}

/// A controller that lost its customize hook: an answer would empty every slice.
#[test]
fn where_nothing_is_said_of_who_serves_no_endpoint_is_taken_away() {
    let refusal = |request: &Value| SyncRequest::parse(request.to_string().as_bytes()).err();
    let served = |case: &str| settled(&recorded(case), &answer(&recorded(case)));
    for (case, related) in
        [("served", json!({})), ("moved", Value::Null), ("held", json!({"Namespace.v1": {}}))]
    {
        let mut request = served(case);
        request["related"] = related;
        assert_eq!(refusal(&request), Some(Refusal::Unheard("SerialNodes")), "{case}");
        request["finalizing"] = json!(true);
        assert_eq!(answer(&request)["finalized"], true, "{case}");
    }
    for (group, kind) in [(NODES, "SerialNodes"), (SLICES, "EndpointSlices")] {
        let mut request = served("scope_node");
        request["related"].as_object_mut().unwrap().remove(group);
        assert_eq!(refusal(&request), Some(Refusal::Unheard(kind)));
    }
    // Nothing is served yet: so nothing is lost, and the status says what is wrong.
    let mut request = recorded("first_sync");
    request["related"] = json!({"Namespace.v1": request["related"]["Namespace.v1"]});
    assert!(message(&answer(&request), "Degraded").contains("hooks.customize"));
}

#[test]
fn a_finalizing_call_is_answered_with_finalized_and_only_then() {
    let mut request = recorded("served");
    assert_eq!(answer(&request).get("finalized"), None);
    request["finalizing"] = json!(true);
    let last = answer(&request);
    assert_eq!(last["finalized"], true);
    assert_eq!(services(&last), ["home-anchor", "zigbee", "zwave"], "the garbage collector takes them");
}

#[test]
fn a_fleet_that_somebody_holds_in_deletion_is_answered_as_before() {
    let mut request = recorded("served");
    let before = answer(&request);
    request["parent"]["metadata"]["deletionTimestamp"] = json!(START);
    assert_eq!(answer(&request), before);
}

/// Strict mode refuses any other field, and a child without kind fails all.
#[test]
fn the_answer_has_the_fields_that_metacontroller_knows_and_no_other() {
    for case in ["served", "first_sync", "namespace_missing", "scope_node"] {
        let answer = answer(&recorded(case));
        for field in answer.as_object().unwrap().keys() {
            assert!(
                ["status", "children", "resyncAfterSeconds", "finalized"].contains(&field.as_str()),
                "{field}"
            );
        }
        for child in answer["children"].as_array().unwrap() {
            for field in ["apiVersion", "kind"] {
                assert!(child[field].is_string(), "{child}");
            }
            assert!(child["metadata"]["namespace"].is_string() && child["metadata"]["name"].is_string());
            assert_eq!(child.get("status"), None);
        }
        assert_eq!(answer["status"].get("observedGeneration"), None, "Metacontroller's own");
        let seconds = &answer["resyncAfterSeconds"];
        assert!(seconds.is_null() || seconds.as_f64().is_some_and(|it| (2.0..=300.0).contains(&it)));
    }
}

/// A later version of the CRD: unknown fields are the bridges' business, unknown values stop nothing but an answer.
#[test]
fn fields_of_a_later_version_are_let_pass() {
    let mut request = recorded("served");
    let before = answer(&request);
    request["parent"]["spec"]["news"] = json!({"a": [1]});
    request["parent"]["spec"]["devices"][0]["line"]["news"] = json!(true);
    request["parent"]["status"]["news"] = json!("x");
    for service in request["children"]["Service.v1"].as_object_mut().unwrap().values_mut() {
        service["spec"]["news"] = json!([{}]);
    }
    let after: Value = answer(&request);
    assert_eq!(after, before);
}
