//! Which parents an event concerns (`onChildAdd`, `updateParentObject`, ... in `pkg/controller/composite/controller.go`).
//! Only asks for syncs.

use std::sync::Arc;

use serde_json::Value;

use crate::{
    cache::Change,
    controller::Controller,
    object::{self, Object},
    selector::{LabelSelector, Selector},
};

impl Controller {
    /// A parent changed.
    pub(crate) fn parent_changed(&self, change: &Change) {
        match change {
            Change::Updated(old, new) => {
                let ignores = self.spec.parent_resource.ignore_status_changes == Some(true);
                if !(ignores && is_status_change(old, new)) {
                    self.enqueue(new);
                }
            }
            Change::Added(parent) | Change::Deleted(parent) => self.enqueue(parent),
        }
    }

    /// An object of a child kind changed.
    pub(crate) fn child_changed(&self, change: &Change) {
        match change {
            Change::Added(child) => self.child_seen(child),
            Change::Updated(old, new) if object::resource_version(old) == object::resource_version(new) => {}
            Change::Updated(_, new) => self.child_seen(new),
            Change::Deleted(child) => self.owned_child_seen(child),
        }
    }

    fn child_seen(&self, child: &Value) {
        // An orphan that goes is adopted by nobody.
        if object::controller(child).is_some() || object::deleting(child) {
            return self.owned_child_seen(child);
        }
        let labels = object::labels(child);
        let parents: Vec<Object> = self.parents.cache().iter().cloned().collect();
        for parent in parents.iter().filter(|parent| self.shares_namespace(parent, child)) {
            if self.child_selector(parent).is_ok_and(|selector| selector.matches(&labels)) {
                self.enqueue(parent);
            }
        }
    }

    fn owned_child_seen(&self, child: &Value) {
        if let Some(parent) = object::controller(child).and_then(|owner| self.parent_of(child, owner)) {
            self.enqueue(&parent);
        }
    }

    /// The parent that an owner reference means, if it is one of ours and still the same.
    fn parent_of(&self, child: &Value, owner: &Value) -> Option<Object> {
        let text = |field: &str| owner.get(field).and_then(Value::as_str).unwrap_or_default();
        let (group, _) = object::group_version(text("apiVersion"));
        if group != self.resource.group || text("kind") != self.resource.kind {
            return None;
        }
        let namespace = if self.resource.namespaced { object::namespace(child) } else { "" };
        let parent = self.parents.cache().get(&object::join(namespace, text("name")))?;
        (object::uid(&parent) == text("uid") && self.serves(&parent)).then_some(parent)
    }

    fn shares_namespace(&self, parent: &Value, child: &Value) -> bool {
        !self.resource.namespaced || object::namespace(parent) == object::namespace(child)
    }

    /// An object of a related kind changed: parents that a rule relates to its old or its new state are synced. Asks
    /// the customize hook where its answer is not known; where that fails the event is lost for that parent.
    pub(crate) async fn related_changed(self: &Arc<Self>, change: &Change) {
        let states: Vec<&Object> = match change {
            Change::Added(object) | Change::Deleted(object) => vec![object],
            Change::Updated(old, new) if object::resource_version(old) == object::resource_version(new) => {
                return;
            }
            Change::Updated(old, new) => vec![old, new],
        };
        let parents: Vec<Object> = self.parents.cache().iter().cloned().collect();
        for parent in parents {
            if self.is_related(&parent, &states).await {
                self.enqueue(&parent);
            }
        }
    }

    /// What the children of a parent are selected by.
    ///
    /// # Errors
    /// If there is no generated selector and the parent brings none that can be used.
    pub(crate) fn child_selector(&self, parent: &Value) -> Result<Selector, String> {
        if self.spec.generate_selector == Some(true) {
            return LabelSelector::label("controller-uid", object::uid(parent)).compile();
        }
        let selector = parent.pointer("/spec/selector").cloned().unwrap_or_else(|| serde_json::json!({}));
        let selector: LabelSelector = serde_json::from_value(selector)
            .map_err(|_| format!("can't get label selector from {}", object::describe(parent)))?;
        if selector.is_empty() {
            return Err(".spec.selector must have either matchLabels, matchExpressions, or both".to_owned());
        }
        selector.compile()
    }
}

/// With `ignoreStatusChanges`: generation, labels and annotations are the same, and it does not go. The same object on
/// both sides is a resync, which always counts.
fn is_status_change(old: &Object, new: &Object) -> bool {
    !Arc::ptr_eq(old, new)
        && object::generation(old) == object::generation(new)
        && object::labels(old) == object::labels(new)
        && object::annotations(old) == object::annotations(new)
        && !object::deleting(new)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_counts_as_a_change_of_the_status_alone() {
        let parent = |metadata: Value| Arc::new(json!({"metadata": metadata, "status": {}}));
        let old = parent(json!({"generation": 1, "labels": {"a": "b"}}));
        for (new, ignored) in [
            (json!({"generation": 1, "labels": {"a": "b"}, "finalizers": ["x"]}), true),
            (json!({"generation": 2, "labels": {"a": "b"}}), false),
            (json!({"generation": 1}), false),
            (json!({"generation": 1, "labels": {"a": "b"}, "annotations": {"c": "d"}}), false),
            (
                json!({"generation": 1, "labels": {"a": "b"}, "deletionTimestamp": "2026-11-21T09:00:00Z"}),
                false,
            ),
        ] {
            assert_eq!(is_status_change(&old, &parent(new.clone())), ignored, "{new}");
        }
        assert!(!is_status_change(&old, &old));
    }
}
