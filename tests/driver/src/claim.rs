//! Whose child an object is (`pkg/third_party/kubernetes/controller_ref_manager.go`). Pure.

use serde_json::{Value, json};
use serialfleet_hook::merge::controller_ref;

use crate::{object, selector::Selector};

/// What a parent does about an object of a child kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// It is a child.
    Keep,
    /// It is none, and nothing is done.
    Ignore,
    /// Nobody controls it: it becomes a child.
    Adopt,
    /// It stopped matching: it is let go.
    Release,
}

/// Decides. A parent that goes neither adopts nor releases.
pub fn claim(child: &Value, parent: &Value, selector: &Selector) -> Claim {
    let matches = selector.matches(&object::labels(child));
    match object::controller(child) {
        Some(owner) if owner.get("uid") != parent.pointer("/metadata/uid") => Claim::Ignore,
        Some(_) if matches => Claim::Keep,
        None if !matches || object::deleting(child) => Claim::Ignore,
        _ if object::deleting(parent) => Claim::Ignore,
        Some(_) => Claim::Release,
        None => Claim::Adopt,
    }
}

/// Makes `parent` the controller of a child.
pub fn adopt(child: &mut Value, parent: &Value) {
    let reference = controller_ref(parent);
    let mut owners = object::owners(child).to_vec();
    match owners.iter_mut().find(|owner| owner.get("uid") == reference.get("uid")) {
        Some(owner) => *owner = reference,
        None => owners.push(reference),
    }
    set_owners(child, owners);
}

/// Takes the parent with this UID off the owners of a child.
pub fn release(child: &mut Value, uid: &str) {
    let owners = object::owners(child).iter().filter(|owner| owner.get("uid") != Some(&json!(uid)));
    let owners = owners.cloned().collect();
    set_owners(child, owners);
}

fn set_owners(child: &mut Value, owners: Vec<Value>) {
    if let Some(Value::Object(metadata)) = child.get_mut("metadata") {
        metadata.insert("ownerReferences".to_owned(), Value::Array(owners));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::selector::LabelSelector;

    #[test]
    fn who_keeps_ignores_adopts_and_releases() {
        let parent = json!({"apiVersion": "g/v1", "kind": "P", "metadata": {"name": "p", "uid": "u"}});
        let mut going = parent.clone();
        going["metadata"]["deletionTimestamp"] = json!("2026-11-21T09:00:00Z");
        let selector = LabelSelector::label("controller-uid", "u").compile().unwrap();
        let child = |owner: &str, label: &str, deleting: bool| {
            let mut child = json!({"metadata": {"labels": {"controller-uid": label}}});
            if !owner.is_empty() {
                child["metadata"]["ownerReferences"] =
                    json!([{"uid": "x"}, {"uid": owner, "controller": true}]);
            }
            if deleting {
                child["metadata"]["deletionTimestamp"] = json!("2026-11-21T09:00:00Z");
            }
            child
        };
        for (owner, label, deleting, alive, gone) in [
            ("u", "u", false, Claim::Keep, Claim::Keep),
            ("u", "u", true, Claim::Keep, Claim::Keep),
            ("u", "", false, Claim::Release, Claim::Ignore),
            ("v", "u", false, Claim::Ignore, Claim::Ignore),
            ("", "u", false, Claim::Adopt, Claim::Ignore),
            ("", "u", true, Claim::Ignore, Claim::Ignore),
            ("", "", false, Claim::Ignore, Claim::Ignore),
        ] {
            let child = child(owner, label, deleting);
            assert_eq!(claim(&child, &parent, &selector), alive, "{child}");
            assert_eq!(claim(&child, &going, &selector), gone, "{child}");
        }
    }

    #[test]
    fn an_owner_is_added_once_and_taken_off_again() {
        let parent = json!({"apiVersion": "g/v1", "kind": "P", "metadata": {"name": "p", "uid": "u"}});
        let mut child = json!({"metadata": {"ownerReferences": [{"uid": "x"}, {"uid": "u", "name": "old"}]}});
        adopt(&mut child, &parent);
        adopt(&mut child, &parent);
        assert_eq!(child["metadata"]["ownerReferences"].as_array().unwrap().len(), 2);
        assert_eq!(object::controller(&child), Some(&controller_ref(&parent)));
        release(&mut child, "u");
        assert_eq!(child["metadata"]["ownerReferences"], json!([{"uid": "x"}]));
    }
}
