//! What is written to the children of a parent, in which order (`pkg/controller/common/manage_children.go`). The plan
//! is pure; carrying it out swallows what Metacontroller swallows and goes on after errors.

use std::collections::BTreeMap;

use serde_json::Value;
use serialfleet_hook::merge;

use crate::{object, request::Groups};

/// What is done about a child that differs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Method {
    /// Nothing until somebody deletes it. Also where no method is given.
    #[default]
    OnDelete,
    /// It is deleted now and created by a later sync.
    Recreate,
    /// It is updated.
    InPlace,
}

impl Method {
    /// Reads the method of an update strategy.
    ///
    /// # Errors
    /// If it is unknown, or one of the rolling ones, which this stand-in leaves out.
    pub fn read(text: &str) -> Result<Self, String> {
        match text {
            "" | "OnDelete" => Ok(Self::OnDelete),
            "Recreate" => Ok(Self::Recreate),
            "InPlace" => Ok(Self::InPlace),
            rolling if rolling.starts_with("Rolling") => Err(format!(
                "update method {rolling}: this stand-in for Metacontroller has no rolling updates"
            )),
            unknown => Err(format!("invalid update strategy: unknown method {unknown:?}")),
        }
    }
}

/// The methods by group and kind.
pub type Methods = BTreeMap<(String, String), Method>;

/// One request that changes a child.
#[derive(Clone, Debug, PartialEq)]
pub struct Write {
    /// What is done.
    pub verb: Verb,
    /// Namespace of the child.
    pub namespace: String,
    /// Name of the child.
    pub name: String,
    /// The object to create or to put; null for a deletion.
    pub body: Value,
}

/// What is done to a child.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verb {
    /// POST.
    Create,
    /// PUT.
    Update,
    /// DELETE, if it still has this UID, in the background.
    Delete {
        /// Of the observed child.
        uid: String,
    },
}

impl Write {
    fn delete(child: &Value) -> Self {
        let verb = Verb::Delete { uid: object::uid(child).to_owned() };
        Self::of(verb, child, Value::Null)
    }

    fn of(verb: Verb, child: &Value, body: Value) -> Self {
        Self {
            verb,
            namespace: object::namespace(child).to_owned(),
            name: object::name(child).to_owned(),
            body,
        }
    }
}

/// The observed children that are no longer desired, kind by kind. Those that go already are left alone.
pub fn undesired(observed: &Groups, desired: &Groups) -> Vec<Write> {
    let mut writes = Vec::new();
    for (kind, objects) in observed.iter() {
        let left = objects
            .iter()
            .filter(|(key, child)| !object::deleting(child) && desired.get(kind, key).is_none());
        writes.extend(left.map(|(_, child)| Write::delete(child)));
    }
    writes
}

/// What dynamic apply does about one desired child.
///
/// # Errors
/// If the last-applied annotation of the observed child cannot be read.
pub fn desired_write(
    method: Method,
    parent: &Value,
    observed: Option<&Value>,
    desired: &Value,
) -> Result<Option<Write>, String> {
    let Some(observed) = observed else {
        return Ok(Some(Write::of(Verb::Create, desired, merge::create(parent, desired))));
    };
    let merged = merge::update(observed, desired).map_err(|error| error.to_string())?;
    if merged == *observed || object::deleting(observed) {
        return Ok(None);
    }
    Ok(match method {
        Method::OnDelete => None,
        Method::Recreate => Some(Write::delete(observed)),
        Method::InPlace => Some(Write::of(Verb::Update, &merged, merged.clone())),
    })
}

/// Several errors as one line (`utilerrors.NewAggregate`): each once, in brackets if there are several.
pub fn aggregate(errors: &[String]) -> Option<String> {
    let mut once: Vec<&str> = Vec::new();
    for error in errors {
        if !once.contains(&error.as_str()) {
            once.push(error);
        }
    }
    match once.as_slice() {
        [] => None,
        [one] => Some((*one).to_owned()),
        several => Some(format!("[{}]", several.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;

    fn parent() -> Value {
        json!({"apiVersion": "g/v1", "kind": "P", "metadata": {"name": "p", "uid": "u"}})
    }

    fn service(name: &str) -> Value {
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "n"}, "spec": {"a": 1}})
    }

    fn stored(mut child: Value) -> Value {
        child["metadata"]["uid"] = json!("c");
        child
    }

    #[test]
    fn a_child_that_is_not_observed_is_created() {
        let write = desired_write(Method::OnDelete, &parent(), None, &service("a")).unwrap().unwrap();
        assert_eq!((write.verb, write.namespace.as_str(), write.name.as_str()), (Verb::Create, "n", "a"));
        assert_eq!(write.body, merge::create(&parent(), &service("a")));
    }

    #[test]
    fn a_difference_is_treated_by_the_method() {
        let observed = stored(merge::create(&parent(), &service("a")));
        let mut desired = service("a");
        for method in [Method::InPlace, Method::Recreate, Method::OnDelete] {
            assert_eq!(desired_write(method, &parent(), Some(&observed), &desired), Ok(None));
        }
        desired["spec"]["a"] = json!(2);
        let verb = |method, observed: &Value| {
            desired_write(method, &parent(), Some(observed), &desired).unwrap().map(|write| write.verb)
        };
        assert_eq!(verb(Method::OnDelete, &observed), None);
        assert_eq!(verb(Method::InPlace, &observed), Some(Verb::Update));
        assert_eq!(verb(Method::Recreate, &observed), Some(Verb::Delete { uid: "c".to_owned() }));
        let mut going = observed;
        going["metadata"]["deletionTimestamp"] = json!("2026-11-21T09:00:00Z");
        assert_eq!(verb(Method::InPlace, &going), None);
    }

    #[test]
    fn what_is_not_desired_is_deleted_unless_it_goes_already() {
        let mut going = stored(service("c"));
        going["metadata"]["deletionTimestamp"] = json!("2026-11-21T09:00:00Z");
        let observed: Groups =
            [stored(service("a")), stored(service("b")), going].into_iter().map(Arc::new).collect();
        let desired: Groups = [service("a")].into_iter().map(Arc::new).collect();
        let names: Vec<_> = undesired(&observed, &desired).into_iter().map(|write| write.name).collect();
        assert_eq!(names, ["b"]);
        assert_eq!(undesired(&observed, &Groups::default()).len(), 2);
        assert_eq!(undesired(&desired, &desired), []);
    }

    #[test]
    fn a_child_of_another_version_is_not_the_desired_one() {
        let mut other = service("a");
        other["apiVersion"] = json!("v2");
        let observed: Groups = [stored(service("a"))].into_iter().map(Arc::new).collect();
        let desired: Groups = [other].into_iter().map(Arc::new).collect();
        assert_eq!(undesired(&observed, &desired).len(), 1);
    }

    #[test]
    fn errors_are_told_once() {
        let errors = |texts: &[&str]| aggregate(&texts.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>());
        assert_eq!(errors(&[]), None);
        assert_eq!(errors(&["a", "a"]).as_deref(), Some("a"));
        assert_eq!(errors(&["a", "b", "a"]).as_deref(), Some("[a, b]"));
    }
}
