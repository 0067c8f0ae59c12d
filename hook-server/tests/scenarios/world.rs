//! Recorded requests, what happens to them, and what the answers say.

use std::{path::Path, time::SystemTime};

use serde_json::{Value, json};
use serialfleet_hook::{config::Config, request::SyncRequest, sync::sync};

pub(crate) const NODES: &str = "SerialNode.serialfleet.io/v1alpha1";
pub(crate) const SLICES: &str = "EndpointSlice.discovery.k8s.io/v1";
pub(crate) const ANCHOR: &str = "serialfleet-system/home-anchor-skxhg";
pub(crate) const DAEMON_SET: &str = "/children/DaemonSet.apps~1v1/serialfleet-system~1home-bridge";

pub(crate) fn recorded(case: &str) -> Value {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(case).join("request.json");
    serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
}

pub(crate) fn at(time: &str) -> SystemTime {
    humantime::parse_rfc3339(time).unwrap()
}

pub(crate) fn config() -> Config {
    Config::with_image("example/serialfleet:test")
}

pub(crate) fn answer_with(request: &Value, config: &Config, now: SystemTime) -> Value {
    let request = SyncRequest::parse(request.to_string().as_bytes()).unwrap();
    serde_json::to_value(sync(&request, config, now).unwrap()).unwrap()
}

pub(crate) fn answer(request: &Value) -> Value {
    answer_with(request, &config(), at("2026-11-21T09:00:00Z"))
}

/// The next request: the status was written, and the slices are as answered.
pub(crate) fn next(request: &Value, answer: &Value) -> Value {
    let mut request = request.clone();
    request["parent"]["status"] = answer["status"].clone();
    request["parent"]["status"]["observedGeneration"] = request["parent"]["metadata"]["generation"].clone();
    for slice in children(answer, "EndpointSlice") {
        request["children"][SLICES][key(slice)] = slice.clone();
    }
    request
}

/// The same, and Services and slices are exactly as answered: new ones made, others deleted.
pub(crate) fn settled(request: &Value, answer: &Value) -> Value {
    let mut after = next(request, answer);
    for (kind, group) in [("Service", "Service.v1"), ("EndpointSlice", SLICES)] {
        let all = children(answer, kind).map(|child| (key(child), child.clone()));
        after["children"][group] = all.collect::<serde_json::Map<_, _>>().into();
    }
    after
}

pub(crate) fn key(child: &Value) -> String {
    let text = |field: &str| child["metadata"][field].as_str().unwrap().to_owned();
    format!("{}/{}", text("namespace"), text("name"))
}

pub(crate) fn children<'a>(answer: &'a Value, kind: &'a str) -> impl Iterator<Item = &'a Value> {
    answer["children"].as_array().unwrap().iter().filter(move |child| child["kind"] == kind)
}

pub(crate) fn condition<'a>(answer: &'a Value, type_: &str) -> &'a Value {
    answer["status"]["conditions"].as_array().unwrap().iter().find(|it| it["type"] == type_).unwrap()
}

pub(crate) fn reason<'a>(answer: &'a Value, type_: &str) -> (&'a str, &'a str) {
    let it = condition(answer, type_);
    (it["status"].as_str().unwrap(), it["reason"].as_str().unwrap())
}

pub(crate) fn message<'a>(answer: &'a Value, type_: &str) -> &'a str {
    condition(answer, type_)["message"].as_str().unwrap()
}

pub(crate) fn device<'a>(answer: &'a Value, name: &str) -> &'a Value {
    answer["status"]["devices"].as_array().unwrap().iter().find(|it| it["name"] == name).unwrap()
}

/// The node behind a Service.
pub(crate) fn served_by(answer: &Value, service: &str) -> Option<String> {
    let slice =
        children(answer, "EndpointSlice").find(|it| it["metadata"]["name"] == format!("{service}-ipv4"));
    slice.unwrap()["endpoints"][0]["nodeName"].as_str().map(str::to_owned)
}

pub(crate) fn set_ready(request: &mut Value, node: &str, ready: bool) {
    let endpoints = request["related"][SLICES][ANCHOR]["endpoints"].as_array_mut().unwrap();
    for endpoint in endpoints.iter_mut().filter(|it| it["nodeName"] == node) {
        endpoint["conditions"]["ready"] = json!(ready);
    }
}

pub(crate) fn services(answer: &Value) -> Vec<&str> {
    children(answer, "Service").map(|it| it["metadata"]["name"].as_str().unwrap()).collect()
}

/// When the tests play.
pub(crate) const START: &str = "2026-11-21T09:00:00Z";

/// So many seconds after [`START`].
pub(crate) fn later(seconds: u64) -> SystemTime {
    at(START) + std::time::Duration::from_secs(seconds)
}

pub(crate) fn answer_at(request: &Value, seconds: u64) -> Value {
    answer_with(request, &config(), later(seconds))
}

/// Makes a node's report say this of a device, and nothing else.
pub(crate) fn says(request: &mut Value, node: &str, device: &str, state: &str) {
    let report = &mut request["related"][NODES][format!("home.{node}")];
    report["ports"] = match state {
        "" => json!([]),
        state => json!([{"name": device, "state": state, "tty": "ttyUSB0"}]),
    };
}

/// The bridge pod of a node was replaced; its report is yet of the old one.
pub(crate) fn new_pod(request: &mut Value, node: &str, uid: &str) {
    let endpoints = request["related"][SLICES][ANCHOR]["endpoints"].as_array_mut().unwrap();
    for endpoint in endpoints.iter_mut().filter(|it| it["nodeName"] == node) {
        endpoint["targetRef"]["uid"] = json!(uid);
    }
}

/// The pod of a node is gone from the anchor.
pub(crate) fn no_pod(request: &mut Value, node: &str) {
    let endpoints = request["related"][SLICES][ANCHOR]["endpoints"].as_array_mut().unwrap();
    endpoints.retain(|it| it["nodeName"] != node);
}

pub(crate) fn child<'a>(request: &'a mut Value, group: &str, key: &str) -> &'a mut Value {
    &mut request["children"][group][key]
}
