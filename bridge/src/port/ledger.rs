//! How much waits in the queues of all ports together, and who is ended when that is too much.
//!
//! One ledger for each data thread, so that it needs no lock. Touched only when a queue grows or shrinks, which is
//! when somebody does not take bytes at once: never on the way of a byte that is taken.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    task::{Context, Waker},
};

thread_local! {
    static LEDGER: RefCell<Ledger> = const { RefCell::new(Ledger::new()) };
}

struct Ledger {
    ceiling: usize,
    /// Of all entries that are not overdrawn.
    total: usize,
    entries: BTreeMap<u64, Entry>,
    next: u64,
}

struct Entry {
    bytes: usize,
    /// Wakes the port that it belongs to.
    owner: Waker,
    /// Its owner is about to give it up.
    overdrawn: bool,
}

/// From now on the queues of this thread's ports may hold `bytes` together.
pub(crate) fn set_ceiling(bytes: usize) {
    LEDGER.with_borrow_mut(|ledger| ledger.ceiling = bytes);
}

/// What one queue holds. An empty queue has no entry.
#[derive(Default)]
pub(super) struct Account {
    key: Option<u64>,
}

impl Account {
    /// The queue holds `bytes` now. Where that is too much for all, the largest entry is overdrawn, and its port is
    /// woken to see that.
    pub(super) fn set(&mut self, bytes: usize, cx: &Context<'_>) {
        if bytes == 0 {
            return self.close();
        }
        LEDGER.with_borrow_mut(|ledger| {
            let key = *self.key.get_or_insert_with(|| ledger.open(cx.waker()));
            ledger.set(key, bytes);
        });
    }

    /// Whether its owner must be ended.
    pub(super) fn is_overdrawn(&self) -> bool {
        self.key.is_some_and(|key| {
            LEDGER.with_borrow(|ledger| ledger.entries.get(&key).is_some_and(|entry| entry.overdrawn))
        })
    }

    fn close(&mut self) {
        if let Some(key) = self.key.take() {
            // At the thread's end there may be no ledger any more.
            LEDGER.try_with(|ledger| ledger.borrow_mut().close(key)).ok();
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.close();
    }
}

impl Ledger {
    const fn new() -> Self {
        Self { ceiling: usize::MAX, total: 0, entries: BTreeMap::new(), next: 0 }
    }

    fn open(&mut self, owner: &Waker) -> u64 {
        self.next += 1;
        self.entries.insert(self.next, Entry { bytes: 0, owner: owner.clone(), overdrawn: false });
        self.next
    }

    fn set(&mut self, key: u64, bytes: usize) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        let before = std::mem::replace(&mut entry.bytes, bytes);
        if entry.overdrawn {
            return;
        }
        self.total = self.total - before + bytes;
        while self.total > self.ceiling {
            let open = self.entries.values_mut().filter(|entry| !entry.overdrawn);
            let Some(largest) = open.max_by_key(|entry| entry.bytes) else { return };
            largest.overdrawn = true;
            largest.owner.wake_by_ref();
            self.total -= largest.bytes;
        }
    }

    fn close(&mut self, key: u64) {
        if let Some(entry) = self.entries.remove(&key)
            && !entry.overdrawn
        {
            self.total -= entry.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each test has a thread, and so a ledger, of its own.
    fn context() -> Context<'static> {
        Context::from_waker(Waker::noop())
    }

    #[test]
    fn above_the_ceiling_the_largest_is_overdrawn_and_only_that() {
        set_ceiling(100);
        let [mut small, mut large, mut late] = [(); 3].map(|()| Account::default());
        small.set(30, &context());
        large.set(60, &context());
        assert!(!small.is_overdrawn() && !large.is_overdrawn());
        late.set(20, &context());
        assert!(large.is_overdrawn() && !small.is_overdrawn() && !late.is_overdrawn());
        // Its memory counts as free from now on: it is about to be.
        small.set(80, &context());
        assert!(!small.is_overdrawn() && !late.is_overdrawn());
        late.set(21, &context());
        assert!(small.is_overdrawn() && !late.is_overdrawn());
    }

    #[test]
    fn what_was_delivered_or_dropped_makes_room() {
        set_ceiling(100);
        let (mut one, mut other) = (Account::default(), Account::default());
        for _ in 0..10 {
            one.set(90, &context());
            one.set(0, &context());
            other.set(90, &context());
            drop(std::mem::take(&mut other));
        }
        one.set(50, &context());
        one.set(10, &context());
        other.set(90, &context());
        assert!(!one.is_overdrawn() && !other.is_overdrawn());
        one.set(11, &context());
        assert!(other.is_overdrawn());
        drop(other);
        one.set(100, &context());
        assert!(!one.is_overdrawn());
        one.set(101, &context());
        assert!(one.is_overdrawn(), "one alone may be too much");
    }
}
