//! The cached objects of one kind, and what an event of a watch changes about them. Pure.

use std::{collections::BTreeMap, mem};

use crate::object::{self, Object, StringMap};

/// What happened to an object.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// It is new to the cache.
    Added(Object),
    /// It was this, now it is that. Both are the same where nothing happened but a resync.
    Updated(Object, Object),
    /// It is gone; this was its last state that was seen.
    Deleted(Object),
}

/// An event of a watch.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    /// A list of everything begins.
    ListBegins,
    /// One object of that list.
    Listed(Object),
    /// The list is complete: what it lacks is gone.
    ListEnds,
    /// An object is new or changed.
    Applied(Object),
    /// An object is gone.
    Gone(Object),
}

/// The objects by `namespace/name` or `name`.
#[derive(Debug, Default)]
pub struct Cache {
    objects: BTreeMap<String, Object>,
    list: BTreeMap<String, Object>,
}

impl Cache {
    /// Takes an event in. A new list tells of everything again, as an informer does.
    pub fn take(&mut self, seen: Seen) -> Vec<Change> {
        match seen {
            Seen::ListBegins => self.list.clear(),
            Seen::Listed(object) => {
                self.list.insert(object::key(&object), object);
            }
            Seen::ListEnds => {
                let list = mem::take(&mut self.list);
                let gone: Vec<_> =
                    self.objects.keys().filter(|key| !list.contains_key(*key)).cloned().collect();
                let mut changes: Vec<_> = list.into_values().map(|object| self.put(object)).collect();
                changes.extend(gone.iter().filter_map(|key| self.objects.remove(key)).map(Change::Deleted));
                return changes;
            }
            Seen::Applied(object) => return vec![self.put(object)],
            Seen::Gone(object) => {
                self.objects.remove(&object::key(&object));
                return vec![Change::Deleted(object)];
            }
        }
        Vec::new()
    }

    fn put(&mut self, object: Object) -> Change {
        match self.objects.insert(object::key(&object), object.clone()) {
            None => Change::Added(object),
            Some(old) => Change::Updated(old, object),
        }
    }

    /// One object.
    pub fn get(&self, key: &str) -> Option<Object> {
        self.objects.get(key).cloned()
    }

    /// The labels of one object.
    pub fn labels(&self, key: &str) -> Option<StringMap> {
        self.objects.get(key).map(|object| object::labels(object))
    }

    /// All objects.
    pub fn iter(&self) -> impl Iterator<Item = &Object> {
        self.objects.values()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;

    fn object(name: &str, version: u8) -> Object {
        Arc::new(json!({"metadata": {"name": name, "resourceVersion": version.to_string()}}))
    }

    #[test]
    fn a_new_list_tells_of_everything_and_then_of_what_is_gone() {
        let mut cache = Cache::default();
        assert_eq!(cache.take(Seen::Applied(object("a", 1))), [Change::Added(object("a", 1))]);
        assert_eq!(cache.take(Seen::Applied(object("b", 1))), [Change::Added(object("b", 1))]);
        for seen in [Seen::ListBegins, Seen::Listed(object("b", 2)), Seen::Listed(object("c", 1))] {
            assert_eq!(cache.take(seen), []);
        }
        assert!(cache.get("a").is_some());
        assert_eq!(
            cache.take(Seen::ListEnds),
            [
                Change::Updated(object("b", 1), object("b", 2)),
                Change::Added(object("c", 1)),
                Change::Deleted(object("a", 1))
            ]
        );
        assert_eq!(cache.take(Seen::Gone(object("c", 3))), [Change::Deleted(object("c", 3))]);
        assert_eq!(cache.iter().count(), 1);
    }
}
