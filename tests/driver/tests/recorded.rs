//! The driver against recordings of Metacontroller itself: what it asked, what was answered, what it wrote. They are
//! made by `METACONTROLLER=... SERIALFLEET_RECORD=tests/driver/tests/recorded make test-cluster`.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{collections::BTreeMap, sync::Arc};

use serde::Deserialize;
use serde_json::{Value, json};
use serialfleet_driver::{
    apply_server_side::{Memory, Plan, applied, hash, key},
    children::{Method, Verb, desired_write, undesired},
    object::{self, Gvk},
    parent,
    request::{Groups, customize_body, sync_body},
    spec::Version,
};
use serialfleet_hook::merge::{add_controller_uid, differences, to_vec};

#[derive(Deserialize)]
struct Call {
    hook: String,
    request: String,
    answer: Value,
    writes: Vec<Write>,
}

#[derive(Clone, Debug, Deserialize, PartialEq)]
struct Write {
    verb: String,
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
    request: Value,
    stored: Option<Value>,
}

const DYNAMIC: &str = include_str!("recorded/dynamic-apply.json");
const SERVER_SIDE: &str = include_str!("recorded/server-side-apply.json");

fn calls(recording: &str) -> Vec<Call> {
    let calls: Vec<Call> = serde_json::from_str(recording).unwrap();
    assert!(calls.iter().any(|call| call.hook == "customize"), "a call of each hook");
    assert!(calls.iter().filter(|call| call.hook == "sync").count() > 3, "a story");
    calls
}

/// The objects of one field of a sync, with the groups that are there though empty.
fn groups(request: &Value, field: &str) -> Groups {
    let mut groups = Groups::default();
    for (kind, objects) in request[field].as_object().unwrap() {
        let (kind, api_version) = kind.split_once('.').unwrap();
        groups.declare(Gvk::new(api_version, kind));
        for object in objects.as_object().unwrap().values() {
            groups.insert(Arc::new(object.clone()));
        }
    }
    groups
}

/// As the shipped controller has it: with the label of the generated selector.
fn desired(call: &Call, parent: &Value) -> Groups {
    let mut children = call.answer["children"].as_array().unwrap().clone();
    children.iter_mut().for_each(|child| add_controller_uid(child, object::uid(parent)));
    children.into_iter().map(Arc::new).collect()
}

/// The writes that are about children, by what they are about: the order within a kind is random.
fn to_children(call: &Call) -> BTreeMap<String, Write> {
    let writes = call.writes.iter().filter(|write| write.subresource != "status");
    writes
        .map(|write| (about(&write.verb, &write.namespace, &write.name, &write.resource), write.clone()))
        .collect()
}

fn about(verb: &str, namespace: &str, name: &str, resource: &str) -> String {
    format!("{verb} {resource} {namespace}/{name}")
}

fn resource(kind: &str) -> &'static str {
    match kind {
        "DaemonSet" => "daemonsets",
        "Service" => "services",
        "EndpointSlice" => "endpointslices",
        "NetworkPolicy" => "networkpolicies",
        other => panic!("no child of ours is a {other}"),
    }
}

#[test]
fn hooks_are_asked_the_same_byte_for_byte() {
    for call in calls(DYNAMIC).iter().chain(&calls(SERVER_SIDE)) {
        let request: Value = serde_json::from_str(&call.request).unwrap();
        let (controller, parent) = (&request["controller"], &request["parent"]);
        let body = match call.hook.as_str() {
            "customize" => customize_body(controller, parent),
            _ => sync_body(
                Version::V2,
                controller,
                parent,
                &groups(&request, "children"),
                &groups(&request, "related"),
                false,
            ),
        };
        assert_eq!(String::from_utf8(body).unwrap(), call.request);
    }
}

