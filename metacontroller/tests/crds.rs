//! The committed CRDs are those of the types. `UPDATE_GOLDEN=1` rewrites them.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]
#![cfg(feature = "crd")]

use serde_json::Value;
use serialfleet_api::crd;

const COMMITTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/manifests/crds.yaml");

#[test]
fn committed_crds_are_those_of_the_types() {
    let generated = crd::yaml().unwrap();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(COMMITTED, &generated).unwrap();
    }
    let committed = std::fs::read_to_string(COMMITTED).unwrap();
    assert!(generated == committed, "run: UPDATE_GOLDEN=1 cargo test -p serialfleet-api --all-features");
}

/// YAML 1.1 as well as 1.2 reads the file as it was meant: `no` and `on` stay text.
#[test]
fn the_file_says_what_the_generator_meant() {
    let documents = serde_yaml::Deserializer::from_str(&crd::yaml().unwrap())
        .map(|document| <Value as serde::Deserialize>::deserialize(document).unwrap())
        .collect::<Vec<_>>();
    assert_eq!(documents, [crd::serial_fleet(), crd::serial_node()]);
}

#[test]
fn schemas_are_structural() {
    for crd in [crd::serial_fleet(), crd::serial_node()] {
        let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        check(schema, "");
    }
}

/// What the API server refuses, warns about, or would do to objects behind the user's back.
fn check(schema: &Value, path: &str) {
    let fields = schema.as_object().unwrap();
    for banned in [
        "$ref",
        "$schema",
        "nullable",
        "default",
        "format",
        "oneOf",
        "allOf",
        "const",
        "title",
        "definitions",
    ] {
        assert!(!fields.contains_key(banned), "{path}: {banned}");
    }
    let is_int_or_string = fields.contains_key("x-kubernetes-int-or-string");
    assert!(is_int_or_string != fields.contains_key("type"), "{path}: exactly one type");
    assert!(is_int_or_string == fields.contains_key("anyOf"), "{path}");
    assert!(fields.get("additionalProperties").is_none_or(Value::is_object), "{path}");
    for bound in ["minimum", "maximum"] {
        assert!(fields.get(bound).is_none_or(Value::is_i64), "{path}: {bound}");
    }
    let top = matches!(path, "" | ".metadata" | ".metadata.name");
    let is_item = path.ends_with("[]") || path.ends_with("{}");
    assert!(
        top || is_item || fields.get("description").is_some_and(|text| text != ""),
        "{path}: description"
    );
    for (name, inner) in fields.get("properties").and_then(Value::as_object).into_iter().flatten() {
        check(inner, &format!("{path}.{name}"));
    }
    for (key, mark) in [("items", "[]"), ("additionalProperties", "{}")] {
        if let Some(inner) = fields.get(key) {
            check(inner, &format!("{path}{mark}"));
        }
    }
}
