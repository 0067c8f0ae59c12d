//! Labels and annotations: a map that is written sorted, without copies of its keys and values.

use serde::{Serialize, Serializer};

/// Keys and values, each key once, sorted.
#[derive(Debug, Default)]
pub struct Pairs<'c>(Vec<(&'c str, &'c str)>);

impl<'c> Pairs<'c> {
    /// Of several of one key the last one stays.
    pub(super) fn new(mut pairs: Vec<(&'c str, &'c str)>) -> Self {
        pairs.reverse();
        pairs.sort_by_key(|(key, _)| *key);
        pairs.dedup_by_key(|(key, _)| *key);
        Self(pairs)
    }

    /// Whether there is such a key.
    pub fn contains_key(&self, key: &str) -> bool {
        self.0.iter().any(|(it, _)| *it == key)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Pairs<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_later_of_two_wins_and_the_order_is_that_of_the_keys() {
        let pairs = Pairs::new(vec![("b", "users"), ("c", "x"), ("b", "ours"), ("a", "y")]);
        assert_eq!(serde_json::to_string(&pairs).unwrap(), r#"{"a":"y","b":"ours","c":"x"}"#);
    }
}
