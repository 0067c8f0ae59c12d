//! The bounds of the CRD, read from the CRD itself (`manifests/crds.yaml`), and a walker that checks a JSON value
//! against them as the API server would. Rules of the form `self.matches('...')` count as bounds; all others are in
//! [`crate::rules`]. The schema is read for each use and dropped after it: a bridge has no 1 MiB to spare for it.

use std::collections::{BTreeMap, BTreeSet};

use regex_lite::Regex;
use serde::Deserialize;
use serde_json::Value;

use crate::validate::{Path, Segment};

const CRDS: &str = include_str!("../manifests/crds.yaml");

/// The part of a structural schema that the CRDs use.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Schema {
    #[serde(rename = "type")]
    type_: String,
    properties: BTreeMap<String, Self>,
    additional_properties: Option<Box<Self>>,
    items: Option<Box<Self>>,
    required: Vec<String>,
    #[serde(rename = "enum")]
    words: Vec<String>,
    minimum: Option<i64>,
    maximum: Option<i64>,
    min_length: Option<usize>,
    max_length: Option<usize>,
    min_items: Option<usize>,
    max_items: Option<usize>,
    max_properties: Option<usize>,
    pattern: Option<String>,
    #[serde(rename = "x-kubernetes-int-or-string")]
    int_or_string: bool,
    #[serde(rename = "x-kubernetes-list-map-keys")]
    list_map_keys: Vec<String>,
    #[serde(rename = "x-kubernetes-list-type")]
    list_type: String,
    #[serde(rename = "x-kubernetes-validations")]
    rules: Vec<Rule>,
}

#[derive(Debug, Deserialize)]
struct Rule {
    rule: String,
    message: String,
}

impl Rule {
    /// The pattern, if that is all of the rule.
    fn pattern(&self) -> Option<&str> {
        let pattern = self.rule.strip_prefix("self.matches('")?.strip_suffix("')")?;
        (!pattern.contains('\'')).then_some(pattern)
    }
}

/// The schema of a kind.
///
/// # Errors
/// Never with the committed file; a test reads it.
pub(crate) fn of_kind(kind: &str) -> Result<Schema, serde_yaml::Error> {
    #[derive(Deserialize)]
    struct Crd {
        spec: CrdSpec,
    }
    #[derive(Deserialize)]
    struct CrdSpec {
        names: Names,
        versions: Vec<Version>,
    }
    #[derive(Deserialize)]
    struct Names {
        kind: String,
    }
    #[derive(Deserialize)]
    struct Version {
        schema: VersionSchema,
    }
    #[derive(Deserialize)]
    struct VersionSchema {
        #[serde(rename = "openAPIV3Schema")]
        schema: Schema,
    }
    for document in serde_yaml::Deserializer::from_str(CRDS) {
        let crd = Crd::deserialize(document)?;
        if crd.spec.names.kind == kind
            && let Some(version) = crd.spec.versions.into_iter().next()
        {
            let mut schema = version.schema.schema;
            // Metadata has a schema of its own in the API server; the CRD only names what its rules look at.
            schema.properties.entry("metadata".to_owned()).and_modify(|metadata| metadata.properties.clear());
            return Ok(schema);
        }
    }
    Err(serde::de::Error::custom(format!("no CRD of kind {kind}")))
}

/// One difference between a value and its schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Difference {
    pub(crate) path: Path,
    pub(crate) message: String,
    /// The field is not in the schema: it may be of a later version.
    pub(crate) is_unknown_field: bool,
}

/// Every difference between a value and the schema, depth first, fields in alphabetical order. `null` counts as
/// absent, except in lists.
pub(crate) fn differences(schema: &Schema, value: &Value) -> Vec<Difference> {
    let mut walk = Walk::default();
    walk.value(schema, value);
    walk.found
}

/// Where a walk is, and what it found.
#[derive(Default)]
struct Walk<'a> {
    path: Path,
    found: Vec<Difference>,
    patterns: BTreeMap<&'a str, Option<Regex>>,
}

impl<'a> Walk<'a> {
    fn add(&mut self, message: impl Into<String>) {
        let message = message.into();
        self.found.push(Difference { path: self.path.clone(), message, is_unknown_field: false });
    }

    fn below(&mut self, segment: Segment, visit: impl FnOnce(&mut Self)) {
        self.path.0.push(segment);
        visit(self);
        self.path.0.pop();
    }

    fn value(&mut self, schema: &'a Schema, value: &Value) {
        match value {
            Value::Object(object) if schema.type_ == "object" => self.object(schema, object),
            Value::Array(list) if schema.type_ == "array" => self.list(schema, list),
            Value::String(text) if schema.type_ == "string" || schema.int_or_string => {
                self.text(schema, text)
            }
            Value::Number(number) if schema.type_ == "integer" || schema.int_or_string => {
                match number.as_i64() {
                    Some(number) => self.number(schema, number),
                    None => self.add(format!("write a whole number (found {number})")),
                }
            }
            Value::Bool(_) if schema.type_ == "boolean" => {}
            _ => {
                let wanted = match schema.type_.as_str() {
                    "object" => "fields below this one",
                    "array" => "a list",
                    "integer" => "a whole number",
                    "boolean" => "true or false",
                    "string" => "a text, in quotes where YAML would read it as something else",
                    _ => "a whole number or a text",
                };
                self.add(format!("write {wanted} (found {})", describe(value)));
            }
        }
    }

