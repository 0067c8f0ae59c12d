//! The two CustomResourceDefinitions, generated from the types: only for the generator and tests (feature `crd`).
//! Bounds stand beside the fields, rules in `cel.rs`; here is what the API server wants of a schema's form.

use schemars::{JsonSchema, Schema, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use crate::{fleet::SerialFleet, names, node::SerialNode};

/// First lines of the committed file.
const HEADER: &str = "\
# Generated from metacontroller/src by
#   UPDATE_GOLDEN=1 cargo test -p serialfleet-api --all-features
# Edit the types, not this file.
";

/// The committed file: both CRDs.
///
/// # Errors
/// If a schema has a form that YAML cannot express.
pub fn yaml() -> Result<String, serde_saphyr::ser::Error> {
    let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
    let mut text = HEADER.to_owned();
    for crd in [serial_fleet(), serial_node()] {
        text.push_str("---\n");
        text.push_str(&serde_saphyr::to_string_with_options(&crd, options.clone())?);
    }
    Ok(text)
}

/// The CRD of SerialFleet.
pub fn serial_fleet() -> Value {
    let mut schema = root_schema::<SerialFleet>();
    schema["required"] = json!(["spec"]);
    schema["properties"]["metadata"]["properties"] = json!({"name": {"type": "string", "maxLength": 253}});
    crd(
        json!({
            "kind": "SerialFleet", "listKind": "SerialFleetList", "plural": "serialfleets", "singular": "serialfleet",
            // No category: one called as a kind would make `kubectl delete serialfleet home` ambiguous.
            "shortNames": ["sf"],
        }),
        &schema,
        &json!([
            column("Ready", ".status.conditions[?(@.type==\"Ready\")].status", 0),
            column("Bound", ".status.summary.bound", 0),
            column("Nodes", ".status.summary.ready", 0),
            column("Problem", ".status.summary.problem", 1),
            age(),
        ]),
        &json!({"status": {}}),
    )
}

/// The CRD of SerialNode.
pub fn serial_node() -> Value {
    crd(
        json!({
            "kind": "SerialNode", "listKind": "SerialNodeList", "plural": "serialnodes", "singular": "serialnode",
            "shortNames": ["sn"],
        }),
        &root_schema::<SerialNode>(),
        &json!([
            column("Fleet", ".fleet", 0),
            column("Node", ".nodeName", 0),
            column("Devices", ".summary.devices", 0),
            column("Serving", ".summary.serving", 0),
            column("Present", ".summary.present", 1),
            column("Problem", ".summary.problem", 0),
            age(),
        ]),
        &json!({}),
    )
}

fn column(name: &str, path: &str, priority: i32) -> Value {
    let mut column = json!({"name": name, "type": "string", "jsonPath": path});
    if priority > 0 {
        column["priority"] = priority.into();
    }
    column
}

fn age() -> Value {
    json!({"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"})
}

fn crd(names: Value, schema: &Value, columns: &Value, subresources: &Value) -> Value {
    let plural = names["plural"].as_str().unwrap_or_default();
    let mut version = json!({
        "name": names::VERSION,
        "served": true,
        "storage": true,
        "additionalPrinterColumns": columns,
        "schema": {"openAPIV3Schema": schema},
    });
    if subresources != &json!({}) {
        version["subresources"] = subresources.clone();
    }
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{}", names::GROUP)},
        "spec": {
            "group": names::GROUP,
            "names": names,
            "scope": "Cluster",
            "conversion": {"strategy": "None"},
            "versions": [version],
        },
    })
}

fn root_schema<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft07().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
        settings.transforms.clear();
    });
    let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    make_structural(&mut schema);
    for (name, type_, description) in [
        ("apiVersion", "string", "Version of this kind of object: serialfleet.io/v1alpha1."),
        ("kind", "string", "Kind of this object."),
        ("metadata", "object", "Standard object metadata."),
    ] {
        schema["properties"][name] = json!({"type": type_, "description": description});
        if name == "metadata" {
            // The API server has its own description, and wants none here.
            schema["properties"][name] = json!({"type": type_});
        }
    }
    schema
}

/// What schemars says in the words of an OpenAPI v3 structural schema: no null, no `const`, no formats, no defaults
/// (the API server would fill them in, and `spec.defaults` would be dead).
fn make_structural(schema: &mut Value) {
    let Value::Object(object) = schema else { return };
    for key in ["$schema", "title", "format", "default", "definitions"] {
        object.remove(key);
    }
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|type_| type_ != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            object.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(words)) = object.get_mut("enum") {
        words.retain(|word| !word.is_null());
    }
    merge_nullable(object);
    merge_words(object);
    if let Some(Value::String(text)) = object.get_mut("description") {
        *text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    }
    if let Some(Value::Object(properties)) = object.get_mut("properties") {
        properties.values_mut().for_each(make_structural);
    }
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = object.get_mut(key) {
            make_structural(inner);
        }
    }
}

/// `anyOf: [X, null]` becomes X; what the field says goes before what its type says.
fn merge_nullable(object: &mut Map<String, Value>) {
    let Some(Value::Array(options)) = object.get_mut("anyOf") else { return };
    options.retain(|option| option.get("type") != Some(&json!("null")));
    let [Value::Object(only)] = options.as_slice() else { return };
    let only = only.clone();
    object.remove("anyOf");
    for (key, value) in only {
        object.entry(key).or_insert(value);
    }
    // The type may have brought an `anyOf` of its own (a quantity), or words.
    if let Some(Value::Array(words)) = object.get_mut("enum") {
        words.retain(|word| !word.is_null());
    }
}

/// `oneOf` of described words becomes an `enum`; the descriptions join the field's own.
fn merge_words(object: &mut Map<String, Value>) {
    let Some(Value::Array(options)) = object.get("oneOf") else { return };
    let mut words = Vec::new();
    let mut description = object.get("description").and_then(Value::as_str).unwrap_or_default().to_owned();
    for option in options {
        if let Some(Value::Array(plain)) = option.get("enum") {
            words.extend(plain.iter().cloned());
        }
        if let Some(word) = option.get("const") {
            words.push(word.clone());
            let text = option.get("description").and_then(Value::as_str).unwrap_or_default();
            description = format!("{description} {}: {text}", word.as_str().unwrap_or_default());
        }
    }
    object.remove("oneOf");
    object.insert("type".to_owned(), json!("string"));
    object.insert("enum".to_owned(), Value::Array(words));
    object.insert("description".to_owned(), description.into());
}

/// Bounds of the values of a map of labels.
pub(crate) fn label_values(schema: &mut Schema) {
    schema.insert(
        "additionalProperties".to_owned(),
        json!({"type": "string", "maxLength": 63, "pattern": crate::rules::LABEL_VALUE}),
    );
}

/// Bounds of the values of a map of annotations.
pub(crate) fn annotation_values(schema: &mut Schema) {
    schema.insert("additionalProperties".to_owned(), json!({"type": "string", "maxLength": 1024}));
}

/// Bounds of the names in a list of nodes.
pub(crate) fn node_names(schema: &mut Schema) {
    schema.insert(
        "items".to_owned(),
        json!({"type": "string", "minLength": 1, "maxLength": 253, "pattern": "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"}),
    );
}
