//! A map whose entries expire: answers of hooks (`pkg/cache`). Pure; time is an argument.

use std::{collections::HashMap, hash::Hash, time::Duration};

use tokio::time::Instant;

/// Entries live for a fixed time, or for ever.
#[derive(Debug)]
pub struct Timed<K, V> {
    life: Option<Duration>,
    entries: HashMap<K, (Option<Instant>, V)>,
}

impl<K: Eq + Hash, V: Clone> Timed<K, V> {
    /// An empty one. No life, or one of zero, is for ever.
    pub fn new(life: Option<Duration>) -> Self {
        Self { life: life.filter(|life| !life.is_zero()), entries: HashMap::new() }
    }

    /// The entry, unless it has expired.
    pub fn get(&self, key: &K, now: Instant) -> Option<V> {
        let (until, value) = self.entries.get(key)?;
        until.is_none_or(|until| now < until).then(|| value.clone())
    }

    /// Sets an entry, and drops those that have expired.
    pub fn set(&mut self, key: K, value: V, now: Instant) {
        self.entries.retain(|_, (until, _)| until.is_none_or(|until| now < until));
        self.entries.insert(key, (self.life.map(|life| now + life), value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_expire_unless_they_live_for_ever() {
        let now = Instant::now();
        let later = now + Duration::from_secs(5);
        for (life, left) in [(Some(5), None), (Some(6), Some(1)), (Some(0), Some(1)), (None, Some(1))] {
            let mut timed = Timed::new(life.map(Duration::from_secs));
            timed.set("a", 1, now);
            assert_eq!(timed.get(&"a", now), Some(1));
            assert_eq!(timed.get(&"a", later), left);
        }
    }
}
