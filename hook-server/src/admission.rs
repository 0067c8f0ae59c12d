//! How much may be going on at once: calls, and the bytes of all their bodies together. Bounds this process's memory,
//! and says "not now" early instead of late. Knows nothing about HTTP.
//!
//! A [`Slot`] goes with the work, not with the connection: where the caller hangs up, the work in hand still holds its
//! memory, and so it still holds its slot.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

/// How long a body waits for others to be done with theirs.
const PATIENCE: Duration = Duration::from_secs(1);
/// Bodies are counted in these.
const UNIT: usize = 4 << 10;

/// The door.
#[derive(Debug)]
pub struct Admission {
    calls: Arc<Semaphore>,
    memory: Arc<Semaphore>,
    units: usize,
}

/// The right to work on one call.
#[derive(Debug)]
pub struct Slot {
    _call: OwnedSemaphorePermit,
    memory: Option<OwnedSemaphorePermit>,
    pool: Arc<Semaphore>,
    units: usize,
}

impl Admission {
    /// So many calls, and so many bytes of bodies, at once.
    pub fn new(calls: usize, bytes: usize) -> Self {
        let units = bytes.div_ceil(UNIT).min(Semaphore::MAX_PERMITS);
        Self {
            calls: Arc::new(Semaphore::new(calls.min(Semaphore::MAX_PERMITS))),
            memory: Arc::new(Semaphore::new(units)),
            units,
        }
    }

    /// A slot, if one is free.
    pub fn enter(&self) -> Option<Slot> {
        let call = Arc::clone(&self.calls).try_acquire_owned().ok()?;
        Some(Slot { _call: call, memory: None, pool: Arc::clone(&self.memory), units: self.units })
    }
}

impl Slot {
    /// Has room for `bytes` in all from now on. `false`: there was none within a second.
    pub async fn reserve(&mut self, bytes: usize) -> bool {
        // A body as large as everything may come in alone; never more than there is, or it would wait for ever.
        let wanted = bytes.div_ceil(UNIT).min(self.units);
        let more = wanted.saturating_sub(self.memory.as_ref().map_or(0, OwnedSemaphorePermit::num_permits));
        let Ok(more) = u32::try_from(more) else { return false };
        if more == 0 {
            return true;
        }
        match timeout(PATIENCE, Arc::clone(&self.pool).acquire_many_owned(more)).await {
            Ok(Ok(permit)) => {
                match &mut self.memory {
                    Some(memory) => memory.merge(permit),
                    none => *none = Some(permit),
                }
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn calls_and_bytes_are_bounded_together_and_given_back() {
        let door = Admission::new(3, 100 * UNIT);
        let (mut a, mut b, mut c) = (door.enter().unwrap(), door.enter().unwrap(), door.enter().unwrap());
        assert!(door.enter().is_none(), "three at once");
        assert!(a.reserve(60 * UNIT).await);
        assert!(a.reserve(10).await, "it has that already");
        assert!(!b.reserve(60 * UNIT).await, "not within a second");
        assert!(b.reserve(40 * UNIT - 1).await);
        assert!(!c.reserve(1).await);
        let waiting = async { c.reserve(1).await };
        let ending = async { drop(b) };
        assert!(tokio::join!(waiting, ending).0, "what ends makes room for what waits");
        drop(a);
        let mut d = door.enter().unwrap();
        assert!(d.reserve(99 * UNIT).await);
        drop((c, d));
        assert!(door.enter().unwrap().reserve(1000 * UNIT).await, "more than everything comes in alone");
    }

    #[tokio::test]
    async fn room_can_grow_with_a_body_of_unknown_length() {
        let door = Admission::new(1, 10 * UNIT);
        let mut slot = door.enter().unwrap();
        for units in 1..=10 {
            assert!(slot.reserve(units * UNIT).await);
        }
        drop(slot);
        assert_eq!(door.memory.available_permits(), 10);
    }
}