#[test]
fn dynamic_apply_writes_the_same() {
    for call in calls(DYNAMIC).iter().filter(|call| call.hook == "sync") {
        let request: Value = serde_json::from_str(&call.request).unwrap();
        let (observed, desired) = (groups(&request, "children"), desired(call, &request["parent"]));
        let mut recorded = to_children(call);
        for write in undesired(&observed, &desired) {
            let Verb::Delete { uid } = &write.verb else { panic!("{write:?}") };
            let (_, found) = take(&mut recorded, "delete", &write.namespace, &write.name);
            assert_eq!(found["preconditions"]["uid"], json!(uid));
            assert_eq!(found["propagationPolicy"], "Background");
        }
        for (kind, objects) in desired.iter() {
            for (key, child) in objects {
                let observed = observed.get(kind, key).map(AsRef::as_ref);
                let Some(write) =
                    desired_write(Method::InPlace, &request["parent"], observed, child).unwrap()
                else {
                    continue;
                };
                let verb = if write.verb == Verb::Create { "create" } else { "update" };
                let entry = about(verb, &write.namespace, &write.name, resource(&kind.kind));
                let found = recorded.remove(&entry).unwrap_or_else(|| panic!("not written there: {entry}"));
                let mut differences = differences(&write.body, &found.request);
                if write.verb == Verb::Create {
                    // The audit log shows a new object with the API server's defaults.
                    differences.retain(|difference| difference.before.is_some());
                }
                assert_eq!(differences, [], "{entry}");
            }
        }
        assert!(recorded.is_empty(), "written there, not here: {:?}", recorded.keys());
    }
}

#[test]
fn server_side_apply_writes_the_same() {
    let mut memory = Memory::default();
    for call in calls(SERVER_SIDE).iter().filter(|call| call.hook == "sync") {
        let request: Value = serde_json::from_str(&call.request).unwrap();
        let (observed, desired) = (groups(&request, "children"), desired(call, &request["parent"]));
        let mut recorded = to_children(call);
        for write in undesired(&observed, &desired) {
            take(&mut recorded, "delete", &write.namespace, &write.name);
        }
        for (kind, objects) in desired.iter() {
            for (name, child) in objects {
                let body = applied(&request["parent"], child);
                let hash = hash(&to_vec(&body));
                let key = key(object::group_version(object::api_version(child)).0, &kind.kind, child);
                let observed = observed.get(kind, name).map(AsRef::as_ref);
                if memory.plan(&key, Method::InPlace, observed, hash) == Plan::Nothing {
                    continue;
                }
                let entry =
                    about("patch", object::namespace(child), object::name(child), resource(&kind.kind));
                let found = recorded.remove(&entry).unwrap_or_else(|| panic!("not written there: {entry}"));
                assert_eq!(body, found.request, "{entry}");
                memory.store(key, hash, &found.stored.unwrap());
            }
        }
        assert!(recorded.is_empty(), "written there, not here: {:?}", recorded.keys());
    }
}

#[test]
fn the_status_is_written_the_same() {
    let mut compared = 0;
    for call in calls(DYNAMIC).iter().chain(&calls(SERVER_SIDE)).filter(|call| call.hook == "sync") {
        let request: Value = serde_json::from_str(&call.request).unwrap();
        let status = parent::status(&request["parent"], call.answer["status"].as_object().unwrap());
        let written = call.writes.iter().find(|write| write.subresource == "status");
        match written {
            Some(write) => assert_eq!(write.request["status"], status),
            None => assert_eq!(request["parent"]["status"], status, "nothing to write"),
        }
        compared += usize::from(written.is_some());
    }
    assert!(compared > 8);
}

fn take(recorded: &mut BTreeMap<String, Write>, verb: &str, namespace: &str, name: &str) -> (String, Value) {
    let entry = recorded
        .iter()
        .find(|(_, write)| write.verb == verb && write.namespace == namespace && write.name == name)
        .map(|(entry, _)| entry.clone())
        .unwrap_or_else(|| panic!("not written there: {verb} {namespace}/{name}"));
    let write = recorded.remove(&entry).unwrap();
    (entry, write.request)
}
