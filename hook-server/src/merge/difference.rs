//! Where two objects differ, for people: each path with what is there and what will be. Decides nothing, and says
//! nothing about whether a difference is written.

use std::collections::BTreeSet;

use serde_json::Value;

/// One path at which a write changes something.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// As in `spec.ports[0].port` or `metadata.labels["app.kubernetes.io/name"]`; empty for the whole object.
    pub path: String,
    /// What is there; none where the path does not exist.
    pub before: Option<Value>,
    /// What will be there; none where the path goes.
    pub after: Option<Value>,
}

/// The differences between an observed object and what it is to be, sorted by path. A list whose length changes is one
/// difference. Numbers are compared as Metacontroller does: `1` and `1.0` differ.
pub fn differences(observed: &Value, merged: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    compare(String::new(), Some(observed), Some(merged), &mut found);
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn compare(path: String, before: Option<&Value>, after: Option<&Value>, found: &mut Vec<Difference>) {
    match (before, after) {
        (before, after) if before == after => {}
        (Some(Value::Object(before)), Some(Value::Object(after))) => {
            let keys: BTreeSet<_> = before.keys().chain(after.keys()).collect();
            for key in keys {
                compare(join(&path, key), before.get(key), after.get(key), found);
            }
        }
        (Some(Value::Array(before)), Some(Value::Array(after))) if before.len() == after.len() => {
            for (index, (before, after)) in before.iter().zip(after).enumerate() {
                compare(format!("{path}[{index}]"), Some(before), Some(after), found);
            }
        }
        _ => found.push(Difference { path, before: before.cloned(), after: after.cloned() }),
    }
}

fn join(path: &str, key: &str) -> String {
    let plain = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    match (plain, path.is_empty()) {
        (true, true) => key.to_owned(),
        (true, false) => format!("{path}.{key}"),
        (false, _) => format!("{path}[{key:?}]"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_are_sorted_and_say_before_and_after() {
        let observed =
            json!({"a": {"b.c/d": 1, "same": [1]}, "l": [{"x": 1}, {"x": 2}], "m": [1], "n": 1, "o": 1});
        let merged = json!({"a": {"b.c/d": 2, "same": [1]}, "l": [{"x": 1}, {"x": 3}], "m": [1, 2], "n": 1.0, "p": null});
        let found: Vec<_> = differences(&observed, &merged)
            .into_iter()
            .map(|it| {
                (
                    it.path,
                    it.before.unwrap_or_else(|| json!("none")),
                    it.after.unwrap_or_else(|| json!("none")),
                )
            })
            .collect();
        assert_eq!(
            found,
            vec![
                ("a[\"b.c/d\"]".to_owned(), json!(1), json!(2)),
                ("l[1].x".to_owned(), json!(2), json!(3)),
                ("m".to_owned(), json!([1]), json!([1, 2])),
                ("n".to_owned(), json!(1), json!(1.0)),
                ("o".to_owned(), json!(1), json!("none")),
                ("p".to_owned(), json!("none"), json!(null)),
            ]
        );
        assert_eq!(differences(&observed, &observed), vec![]);
    }
}
