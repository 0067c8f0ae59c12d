//! How long a sync takes, in its parts, for fleets of several sizes with requests as Metacontroller sends them:
//! `cargo test --release -p serialfleet-hook --test timing -- --ignored --nocapture`. Prints; judges nothing.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::string_slice,
    reason = "a test that cannot go on has failed; it is to print"
)]

use std::{
    hint::black_box,
    path::Path,
    time::{Duration, Instant, SystemTime},
};

use serde_json::{Map, Value, json};
use serialfleet_hook::{
    config::Config,
    request::SyncRequest,
    sync::{respond, sync},
};

const FLEET_UID: &str = "0e5f1bd0-52a1-4f06-a8a6-6d0f9b8f4f0e";

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn config() -> Config {
    Config::with_image("example/serialfleet:test")
}

/// A fleet in which every device is served, with what the API server and Metacontroller add to each object.
fn request(devices: usize, nodes: usize) -> Vec<u8> {
    let recorded = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/served/request.json");
    let recorded: Value = serde_json::from_slice(&std::fs::read(recorded).unwrap()).unwrap();
    let mut request = recorded.clone();
    let named: Vec<Value> = (0..devices)
        .map(|i| json!({"name": format!("device-{i}"), "match": {"usb": "10c4:ea60", "serialNumber": format!("{i:08x}")}}))
        .collect();
    request["parent"]["metadata"]["uid"] = json!(FLEET_UID);
    request["parent"]["spec"]["devices"] = json!(named);
    let (mut reports, mut endpoints) = (Map::new(), Vec::new());
    for node in 0..nodes {
        let (name, uid) = (format!("node-{node}"), format!("7b1f0f86-0000-4000-8000-{node:012}"));
        let mut report = recorded["related"]["SerialNode.serialfleet.io/v1alpha1"]["home.wyse-1"].clone();
        let (port, device) = (report["ports"][0].clone(), report["devices"][0].clone());
        let of_node = |template: &Value, field: &str| -> Value {
            let mine = (0..devices).filter(|i| i % nodes == node);
            mine.map(|i| {
                let mut one = template.clone();
                one[field] = json!(format!("device-{i}"));
                one
            })
            .collect()
        };
        report["ports"] = of_node(&port, "name");
        report["devices"] = of_node(&device, "matchedBy");
        report["metadata"]["name"] = json!(format!("home.{name}"));
        report["nodeName"] = json!(name);
        report["podUID"] = json!(uid);
        reports.insert(format!("home.{name}"), report);
        endpoints.push(json!({
            "addresses": [format!("10.244.{node}.7")],
            "conditions": {"ready": true, "serving": true, "terminating": false},
            "nodeName": name,
            "targetRef": {"kind": "Pod", "namespace": "serialfleet-system", "name": format!("home-bridge-{node}"), "uid": uid},
        }));
    }
    request["related"]["SerialNode.serialfleet.io/v1alpha1"] = Value::Object(reports);
    let slices = request["related"]["EndpointSlice.discovery.k8s.io/v1"].as_object_mut().unwrap();
    slices.values_mut().next().unwrap()["endpoints"] = json!(endpoints);
    // What a sync answers is what the next one observes.
    for _ in 0..2 {
        let answer =
            sync(&SyncRequest::parse(request.to_string().as_bytes()).unwrap(), &config(), now()).unwrap();
        request["parent"]["status"] = answer.status;
        for (kind, group, like) in [
            ("Service", "Service.v1", "iot-system/zigbee"),
            ("EndpointSlice", "EndpointSlice.discovery.k8s.io/v1", "iot-system/zigbee-ipv4"),
        ] {
            let mut all = Map::new();
            for child in answer.children.iter().filter(|it| it["kind"] == kind) {
                let mut stored = recorded["children"][group][like].clone();
                let desired = child.to_string();
                merge(&mut stored, child);
                stored["metadata"]["annotations"]["metacontroller.k8s.io/last-applied-configuration"] =
                    json!(desired);
                let meta = &child["metadata"];
                all.insert(
                    format!("{}/{}", meta["namespace"].as_str().unwrap(), meta["name"].as_str().unwrap()),
                    stored,
                );
            }
            request["children"][group] = Value::Object(all);
        }
    }
    request.to_string().into_bytes()
}

fn merge(stored: &mut Value, desired: &Value) {
    match (stored, desired) {
        (Value::Object(stored), Value::Object(desired)) => {
            for (key, value) in desired {
                merge(stored.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (stored, desired) => *stored = desired.clone(),
    }
}

fn percentiles(mut times: Vec<Duration>) -> String {
    times.sort();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_secs_f64() * 1e3;
    format!("p50 {:.3} p99 {:.3} ms", at(50), at(99))
}

/// The same fleet a moment later: another version of itself, and of one of its SerialNodes another tty.
fn later(body: &[u8], round: usize) -> Vec<u8> {
    let text = std::str::from_utf8(body).unwrap();
    let version = format!("\"resourceVersion\":\"{}\"", 700_000 + round);
    let old = text.find("\"resourceVersion\":\"").unwrap();
    let end = old + text[old..].find(',').unwrap();
    let tty = text.rfind("\"tty\":\"tty").unwrap() + "\"tty\":\"tty".len();
    let tty_end = tty + text[tty..].find('"').unwrap();
    let parts =
        [&text[..old], version.as_str(), &text[end..tty], &format!("USB{}", round % 90), &text[tty_end..]];
    parts.concat().into_bytes()
}

#[test]
#[ignore = "prints timings; needs an idle machine and --release"]
fn the_parts_of_a_sync() {
    for (devices, nodes, rounds) in [(4, 2, 2000), (64, 20, 500), (256, 100, 200)] {
        let body = request(devices, nodes);
        for is_known in [false, true] {
            let mut times: [Vec<Duration>; 5] = Default::default();
            let mut size = 0;
            let mut known = (body.clone(), SyncRequest::parse(&body).unwrap());
            for round in 0..rounds {
                let body = later(&body, round);
                let start = Instant::now();
                let request = match is_known {
                    true => SyncRequest::parse_after(black_box(&body), &known.0, &known.1),
                    false => SyncRequest::parse(black_box(&body)),
                };
                let request = request.unwrap();
                let parsed = start.elapsed();
                let response = respond(&request, &config(), now());
                let synced = start.elapsed();
                let bytes = serde_json::to_vec(&response).unwrap();
                let written = start.elapsed();
                size = bytes.len();
                drop(response);
                drop(black_box(bytes));
                known = (body, request);
                let all = start.elapsed();
                for (times, time) in
                    times.iter_mut().zip([parsed, synced - parsed, written - synced, all - written, all])
                {
                    times.push(time);
                }
            }
            let how = if is_known { "after another one" } else { "for itself" };
            println!(
                "{devices} devices, {nodes} nodes, {how}: {} KB in, {} KB out",
                body.len() / 1000,
                size / 1000
            );
            for (what, times) in ["parse", "decide", "write", "free", "all"].iter().zip(times) {
                println!("  {what:7} {}", percentiles(times));
            }
        }
    }
}
