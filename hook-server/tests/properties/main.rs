//! What holds for every request: the same bytes in any order, shapes that the API server stores as they are, at most one
//! endpoint, Services that never go, and a pod template that depends on what it may depend on.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod api_server;
mod fixed_point;
mod known;

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime},
};

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use serialfleet_hook::{
    config::Config,
    request::{Refusal, SyncRequest},
    sync::sync,
};

const NODES: [&str; 4] = ["a", "b", "c.lan", "d"];
const STATES: [&str; 9] =
    ["Serving", "Serving", "Held", "Absent", "Busy", "Failed", "Denied", "Ambiguous", "NewInNextVersion"];

/// What varies in the world around a fleet.
#[derive(Clone, Debug)]
struct World {
    nodes: Vec<Node>,
    dual_stack: bool,
}

#[derive(Clone, Debug)]
struct Node {
    name: &'static str,
    /// Its SerialNode says that of each device, if it exists.
    states: Vec<Option<&'static str>>,
    /// Whether the SerialNode was written by the present pod.
    present_pod: bool,
    /// Readiness in the anchor; `None`: no endpoint.
    ready: Option<bool>,
}

fn world(devices: usize) -> impl Strategy<Value = World> {
    let state = proptest::option::weighted(0.8, proptest::sample::select(&STATES[..]));
    let node = move |name| {
        (
            proptest::collection::vec(state.clone(), devices),
            proptest::bool::weighted(0.8),
            proptest::option::weighted(0.8, proptest::bool::weighted(0.8)),
        )
            .prop_map(move |(states, present_pod, ready)| Node { name, states, present_pod, ready })
    };
    (NODES.map(node), any::<bool>())
        .prop_map(|(nodes, dual_stack)| World { nodes: nodes.to_vec(), dual_stack })
}

fn device(index: usize) -> impl Strategy<Value = Value> {
    let nodes = proptest::option::of(proptest::sample::subsequence(&NODES[..], 1..3));
    let allow = proptest::option::of(proptest::sample::subsequence(
        vec![
            json!({"cidr": "10.0.0.0/8"}),
            json!({"cidr": "fd00::/8"}),
            json!({"namespace": "iot", "podLabels": {"app": "x"}}),
        ],
        0..3,
    ));
    let service = proptest::sample::select(vec![
        json!({}),
        json!({"type": "NodePort", "externalTrafficPolicy": "Local", "nodePort": 30638}),
        json!({"type": "LoadBalancer", "loadBalancerClass": "x", "labels": {"controller-uid": "1", "app": ""}}),
        json!({"externalTrafficPolicy": "Local", "loadBalancerClass": "", "annotations": {}}),
    ]);
    (any::<bool>(), nodes, allow, service, 1..65535_i32).prop_map(
        move |(per_node, nodes, allow, service, port)| {
            let mut device = json!({
                "name": format!("device{index}"),
                "scope": if per_node { "Node" } else { "Cluster" },
                "match": {"usb": "10c4:ea60"},
                "port": port,
                "service": service,
            });
            if let Some(nodes) = nodes {
                device["match"]["nodes"] = json!(nodes);
            }
            if let Some(allow) = allow {
                device["clients"] = json!({"allowFrom": allow});
            }
            device
        },
    )
}

const DEVICES: usize = 3;

fn devices() -> impl Strategy<Value = Vec<Value>> {
    (device(0), device(1), device(2)).prop_map(|(a, b, c)| vec![a, b, c])
}

fn bridge() -> impl Strategy<Value = Value> {
    proptest::sample::select(vec![
        json!({}),
        json!({"nodeSelector": {"a": "b"}}),
        json!({"tolerateAllTaints": false}),
        json!({"tolerateAllTaints": false, "tolerations": [{"key": "x", "operator": "Exists"}]}),
        json!({"resources": {"requests": {"cpu": "0.5"}}}),
        json!({"imagePullSecrets": [{"name": "a"}]}),
        json!({"adminPort": 9641}),
    ])
}

fn pod_uid(node: &str) -> String {
    format!("pod-of-{node}")
}

