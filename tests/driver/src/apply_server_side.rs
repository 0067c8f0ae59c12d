//! Server-side apply of a child (`ServerSideApply` in `pkg/controller/common/manage_children.go`): what is sent, and
//! when nothing is. Pure; the memory of what was applied is an argument.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
};

use serde_json::Value;
use serialfleet_hook::merge;

use crate::{children::Method, object};

/// What was applied to a child last.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Applied {
    hash: u64,
    generation: i64,
    resource_version: String,
    uid: String,
}

/// What was applied to each child since this process started.
#[derive(Debug, Default)]
pub struct Memory(HashMap<String, Applied>);

/// What is done about a desired child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Nothing.
    Nothing,
    /// Nothing but to remember what is observed.
    Remember,
    /// Apply, after taking the annotation of dynamic apply away if it is there.
    Apply {
        /// Whether it is.
        annotated: bool,
    },
    /// Try it, and delete the child if that would change it.
    Recreate,
}

impl Memory {
    /// Remembers a child as it is now.
    pub fn store(&mut self, key: String, hash: u64, child: &Value) {
        let applied = Applied {
            hash,
            generation: object::generation(child),
            resource_version: object::resource_version(child).to_owned(),
            uid: object::uid(child).to_owned(),
        };
        self.0.insert(key, applied);
    }

    /// Forgets a child that was deleted.
    pub fn forget(&mut self, key: &str) {
        self.0.remove(key);
    }

    /// Whether nobody touched the child since the same was applied to it. Only objects without a generation are
    /// compared by resource version: a change of the others' metadata alone goes unseen.
    fn is_current(&self, key: &str, observed: &Value, hash: u64) -> bool {
        self.0.get(key).is_some_and(|applied| {
            applied.uid == object::uid(observed)
                && applied.hash == hash
                && applied.generation == object::generation(observed)
                && (applied.generation != 0 || applied.resource_version == object::resource_version(observed))
        })
    }

    /// Decides about a child.
    pub fn plan(&self, key: &str, method: Method, observed: Option<&Value>, hash: u64) -> Plan {
        let Some(observed) = observed else { return Plan::Apply { annotated: false } };
        if object::deleting(observed) || self.is_current(key, observed, hash) {
            return Plan::Nothing;
        }
        match method {
            Method::OnDelete => Plan::Remember,
            Method::Recreate => Plan::Recreate,
            Method::InPlace => {
                Plan::Apply { annotated: object::annotations(observed).contains_key(merge::LAST_APPLIED) }
            }
        }
    }
}

/// Key of a child in the memory.
pub fn key(group: &str, kind: &str, child: &Value) -> String {
    format!("{group}/{kind}/{}/{}", object::namespace(child), object::name(child))
}

/// What is applied: the desired child with its owner, without what the server decides.
pub fn applied(parent: &Value, desired: &Value) -> Value {
    let mut child = desired.clone();
    merge::own(&mut child, parent);
    comparable(&child)
}

/// An object without what the server decides, without status, without the annotation of dynamic apply.
pub fn comparable(child: &Value) -> Value {
    let mut child = merge::without_last_applied(child);
    if let Value::Object(object) = &mut child {
        object.remove("status");
        if let Some(Value::Object(metadata)) = object.get_mut("metadata") {
            merge::SYSTEM_FIELDS.iter().for_each(|field| drop(metadata.remove(*field)));
        }
    }
    child
}

/// A number for the bytes that are sent. It never leaves this process.
pub fn hash(body: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    body.hash(&mut hasher);
    hasher.finish()
}

/// The JSON patch that takes the annotation of dynamic apply away.
pub fn annotation_removal() -> Vec<u8> {
    let path = merge::LAST_APPLIED.replace('~', "~0").replace('/', "~1");
    format!(r#"[{{"op": "remove", "path": "/metadata/annotations/{path}"}}]"#).into_bytes()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn observed(generation: i64, version: &str, uid: &str) -> Value {
        json!({"metadata": {"generation": generation, "resourceVersion": version, "uid": uid}})
    }

    #[test]
    fn what_was_applied_is_not_applied_again_until_something_changes() {
        let mut memory = Memory::default();
        memory.store("a".to_owned(), 1, &observed(2, "7", "u"));
        memory.store("b".to_owned(), 1, &observed(0, "7", "u"));
        let apply = Plan::Apply { annotated: false };
        for (key, hash, child, plan) in [
            ("a", 1, observed(2, "7", "u"), Plan::Nothing),
            ("a", 1, observed(2, "8", "u"), Plan::Nothing),
            ("a", 1, observed(3, "8", "u"), apply),
            ("a", 1, observed(2, "7", "v"), apply),
            ("a", 2, observed(2, "7", "u"), apply),
            ("b", 1, observed(0, "7", "u"), Plan::Nothing),
            ("b", 1, observed(0, "8", "u"), apply),
            ("c", 1, observed(2, "7", "u"), apply),
        ] {
            assert_eq!(memory.plan(key, Method::InPlace, Some(&child), hash), plan, "{key} {hash} {child}");
        }
        memory.forget("a");
        assert_eq!(memory.plan("a", Method::InPlace, Some(&observed(2, "7", "u")), 1), apply);
    }

    #[test]
    fn the_method_decides() {
        let memory = Memory::default();
        let mut child = observed(1, "1", "u");
        assert_eq!(memory.plan("a", Method::OnDelete, None, 1), Plan::Apply { annotated: false });
        assert_eq!(memory.plan("a", Method::OnDelete, Some(&child), 1), Plan::Remember);
        assert_eq!(memory.plan("a", Method::Recreate, Some(&child), 1), Plan::Recreate);
        child["metadata"]["annotations"] = json!({merge::LAST_APPLIED: "{}"});
        assert_eq!(memory.plan("a", Method::InPlace, Some(&child), 1), Plan::Apply { annotated: true });
        child["metadata"]["deletionTimestamp"] = json!("2026-11-21T09:00:00Z");
        assert_eq!(memory.plan("a", Method::InPlace, Some(&child), 1), Plan::Nothing);
    }

    #[test]
    fn only_what_is_desired_and_the_owner_are_sent() {
        let parent = json!({"apiVersion": "g/v1", "kind": "P", "metadata": {"name": "p", "uid": "u"}});
        let desired = json!({"status": {}, "metadata": {"name": "a", "uid": "x", "annotations": {merge::LAST_APPLIED: "x"}}});
        let sent = applied(&parent, &desired);
        assert_eq!(
            sent,
            json!({"metadata": {"name": "a", "annotations": {}, "ownerReferences": [merge::controller_ref(&parent)]}})
        );
        assert_eq!(hash(b"a"), hash(b"a"));
        let patch: Value = serde_json::from_slice(&annotation_removal()).unwrap();
        assert_eq!(
            patch[0]["path"],
            "/metadata/annotations/metacontroller.k8s.io~1last-applied-configuration"
        );
    }
}
