//! The merge itself (`pkg/dynamic/apply/apply.go`): it knows objects, lists and scalars, and nothing of Kubernetes
//! but the names of keys that lists are usually merged by. Total: where types do not fit, the odd one counts as
//! absent, as it does there (its type checks never fail).

use serde_json::{Map, Value};

/// Keys that make a list of objects a map, the first that all items have. Nothing else about a list is known.
const MERGE_KEYS: [&str; 7] = ["containerPort", "port", "mountPath", "name", "uid", "ip", "path"];

/// Applies what changed from `last_applied` to `desired` to `observed`.
///
/// - Objects: keys of `last_applied` that `desired` has no more are removed, keys of `desired` are merged, others
///   stay.
/// - Lists of objects that share a merge key are merged as objects by it; every other list is replaced.
/// - Everything else: `desired` wins. What is not observed yet is taken whole.
pub fn merge(observed: &Value, last_applied: Option<&Value>, desired: &Value) -> Value {
    match observed {
        Value::Object(observed) => {
            let last = last_applied.and_then(Value::as_object);
            Value::Object(merge_objects(observed.clone(), last, desired.as_object()))
        }
        Value::Array(observed) => {
            merge_lists(observed, last_applied.and_then(Value::as_array), desired.as_array())
        }
        _ => desired.clone(),
    }
}

fn merge_objects(
    mut merged: Map<String, Value>,
    last_applied: Option<&Map<String, Value>>,
    desired: Option<&Map<String, Value>>,
) -> Map<String, Value> {
    let wanted = |key: &str| desired.is_some_and(|desired| desired.contains_key(key));
    for key in last_applied.into_iter().flat_map(Map::keys).filter(|key| !wanted(key)) {
        merged.remove(key);
    }
    for (key, desired) in desired.into_iter().flatten() {
        let last = last_applied.and_then(|last| last.get(key));
        let value = merge(merged.get(key).unwrap_or(&Value::Null), last, desired);
        merged.insert(key.clone(), value);
    }
    merged
}

/// A desired list that is none replaces by null: Metacontroller's nil slice, which it writes so and which differs from
/// an empty list.
fn merge_lists(observed: &[Value], last_applied: Option<&Vec<Value>>, desired: Option<&Vec<Value>>) -> Value {
    let last = last_applied.map(Vec::as_slice).unwrap_or_default();
    match merge_key([observed, last, desired.map(Vec::as_slice).unwrap_or_default()]) {
        Some(key) => Value::Array(merge_by_key(key, observed, last, desired)),
        None => desired.map_or(Value::Null, |desired| Value::Array(desired.clone())),
    }
}

fn merge_key(lists: [&[Value]; 3]) -> Option<&'static str> {
    let items: Vec<_> = lists.into_iter().flatten().map(Value::as_object).collect::<Option<_>>()?;
    let shared = |key: &&str| !items.is_empty() && items.iter().all(|item| item.contains_key(*key));
    MERGE_KEYS.into_iter().find(shared)
}

/// Observed order first, then what is new in the order of `desired`. Observed items with the same key all become the
/// merge of the last one (mc#371: a port as TCP and as UDP). Where a key is itself a list or an object, which no kind of
/// Kubernetes has, the order may differ from Metacontroller's.
fn merge_by_key(
    key: &str,
    observed: &[Value],
    last_applied: &[Value],
    desired: Option<&Vec<Value>>,
) -> Vec<Value> {
    let desired = desired.map(Vec::as_slice).unwrap_or_default();
    let by_key = |list: &[Value]| -> Map<String, Value> {
        list.iter().map(|item| (key_text(item.get(key)), item.clone())).collect()
    };
    let mut merged = merge_objects(by_key(observed), Some(&by_key(last_applied)), Some(&by_key(desired)));
    let kept: Vec<Value> =
        observed.iter().filter_map(|item| merged.get(&key_text(item.get(key))).cloned()).collect();
    for item in observed {
        merged.remove(&key_text(item.get(key)));
    }
    let added = desired.iter().filter_map(|item| merged.remove(&key_text(item.get(key))));
    kept.into_iter().chain(added).collect()
}

