//! What is written to a parent: its status, and the finalizer of a controller that has a finalize hook
//! (`pkg/controller/composite/controller.go`, `pkg/controller/common/finalizer`). Pure.

use serde_json::{Map, Value};

use crate::object;

/// The status to write: what the hook answered, with the generation that it was asked about.
pub fn status(parent: &Value, answered: &Map<String, Value>) -> Value {
    let mut status = answered.clone();
    status.insert("observedGeneration".to_owned(), object::generation(parent).into());
    Value::Object(status)
}

/// Sets the status of a live parent; false if it has it already.
pub fn set_status(current: &mut Value, status: &Value) -> bool {
    let differs = current.get("status") != Some(status);
    if let (true, Value::Object(current)) = (differs, current) {
        current.insert("status".to_owned(), status.clone());
    }
    differs
}

/// The finalizer of a controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finalizer {
    /// As it stands in `metadata.finalizers`.
    pub name: String,
    /// Whether the controller has a finalize hook.
    pub enabled: bool,
}

impl Finalizer {
    /// Whether the parent has it.
    pub fn is_on(&self, parent: &Value) -> bool {
        object::finalizers(parent).any(|it| it == self.name)
    }

    /// Whether it is to be put on or taken off before a sync. A parent that goes gets none any more.
    pub fn change(&self, parent: &Value) -> Option<bool> {
        let wanted = self.enabled != self.is_on(parent) && !(self.enabled && object::deleting(parent));
        wanted.then_some(self.enabled)
    }

    /// Puts it on or takes it off; false if that is so already.
    pub fn set(&self, parent: &mut Value, on: bool) -> bool {
        if self.is_on(parent) == on {
            return false;
        }
        let mut finalizers: Vec<Value> =
            object::finalizers(parent).filter(|it| *it != self.name).map(Value::from).collect();
        if on {
            finalizers.push(self.name.clone().into());
        }
        if let Some(Value::Object(metadata)) = parent.get_mut("metadata") {
            metadata.insert("finalizers".to_owned(), Value::Array(finalizers));
        }
        true
    }

    /// Whether the children of a parent are managed: not while the garbage collector has them, nor, without a finalize
    /// hook, once the parent goes.
    pub fn manages_children(&self, parent: &Value) -> bool {
        let collected = || object::finalizers(parent).any(|it| it == "foregroundDeletion" || it == "orphan");
        !object::deleting(parent) || (self.enabled && self.is_on(parent) && !collected())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_observed_generation_is_the_controllers_own() {
        let mut parent = json!({"metadata": {"generation": 3}});
        let answered = json!({"observedGeneration": 99, "a": 1}).as_object().unwrap().clone();
        let wanted = status(&parent, &answered);
        assert_eq!(wanted, json!({"observedGeneration": 3, "a": 1}));
        assert!(set_status(&mut parent, &wanted));
        assert!(!set_status(&mut parent, &wanted));
        assert_eq!(status(&json!({}), &Map::new()), json!({"observedGeneration": 0}));
    }

    #[test]
    fn a_finalizer_comes_and_goes_with_the_hook() {
        let deleted = "2026-11-21T09:00:00Z";
        let parent = |finalizers: Value, deleting: bool| {
            let mut parent = json!({"metadata": {"finalizers": finalizers}});
            if deleting {
                parent["metadata"]["deletionTimestamp"] = json!(deleted);
            }
            parent
        };
        let with = Finalizer { name: "f".to_owned(), enabled: true };
        let without = Finalizer { enabled: false, ..with.clone() };
        for (parent, change, change_without, manages, manages_without) in [
            (parent(json!([]), false), Some(true), None, true, true),
            (parent(json!(["f"]), false), None, Some(false), true, true),
            (parent(json!([]), true), None, None, false, false),
            (parent(json!(["f"]), true), None, Some(false), true, false),
            (parent(json!(["f", "foregroundDeletion"]), true), None, Some(false), false, false),
            (parent(json!(["orphan"]), false), Some(true), None, true, true),
        ] {
            assert_eq!((with.change(&parent), without.change(&parent)), (change, change_without), "{parent}");
            assert_eq!(with.manages_children(&parent), manages, "{parent}");
            assert_eq!(without.manages_children(&parent), manages_without, "{parent}");
        }
        let mut object = parent(json!(["x"]), false);
        assert!(with.set(&mut object, true) && !with.set(&mut object, true) && with.set(&mut object, false));
        assert_eq!(object, parent(json!(["x"]), false));
    }
}