fn request(spec: &Value, world: &World, children: &Value) -> Value {
    let (mut reports, mut anchors) = (Map::new(), Map::new());
    for node in &world.nodes {
        let ports: Vec<Value> = (0..DEVICES)
            .filter_map(|i| Some(json!({"name": format!("device{i}"), "state": node.states[i]?})))
            .collect();
        let name = format!("home.{}", node.name);
        let uid = if node.present_pod { pod_uid(node.name) } else { "another".to_owned() };
        reports.insert(name.clone(), json!({
            "metadata": {"name": name}, "nodeName": node.name, "fleet": "home", "podUID": uid, "ports": ports,
        }));
    }
    for (family, prefix) in
        [("IPv4", "10.244.0."), ("IPv6", "fd00::")].into_iter().take(1 + usize::from(world.dual_stack))
    {
        let endpoints: Vec<Value> = (1..)
            .zip(&world.nodes)
            .filter_map(|(i, node)| {
                Some(json!({"addresses": [format!("{prefix}{i}")], "conditions": {"ready": node.ready?},
                    "nodeName": node.name,
                    "targetRef": {"kind": "Pod", "name": format!("p{i}"), "uid": pod_uid(node.name)}}))
            })
            .collect();
        let endpoints = if endpoints.is_empty() { Value::Null } else { json!(endpoints) };
        anchors.insert(
            format!("serialfleet-system/home-anchor-{family}"),
            json!({
                "metadata": {"name": format!("home-anchor-{family}"), "namespace": "serialfleet-system",
                    "labels": {"kubernetes.io/service-name": "home-anchor", "serialfleet.io/fleet": "home"}},
                "addressType": family, "endpoints": endpoints, "ports": null,
            }),
        );
    }
    json!({
        "parent": {"kind": "SerialFleet", "metadata": {"name": "home", "uid": "u", "generation": 1}, "spec": spec},
        "children": children,
        "related": {
            "SerialNode.serialfleet.io/v1alpha1": reports,
            "EndpointSlice.discovery.k8s.io/v1": anchors,
            "Service.v1": {},
            "Namespace.v1": {"iot": {"metadata": {"name": "iot", "labels": {"serialfleet.io/services": "allowed"}}}},
        },
        "finalizing": false,
    })
}

fn spec(devices: &[Value], bridge: &Value) -> Value {
    json!({"serviceNamespace": "iot", "bridge": bridge, "devices": devices})
}

fn answer(request: &Value) -> Value {
    let request = SyncRequest::parse(request.to_string().as_bytes()).unwrap();
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    serde_json::to_value(sync(&request, &Config::with_image("example/serialfleet:test"), now).unwrap())
        .unwrap()
}

/// The answer's children as the next request shows them.
fn observed(answer: &Value) -> Value {
    let mut groups = json!({"DaemonSet.apps/v1": {}, "Service.v1": {}, "EndpointSlice.discovery.k8s.io/v1": {},
        "NetworkPolicy.networking.k8s.io/v1": {}});
    for child in answer["children"].as_array().unwrap() {
        let group = groups
            .as_object_mut()
            .unwrap()
            .iter_mut()
            .find(|(key, _)| key.split('.').next() == child["kind"].as_str());
        let key = format!("{}/{}", child["metadata"]["namespace"], child["metadata"]["name"]);
        group.unwrap().1[key] = child.clone();
    }
    groups
}

