//! Which objects are related to a parent, by the rules that the customize hook answered
//! (`pkg/controller/common/customize/manager.go`). Pure: objects and the labels of namespaces are arguments.

use serde::Deserialize;
use serde_json::Value;

use crate::{
    object::{self, StringMap},
    selector::{LabelSelector, Selector},
    spec::Version,
};

/// One rule of the customize hook.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct Rule {
    /// API version of the kind.
    pub api_version: String,
    /// Plural name of the kind.
    pub resource: String,
    /// Labels of the objects.
    pub label_selector: Option<LabelSelector>,
    /// Labels of their namespaces.
    pub namespace_selector: Option<LabelSelector>,
    /// Their namespace; empty: any.
    pub namespace: Option<String>,
    /// Their names; empty: any.
    pub names: Option<Vec<String>>,
}

const FIELDS: [&str; 6] =
    ["apiVersion", "resource", "labelSelector", "namespaceSelector", "namespace", "names"];

/// The objects that a rule speaks of, checked and ready.
#[derive(Clone, Debug, PartialEq)]
pub struct Selection {
    labels: Selector,
    namespace_labels: Option<Selector>,
    namespace: Option<String>,
    names: Vec<String>,
}

/// What a rule is applied in.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// Of the customize hook.
    pub version: Version,
    /// The parent's namespace, if its kind has any.
    pub parent_namespace: Option<&'a str>,
    /// Whether the related kind has namespaces.
    pub namespaced: bool,
}

impl Rule {
    /// Reads a rule, and says which fields do not belong there.
    ///
    /// # Errors
    /// If a field has another type.
    pub fn read(rule: &Value) -> Result<(Self, Vec<String>), String> {
        let fields = rule.as_object().into_iter().flatten().map(|(field, _)| field);
        let unknown = fields.filter(|field| !FIELDS.contains(&field.as_str()));
        let unknown = unknown.map(|field| format!("unknown field \"relatedResources[].{field}\"")).collect();
        let read = Self::deserialize(rule).map_err(|error| format!("a related rule: {error}"))?;
        Ok((read, unknown))
    }

    /// Checks it in its scope.
    ///
    /// # Errors
    /// If its parts exclude each other, or if v1 does not allow them for a namespaced parent.
    pub fn selection(&self, scope: Scope<'_>) -> Result<Selection, String> {
        let names = self.names.clone().unwrap_or_default();
        let namespace = self.namespace.clone().filter(|namespace| !namespace.is_empty());
        let selects = self.label_selector.is_some() || self.namespace_selector.is_some();
        if !names.is_empty() && selects {
            return Err("related rule cannot have both names and labelSelector/namespaceSelector specified"
                .to_owned());
        }
        if namespace.is_some() && self.namespace_selector.is_some() {
            return Err("related rule cannot have both namespace and namespaceSelector specified".to_owned());
        }
        if self.namespace_selector.is_some() && !scope.namespaced {
            return Err("namespaceSelector is only supported for namespaced related resources".to_owned());
        }
        let home = scope.parent_namespace.filter(|_| scope.version == Version::V1 && scope.namespaced);
        let namespace = match (home, namespace) {
            (Some(_), _) if self.namespace_selector.is_some() => {
                return Err(
                    "namespaceSelector is not supported for namespaced parent in v1 hook version".to_owned()
                );
            }
            (Some(home), Some(namespace)) if home != namespace => {
                return Err(format!(
                    "requested related object namespace {namespace} differs from parent object namespace {home}"
                ));
            }
            (Some(home), None) => Some(home.to_owned()),
            (_, namespace) => namespace.filter(|_| scope.namespaced),
        };
        let compile = |selector: &Option<LabelSelector>| selector.clone().unwrap_or_default().compile();
        Ok(Selection {
            labels: compile(&self.label_selector)?,
            namespace_labels: self.namespace_selector.as_ref().map(LabelSelector::compile).transpose()?,
            namespace,
            names,
        })
    }
}

impl Selection {
    /// Whether it needs to know the labels of namespaces.
    pub fn wants_namespaces(&self) -> bool {
        self.namespace_labels.is_some()
    }

