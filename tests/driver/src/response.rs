//! Answers of hooks, read as Metacontroller does (`sigs.k8s.io/json` `UnmarshalStrict`): names are case-sensitive; in
//! strict mode a field that is unknown or there twice fails the call. Pure.

use std::{collections::BTreeSet, fmt};

use serde::{
    Deserialize,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value};

use crate::{
    children::aggregate,
    object,
    rules::Rule,
    spec::{Mode, Version},
};

/// Whose answer is read, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// `sync`, `finalize` or `customize`.
    pub hook: &'static str,
    /// Version of the hook.
    pub version: Version,
    /// How.
    pub mode: Mode,
}

impl Reading {
    fn unreadable(self, problem: &str) -> String {
        format!("can't unmarshal webhookResponse (version: {}, type: {}): {problem}", self.version, self.hook)
    }

    /// In strict mode, what does not belong into the answer.
    fn check(self, problems: &[String]) -> Result<(), String> {
        match aggregate(problems) {
            Some(problem) if self.mode == Mode::Strict => Err(format!(
                "strict validation failed for {} webhookResponse (type: {}, mode: strict): {problem}",
                self.version, self.hook
            )),
            _ => Ok(()),
        }
    }
}

/// What a sync or finalize hook answered.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SyncResponse {
    /// Replaces the status of the parent.
    pub status: Map<String, Value>,
    /// Every desired child.
    pub children: Vec<Value>,
    /// Ask again after this many seconds, if above zero.
    pub resync_after_seconds: f64,
    /// Take the finalizer away.
    pub finalized: bool,
}

/// Reads the answer of a sync or finalize hook.
///
/// # Errors
/// If it is no such answer, or in strict mode has fields that do not belong there.
pub fn sync(body: &[u8], reading: Reading) -> Result<SyncResponse, String> {
    let fields = read(body, reading, &["status", "children", "resyncAfterSeconds", "finalized"])?;
    let mut response = SyncResponse::default();
    for (field, value) in fields {
        match (field.as_str(), value) {
            (_, Value::Null) => {}
            ("status", Value::Object(status)) => response.status = status,
            ("children", Value::Array(children)) => response.children = children,
            ("resyncAfterSeconds", Value::Number(seconds)) => {
                response.resync_after_seconds = seconds.as_f64().unwrap_or_default();
            }
            ("finalized", Value::Bool(finalized)) => response.finalized = finalized,
            (field @ ("status" | "children" | "resyncAfterSeconds" | "finalized"), _) => {
                return Err(reading.unreadable(&format!("field {field} has another type")));
            }
            _ => {}
        }
    }
    for child in &response.children {
        // Metacontroller itself falls over a null here; an error is easier to find in a test.
        if object::kind(child).is_empty() {
            return Err(reading.unreadable(&format!("Object 'Kind' is missing in '{child}'")));
        }
    }
    Ok(response)
}

/// Reads the answer of a customize hook.
///
/// # Errors
/// If it is no such answer, or in strict mode has fields that do not belong there.
pub fn customize(body: &[u8], reading: Reading) -> Result<Vec<Rule>, String> {
    let fields = read(body, reading, &["relatedResources"])?;
    let mut rules = Vec::new();
    for (_, value) in fields.into_iter().filter(|(field, _)| field == "relatedResources") {
        for rule in value.as_array().into_iter().flatten() {
            let (rule, unknown) = Rule::read(rule).map_err(|problem| reading.unreadable(&problem))?;
            reading.check(&unknown)?;
            rules.push(rule);
        }
        if !value.is_array() && !value.is_null() {
            return Err(reading.unreadable("field relatedResources has another type"));
        }
    }
    Ok(rules)
}

fn read(body: &[u8], reading: Reading, known: &[&str]) -> Result<Map<String, Value>, String> {
    let Checked { value, duplicates } =
        serde_json::from_slice(body).map_err(|error| reading.unreadable(&error.to_string()))?;
    let fields = match value {
        Value::Null => Map::new(),
        Value::Object(fields) => fields,
        _ => return Err(reading.unreadable("it is no object")),
    };
    // Children have their own decoder there, which does not look for duplicates.
    let twice = duplicates.iter().filter(|path| !path.starts_with("children["));
    let twice = twice.map(|path| format!("duplicate field {path:?}"));
    let unknown = fields.keys().filter(|field| !known.contains(&field.as_str()));
    let problems: Vec<_> = twice.chain(unknown.map(|field| format!("unknown field {field:?}"))).collect();
    reading.check(&problems)?;
    Ok(fields)
}

/// A value together with the paths of fields that were there twice.
struct Checked {
    value: Value,
    duplicates: BTreeSet<String>,
}

impl Checked {
    fn plain(value: Value) -> Self {
        Self { value, duplicates: BTreeSet::new() }
    }

