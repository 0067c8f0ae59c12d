//! Whole requests as Metacontroller sends them, and the answers they get. `UPDATE_GOLDEN=1` rewrites the answers: read
//! the difference before committing it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use std::{
    path::{Path, PathBuf},
    time::SystemTime,
};

use k8s_openapi::api::{
    apps::v1::DaemonSet, core::v1::Service, discovery::v1::EndpointSlice, networking::v1::NetworkPolicy,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use serialfleet_hook::{
    config::Config,
    request::SyncRequest,
    sync::{respond, sync},
};

fn cases() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut cases: Vec<PathBuf> = root.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    assert!(cases.len() > 10, "{cases:?}");
    cases
}

fn answer(case: &Path) -> Value {
    let request = std::fs::read(case.join("request.json")).unwrap();
    let request =
        SyncRequest::parse(&request).unwrap_or_else(|refusal| panic!("{}: {refusal}", case.display()));
    let now: SystemTime = humantime::parse_rfc3339("2026-11-21T08:42:00Z").unwrap();
    serde_json::to_value(sync(&request, &Config::with_image("example/serialfleet:test"), now).unwrap())
        .unwrap()
}

#[test]
fn every_request_gets_the_recorded_answer() {
    let mut differing = Vec::new();
    for case in cases() {
        let file = case.join("response.json");
        let answer = serde_json::to_string_pretty(&answer(&case)).unwrap() + "\n";
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&file, &answer).unwrap();
        } else if std::fs::read_to_string(&file).ok().as_deref() != Some(answer.as_str()) {
            differing.push(file);
        }
    }
    assert!(differing.is_empty(), "not as recorded (UPDATE_GOLDEN=1 records anew): {differing:#?}");
}

/// What is written straight from the decisions is what whoever looks into the children sees; children to the byte.
#[test]
fn the_answer_that_is_sent_and_the_one_that_is_looked_into_are_the_same() {
    let now: SystemTime = humantime::parse_rfc3339("2026-11-21T08:42:00Z").unwrap();
    let config = Config::with_image("example/serialfleet:test");
    for case in cases() {
        let request = SyncRequest::parse(&std::fs::read(case.join("request.json")).unwrap()).unwrap();
        let sent = respond(&request, &config, now);
        let seen = sync(&request, &config, now).unwrap();
        assert_eq!(sent.children.len(), seen.children.len(), "{}", case.display());
        let text = serde_json::to_string(&sent.children).unwrap();
        assert_eq!(text, serde_json::to_string(&seen.children).unwrap(), "{}", case.display());
        assert_eq!(serde_json::to_value(&sent).unwrap(), serde_json::to_value(&seen).unwrap());
    }
}

/// Typos and wrong types vanish in the typed form, so the way there and back finds them.
#[test]
fn every_child_survives_the_way_through_the_typed_kubernetes_api() {
    fn through<T: DeserializeOwned + Serialize>(child: &Value) -> Value {
        serde_json::to_value(serde_json::from_value::<T>(child.clone()).unwrap()).unwrap()
    }
    for case in cases() {
        for child in answer(&case)["children"].as_array().unwrap() {
            let mut expected = child.clone();
            let typed = match child["kind"].as_str().unwrap() {
                "DaemonSet" => through::<DaemonSet>(child),
                "Service" => through::<Service>(child),
                "NetworkPolicy" => through::<NetworkPolicy>(child),
                "EndpointSlice" => {
                    // The typed form has no null: it says [] there, which the API server stores as null.
                    if child["endpoints"].is_null() {
                        expected["endpoints"] = Value::Array(Vec::new());
                    }
                    through::<EndpointSlice>(child)
                }
                kind => panic!("{kind}"),
            };
            assert_eq!(typed, expected, "{}", case.display());
        }
    }
}

/// What the API server stored merges with what is desired to itself: Metacontroller would write nothing.
#[test]
fn no_stored_child_has_a_value_that_differs_from_the_desired_one_where_nothing_changed() {
    for case in cases() {
        let request: Value =
            serde_json::from_slice(&std::fs::read(case.join("request.json")).unwrap()).unwrap();
        for child in answer(&case)["children"].as_array().unwrap() {
            // Slices are what changes in these requests.
            if child["kind"] == "EndpointSlice" {
                continue;
            }
            let key =
                format!("{}/{}", text(&child["metadata"]["namespace"]), text(&child["metadata"]["name"]));
            let observed = request["children"]
                .as_object()
                .unwrap()
                .values()
                .find_map(|group| group.get(&key).filter(|it| it["kind"] == child["kind"]));
            if let Some(observed) = observed {
                assert_covers(observed, child, &format!("{} {key}", case.display()));
            }
        }
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn assert_covers(observed: &Value, desired: &Value, path: &str) {
    match (observed, desired) {
        (Value::Object(observed), Value::Object(desired)) => {
            for (key, value) in desired {
                let observed = observed.get(key).unwrap_or_else(|| panic!("{path}.{key} is missing"));
                assert_covers(observed, value, &format!("{path}.{key}"));
            }
        }
        (Value::Array(observed), Value::Array(desired)) => {
            assert_eq!(observed.len(), desired.len(), "{path}");
            for (index, (observed, desired)) in observed.iter().zip(desired).enumerate() {
                assert_covers(observed, desired, &format!("{path}[{index}]"));
            }
        }
        _ => assert_eq!(observed, desired, "{path}"),
    }
}
