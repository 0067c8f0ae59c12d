//! What holds for every observed and desired child. Only for tests.

use proptest::{
    collection::{btree_map, vec},
    prelude::*,
    sample::select,
};
use serde_json::{Map, Value, json};

use super::{LAST_APPLIED, create, differences, merge, to_string, to_vec, update};

/// Values of the few shapes that decisions depend on, with keys that lists are merged by.
fn value() -> impl Strategy<Value = Value> {
    let text = select(vec!["a", "b", "<&>"]).prop_map(Value::from);
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (0..3).prop_map(Value::from),
        text
    ];
    scalar.prop_recursive(4, 24, 4, |inner| {
        let fields = btree_map(select(vec!["x", "y", "z"]), inner.clone(), 0..3);
        let key = select(vec!["name", "port", "other"]);
        let item = (key, select(vec!["a", "b", "c"]), fields.clone()).prop_map(|(key, text, fields)| {
            let mut item: Map<String, Value> =
                fields.into_iter().map(|(key, it)| (key.to_owned(), it)).collect();
            item.insert(key.to_owned(), text.into());
            Value::Object(item)
        });
        prop_oneof![
            vec(inner, 0..3).prop_map(Value::Array),
            vec(item, 0..4).prop_map(Value::Array),
            fields.prop_map(|fields| fields.into_iter().map(|(key, it)| (key.to_owned(), it)).collect()),
        ]
    })
}

fn child() -> impl Strategy<Value = Value> {
    (value(), value())
        .prop_map(|(spec, more)| json!({"metadata": {"name": "a"}, "spec": spec, "more": more}))
        .prop_filter("a key stands twice", |child| !has_twins(child))
}

/// Lists in which a key stands twice never settle (mc#371); hooks must not send them.
fn has_twins(value: &Value) -> bool {
    match value {
        Value::Array(items) => {
            let twins = |key: &str| {
                let mut keys: Vec<_> = items.iter().filter_map(|it| it.get(key)).map(to_string).collect();
                let all = keys.len();
                keys.sort();
                keys.dedup();
                keys.len() < all
            };
            twins("name") || twins("port") || items.iter().any(has_twins)
        }
        Value::Object(object) => object.values().any(has_twins),
        _ => false,
    }
}

proptest! {
    #[test]
    fn a_child_that_is_stored_as_it_was_written_is_not_written_again(desired in child()) {
        let stored = create(&json!({"metadata": {"uid": "u"}}), &desired);
        prop_assert_eq!(update(&stored, &desired).unwrap(), stored);
    }

    #[test]
    fn updates_that_are_stored_settle(observed in child(), before in child(), desired in child()) {
        let mut observed = observed;
        observed["metadata"]["annotations"] = json!({LAST_APPLIED: to_string(&before)});
        // One is enough unless a list or an object is to be something else, which goes by way of empty and null.
        let stored = (0..3).fold(observed, |stored, _| update(&stored, &desired).unwrap());
        prop_assert_eq!(differences(&stored, &update(&stored, &desired).unwrap()), vec![]);
    }

    #[test]
    fn there_are_differences_just_where_something_is_written(observed in child(), desired in child()) {
        let merged = update(&observed, &desired).unwrap();
        let found = differences(&observed, &merged);
        prop_assert_eq!(found.is_empty(), observed == merged);
        prop_assert!(found.windows(2).all(|pair| pair[0].path < pair[1].path));
    }

    #[test]
    fn what_nobody_wants_changes_nothing(observed in child()) {
        prop_assert_eq!(merge(&observed, None, &json!({})), observed);
    }

    #[test]
    fn what_is_written_reads_back(written in value()) {
        prop_assert_eq!(serde_json::from_slice::<Value>(&to_vec(&written)).unwrap(), written);
    }
}