    fn take_duplicates(&mut self, at: &str) -> Vec<String> {
        std::mem::take(&mut self.duplicates).into_iter().map(|below| format!("{at}{below}")).collect()
    }
}

impl<'de> Deserialize<'de> for Checked {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CheckedVisitor)
    }
}

struct CheckedVisitor;

impl<'de> Visitor<'de> for CheckedVisitor {
    type Value = Checked;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Checked, E> {
        Ok(Checked::plain(Value::Null))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Checked, E> {
        Ok(Checked::plain(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Checked, E> {
        Ok(Checked::plain(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Checked, E> {
        Ok(Checked::plain(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Checked, E> {
        Ok(Checked::plain(value.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Checked, E> {
        Ok(Checked::plain(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Checked, A::Error> {
        let mut items = Vec::new();
        let mut duplicates = BTreeSet::new();
        while let Some(mut item) = seq.next_element::<Checked>()? {
            duplicates.extend(item.take_duplicates(&format!("[{}].", items.len())));
            items.push(item.value);
        }
        Ok(Checked { value: Value::Array(items), duplicates })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Checked, A::Error> {
        let mut fields = Map::new();
        let mut duplicates = BTreeSet::new();
        while let Some((name, mut field)) = map.next_entry::<String, Checked>()? {
            let separator = if field.value.is_array() { "" } else { "." };
            duplicates.extend(field.take_duplicates(&format!("{name}{separator}")));
            if fields.insert(name.clone(), field.value).is_some() {
                duplicates.insert(name);
            }
        }
        Ok(Checked { value: Value::Object(fields), duplicates })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const STRICT: Reading = Reading { hook: "sync", version: Version::V2, mode: Mode::Strict };
    const LOOSE: Reading = Reading { mode: Mode::Loose, ..STRICT };

    #[test]
    fn an_answer_that_says_nothing_wants_no_children() {
        for body in ["{}", r#"{"status":null,"children":null,"resyncAfterSeconds":null}"#, "null"] {
            assert_eq!(sync(body.as_bytes(), STRICT), Ok(SyncResponse::default()), "{body}");
        }
    }

    #[test]
    fn a_full_answer() {
        let body = r#"{"status":{"a":1},"children":[{"kind":"Service"}],"resyncAfterSeconds":12.5,"finalized":true}"#;
        let expected = SyncResponse {
            status: json!({"a": 1}).as_object().unwrap().clone(),
            children: vec![json!({"kind": "Service"})],
            resync_after_seconds: 12.5,
            finalized: true,
        };
        assert_eq!(sync(body.as_bytes(), STRICT), Ok(expected));
    }

    #[test]
    fn strict_minds_fields_that_do_not_belong_there_and_loose_does_not() {
        for (body, says) in [
            (r#"{"debug":1}"#, "unknown field \"debug\""),
            (r#"{"Status":{}}"#, "unknown field \"Status\""),
            (r#"{"status":{},"status":{}}"#, "duplicate field \"status\""),
            (r#"{"status":{"a":{"b":1,"b":2}}}"#, "duplicate field \"status.a.b\""),
            (r#"{"status":{"a":[{"b":1,"b":2}]}}"#, "duplicate field \"status.a[0].b\""),
        ] {
            assert!(sync(body.as_bytes(), STRICT).unwrap_err().contains(says), "{body}");
            assert!(sync(body.as_bytes(), LOOSE).is_ok(), "{body}");
        }
        let twice_in_a_child = r#"{"children":[{"kind":"A","a":1,"a":2}]}"#;
        assert!(sync(twice_in_a_child.as_bytes(), STRICT).is_ok());
    }

    #[test]
    fn what_is_no_answer_fails_in_both_modes() {
        for body in [
            "",
            "[]",
            "{}{}",
            r#"{"children":{}}"#,
            r#"{"status":[]}"#,
            r#"{"resyncAfterSeconds":"1"}"#,
            r#"{"children":[null]}"#,
            r#"{"children":[{"metadata":{}}]}"#,
        ] {
            for reading in [STRICT, LOOSE] {
                assert!(sync(body.as_bytes(), reading).is_err(), "{body}");
            }
        }
    }

    #[test]
    fn rules_are_read_strictly_too() {
        let body = r#"{"relatedResources":[{"apiVersion":"v1","resource":"services","names":["a"]}]}"#;
        assert_eq!(customize(body.as_bytes(), STRICT).unwrap().len(), 1);
        for body in [
            r#"{"relatedResources":[{"apiVersion":"v1","resource":"services","fieldSelector":"x"}]}"#,
            r#"{"rules":[]}"#,
        ] {
            assert!(customize(body.as_bytes(), STRICT).is_err(), "{body}");
            assert!(customize(body.as_bytes(), LOOSE).is_ok(), "{body}");
        }
        assert!(customize(br#"{"relatedResources":[null]}"#, LOOSE).is_err());
    }
}
