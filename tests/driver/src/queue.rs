//! The queue of keys to sync (client-go's work queue): a key waits at most once, is at work at most once, and what
//! comes while it is at work brings it back afterwards. [`State`] is the rule, [`Queue`] makes workers wait for it.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use crate::limits::Backoff;

/// What the queue knows.
#[derive(Debug, Default)]
pub struct State {
    ready: VecDeque<String>,
    dirty: HashSet<String>,
    at_work: HashSet<String>,
    waiting: HashMap<String, Instant>,
    backoff: Backoff,
    closed: bool,
}

/// What a worker is to do.
#[derive(Debug, PartialEq)]
pub enum Next {
    /// Work on this key, then say [`State::done`].
    Work(String),
    /// Wait for a change, at most until then.
    Wait(Option<Instant>),
    /// Go home.
    End,
}

impl State {
    /// Asks for a sync of `key`.
    pub fn add(&mut self, key: &str) {
        if self.closed || !self.dirty.insert(key.to_owned()) {
            return;
        }
        if !self.at_work.contains(key) {
            self.ready.push_back(key.to_owned());
        }
    }

    /// Asks for one later. Of two such wishes the earlier counts.
    pub fn add_after(&mut self, key: &str, delay: Duration, now: Instant) {
        if self.closed {
            return;
        }
        if delay.is_zero() {
            return self.add(key);
        }
        let at = now + delay;
        self.waiting.entry(key.to_owned()).and_modify(|it| *it = at.min(*it)).or_insert(at);
    }

    /// Asks for another try after a failure.
    pub fn add_failed(&mut self, key: &str, now: Instant) {
        let delay = self.backoff.failed(key, now);
        self.add_after(key, delay, now);
    }

    /// The key did well: its next failure is its first.
    pub fn forget(&mut self, key: &str) {
        self.backoff.forget(key);
    }

    /// The next key, if there is one.
    pub fn next(&mut self, now: Instant) -> Next {
        if self.closed {
            return Next::End;
        }
        let mut due: Vec<_> =
            self.waiting.iter().filter(|(_, at)| **at <= now).map(|(key, at)| (*at, key.clone())).collect();
        due.sort();
        for (_, key) in due {
            self.waiting.remove(&key);
            self.add(&key);
        }
        match self.ready.pop_front() {
            Some(key) => {
                self.dirty.remove(&key);
                self.at_work.insert(key.clone());
                Next::Work(key)
            }
            None => Next::Wait(self.waiting.values().min().copied()),
        }
    }

    /// The work on `key` is over.
    pub fn done(&mut self, key: &str) {
        self.at_work.remove(key);
        if self.dirty.contains(key) {
            self.ready.push_back(key.to_owned());
        }
    }
}

/// A queue that several workers take from.
#[derive(Debug, Default)]
pub struct Queue {
    state: Mutex<State>,
    changed: Notify,
}

impl Queue {
    /// Asks for a sync of `key`.
    pub fn add(&self, key: &str) {
        self.change(|state| state.add(key));
    }

    /// Asks for one later.
    pub fn add_after(&self, key: &str, delay: Duration) {
        self.change(|state| state.add_after(key, delay, Instant::now()));
    }

    /// Asks for another try after a failure.
    pub fn add_failed(&self, key: &str) {
        self.change(|state| state.add_failed(key, Instant::now()));
    }

    /// The key did well.
    pub fn forget(&self, key: &str) {
        self.change(|state| state.forget(key));
    }

    /// The work on `key` is over.
    pub fn done(&self, key: &str) {
        self.change(|state| state.done(key));
    }

    /// Sends all workers home.
    pub fn close(&self) {
        self.change(|state| state.closed = true);
    }

    /// The next key to work on; none when the queue is closed.
    pub async fn next(&self) -> Option<String> {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let next = self.lock().next(Instant::now());
            match next {
                Next::Work(key) => return Some(key),
                Next::End => return None,
                Next::Wait(None) => changed.await,
                Next::Wait(Some(until)) => {
                    tokio::select! {
                        () = changed => {}
                        () = tokio::time::sleep_until(until) => {}
                    }
                }
            }
        }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work(key: &str) -> Next {
        Next::Work(key.to_owned())
    }

    #[test]
    fn a_key_waits_once_and_comes_back_if_asked_for_while_at_work() {
        let now = Instant::now();
        let mut queue = State::default();
        queue.add("a");
        queue.add("b");
        queue.add("a");
        assert_eq!(queue.next(now), work("a"));
        queue.add("a");
        queue.add("a");
        assert_eq!(queue.next(now), work("b"));
        assert_eq!(queue.next(now), Next::Wait(None));
        queue.done("a");
        assert_eq!(queue.next(now), work("a"));
        queue.done("a");
        queue.done("b");
        assert_eq!(queue.next(now), Next::Wait(None));
    }

    #[test]
    fn of_two_later_syncs_the_earlier_counts() {
        let now = Instant::now();
        let second = Duration::from_secs(1);
        let mut queue = State::default();
        queue.add_after("a", second * 5, now);
        queue.add_after("a", second * 2, now);
        queue.add_after("a", second * 9, now);
        assert_eq!(queue.next(now), Next::Wait(Some(now + second * 2)));
        assert_eq!(queue.next(now + second * 2), work("a"));
        queue.done("a");
        assert_eq!(queue.next(now + second * 20), Next::Wait(None));
    }

    #[test]
    fn a_delay_of_nothing_is_no_delay_and_a_failure_waits() {
        let now = Instant::now();
        let mut queue = State::default();
        queue.add_after("a", Duration::ZERO, now);
        assert_eq!(queue.next(now), work("a"));
        queue.add_failed("a", now);
        queue.done("a");
        assert_eq!(queue.next(now), Next::Wait(Some(now + Duration::from_millis(5))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_waits_for_what_is_due_and_goes_home_when_it_closes() {
        let queue = Queue::default();
        let start = Instant::now();
        queue.add_after("a", Duration::from_secs(3));
        assert_eq!(queue.next().await.as_deref(), Some("a"));
        assert_eq!(start.elapsed().as_secs(), 3);
        queue.close();
        assert_eq!(queue.next().await, None);
    }
}
