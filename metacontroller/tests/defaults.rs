//! Built-in < `defaults` < device, leaf by leaf: a table, and what must hold for any settings.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use serialfleet_api::{
    fleet::{Device, Settings},
    resolve::{merge, resolve, resolve_device},
};

fn settings(value: Value) -> Settings {
    serde_json::from_value(value).unwrap()
}

#[test]
fn leaves_are_decided_one_by_one() {
    for (what, device, defaults, merged) in [
        ("nothing", json!({}), json!({}), json!({})),
        ("defaults only", json!({}), json!({"port": 1}), json!({"port": 1})),
        ("device wins", json!({"port": 2}), json!({"port": 1}), json!({"port": 2})),
        (
            "leaves of one group from both",
            json!({"line": {"dtr": false}, "keepalive": {"idleSeconds": 1}}),
            json!({"line": {"dtr": true, "rts": true}, "keepalive": {"userTimeoutSeconds": 9}}),
            json!({"line": {"dtr": false, "rts": true}, "keepalive": {"idleSeconds": 1, "userTimeoutSeconds": 9}}),
        ),
        (
            "rs485 whole",
            json!({"line": {"rs485": {"rtsOnSend": true}}}),
            json!({"line": {"rs485": {"mandatory": true}, "baudRate": 9600}}),
            json!({"line": {"rs485": {"rtsOnSend": true}, "baudRate": 9600}}),
        ),
        (
            "lists whole",
            json!({"clients": {"allowFrom": [{"namespace": "a"}]}}),
            json!({"clients": {"allowFrom": [{"namespace": "b"}, {"cidr": "10.0.0.0/8"}], "max": 2}}),
            json!({"clients": {"allowFrom": [{"namespace": "a"}], "max": 2}}),
        ),
        (
            "maps by key",
            json!({"service": {"labels": {"a": "1", "b": "1"}, "annotations": {}}}),
            json!({"service": {"labels": {"b": "2", "c": "2"}, "annotations": {"d": "2"}}}),
            json!({"service": {"labels": {"a": "1", "b": "1", "c": "2"}, "annotations": {"d": "2"}}}),
        ),
        (
            "tls",
            json!({"tls": {"mode": "Mutual"}}),
            json!({"tls": {"mode": "Server"}}),
            json!({"tls": {"mode": "Mutual"}}),
        ),
        (
            "false is said as well",
            json!({"line": {"lowLatency": false}}),
            json!({"line": {"lowLatency": true}}),
            json!({"line": {"lowLatency": false}}),
        ),
    ] {
        assert_eq!(merge(&settings(device), &settings(defaults)), settings(merged), "{what}");
    }
}

#[test]
fn what_nobody_says_is_built_in() {
    let device: Device = serde_json::from_value(json!({"name": "a", "match": {"usb": "10c4:ea60"}})).unwrap();
    let resolved = resolve_device(&device, &Settings::default()).unwrap();
    assert_eq!((resolved.port, resolved.hold_seconds, resolved.frame_gap_milliseconds), (6638, 10, 0));
    assert_eq!((resolved.line.baud_rate, resolved.line.format.to_string().as_str()), (115_200, "8N1"));
    assert_eq!((resolved.line.dtr, resolved.line.rts, resolved.line.low_latency), (None, None, None));
    assert_eq!((resolved.keepalive.idle_seconds, resolved.keepalive.user_timeout_seconds), (10, 15));
    assert_eq!(resolved.keepalive.interval_seconds(), 1);
    assert_eq!((resolved.clients.max, resolved.clients.allow_from.as_ref()), (8, None));
    assert!(!resolved.suspend && !resolved.required && resolved.tls.is_none());
}

/// A device that skipped validation is refused alone.
#[test]
fn numbers_that_fit_nowhere_refuse_their_device_only() {
    let spec = serde_json::from_value(json!({"devices": [
        {"name": "a", "match": {}, "port": 70000},
        {"name": "b", "match": {}, "line": {"format": "8X1"}},
        {"name": "c", "match": {}, "holdSeconds": -1},
        {"name": "d", "match": {}},
    ]}))
    .unwrap();
    let names: Vec<String> = resolve(&spec)
        .into_iter()
        .map(|device| device.map_or_else(|(name, error)| format!("{name}: {error}"), |device| device.name))
        .collect();
    assert_eq!(names[0], "a: port: 70000 is out of range");
    assert!(names[1].starts_with("b: line.format: \"8X1\" is no character format"), "{names:?}");
    assert_eq!(names[2..], ["c: holdSeconds: -1 is out of range", "d"]);
}

