//! What becomes of one desired child (`pkg/controller/common/manage_children.go`): the object to create, or the object
//! that an observed one is to be. Knows the metadata that Metacontroller adds and the fields that it never changes;
//! whether a difference is written is the caller's decision, by the update method of the kind.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{go_json, three_way::merge};

/// Annotation that holds what was desired when the child was written last, as JSON.
pub const LAST_APPLIED: &str = "metacontroller.k8s.io/last-applied-configuration";

/// Label that `generateSelector` puts on each child.
pub const LABEL_CONTROLLER_UID: &str = "controller-uid";

/// Metadata that goes back to what is observed: attempts to change it never make a difference.
pub const SYSTEM_FIELDS: [&str; 8] = [
    "selfLink",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "managedFields",
];

/// The annotation on an observed child is no JSON object: the sync fails until somebody repairs it.
#[derive(Debug, thiserror::Error)]
#[error("can't unmarshal \"{LAST_APPLIED}\" annotation: {0}")]
pub struct UnreadableLastApplied(#[from] serde_json::Error);

/// What was desired when `observed` was written last.
///
/// # Errors
/// If the annotation is no JSON object.
pub fn last_applied(observed: &Value) -> Result<Option<Map<String, Value>>, UnreadableLastApplied> {
    match string_map(observed, "annotations").unwrap_or_default().get(LAST_APPLIED) {
        None => Ok(None),
        Some(text) if text.is_empty() => Ok(None),
        Some(text) => Ok(serde_json::from_str(text)?),
    }
}

/// What an observed child is to be. Equal to `observed` where there is nothing to write.
///
/// # Errors
/// If the last-applied annotation of `observed` is no JSON object.
pub fn update(observed: &Value, desired: &Value) -> Result<Value, UnreadableLastApplied> {
    let last = last_applied(observed)?.map(Value::Object);
    let desired = without_last_applied(desired);
    let mut merged = merge(observed, last.as_ref(), &desired);
    for field in SYSTEM_FIELDS {
        let before = observed.get("metadata").and_then(|metadata| metadata.get(field));
        if before.is_some() || merged.get("metadata").is_some() {
            revert(metadata(&mut merged), field, before);
        }
    }
    if let Value::Object(merged) = &mut merged {
        revert(merged, "status", observed.get("status"));
    }
    set_last_applied(&mut merged, &desired);
    Ok(merged)
}

/// The object to create for a child that is not observed: `desired`, what was desired as an annotation, and the parent
/// as its controller.
pub fn create(parent: &Value, desired: &Value) -> Value {
    let mut child = desired.clone();
    set_last_applied(&mut child, desired);
    own(&mut child, parent);
    child
}

/// A copy of `object` without the annotation.
pub fn without_last_applied(object: &Value) -> Value {
    let mut object = object.clone();
    let mut annotations = string_map(&object, "annotations").unwrap_or_default();
    if annotations.remove(LAST_APPLIED).is_some() {
        metadata(&mut object).insert("annotations".to_owned(), json!(annotations));
    }
    object
}

/// Gives a desired child the label that the generated selector looks for, unless the hook set one itself (which then
/// does not match, and fails the sync).
pub fn add_controller_uid(desired: &mut Value, uid: &str) {
    let Some(mut labels) = string_map(desired, "labels") else { return };
    if !labels.contains_key(LABEL_CONTROLLER_UID) {
        labels.insert(LABEL_CONTROLLER_UID.to_owned(), uid.to_owned());
        metadata(desired).insert("labels".to_owned(), json!(labels));
    }
}

/// Adds the parent to the owners of `child`, unless it is one.
pub fn own(child: &mut Value, parent: &Value) {
    let reference = controller_ref(parent);
    let metadata = metadata(child);
    let mut owners = match metadata.get("ownerReferences") {
        Some(Value::Array(owners)) => owners.clone(),
        _ => Vec::new(),
    };
    if owners.iter().all(|owner| owner.get("uid") != reference.get("uid")) {
        owners.push(reference);
        metadata.insert("ownerReferences".to_owned(), Value::Array(owners));
    }
}

/// The owner reference by which a parent controls its children.
pub fn controller_ref(parent: &Value) -> Value {
    let text = |pointer: &str| parent.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    json!({
        "apiVersion": text("/apiVersion"),
        "kind": text("/kind"),
        "name": text("/metadata/name"),
        "uid": text("/metadata/uid"),
        "controller": true,
        "blockOwnerDeletion": true,
    })
}

/// Labels or annotations of an object, as Kubernetes' accessors have them: null is an empty text, and if one is no
/// text there are none at all.
pub fn string_map(object: &Value, field: &str) -> Option<BTreeMap<String, String>> {
    let Some(map) = object.get("metadata").and_then(|metadata| metadata.get(field)) else {
        return Some(BTreeMap::new());
    };
    map.as_object()?
        .iter()
        .map(|(key, value)| match value {
            Value::Null => Some((key.clone(), String::new())),
            value => Some((key.clone(), value.as_str()?.to_owned())),
        })
        .collect()
}

fn set_last_applied(object: &mut Value, desired: &Value) {
    // Annotations that are not all text are dropped there, too: the accessor finds none.
    let mut annotations = string_map(object, "annotations").unwrap_or_default();
    annotations.insert(LAST_APPLIED.to_owned(), go_json::to_string(desired));
    metadata(object).insert("annotations".to_owned(), json!(annotations));
}

fn revert(object: &mut Map<String, Value>, field: &str, before: Option<&Value>) {
    match before {
        Some(before) => object.insert(field.to_owned(), before.clone()),
        None => object.remove(field),
    };
}

/// The metadata of an object, made where there is none.
fn metadata(object: &mut Value) -> &mut Map<String, Value> {
    if !object.is_object() {
        *object = json!({});
    }
    let Value::Object(object) = object else { unreachable!("it was made an object above") };
    let metadata = object.entry("metadata").or_insert_with(|| json!({}));
    if !metadata.is_object() {
        *metadata = json!({});
    }
    let Value::Object(metadata) = metadata else { unreachable!("it was made an object above") };
    metadata
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parent() -> Value {
        json!({"apiVersion": "serialfleet.io/v1alpha1", "kind": "SerialFleet", "metadata": {"name": "home", "uid": "u1"}})
    }

    fn service(port: u16) -> Value {
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "zigbee", "namespace": "iot",
               "labels": {"controller-uid": "u1"}}, "spec": {"ports": [{"name": "serial", "port": port}]}})
    }

    /// What the API server makes of a created or updated object: metadata, a default, a status.
    fn stored(mut object: Value) -> Value {
        object["metadata"]["uid"] = json!("c1");
        object["metadata"]["resourceVersion"] = json!("7");
        object["metadata"]["creationTimestamp"] = json!("2026-11-21T09:00:00Z");
        object["spec"]["clusterIP"] = json!("10.96.0.7");
        object["spec"]["ports"][0]["protocol"] = json!("TCP");
        object["status"] = json!({"loadBalancer": {}});
        object
    }

    #[test]
    fn a_created_child_says_what_was_desired_and_who_controls_it() {
        let created = create(&parent(), &service(1));
        assert_eq!(
            created["metadata"]["annotations"][LAST_APPLIED],
            r#"{"apiVersion":"v1","kind":"Service","metadata":{"labels":{"controller-uid":"u1"},"name":"zigbee","namespace":"iot"},"spec":{"ports":[{"name":"serial","port":1}]}}"#
        );
        assert_eq!(
            created["metadata"]["ownerReferences"],
            json!([{"apiVersion": "serialfleet.io/v1alpha1", "kind": "SerialFleet", "name": "home", "uid": "u1",
                    "controller": true, "blockOwnerDeletion": true}])
        );
        assert_eq!(created["spec"], service(1)["spec"]);
    }

    #[test]
    fn an_owner_that_the_hook_named_is_not_named_twice() {
        let mut desired = service(1);
        desired["metadata"]["ownerReferences"] = json!([{"uid": "u1"}]);
        assert_eq!(
            create(&parent(), &desired)["metadata"]["ownerReferences"],
            desired["metadata"]["ownerReferences"]
        );
    }

    #[test]
    fn what_the_server_added_is_no_difference() {
        let observed = stored(create(&parent(), &service(1)));
        assert_eq!(update(&observed, &service(1)).unwrap(), observed);
    }

    #[test]
    fn a_change_keeps_what_the_server_chose_and_moves_the_annotation() {
        let observed = stored(create(&parent(), &service(1)));
        let merged = update(&observed, &service(2)).unwrap();
        assert_eq!(
            merged["spec"],
            json!({"clusterIP": "10.96.0.7", "ports": [{"name": "serial", "port": 2}]})
        );
        assert_eq!(update(&merged, &service(2)).unwrap(), merged);
        assert!(merged["metadata"]["annotations"][LAST_APPLIED].as_str().unwrap().contains(r#""port":2"#));
    }

    #[test]
    fn system_fields_and_status_stay_as_observed() {
        let observed = stored(create(&parent(), &service(1)));
        let mut desired = service(1);
        desired["status"] = json!({"mine": 1});
        desired["metadata"]["uid"] = json!("other");
        desired["metadata"]["generation"] = json!(9);
        let merged = update(&observed, &desired).unwrap();
        assert_eq!(merged["status"], observed["status"]);
        assert_eq!(merged["metadata"]["uid"], "c1");
        assert_eq!(merged["metadata"].get("generation"), None);
    }

    #[test]
    fn an_annotation_that_the_hook_echoes_is_not_nested() {
        let mut desired = service(1);
        desired["metadata"]["annotations"] = json!({LAST_APPLIED: "x"});
        let observed = stored(create(&parent(), &service(1)));
        let text = update(&observed, &desired).unwrap()["metadata"]["annotations"][LAST_APPLIED]
            .as_str()
            .unwrap()
            .to_owned();
        // The hook named annotations, so the empty map is part of what was desired.
        assert!(text.contains(r#""annotations":{}"#) && !text.contains(LAST_APPLIED), "{text}");
    }

    #[test]
    fn a_foreign_child_without_annotation_gets_one_and_keeps_what_is_foreign() {
        let observed = stored(service(1));
        let merged = update(&observed, &service(1)).unwrap();
        assert_ne!(merged, observed);
        assert_eq!(merged["spec"], observed["spec"]);
    }

    #[test]
    fn an_annotation_that_is_no_json_object_fails() {
        for text in ["{", "[]", "1"] {
            let mut observed = stored(service(1));
            observed["metadata"]["annotations"] = json!({LAST_APPLIED: text});
            assert!(update(&observed, &service(1)).is_err(), "{text}");
        }
        for text in ["", "null"] {
            let mut observed = stored(service(1));
            observed["metadata"]["annotations"] = json!({LAST_APPLIED: text});
            assert!(update(&observed, &service(1)).is_ok(), "{text}");
        }
    }

    #[test]
    fn annotations_that_are_null_become_empty_and_those_that_are_no_text_take_all_others_along() {
        let annotations = |odd: Value| {
            let mut observed = stored(service(1));
            observed["metadata"]["annotations"] = json!({"a": "b", "odd": odd});
            let mut merged = update(&observed, &service(1)).unwrap()["metadata"]["annotations"].clone();
            merged.as_object_mut().unwrap().remove(LAST_APPLIED);
            merged
        };
        assert_eq!(annotations(json!(null)), json!({"a": "b", "odd": ""}));
        assert_eq!(annotations(json!(1)), json!({}));
    }

    #[test]
    fn the_label_of_the_generated_selector_is_added_once() {
        let mut child = json!({"metadata": {"name": "a"}});
        add_controller_uid(&mut child, "u1");
        add_controller_uid(&mut child, "u2");
        assert_eq!(child["metadata"]["labels"], json!({"controller-uid": "u1"}));
        let mut odd = json!({"metadata": {"labels": {"a": 1}}});
        add_controller_uid(&mut odd, "u1");
        assert_eq!(odd, json!({"metadata": {"labels": {"a": 1}}}));
    }
}