/// A key's value as Go's `%v` prints it: the number 80, the float 80.0 and the text "80" are the same key.
fn key_text(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "<nil>".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Bool(flag)) => flag.to_string(),
        Some(Value::Number(number)) => match number.as_f64() {
            Some(float) if number.is_f64() => general(float),
            _ => number.to_string(),
        },
        Some(Value::Array(items)) => {
            let items: Vec<_> = items.iter().map(|item| key_text(Some(item))).collect();
            format!("[{}]", items.join(" "))
        }
        Some(Value::Object(object)) => {
            let mut keys: Vec<_> = object.iter().collect();
            keys.sort_unstable_by_key(|(key, _)| key.as_str());
            let items: Vec<_> =
                keys.into_iter().map(|(key, value)| format!("{key}:{}", key_text(Some(value)))).collect();
            format!("map[{}]", items.join(" "))
        }
    }
}

/// Go's `%v` of a float: an exponent of at least two digits from 1e6 on and below 1e-4.
fn general(value: f64) -> String {
    let text = format!("{value:e}");
    let Some((digits, exponent)) = text.split_once('e') else { return text };
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if value != 0.0 && !(-4..6).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.abs());
    }
    format!("{value}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Sentence, observed, last applied, desired, merged.
    fn table() -> Vec<(&'static str, Value, Value, Value, Value)> {
        vec![
            (
                "what nobody named stays",
                json!({"a": 1, "b": 2}),
                json!({}),
                json!({"a": 3}),
                json!({"a": 3, "b": 2}),
            ),
            (
                "what was applied and is no longer wanted goes",
                json!({"a": 1, "b": 2}),
                json!({"b": 2}),
                json!({"a": 1}),
                json!({"a": 1}),
            ),
            (
                "what was applied once and goes on being wanted is set right",
                json!({"a": {"b": 2, "c": 1}}),
                json!({"a": {"b": 1}}),
                json!({"a": {"b": 1}}),
                json!({"a": {"b": 1, "c": 1}}),
            ),
            (
                "what is not there yet is taken whole",
                json!({}),
                json!(null),
                json!({"a": {"b": [1]}}),
                json!({"a": {"b": [1]}}),
            ),
            (
                "null over a scalar is written",
                json!({"a": 1}),
                json!({}),
                json!({"a": null}),
                json!({"a": null}),
            ),
            ("null over nothing is written", json!({}), json!({}), json!({"a": null}), json!({"a": null})),
            (
                "null over an object takes away only what was applied",
                json!({"a": {"b": 1, "c": 2}}),
                json!({"a": {"b": 1}}),
                json!({"a": null}),
                json!({"a": {"c": 2}}),
            ),
            (
                "a scalar over an object counts as null",
                json!({"a": {"b": 1}}),
                json!({}),
                json!({"a": "text"}),
                json!({"a": {"b": 1}}),
            ),
            (
                "an object over a scalar replaces it",
                json!({"a": 1}),
                json!({}),
                json!({"a": {"b": 1}}),
                json!({"a": {"b": 1}}),
            ),
            (
                "a scalar over a list empties it to null",
                json!({"a": [1]}),
                json!({}),
                json!({"a": 1}),
                json!({"a": null}),
            ),
            (
                "null over a list without keys replaces it: a foreign endpoint goes",
                json!({"endpoints": [{"addresses": ["10.0.0.1"]}]}),
                json!({"endpoints": null}),
                json!({"endpoints": null}),
                json!({"endpoints": null}),
            ),
            (
                "null over null is the same",
                json!({"endpoints": null}),
                json!({}),
                json!({"endpoints": null}),
                json!({"endpoints": null}),
            ),
            (
                "an empty list over null differs for ever",
                json!({"endpoints": null}),
                json!({}),
                json!({"endpoints": []}),
                json!({"endpoints": []}),
            ),
            (
                "null over an empty list differs",
                json!({"a": []}),
                json!({}),
                json!({"a": null}),
                json!({"a": null}),
            ),
            (
                "lists of scalars are replaced",
                json!({"a": [1, 2]}),
                json!({"a": [1]}),
                json!({"a": [3]}),
                json!({"a": [3]}),
            ),
            (
                "lists of objects without a known key are replaced",
                json!({"a": [{"key": 1, "x": 1}]}),
                json!({}),
                json!({"a": [{"key": 1}]}),
                json!({"a": [{"key": 1}]}),
            ),
            (
                "a key that one item lacks is none",
                json!([{"name": "a", "x": 1}]),
                json!([]),
                json!([{"name": "a"}, {"y": 1}]),
                json!([{"name": "a"}, {"y": 1}]),
            ),
            (
                "an item that is no object makes it a plain list",
                json!([{"name": "a", "x": 1}, 3]),
                json!([]),
                json!([{"name": "a"}]),
                json!([{"name": "a"}]),
            ),
            (
                "a list by name keeps its order, its defaults and what is foreign",
                json!([{"name": "b", "x": 1}, {"name": "foreign"}, {"name": "a"}]),
                json!([]),
                json!([{"name": "c"}, {"name": "a", "y": 2}, {"name": "b"}]),
                json!([{"name": "b", "x": 1}, {"name": "foreign"}, {"name": "a", "y": 2}, {"name": "c"}]),
            ),
            (
                "a list by name loses what was applied and is no longer wanted",
                json!([{"name": "a"}, {"name": "b"}, {"name": "c"}]),
                json!([{"name": "b"}]),
                json!([{"name": "c"}]),
                json!([{"name": "a"}, {"name": "c"}]),
            ),
            (
                "null over a list by name takes away only what was applied",
                json!([{"name": "a"}, {"name": "b"}]),
                json!([{"name": "b"}]),
                json!(null),
                json!([{"name": "a"}]),
            ),
            (
                "a list by name that loses everything is empty, not null",
                json!([{"name": "b"}]),
                json!([{"name": "b"}]),
                json!(null),
                json!([]),
            ),
            (
                "the port goes before the name: a renamed port is the same entry",
                json!([{"name": "old", "port": 80, "nodePort": 30000}]),
                json!([{"name": "old", "port": 80}]),
                json!([{"name": "new", "port": 80}]),
                json!([{"name": "new", "port": 80, "nodePort": 30000}]),
            ),
            (
                "the container port goes before the port",
                json!([{"port": 1, "containerPort": 2, "x": 1}]),
                json!([]),
                json!([{"port": 3, "containerPort": 2}]),
                json!([{"port": 3, "containerPort": 2, "x": 1}]),
            ),
            (
                "the mount path goes before the name",
                json!([{"name": "v", "mountPath": "/a", "x": 1}]),
                json!([]),
                json!([{"name": "w", "mountPath": "/a"}]),
                json!([{"name": "w", "mountPath": "/a", "x": 1}]),
            ),
            (
                "one port as TCP and as UDP collapses",
                json!([{"port": 53, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]),
                json!([]),
                json!([{"port": 53, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]),
                json!([{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "UDP"}]),
            ),
            (
                "a key that last-applied has not is none: the list is replaced",
                json!([{"name": "a", "x": 1}]),
                json!([{"y": 1}]),
                json!([{"name": "a"}]),
                json!([{"name": "a"}]),
            ),
            (
                "keys are compared as text: 80, 80.0 and \"80\" are one entry",
                json!([{"port": 80, "x": 1}]),
                json!([{"port": 80.0}]),
                json!([{"port": "80"}]),
                json!([{"port": "80", "x": 1}]),
            ),
        ]
    }

    #[test]
    fn rules() {
        for (sentence, observed, last, desired, merged) in table() {
            assert_eq!(merge(&observed, Some(&last), &desired), merged, "{sentence}");
        }
    }

    #[test]
    fn keys_of_every_type_have_a_text() {
        for (value, text) in [
            (json!(null), "<nil>"),
            (json!(true), "true"),
            (json!(-7), "-7"),
            (json!(80.0), "80"),
            (json!(80.5), "80.5"),
            (json!(123456789.0), "1.23456789e+08"),
            (json!(123456.0), "123456"),
            (json!(1e21), "1e+21"),
            (json!(0.00001), "1e-05"),
            (json!({"b": 1, "a": null}), "map[a:<nil> b:1]"),
            (json!([1, "x", true]), "[1 x true]"),
        ] {
            assert_eq!(key_text(Some(&value)), text);
        }
    }
}
