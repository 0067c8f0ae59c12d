//! Nothing that a file or the API server can hold makes the readers panic.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use proptest::prelude::*;
use serde_json::{Value, json};
use serialfleet_api::{
    manifest::read_fleet,
    ports::pod_ports,
    resolve::resolve,
    validate::{read_lenient, validate},
};

const SEED: &str = "apiVersion: serialfleet.io/v1alpha1\nkind: SerialFleet\nmetadata: {name: home}\nspec:\n  devices:\n  - {name: zigbee, match: {usb: 10c4:ea60}, line: {dtr: off}}\n  - name: b\n    match: &m {usbPath: usb-1.4, nodes: [a]}\n    clients: {allowFrom: [{cidr: 10.0.0.0/8}]}\n  - {name: c, match: *m}\n";

/// Any JSON, with the names of our fields in it more often than chance.
fn any_json() -> impl Strategy<Value = Value> {
    let word = prop::sample::select(vec![
        "devices",
        "name",
        "match",
        "usb",
        "spec",
        "defaults",
        "line",
        "clients",
        "allowFrom",
        "cidr",
        "bridge",
        "status",
        "service",
        "labels",
        "x",
        "é\u{0}",
        "resources",
        "limits",
        "memory",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        word.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((word.clone(), inner), 0..6).prop_map(|fields| fields
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect()),
        ]
    })
}

fn check(object: &Value) {
    let strict = validate(object);
    if let Ok(lenient) = read_lenient(object) {
        let names: Vec<&str> = lenient.names().collect();
        assert_eq!(pod_ports(names.iter().copied()).len(), names.len().min(10_000));
        for device in resolve(&lenient.fleet.spec) {
            assert!(device.is_ok(), "{device:?}");
        }
        if let Ok(fleet) = strict {
            assert!(lenient.refused.is_empty());
            assert_eq!(lenient.fleet.spec, fleet.spec);
        }
    } else {
        assert!(strict.is_err());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn any_json_has_a_verdict(spec in any_json(), status in any_json(), object in any_json()) {
        check(&object);
        check(&json!({
            "apiVersion": "serialfleet.io/v1alpha1", "kind": "SerialFleet", "metadata": {"name": "home"},
            "spec": spec, "status": status,
        }));
    }

    #[test]
    fn any_device_has_a_verdict(device in any_json(), defaults in any_json()) {
        check(&json!({
            "apiVersion": "serialfleet.io/v1alpha1", "kind": "SerialFleet", "metadata": {"name": "home"},
            "spec": {"defaults": defaults, "devices": [device, {"name": "a", "match": {"usb": "10c4:ea60"}}]},
        }));
    }

    #[test]
    fn any_text_has_a_verdict(text in ".{0,200}", yaml in "[-a-z0-9:&*!?|>'\"%@`{}\\[\\], \n#~<.]{0,120}") {
        drop(read_fleet(&text));
        drop(read_fleet(&yaml));
    }

    #[test]
    fn a_damaged_file_has_a_verdict(at in 0..SEED.len(), with in ".{0,3}", cut in 0..6_usize) {
        let end = (at + cut).min(SEED.len());
        drop(read_fleet(&format!("{}{with}{}", SEED.get(..at).unwrap(), SEED.get(end..).unwrap())));
    }
}

#[test]
fn the_seed_is_a_good_file() {
    assert_eq!(read_fleet(SEED).unwrap().spec.devices.len(), 3);
}

#[test]
fn files_are_refused_with_line_and_path() {
    let text = |spec: &str| {
        format!(
            "apiVersion: serialfleet.io/v1alpha1\nkind: SerialFleet\nmetadata: {{name: home}}\nspec:\n{spec}"
        )
    };
    let two = format!("{}---\n{}", text("  devices: []\n"), text("  devices: []\n").replace("home", "away"));
    for (text, wanted) in [
        (
            text("  devices:\n  - name: a\n    match: {usb: 10c4:ea60}\n    line:\n      dtr: \"off\"\n"),
            "line 9: spec.devices[0].line.dtr: write true or false (found the text \"off\")",
        ),
        (text("  devices:\n  - match: {usb: 10c4:ea60}\n"), "line 6: spec.devices[0].name: missing"),
        (
            text(
                "  devices:\n  - {name: a, match: {usb: 10c4:ea60}}\n  - name: b\n    match: {usb: 10c4:ea60}\n    keepalive: {idleSeconds: 20}\n",
            ),
            "line 7: spec.devices: device b: keepalive.userTimeoutSeconds",
        ),
        (text("  port: 1\n  port: 2\n"), "line 6: spec: the field \"port\" stands here twice"),
        (text("\tdevices: []\n"), "line 5: this is no YAML"),
        (String::new(), "the file is empty"),
        ("# nothing\n---\n".to_owned(), "the file is empty"),
        (two, "the file holds 2 SerialFleets (home, away): write one to a file"),
        (
            format!("{}---\nkind: ConfigMap\n", text("  devices: []\n")),
            "also holds an object of kind \"ConfigMap\"",
        ),
        ("kind: Pod\n".to_owned(), "line 1: kind: write kind: SerialFleet (found \"Pod\")"),
        (
            "a: b\nkind: SerialFleet\napiVersion: v1\n".to_owned(),
            "line 3: apiVersion: write apiVersion: serialfleet.io/v1alpha1",
        ),
        ("- a\n".to_owned(), "line 1: write an object with"),
        (
            "kind: SerialFleet\napiVersion: serialfleet.io/v1alpha1\nspec: {}\n".to_owned(),
            "line 1: metadata.name: a fleet is named by",
        ),
    ] {
        let problems = read_fleet(&text).unwrap_err();
        assert!(problems[0].to_string().contains(wanted), "{} instead of {wanted}", problems[0]);
    }
}