    /// Whether it selects `candidate`, an object of its kind. `namespace` tells the labels of a namespace, if there is one.
    pub fn matches(&self, candidate: &Value, namespace: impl Fn(&str) -> Option<StringMap>) -> bool {
        let home = object::namespace(candidate);
        self.namespace.as_deref().is_none_or(|namespace| namespace == home)
            && (self.names.is_empty() || self.names.iter().any(|name| name == object::name(candidate)))
            && self.labels.matches(&object::labels(candidate))
            && self
                .namespace_labels
                .as_ref()
                .is_none_or(|selector| namespace(home).is_some_and(|labels| selector.matches(&labels)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const V2: Scope<'_> = Scope { version: Version::V2, parent_namespace: None, namespaced: true };

    fn namespaces(name: &str) -> Option<StringMap> {
        (name == "lab").then(|| StringMap::from([("tier".to_owned(), "test".to_owned())]))
    }

    fn selects(rule: Value, scope: Scope<'_>) -> Result<Vec<&'static str>, String> {
        let (rule, unknown) = Rule::read(&rule)?;
        assert_eq!(unknown, Vec::<String>::new());
        let selection = rule.selection(scope)?;
        let objects = [("lab", "a", "1"), ("lab", "b", "2"), ("iot", "a", "1"), ("", "c", "1")];
        let names = ["lab/a", "lab/b", "iot/a", "c"];
        Ok(objects
            .iter()
            .zip(names)
            .filter(|((namespace, name, label), _)| {
                let object =
                    json!({"metadata": {"namespace": namespace, "name": name, "labels": {"l": label}}});
                selection.matches(&object, namespaces)
            })
            .map(|(_, name)| name)
            .collect())
    }

    #[test]
    fn rules_select() {
        let one = json!({"matchLabels": {"l": "1"}});
        for (rule, selected) in [
            (json!({}), vec!["lab/a", "lab/b", "iot/a", "c"]),
            (json!({"labelSelector": {}}), vec!["lab/a", "lab/b", "iot/a", "c"]),
            (json!({"labelSelector": one}), vec!["lab/a", "iot/a", "c"]),
            (json!({"labelSelector": one, "namespace": "lab"}), vec!["lab/a"]),
            (json!({"namespace": "lab"}), vec!["lab/a", "lab/b"]),
            (json!({"names": ["a", "c"]}), vec!["lab/a", "iot/a", "c"]),
            (json!({"names": ["a"], "namespace": "iot"}), vec!["iot/a"]),
            (json!({"namespaceSelector": {"matchLabels": {"tier": "test"}}}), vec!["lab/a", "lab/b"]),
            (
                json!({"namespaceSelector": {"matchLabels": {"tier": "test"}}, "labelSelector": one}),
                vec!["lab/a"],
            ),
        ] {
            assert_eq!(selects(rule.clone(), V2), Ok(selected), "{rule}");
        }
    }

    #[test]
    fn parts_that_exclude_each_other_are_refused() {
        for rule in [
            json!({"names": ["a"], "labelSelector": {}}),
            json!({"names": ["a"], "namespaceSelector": {}}),
            json!({"namespace": "a", "namespaceSelector": {}}),
            json!({"labelSelector": {"matchExpressions": [{"key": "a", "operator": "In", "values": []}]}}),
        ] {
            assert!(selects(rule.clone(), V2).is_err(), "{rule}");
        }
        assert!(selects(json!({"namespaceSelector": {}}), Scope { namespaced: false, ..V2 }).is_err());
    }

    #[test]
    fn v1_keeps_a_namespaced_parent_at_home() {
        let v1 = Scope { version: Version::V1, parent_namespace: Some("lab"), namespaced: true };
        assert_eq!(selects(json!({}), v1), Ok(vec!["lab/a", "lab/b"]));
        assert_eq!(selects(json!({"names": ["a"]}), v1), Ok(vec!["lab/a"]));
        assert!(selects(json!({"namespace": "iot"}), v1).is_err());
        assert!(selects(json!({"namespaceSelector": {}}), v1).is_err());
        assert_eq!(selects(json!({}), Scope { namespaced: false, ..v1 }).unwrap().len(), 4);
    }
}
