//! Kubernetes objects as JSON values, read the way Kubernetes' accessors for unstructured objects do: what is missing
//! or of another type is empty. Used everywhere; knows nothing of Metacontroller.

use std::{collections::BTreeMap, fmt, sync::Arc};

use serde_json::Value;
use serialfleet_hook::merge::string_map;

/// An object in a cache: shared, never changed.
pub type Object = Arc<Value>;

/// Labels or annotations.
pub type StringMap = BTreeMap<String, String>;

/// Group, version and kind, in the order in which Metacontroller goes through kinds.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Gvk {
    /// Empty for the core group.
    pub group: String,
    /// As in `v1`.
    pub version: String,
    /// As in `Service`.
    pub kind: String,
}

impl Gvk {
    /// Of an API version (`apps/v1`) and a kind.
    pub fn new(api_version: &str, kind: &str) -> Self {
        let (group, version) = group_version(api_version);
        Self { group: group.to_owned(), version: version.to_owned(), kind: kind.to_owned() }
    }

    /// Of an object.
    pub fn of(object: &Value) -> Self {
        Self::new(api_version(object), kind(object))
    }

    /// The API version, as objects carry it.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }
}

/// As the key of a group in a hook request.
impl fmt::Display for Gvk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.kind, self.api_version())
    }
}

/// Splits an API version into group and version.
pub fn group_version(api_version: &str) -> (&str, &str) {
    api_version.split_once('/').unwrap_or(("", api_version))
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// `apiVersion`.
pub fn api_version(object: &Value) -> &str {
    text(object, "/apiVersion")
}

/// `kind`.
pub fn kind(object: &Value) -> &str {
    text(object, "/kind")
}

/// `metadata.name`.
pub fn name(object: &Value) -> &str {
    text(object, "/metadata/name")
}

/// `metadata.namespace`; empty for cluster-scoped objects.
pub fn namespace(object: &Value) -> &str {
    text(object, "/metadata/namespace")
}

/// `metadata.uid`.
pub fn uid(object: &Value) -> &str {
    text(object, "/metadata/uid")
}

/// `metadata.resourceVersion`.
pub fn resource_version(object: &Value) -> &str {
    text(object, "/metadata/resourceVersion")
}

/// `metadata.generation`, 0 where there is none.
pub fn generation(object: &Value) -> i64 {
    object.pointer("/metadata/generation").and_then(Value::as_i64).unwrap_or_default()
}

/// Whether somebody asked for its deletion.
pub fn deleting(object: &Value) -> bool {
    !text(object, "/metadata/deletionTimestamp").is_empty()
}

/// `metadata.labels`; none if one of them is no text.
pub fn labels(object: &Value) -> StringMap {
    string_map(object, "labels").unwrap_or_default()
}

/// `metadata.annotations`; none if one of them is no text.
pub fn annotations(object: &Value) -> StringMap {
    string_map(object, "annotations").unwrap_or_default()
}

/// `metadata.finalizers`.
pub fn finalizers(object: &Value) -> impl Iterator<Item = &str> {
    list(object, "/metadata/finalizers").iter().filter_map(Value::as_str)
}

/// `metadata.ownerReferences`.
pub fn owners(object: &Value) -> &[Value] {
    list(object, "/metadata/ownerReferences")
}

fn list<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    object.pointer(pointer).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// The owner that controls it.
pub fn controller(object: &Value) -> Option<&Value> {
    owners(object).iter().find(|owner| owner.get("controller") == Some(&Value::Bool(true)))
}

/// `namespace/name`, or `name` for cluster-scoped objects: its key in caches, queues and v2 requests.
pub fn key(object: &Value) -> String {
    join(namespace(object), name(object))
}

/// A key of a namespace, which may be empty, and a name.
pub fn join(namespace: &str, name: &str) -> String {
    if namespace.is_empty() { name.to_owned() } else { format!("{namespace}/{name}") }
}

/// Kind and key, as in messages of Metacontroller: the slash stays where there is no namespace.
pub fn describe(object: &Value) -> String {
    format!("{} {}/{}", kind(object), namespace(object), name(object))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn kinds_sort_by_group_then_version_and_print_as_group_keys() {
        let mut kinds = [
            Gvk::new("networking.k8s.io/v1", "NetworkPolicy"),
            Gvk::new("apps/v1", "DaemonSet"),
            Gvk::new("v1", "Service"),
        ];
        kinds.sort();
        assert_eq!(
            kinds.map(|kind| kind.to_string()),
            ["Service.v1", "DaemonSet.apps/v1", "NetworkPolicy.networking.k8s.io/v1"]
        );
    }

    #[test]
    fn what_is_missing_or_odd_is_empty() {
        let odd = json!({"metadata": {"labels": {"a": 1}, "ownerReferences": [{"controller": false}], "generation": "x"}});
        assert_eq!((name(&odd), labels(&odd).len(), generation(&odd)), ("", 0, 0));
        assert_eq!(controller(&odd), None);
        assert!(!deleting(&odd));
        assert_eq!(join("", "a"), "a");
    }
}