fn names(answer: &Value, kind: &str) -> BTreeSet<String> {
    let of_kind = answer["children"].as_array().unwrap().iter().filter(|child| child["kind"] == kind);
    of_kind.map(|child| child["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

fn template(answer: &Value) -> Value {
    answer["children"].as_array().unwrap().iter().find(|it| it["kind"] == "DaemonSet").unwrap()["spec"]["template"]
        .clone()
}

/// Lists whose order means nothing are turned round, and group keys are spelled so that their order is another.
fn shuffled(value: &Value, key: &str) -> Value {
    match value {
        Value::Array(items) => {
            let mut items: Vec<Value> = items.iter().map(|item| shuffled(item, "")).collect();
            if !matches!(key, "containers" | "args" | "addresses") {
                items.reverse();
            }
            Value::Array(items)
        }
        Value::Object(map) => {
            let group = key.contains(".io/") || key.ends_with("/v1") || key.ends_with(".v1");
            let objects = group && map.values().all(Value::is_object);
            let total = map.len();
            let entries = map.iter().enumerate().map(|(i, (key, value))| {
                let name = if objects { format!("{:04}-{key}", total - i) } else { key.clone() };
                (name, shuffled(value, key))
            });
            Value::Object(entries.collect())
        }
        other => other.clone(),
    }
}

fn assert_clean(value: &Value, path: &str) {
    match value {
        Value::Null => assert!(path.ends_with("].endpoints"), "{path} is null"),
        Value::Number(number) => assert!(!number.is_f64(), "{path} is {number}"),
        Value::String(text) => {
            // Label and annotation values may be empty.
            assert!(
                !text.is_empty() || path.contains(".labels.") || path.contains(".annotations."),
                "{path} is empty"
            );
        }
        Value::Bool(_) => {}
        Value::Array(items) => {
            assert!(!items.is_empty(), "{path} is empty");
            items.iter().enumerate().for_each(|(i, item)| assert_clean(item, &format!("{path}[{i}]")));
        }
        Value::Object(map) => {
            assert!(!map.is_empty(), "{path} is empty");
            map.iter().for_each(|(key, item)| assert_clean(item, &format!("{path}.{key}")));
        }
    }
}

fn no_null(value: &Value, path: &str) {
    match value {
        Value::Null => panic!("{path} is null"),
        Value::Array(items) => items.iter().for_each(|item| no_null(item, path)),
        Value::Object(map) => map.iter().for_each(|(key, item)| no_null(item, &format!("{path}.{key}"))),
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_same_bytes_in_whatever_order_the_input_comes(
        devices in devices(), bridge in bridge(), before in world(DEVICES), now in world(DEVICES),
    ) {
        let spec = spec(&devices, &bridge);
        let children = observed(&answer(&request(&spec, &before, &json!({}))));
        let request = request(&spec, &now, &children);
        prop_assert_eq!(answer(&request).to_string(), answer(&request).to_string());
        prop_assert_eq!(answer(&request).to_string(), answer(&shuffled(&request, "")).to_string());
    }

    #[test]
    fn children_hold_no_null_but_an_empty_slices_endpoints_nothing_empty_and_no_float(
        devices in devices(), bridge in bridge(), world in world(DEVICES),
    ) {
        let answer = answer(&request(&spec(&devices, &bridge), &world, &json!({})));
        assert_clean(&answer["children"], "children");
        no_null(&answer["status"], "status");
    }

    #[test]
    fn a_slice_has_at_most_one_endpoint_and_it_is_a_ready_pod_whose_report_is_believed_and_says_so(
        devices in devices(), before in world(DEVICES), now in world(DEVICES),
    ) {
        let spec = spec(&devices, &json!({}));
        let children = observed(&answer(&request(&spec, &before, &json!({}))));
        let answer = answer(&request(&spec, &now, &children));
        for slice in answer["children"].as_array().unwrap().iter().filter(|it| it["kind"] == "EndpointSlice") {
            let Some(endpoints) = slice["endpoints"].as_array() else { continue };
            prop_assert_eq!(endpoints.len(), 1);
            let endpoint = &endpoints[0];
            let node = now.nodes.iter().find(|node| endpoint["nodeName"] == node.name).unwrap();
            prop_assert!(node.ready == Some(true) && node.present_pod);
            prop_assert_eq!(&endpoint["targetRef"]["uid"], &json!(pod_uid(node.name)));
            let device = slice["metadata"]["labels"]["serialfleet.io/device"].as_str().unwrap();
            let index: usize = device.strip_prefix("device").unwrap().parse().unwrap();
            prop_assert!(matches!(node.states[index], Some("Serving" | "Held")));
        }
    }

    #[test]
    fn no_change_of_serial_nodes_anchor_or_readiness_removes_a_service_or_a_slice(
        devices in devices(), worlds in proptest::collection::vec(world(DEVICES), 1..5),
    ) {
        let spec = spec(&devices, &json!({}));
        let mut children = json!({});
        let mut there = (BTreeSet::new(), BTreeSet::new());
        for world in &worlds {
            let answer = answer(&request(&spec, world, &children));
            let now = (names(&answer, "Service"), names(&answer, "EndpointSlice"));
            prop_assert!(now.0.is_superset(&there.0), "{:?} lacks some of {:?}", now.0, there.0);
            prop_assert!(now.1.is_superset(&there.1), "{:?} lacks some of {:?}", now.1, there.1);
            children = observed(&answer);
            there = now;
        }
        // Not even the loss of everything that is related; which would cost endpoints, and is refused where there are any.
        let mut bare = request(&spec, &worlds[0], &children);
        bare["related"] = json!({});
        let slices = children["EndpointSlice.discovery.k8s.io/v1"].as_object().unwrap();
        if slices.values().any(|slice| slice["endpoints"].as_array().is_some_and(|it| !it.is_empty())) {
            let refusal = SyncRequest::parse(bare.to_string().as_bytes()).err();
            prop_assert_eq!(refusal, Some(Refusal::Unheard("SerialNodes")));
        } else {
            let answer = answer(&bare);
            prop_assert!(names(&answer, "Service").is_superset(&there.0));
            prop_assert!(names(&answer, "EndpointSlice").is_superset(&there.1));
        }
    }

    #[test]
    fn the_pod_template_depends_on_bridge_settings_and_flags_and_on_nothing_else(
        (one, two) in (devices(), devices()), bridge in bridge(), other in bridge(),
        (before, after) in (world(DEVICES), world(DEVICES)), level in proptest::sample::select(vec!["Debug", "Error"]),
    ) {
        let first = answer(&request(&spec(&one, &bridge), &before, &json!({})));
        let mut edited = spec(&two, &bridge);
        edited["bridge"]["logLevel"] = json!(level);
        edited["bridge"]["updateStrategy"] = json!("OnDelete");
        edited["defaults"] = json!({"port": 7000, "clients": {"policy": "Share"}});
        edited["serviceNamespace"] = json!("elsewhere");
        let second = answer(&request(&edited, &after, &observed(&first)));
        prop_assert_eq!(template(&first), template(&second));
        let third = answer(&request(&spec(&one, &other), &before, &json!({})));
        prop_assert_eq!(template(&first) == template(&third), bridge == other);
        prop_assert!(!template(&first).to_string().contains(env!("CARGO_PKG_VERSION")));
    }

    #[test]
    fn once_applied_the_same_world_asks_for_the_same_again(devices in devices(), world in world(DEVICES)) {
        let spec = spec(&devices, &json!({}));
        let first = answer(&request(&spec, &world, &json!({})));
        let second = answer(&request(&spec, &world, &observed(&first)));
        prop_assert_eq!(&first["children"], &second["children"]);
        let mut settled = request(&spec, &world, &observed(&second));
        settled["parent"]["status"] = second["status"].clone();
        prop_assert_eq!(&answer(&settled)["children"], &second["children"]);
    }
}
