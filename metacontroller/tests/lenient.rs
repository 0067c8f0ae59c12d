//! What a bridge does with a fleet of a later version: it leaves out what it does not know, and nothing else.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use serde_json::{Value, json};
use serialfleet_api::validate::read_lenient;

fn fleet(spec: Value) -> Value {
    json!({
        "apiVersion": "serialfleet.io/v1alpha1",
        "kind": "SerialFleet",
        "metadata": {"name": "home", "uid": "1", "generation": 3},
        "spec": spec,
    })
}

fn served_and_refused(object: &Value) -> (Vec<String>, Vec<String>) {
    let read = read_lenient(object).unwrap();
    let served = read.fleet.spec.devices.iter().map(|device| device.name.clone()).collect();
    (served, read.refused.into_keys().collect())
}

#[test]
fn devices_are_refused_one_by_one() {
    let object = fleet(json!({"devices": [
        {"name": "a", "match": {"usb": "10c4:ea60"}},
        {"name": "b", "match": {"usb": "10c4:ea61"}, "inactivityLock": true},
        {"name": "c", "match": {"usb": "10c4:ea62"}, "protocol": "Mqtt"},
        {"name": "d", "match": {"usb": "10c4:ea63", "port": 1}},
        {"name": "e", "match": {}},
        {"name": "f", "match": {"usb": "10c4:ea64"}, "keepalive": {"idleSeconds": 99}},
        {"match": {"usb": "10c4:ea65"}},
        {"name": "g", "match": {"usb": "10c4:ea66"}},
    ]}));
    let read = read_lenient(&object).unwrap();
    let served: Vec<_> = read.fleet.spec.devices.iter().map(|device| device.name.as_str()).collect();
    assert_eq!(served, ["a", "g"]);
    let refused: Vec<_> = read.refused.iter().map(|(name, why)| format!("{name}: {why}")).collect();
    assert!(refused[0].starts_with("b: spec.devices[1].inactivityLock: unknown field"), "{refused:?}");
    assert!(refused[0].ends_with("upgrade this bridge, which does not know the field"), "{refused:?}");
    assert!(refused[1].contains("unsupported value \"Mqtt\""), "{refused:?}");
    assert_eq!(refused.len(), 6);
    assert_eq!(read.names().collect::<Vec<_>>(), ["a", "b", "c", "d", "devices[6]", "e", "f", "g"]);
}

#[test]
fn what_defaults_say_and_the_bridge_does_not_know_refuses_those_it_concerns() {
    let object = fleet(json!({"defaults": {"protocol": "Mqtt"}, "devices": [
        {"name": "a", "match": {"usb": "10c4:ea60"}},
        {"name": "b", "match": {"usb": "10c4:ea61"}, "protocol": "Raw"},
    ]}));
    assert_eq!(served_and_refused(&object), (vec!["b".to_owned()], vec!["a".to_owned()]));
    let object = fleet(json!({"defaults": {"line": {"idleLevel": "High"}}, "devices": [
        {"name": "a", "match": {"usb": "10c4:ea60"}},
    ]}));
    assert_eq!(served_and_refused(&object), (vec![], vec!["a".to_owned()]));
}

#[test]
fn elsewhere_what_is_unknown_is_tolerated() {
    let mut object = fleet(json!({
        "zone": "north",
        "bridge": {"logLevel": "Trace", "affinity": {}, "tolerations": [{"operator": "Like"}], "adminPort": 9641},
        "devices": [{"name": "a", "match": {"usb": "10c4:ea60"}, "line": null}],
    }));
    object["status"] =
        json!({"observedGeneration": 2, "mood": "good", "devices": [{"name": "a", "state": "Serving"}]});
    let read = read_lenient(&object).unwrap();
    assert!(read.refused.is_empty(), "{:?}", read.refused);
    assert_eq!(read.fleet.spec.bridge.admin_port, Some(9641));
    assert_eq!(read.fleet.spec.bridge.log_level, None);
    assert_eq!(read.fleet.status.unwrap().devices[0].state, "Serving");
}

#[test]
fn only_an_unusable_envelope_is_an_error() {
    for (object, path) in [
        (json!(7), ""),
        (json!({"kind": "SerialFleet", "apiVersion": "serialfleet.io/v1"}), "apiVersion"),
        (json!({"kind": "Pod"}), "kind"),
        (json!({"kind": "SerialFleet", "apiVersion": "serialfleet.io/v1alpha1", "metadata": 1}), "metadata"),
        (fleet(json!({"devices": "none"})), "spec.devices"),
        (fleet(json!(3)), "spec"),
    ] {
        let violations = read_lenient(&object).unwrap_err();
        assert_eq!(violations[0].path, path, "{object}");
    }
}