/// Settings with any of their leaves, as JSON.
fn any_settings() -> impl Strategy<Value = Value> {
    let leaf = |path: &'static str, values: Vec<Value>| {
        prop::option::of(prop::sample::select(values)).prop_map(move |value| (path, value))
    };
    let flag = || vec![json!(true), json!(false)];
    let leaves = vec![
        leaf("port", vec![json!(1), json!(2)]).boxed(),
        leaf("protocol", vec![json!("Raw"), json!("Rfc2217")]).boxed(),
        leaf("holdSeconds", vec![json!(0), json!(9)]).boxed(),
        leaf("frameGapMilliseconds", vec![json!(0), json!(9)]).boxed(),
        leaf("line.baudRate", vec![json!(300), json!(9600)]).boxed(),
        leaf("line.format", vec![json!("7E1"), json!("8N2")]).boxed(),
        leaf("line.flowControl", vec![json!("None"), json!("RtsCts")]).boxed(),
        leaf("line.dtr", flag()).boxed(),
        leaf("line.rts", flag()).boxed(),
        leaf("line.lowLatency", flag()).boxed(),
        leaf("line.rs485", vec![json!({"rtsOnSend": true}), json!({"mandatory": true})]).boxed(),
        leaf("clients.policy", vec![json!("Share"), json!("Refuse")]).boxed(),
        leaf("clients.max", vec![json!(1), json!(2)]).boxed(),
        leaf("clients.writers", vec![json!("First"), json!("None")]).boxed(),
        leaf("clients.slowReader", vec![json!("Block"), json!("Disconnect")]).boxed(),
        leaf("clients.idleTimeoutSeconds", vec![json!(0), json!(5)]).boxed(),
        leaf("clients.allowFrom", vec![json!([{"cidr": "10.0.0.0/8"}]), json!([{"namespace": "a"}])]).boxed(),
        leaf("keepalive.idleSeconds", vec![json!(1), json!(2)]).boxed(),
        leaf("keepalive.userTimeoutSeconds", vec![json!(3), json!(4)]).boxed(),
        leaf("tls", vec![json!({"mode": "Server"}), json!({"mode": "Mutual"})]).boxed(),
        leaf("service.type", vec![json!("NodePort"), json!("LoadBalancer")]).boxed(),
        leaf("service.loadBalancerClass", vec![json!("a"), json!("b")]).boxed(),
        leaf("service.externalTrafficPolicy", vec![json!("Local"), json!("Cluster")]).boxed(),
        leaf("service.nodePort", vec![json!(1), json!(2)]).boxed(),
    ];
    leaves.prop_map(|leaves| {
        let mut settings = Map::new();
        for (path, value) in leaves {
            let Some(value) = value else { continue };
            match path.split_once('.') {
                None => {
                    settings.insert(path.to_owned(), value);
                }
                Some((group, name)) => settings.entry(group).or_insert_with(|| json!({}))[name] = value,
            }
        }
        Value::Object(settings)
    })
}

/// Every leaf that the type has, so that a new one cannot be forgotten in `any_settings` and `merge`.
const LEAVES: usize = 26;

fn pointers(value: &Value, prefix: &str, depth: usize, into: &mut Vec<String>) {
    for (name, inner) in value.as_object().into_iter().flatten() {
        let path = format!("{prefix}/{name}");
        if inner.is_object() && depth < 1 && name != "tls" {
            pointers(inner, &path, depth + 1, into);
        } else {
            into.push(path);
        }
    }
}

proptest! {
    #[test]
    fn the_device_wins_and_the_rest_comes_from_defaults(device in any_settings(), defaults in any_settings()) {
        let merged = serde_json::to_value(merge(&settings(device.clone()), &settings(defaults.clone()))).unwrap();
        let mut paths = Vec::new();
        for value in [&device, &defaults, &merged] {
            pointers(value, "", 0, &mut paths);
        }
        for path in paths {
            prop_assert_eq!(merged.pointer(&path), device.pointer(&path).or_else(|| defaults.pointer(&path)), "{}", path);
        }
    }

    #[test]
    fn merging_again_changes_nothing(device in any_settings(), defaults in any_settings()) {
        let (device, defaults) = (settings(device), settings(defaults));
        let once = merge(&device, &defaults);
        prop_assert_eq!(&merge(&once, &defaults), &once);
        prop_assert_eq!(&merge(&device, &once), &once);
        prop_assert_eq!(&merge(&once, &Settings::default()), &once);
        prop_assert_eq!(&merge(&Settings::default(), &once), &once);
    }
}

#[test]
fn no_leaf_is_forgotten_in_the_properties_above() {
    let schema = include_str!("../manifests/crds.yaml");
    let crd = <Value as serde::Deserialize>::deserialize(
        serde_yaml::Deserializer::from_str(schema).next().unwrap(),
    );
    let crd = crd.unwrap();
    let defaults = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
        ["defaults"];
    let leaves: usize = defaults["properties"]
        .as_object()
        .unwrap()
        .iter()
        .map(
            |(name, group)| {
                if name == "tls" { 1 } else { group["properties"].as_object().map_or(1, Map::len) }
            },
        )
        .sum();
    assert_eq!(leaves, LEAVES, "extend any_settings");
}
