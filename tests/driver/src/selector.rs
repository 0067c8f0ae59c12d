//! Label selectors (`metav1.LabelSelectorAsSelector`). Pure.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::object::StringMap;

/// A label selector as objects carry it.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct LabelSelector {
    /// Labels with exactly these values.
    pub match_labels: Option<BTreeMap<String, String>>,
    /// Other requirements.
    pub match_expressions: Option<Vec<Expression>>,
}

/// One requirement of a selector.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Expression {
    key: String,
    operator: String,
    values: Option<Vec<String>>,
}

impl LabelSelector {
    /// One that wants a single label.
    pub fn label(key: &str, value: &str) -> Self {
        Self {
            match_labels: Some(BTreeMap::from([(key.to_owned(), value.to_owned())])),
            match_expressions: None,
        }
    }

    /// Whether it selects everything.
    pub fn is_empty(&self) -> bool {
        self.match_labels.as_ref().is_none_or(BTreeMap::is_empty)
            && self.match_expressions.as_ref().is_none_or(Vec::is_empty)
    }

    /// Checked, ready for matching.
    ///
    /// # Errors
    /// If an expression is none that Kubernetes takes: an unknown operator, `In` without values, `Exists` with some.
    pub fn compile(&self) -> Result<Selector, String> {
        let equal = self
            .match_labels
            .iter()
            .flatten()
            .map(|(key, value)| Requirement { key: key.clone(), test: Test::In(vec![value.clone()]) });
        let expressions = self.match_expressions.iter().flatten().map(Expression::compile);
        Ok(Selector(equal.map(Ok).chain(expressions).collect::<Result<_, String>>()?))
    }
}

impl Expression {
    fn compile(&self) -> Result<Requirement, String> {
        let values = self.values.clone().unwrap_or_default();
        let test = match (self.operator.as_str(), values.is_empty()) {
            ("In", false) => Test::In(values),
            ("NotIn", false) => Test::NotIn(values),
            ("Exists", true) => Test::Exists,
            ("DoesNotExist", true) => Test::DoesNotExist,
            ("In" | "NotIn", true) => {
                return Err(
                    "values: Invalid value: []: for 'in', 'notin' operators, values set can't be empty"
                        .to_owned(),
                );
            }
            ("Exists" | "DoesNotExist", false) => {
                return Err(format!(
                    "values: Invalid value: {values:?}: values set must be empty for exists and does not exist"
                ));
            }
            (operator, _) => return Err(format!("{operator:?} is not a valid label selector operator")),
        };
        Ok(Requirement { key: self.key.clone(), test })
    }
}

/// A selector that can be asked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Selector(Vec<Requirement>);

#[derive(Clone, Debug, PartialEq)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Clone, Debug, PartialEq)]
enum Test {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    DoesNotExist,
}

impl Selector {
    /// Whether these labels meet every requirement. A label that is missing is not in any list.
    pub fn matches(&self, labels: &StringMap) -> bool {
        self.0.iter().all(|it| match (&it.test, labels.get(&it.key)) {
            (Test::In(values), Some(value)) => values.contains(value),
            (Test::NotIn(values), Some(value)) => !values.contains(value),
            (Test::In(_) | Test::Exists, None) | (Test::DoesNotExist, Some(_)) => false,
            (Test::NotIn(_) | Test::DoesNotExist, None) | (Test::Exists, Some(_)) => true,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn selects(selector: Value, labels: Value) -> Result<bool, String> {
        let selector: LabelSelector = serde_json::from_value(selector).unwrap();
        let labels: StringMap = serde_json::from_value(labels).unwrap();
        Ok(selector.compile()?.matches(&labels))
    }

    #[test]
    fn selectors_select() {
        let not_home =
            json!({"matchExpressions": [{"key": "fleet", "operator": "NotIn", "values": ["home"]}]});
        for (selector, labels, matches) in [
            (json!({}), json!({"a": "b"}), true),
            (json!({"matchLabels": {"a": "b"}}), json!({"a": "b"}), true),
            (json!({"matchLabels": {"a": "b"}}), json!({}), false),
            (not_home.clone(), json!({}), true),
            (not_home.clone(), json!({"fleet": "ho"}), true),
            (not_home, json!({"fleet": "home"}), false),
            (json!({"matchExpressions": [{"key": "a", "operator": "Exists"}]}), json!({"a": ""}), true),
            (
                json!({"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}),
                json!({"a": ""}),
                false,
            ),
        ] {
            assert_eq!(selects(selector.clone(), labels.clone()), Ok(matches), "{selector} {labels}");
        }
        for refused in [
            json!({"matchExpressions": [{"key": "a", "operator": "In", "values": []}]}),
            json!({"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["x"]}]}),
            json!({"matchExpressions": [{"key": "a", "operator": "Gt", "values": ["x"]}]}),
        ] {
            assert!(selects(refused, json!({})).is_err());
        }
    }
}
