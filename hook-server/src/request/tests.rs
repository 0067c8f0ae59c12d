//! What is understood, what is refused, and with which words.

use serde_json::{Value, json};

use super::*;

fn parse(value: &Value) -> Result<SyncRequest, Refusal> {
    SyncRequest::parse(value.to_string().as_bytes())
}

fn fleet() -> Value {
    json!({"kind": "SerialFleet", "metadata": {"name": "home"}, "spec": {"devices": [
        {"name": "b", "match": {"usb": "1:2"}}, {"name": "a", "match": {"usb": "1:3"}}]}})
}

#[test]
fn what_cannot_be_understood_is_refused_with_one_line_and_never_taken_for_empty() {
    for (what, body, says) in [
        ("nothing", " \n".to_owned(), "no hook request: it is empty"),
        ("not JSON", "hello\n".to_owned(), r#"byte 0: expected a JSON object, found "hello\n""#),
        ("no object", "[]".to_owned(), r#"found "[]""#),
        (
            "half an object",
            r#"{"a": 1"#.to_owned(),
            "byte 7: expected a comma or the object's end, found the end",
        ),
        ("no parent", "{}".to_owned(), "no parent"),
        ("null parent", json!({"parent": null}).to_string(), "no parent"),
        ("no name", json!({"parent": {"spec": {}}}).to_string(), "metadata.name"),
        ("no spec", json!({"parent": {"metadata": {"name": "home"}}}).to_string(), "no spec"),
        ("a null spec", json!({"parent": {"metadata": {"name": "home"}, "spec": null}}).to_string(), "spec"),
        ("another kind", json!({"parent": {"kind": "Pod", "metadata": {"name": "x"}}}).to_string(), "Pod"),
        (
            "devices of another type",
            json!({"parent": {"metadata": {"name": "home"}, "spec": {"devices": "none"}}}).to_string(),
            "spec",
        ),
        (
            "twins",
            json!({"parent": {"metadata": {"name": "home"}, "spec": {"devices": [
                {"name": "a", "match": {}}, {"name": "a", "match": {}}]}}})
            .to_string(),
            "two are named a",
        ),
        ("children twice", format!(r#"{{"parent":{},"children":{{}},"children":{{}}}}"#, fleet()), "twice"),
        (
            "a group twice",
            format!(r#"{{"parent":{},"children":{{"Service.v1":{{"a":{{}}}},"Service.v1":{{}}}}}}"#, fleet()),
            "twice",
        ),
        (
            "devices twice in a fleet",
            json!({"parent": fleet()}).to_string().replace("\"spec\":{", "\"spec\":{\"devices\":[],"),
            "duplicate field",
        ),
        ("a child that is none", json!({"parent": fleet(), "children": {"Service.v1": 3}}).to_string(), "no"),
    ] {
        let refusal = SyncRequest::parse(body.as_bytes()).unwrap_err().to_string();
        assert!(refusal.contains(says), "{what}: {refusal}");
        assert!(!refusal.contains('\n') && refusal.len() < 600, "{what}: {refusal}");
    }
}

#[test]
fn unknown_fields_and_missing_or_null_groups_are_tolerated() {
    let request = parse(&json!({"parent": fleet(), "children": null, "related": {"Service.v1": null,
        "Pod.v1": {"x": 1}}, "news": [1]}))
    .unwrap();
    assert!(request.children.services.is_empty());
    assert_eq!(request.parent.wish.devices.iter().map(|d| d.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
}

#[test]
fn what_only_a_later_bridge_knows_stops_no_fleet_and_what_children_depend_on_does() {
    let with = |device: Value, defaults: Value| {
        let mut parent = fleet();
        parent["spec"]["defaults"] = defaults;
        for (field, value) in device.as_object().unwrap() {
            parent["spec"]["devices"][0][field] = value.clone();
        }
        parse(&json!({"parent": parent}))
    };
    let known =
        with(json!({"port": 7000, "clients": {"allowFrom": [{"cidr": "10.0.0.0/8"}]}}), json!({})).unwrap();
    for (device, defaults) in [
        (json!({"protocol": "Quic"}), json!({})),
        (json!({"line": {"flowControl": "Psychic", "format": "9X7"}}), json!({})),
        (json!({"tls": {"mode": "Quantum"}, "holdSeconds": -1}), json!({})),
        (json!({"clients": {"policy": "Lottery", "allowFrom": [{"cidr": "10.0.0.0/8"}]}}), json!({})),
        (json!({}), json!({"protocol": "Quic", "clients": {"slowReader": 5}})),
    ] {
        let mut device = device;
        device["port"] = json!(7000);
        if device["clients"].is_null() {
            device["clients"] = json!({"allowFrom": [{"cidr": "10.0.0.0/8"}]});
        }
        let wish = with(device.clone(), defaults)
            .unwrap_or_else(|refusal| panic!("{device}: {refusal}"))
            .parent
            .wish;
        assert_eq!(wish.devices, known.parent.wish.devices, "{device}");
        assert_eq!(wish.pod_ports, known.parent.wish.pod_ports);
    }
    for device in [json!({"scope": "Galaxy"}), json!({"service": {"type": "Mesh"}}), json!({"port": "high"})]
    {
        assert!(matches!(with(device, json!({})), Err(Refusal::Parent(_))));
    }
}

#[test]
fn a_status_that_cannot_be_read_counts_as_none() {
    let mut parent = fleet();
    parent["status"] = json!({"conditions": "many"});
    assert_eq!(parse(&json!({"parent": parent})).unwrap().parent.status, Arc::default());
}
