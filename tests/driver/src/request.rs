//! Bodies of hook calls, byte for byte as Metacontroller makes them (`pkg/controller/composite/api`,
//! `pkg/controller/common/api`): the envelope in the order of its fields, everything below sorted, no spaces. Pure.

use std::collections::BTreeMap;

use serde_json::Value;
use serialfleet_hook::merge::to_vec;

use crate::{
    controller_json,
    object::{self, Gvk, Object},
    spec::Version,
};

/// Objects by kind, then by `namespace/name` or `name`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Groups(BTreeMap<Gvk, BTreeMap<String, Object>>);

impl Groups {
    /// Makes a group for `kind`, which is then there even if it stays empty.
    pub fn declare(&mut self, kind: Gvk) {
        self.0.entry(kind).or_default();
    }

    /// Puts an object into the group of its own kind. Of two with one key the later stays.
    pub fn insert(&mut self, object: Object) {
        self.0.entry(Gvk::of(&object)).or_default().insert(object::key(&object), object);
    }

    /// The groups, by group, version and kind.
    pub fn iter(&self) -> impl Iterator<Item = (&Gvk, &BTreeMap<String, Object>)> {
        self.0.iter()
    }

    /// One object.
    pub fn get(&self, kind: &Gvk, key: &str) -> Option<&Object> {
        self.0.get(kind)?.get(key)
    }

    /// What v1 hooks see: keys relative to the parent; for a namespaced parent nothing outside its namespace.
    fn relative(&self, parent: &Value) -> Self {
        let home = object::namespace(parent);
        let groups = self.0.iter().map(|(kind, objects)| {
            let visible = objects.iter().filter(|(_, it)| home.is_empty() || object::namespace(it) == home);
            let keyed = visible.map(|(key, it)| {
                (if home.is_empty() { key.clone() } else { object::name(it).to_owned() }, it.clone())
            });
            (kind.clone(), keyed.collect())
        });
        Self(groups.collect())
    }

    fn write(&self, bytes: &mut Vec<u8>) {
        let by_text: BTreeMap<String, _> =
            self.0.iter().map(|(kind, objects)| (kind.to_string(), objects)).collect();
        write_map(bytes, by_text.iter(), |bytes, objects| {
            write_map(bytes, objects.iter(), |bytes, object| bytes.extend(to_vec(object)));
        });
    }
}

impl FromIterator<Object> for Groups {
    fn from_iter<T: IntoIterator<Item = Object>>(objects: T) -> Self {
        let mut groups = Self::default();
        objects.into_iter().for_each(|object| groups.insert(object));
        groups
    }
}

/// The body of a sync or finalize call.
pub fn sync_body(
    version: Version,
    controller: &Value,
    parent: &Value,
    children: &Groups,
    related: &Groups,
    finalizing: bool,
) -> Vec<u8> {
    let mut bytes = customize_body(controller, parent);
    bytes.pop();
    for (field, groups) in [("children", children), ("related", related)] {
        bytes.extend(format!(",\"{field}\":").into_bytes());
        match version {
            Version::V1 => groups.relative(parent).write(&mut bytes),
            Version::V2 => groups.write(&mut bytes),
        }
    }
    bytes.extend(format!(",\"finalizing\":{finalizing}}}").into_bytes());
    bytes
}

/// The body of a customize call.
pub fn customize_body(controller: &Value, parent: &Value) -> Vec<u8> {
    let mut bytes = b"{\"controller\":".to_vec();
    bytes.extend(controller_json::controller(controller));
    bytes.extend(b",\"parent\":");
    bytes.extend(to_vec(parent));
    bytes.push(b'}');
    bytes
}

fn write_map<'a, V: 'a>(
    bytes: &mut Vec<u8>,
    entries: impl Iterator<Item = (&'a String, &'a V)>,
    write: impl Fn(&mut Vec<u8>, &V),
) {
    bytes.push(b'{');
    for (index, (key, value)) in entries.enumerate() {
        if index > 0 {
            bytes.push(b',');
        }
        bytes.extend(to_vec(&Value::from(key.as_str())));
        bytes.push(b':');
        write(bytes, value);
    }
    bytes.push(b'}');
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;

    fn children() -> Groups {
        let mut groups = Groups::default();
        groups.declare(Gvk::new("v1", "Service"));
        groups.declare(Gvk::new("apps/v1", "DaemonSet"));
        for (namespace, name) in [("b", "x"), ("a", "x"), ("", "c")] {
            groups.insert(Arc::new(json!({"kind": "Service", "apiVersion": "v1", "metadata": {"name": name, "namespace": namespace}})));
        }
        groups
    }

    #[test]
    fn a_request_is_compact_and_sorted_by_text_not_by_group() {
        let body = sync_body(
            Version::V2,
            &json!({}),
            &json!({"b": "&", "a": 1}),
            &children(),
            &Groups::default(),
            false,
        );
        assert_eq!(
            String::from_utf8(body).unwrap(),
            concat!(
                r#"{"controller":{"metadata":{},"spec":{"parentResource":{}},"status":{}},"parent":{"a":1,"b":"\u0026"},"#,
                r#""children":{"DaemonSet.apps/v1":{},"Service.v1":{"#,
                r#""a/x":{"apiVersion":"v1","kind":"Service","metadata":{"name":"x","namespace":"a"}},"#,
                r#""b/x":{"apiVersion":"v1","kind":"Service","metadata":{"name":"x","namespace":"b"}},"#,
                r#""c":{"apiVersion":"v1","kind":"Service","metadata":{"name":"c","namespace":""}}}},"#,
                r#""related":{},"finalizing":false}"#
            )
        );
    }

    #[test]
    fn v1_hides_what_is_outside_the_namespace_of_a_namespaced_parent() {
        let keys = |parent: Value| {
            let body = sync_body(Version::V1, &json!({}), &parent, &children(), &Groups::default(), true);
            let body: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(body["finalizing"], true);
            body["children"]["Service.v1"].as_object().unwrap().keys().cloned().collect::<Vec<_>>()
        };
        assert_eq!(keys(json!({"metadata": {"namespace": "a"}})), ["x"]);
        assert_eq!(keys(json!({"metadata": {}})), ["a/x", "b/x", "c"]);
    }
}