    fn object(&mut self, schema: &'a Schema, object: &serde_json::Map<String, Value>) {
        if let Some(max) = schema.max_properties
            && object.len() > max
        {
            self.add(format!("too many: at most {max} entries"));
        }
        for name in &schema.required {
            if object.get(name).is_none_or(Value::is_null) {
                self.below(Segment::Field(name.clone()), |walk| {
                    walk.add("missing: this field must be there")
                });
            }
        }
        for (name, value) in object {
            let known = schema.properties.get(name).or(schema.additional_properties.as_deref());
            self.below(Segment::Field(name.clone()), |walk| match known {
                Some(_) if value.is_null() => {}
                Some(inner) => walk.value(inner, value),
                None if schema.properties.is_empty() => {}
                None => {
                    let fields = schema.properties.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
                    walk.add(format!("unknown field: the fields here are {fields}"));
                    if let Some(last) = walk.found.last_mut() {
                        last.is_unknown_field = true;
                    }
                }
            });
        }
    }

    fn list(&mut self, schema: &'a Schema, list: &[Value]) {
        if let Some(max) = schema.max_items
            && list.len() > max
        {
            self.add(format!("too many: at most {max} entries"));
        }
        if let Some(min) = schema.min_items
            && list.len() < min
        {
            self.add(format!("too few: write at least {min} entry, or leave the field out"));
        }
        let mut seen = BTreeSet::new();
        for (index, item) in list.iter().enumerate() {
            self.below(Segment::Index(index), |walk| {
                let keys: Vec<String> =
                    schema.list_map_keys.iter().filter_map(|key| Some(item.get(key)?.to_string())).collect();
                let identity = if schema.list_type == "set" { vec![item.to_string()] } else { keys };
                if !identity.is_empty() && !seen.insert(identity.clone()) {
                    walk.add(format!("duplicate: {} stands here twice", identity.join(", ")));
                }
                if let Some(inner) = &schema.items {
                    walk.value(inner, item);
                }
            });
        }
    }

    fn number(&mut self, schema: &Schema, number: i64) {
        let (min, max) = (schema.minimum.unwrap_or(i64::MIN), schema.maximum.unwrap_or(i64::MAX));
        if !(min..=max).contains(&number) {
            self.add(match schema.maximum {
                Some(_) => format!("{number} is out of range: write {min} to {max}"),
                None => format!("{number} is out of range: write {min} or more"),
            });
        }
    }

    fn text(&mut self, schema: &'a Schema, text: &str) {
        let length = text.chars().count();
        if let Some(max) = schema.max_length
            && length > max
        {
            self.add(format!("too long: at most {max} characters"));
            return;
        }
        if let Some(min) = schema.min_length
            && length < min
        {
            self.add(format!("too short: at least {min} character"));
        }
        if !schema.words.is_empty() && !schema.words.iter().any(|word| word == text) {
            self.add(format!("unsupported value {text:?}: write {}", schema.words.join(" or ")));
        }
        if let Some(pattern) = &schema.pattern
            && !self.matches(pattern, text)
        {
            self.add(format!("{text:?} should match {pattern}"));
        }
        for rule in &schema.rules {
            if let Some(pattern) = rule.pattern()
                && !self.matches(pattern, text)
            {
                self.add(rule.message.as_str());
            }
        }
    }

    /// A pattern that is none matches nothing; a test compiles them all.
    fn matches(&mut self, pattern: &'a str, text: &str) -> bool {
        let regex = self.patterns.entry(pattern).or_insert_with(|| Regex::new(pattern).ok());
        regex.as_ref().is_some_and(|regex| regex.is_match(text))
    }
}

fn describe(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => format!("the number {number}"),
        Value::String(text) => format!("the text {:?}", text.chars().take(40).collect::<String>()),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "fields".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn visit(schema: &Schema, check: &mut impl FnMut(&Schema)) {
        check(schema);
        let inner = schema.items.iter().chain(&schema.additional_properties).map(Box::as_ref);
        for schema in schema.properties.values().chain(inner) {
            visit(schema, check);
        }
    }

    #[test]
    fn every_pattern_of_the_committed_schemas_compiles() {
        let mut patterns = 0;
        for kind in ["SerialFleet", "SerialNode"] {
            visit(&of_kind(kind).unwrap(), &mut |schema| {
                for pattern in schema.rules.iter().filter_map(Rule::pattern).chain(schema.pattern.as_deref())
                {
                    Regex::new(pattern).unwrap();
                    patterns += 1;
                }
            });
        }
        assert!(patterns > 15, "{patterns}");
    }

    #[test]
    fn everything_in_the_schemas_is_bounded() {
        for kind in ["SerialFleet", "SerialNode"] {
            let mut root = of_kind(kind).unwrap();
            for name in ["apiVersion", "kind", "metadata"] {
                root.properties.remove(name);
            }
            visit(&root, &mut |schema| match schema.type_.as_str() {
                "string" => assert!(schema.max_length.is_some() || !schema.words.is_empty(), "{schema:?}"),
                "array" => assert!(schema.max_items.is_some(), "{schema:?}"),
                "object" => assert!(
                    schema.additional_properties.is_none() || schema.max_properties.is_some(),
                    "{schema:?}"
                ),
                _ => {}
            });
        }
    }
}
