//! Conditions over time, and what tools make of them.

use serde_json::{Value, json};

use crate::world::*;

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
fn hostile_text_from_hardware_stays_short_and_printable() {
    let mut request = recorded("served");
    request["related"][NODES]["home.wyse-1"]["ports"] = json!([{"name": "zigbee", "state": "Failed", "message": format!("a\u{1b}[31m\n{}", "x".repeat(9000))}]);
    let answer = answer(&request);
    let told = device(&answer, "zigbee")["message"].as_str().unwrap();
    assert!(told.chars().count() <= 512 && !told.contains(char::is_control), "{told}");
    assert!(answer["status"]["summary"]["problem"].as_str().unwrap().chars().count() <= 128);
}

/// As kstatus (Flux, kpt, Argo's generic check) reads an object: the first of Reconciling and Stalled that holds, then
/// Ready.
fn kstatus(request: &Value, answer: &Value) -> &'static str {
    let generation = &request["parent"]["metadata"]["generation"];
    for condition in answer["status"]["conditions"].as_array().unwrap() {
        assert_eq!(&condition["observedGeneration"], generation);
        match (condition["type"].as_str().unwrap(), condition["status"].as_str().unwrap()) {
            ("Reconciling", "True") => return "InProgress",
            ("Stalled", "True") => return "Failed",
            _ => {}
        }
    }
    if reason(answer, "Ready").0 == "True" { "Current" } else { "InProgress" }
}

#[test]
fn tools_that_wait_see_what_is_current_under_way_or_in_need_of_a_person() {
    for (case, expected) in [
        ("served", "Current"),
        ("rival", "Current"),
        ("held", "Current"),
        ("moved", "Current"),
        ("scope_node", "Current"),
        ("first_sync", "InProgress"),
        ("node_not_ready", "InProgress"),
        ("conflict", "InProgress"),
        ("bridges_ready_no_device", "InProgress"),
        ("pod_security", "Failed"),
        ("foreign_service", "Failed"),
        ("namespace_missing", "Failed"),
        ("namespace_not_allowed", "Failed"),
        ("host_network_refused", "Failed"),
    ] {
        let request = recorded(case);
        // Late enough for what only time can tell.
        let first = answer(&request);
        let answer = answer_at(&next(&request, &first), 15);
        assert_eq!(kstatus(&request, &answer), expected, "{case}: {}", answer["status"]);
    }
}

/// What needs a person must not look as if it were still under way.
#[test]
fn a_person_is_called_even_while_something_else_is_under_way() {
    let mut request = recorded("foreign_service");
    request.pointer_mut(DAEMON_SET).unwrap()["status"]["updatedNumberScheduled"] = json!(0);
    let answer = answer(&request);
    assert_eq!(reason(&answer, "Reconciling").0, "True");
    assert_eq!(kstatus(&request, &answer), "Failed");
}

#[test]
fn every_condition_is_complete_and_says_what_to_do_where_something_is_wrong() {
    for case in [
        "served",
        "first_sync",
        "conflict",
        "pod_security",
        "foreign_service",
        "namespace_missing",
        "namespace_not_allowed",
        "host_network_refused",
        "node_not_ready",
        "scope_node",
    ] {
        let answer = answer(&recorded(case));
        let conditions = answer["status"]["conditions"].as_array().unwrap();
        let types: Vec<&str> = conditions.iter().map(|it| it["type"].as_str().unwrap()).collect();
        assert_eq!(types, ["Ready", "Stalled", "Reconciling", "DevicesBound", "Degraded", "Applied"]);
        for condition in conditions {
            let text = |field: &str| condition[field].as_str().unwrap();
            assert!(matches!(text("status"), "True" | "False"));
            assert!(text("reason").chars().all(|c| c.is_ascii_alphanumeric()) && !text("reason").is_empty());
            assert!(text("message").len() > 10 && text("message").chars().count() <= 1024);
            assert!(humantime::parse_rfc3339(text("lastTransitionTime")).is_ok());
        }
    }
}

/// Only `status` moves the time: not another reason, not another message.
#[test]
fn another_reason_is_no_transition() {
    let mut request = recorded("namespace_missing");
    let first = answer(&request);
    assert_eq!(reason(&first, "Stalled"), ("True", "NamespaceMissing"));
    request = next(&request, &first);
    let namespace = request["parent"]["spec"]["serviceNamespace"].as_str().unwrap().to_owned();
    request["related"]["Namespace.v1"] = json!({&namespace: {"metadata": {"name": namespace}}});
    let second = answer_at(&request, 60);
    assert_eq!(reason(&second, "Stalled"), ("True", "NamespaceNotAllowed"));
    assert_eq!(
        condition(&second, "Stalled")["lastTransitionTime"],
        condition(&first, "Stalled")["lastTransitionTime"]
    );
}
