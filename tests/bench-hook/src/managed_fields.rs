//! `metadata.managedFields` as the API server keeps it: the largest part of what Metacontroller sends.
//!
//! Owner: the objects of a request. Pure.

use serde_json::{Map, Value, json};

use crate::fleet::TIME;

/// Who wrote the fields.
#[derive(Clone, Copy)]
pub(crate) struct By {
    manager: &'static str,
    operation: &'static str,
    subresource: &'static str,
}

impl By {
    pub(crate) const KUBECTL: Self = Self::updates("kubectl-client-side-apply", "");
    pub(crate) const METACONTROLLER: Self = Self::updates("metacontroller", "");
    pub(crate) const STATUS: Self = Self::updates("metacontroller", "status");
    pub(crate) const CONTROLLER_MANAGER: Self = Self::updates("kube-controller-manager", "");
    pub(crate) const CONTROLLER_MANAGER_STATUS: Self = Self::updates("kube-controller-manager", "status");
    pub(crate) const APPLIED: Self = Self::applies("metacontroller");
    pub(crate) const BRIDGE: Self = Self::applies("serialfleet-bridge");

    const fn applies(manager: &'static str) -> Self {
        Self { manager, operation: "Apply", subresource: "" }
    }

    const fn updates(manager: &'static str, subresource: &'static str) -> Self {
        Self { manager, operation: "Update", subresource }
    }
}

/// One entry: everything that the object says, but for what the API server itself says.
pub(crate) fn managed_fields(object: &Value, by: By) -> Value {
    let mut said = object.clone();
    if let Some(fields) = said.as_object_mut() {
        fields.retain(|key, _| key != "apiVersion" && key != "kind");
        if let Some(metadata) = fields.get_mut("metadata").and_then(Value::as_object_mut) {
            let kept = ["annotations", "generateName", "labels", "ownerReferences"];
            metadata.retain(|key, _| kept.contains(&key.as_str()));
        }
    }
    let mut entry = json!({
        "apiVersion": object["apiVersion"],
        "fieldsType": "FieldsV1",
        "fieldsV1": fields("", &said, by.operation == "Apply"),
        "manager": by.manager,
        "operation": by.operation,
        "time": TIME,
    });
    if !by.subresource.is_empty() {
        entry["subresource"] = json!(by.subresource);
    }
    entry
}

/// Owned whole, whatever is in them.
const ATOMIC: [&str; 7] =
    ["fieldRef", "matchLabels", "nodeSelector", "podSelector", "selector", "sources", "transitions"];
/// Parts that are always there have no entry for themselves.
const ALWAYS: [&str; 8] =
    ["", "containers", "metadata", "spec", "status", "template", "updateStrategy", "endpoints"];

fn fields(name: &str, value: &Value, applied: bool) -> Value {
    let mut out = Map::new();
    match value {
        Value::Object(map) if !ATOMIC.contains(&name) => {
            // Who applies a null owns it; who updates does not say it.
            let said = map.iter().filter(|(_, value)| applied || !value.is_null());
            out.extend(said.map(|(key, value)| (format!("f:{key}"), fields(key, value, applied))));
        }
        Value::Array(items) => {
            for (item, keys) in items.iter().filter_map(|item| Some((item, keys(name, item)?))) {
                let key: Map<String, Value> =
                    keys.iter().map(|key| ((*key).to_owned(), item[*key].clone())).collect();
                let owned = if name == "ownerReferences" { json!({}) } else { fields(ITEM, item, applied) };
                out.insert(format!("k:{}", Value::Object(key)), owned);
            }
        }
        _ => {}
    }
    if !out.is_empty() && (name == ITEM || !applied && !ALWAYS.contains(&name)) {
        out.insert(".".to_owned(), json!({}));
    }
    Value::Object(out)
}

/// In place of the name of what is an item of a list.
const ITEM: &str = "an item";

/// By which of its fields an item of a list is known; `None`: the list is owned whole.
fn keys(list: &str, item: &Value) -> Option<&'static [&'static str]> {
    let has = |key: &str| item.get(key).is_some();
    match list {
        "containers" | "env" | "volumes" => Some(&["name"]),
        // Not those of a SerialNode: what is plugged in is one list.
        "devices" if has("match") || has("address") => Some(&["name"]),
        "conditions" => Some(&["type"]),
        "volumeMounts" => Some(&["mountPath"]),
        "ownerReferences" => Some(&["uid"]),
        "ports" if has("containerPort") => Some(&["containerPort", "protocol"]),
        "ports" if has("targetPort") => Some(&["port", "protocol"]),
        "ports" if has("state") => Some(&["name"]),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_owns_its_fields_as_the_api_server_writes_them() {
        let service = json!({"apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "zigbee", "uid": "1", "labels": {"a/b": "c"}, "ownerReferences": [{"uid": "u", "name": "x"}]},
            "spec": {"ports": [{"name": "serial", "port": 1, "protocol": "TCP", "targetPort": 2}], "selector": {"x": "y"}}});
        let entry = managed_fields(&service, By::METACONTROLLER);
        assert_eq!(
            entry["fieldsV1"],
            json!({
                "f:metadata": {"f:labels": {".": {}, "f:a/b": {}}, "f:ownerReferences": {".": {}, "k:{\"uid\":\"u\"}": {}}},
                "f:spec": {
                    "f:ports": {".": {}, "k:{\"port\":1,\"protocol\":\"TCP\"}":
                        {".": {}, "f:name": {}, "f:port": {}, "f:protocol": {}, "f:targetPort": {}}},
                    "f:selector": {},
                },
            })
        );
        assert_eq!(entry["manager"], "metacontroller");
    }
}
