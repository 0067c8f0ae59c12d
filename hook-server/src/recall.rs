//! What this replica remembers of the last call of each fleet: the request's bytes, what was read of them, and which
//! answer they got. For two things: the same request is not worked on twice, and of another one only what differs is
//! read. Filled and asked by [`crate::app`]; neither can change an answer, only how soon it is there.
//!
//! It holds tags of answers that depend on nothing but the request, this process's version and its flags; another replica
//! or a new process computes once and then knows as well. Must never hold the tag of an answer that the clock had a
//! part in: see [`crate::etag::depends_on_clock`].
//!
//! Bounded: so many bytes of requests, which are the very ones that [`crate::journal`] shows, and what was read of
//! them, about half as much again. Beyond, the one unused for longest goes first.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::{calls::Subject, etag::Tag, metrics::Hook, request::SyncRequest};

/// Calls remembered.
const CALLS: usize = 64;
/// Bytes of all requests remembered.
const BYTES: usize = 8 << 20;
/// No object that an API server stores has a shorter text.
const ORDINARY: usize = 512;

/// A call that was answered.
#[derive(Debug)]
pub struct Answered {
    /// Which hook.
    pub hook: Hook,
    /// The request.
    pub body: Bytes,
    /// What was read of it; nothing where reading costs nothing.
    pub request: Option<SyncRequest>,
    /// Size of the answer.
    pub answer: usize,
    /// Tag of the answer; nothing where the clock had a part in it.
    pub tag: Option<Tag>,
    /// Whom it was about.
    pub subject: Arc<Subject>,
}

impl Answered {
    /// Bytes that it is counted with: what is read of an object takes some hundred, however short its text.
    fn weight(&self) -> usize {
        let objects = self.request.as_ref().map_or(0, |it| it.children.len() + it.related.len());
        self.body.len() + objects.saturating_sub(self.body.len() / ORDINARY) * ORDINARY
    }
}

/// The last calls, of each fleet and hook one.
#[derive(Debug, Default)]
pub struct Recall(Mutex<Vec<Arc<Answered>>>);

impl Recall {
    /// The call with these very bytes.
    pub fn same(&self, hook: Hook, body: &Bytes) -> Option<Arc<Answered>> {
        let same = self.of(hook).into_iter().find(|it| it.body == body)?;
        let mut calls = self.lock();
        if let Some(index) = calls.iter().position(|it| Arc::ptr_eq(it, &same)) {
            let used = calls.remove(index);
            calls.push(used);
        }
        drop(calls);
        Some(same)
    }

    /// The call that is most like this one: the fleet's own last one, wherever fleets differ in anything.
    pub fn like(&self, hook: Hook, body: &Bytes) -> Option<Arc<Answered>> {
        // Metacontroller writes the CompositeController and then the fleet, before all that it observes.
        self.of(hook).into_iter().max_by_key(|it| in_common(&it.body, body))
    }

    /// Remembers a call in place of the fleet's last one.
    pub fn remember(&self, answered: Answered) {
        // Freed after the lock: others wait for that.
        let mut forgotten = Vec::new();
        let mut calls = self.lock();
        let subject = |it: &Answered| (it.hook, it.subject.fleet.clone(), it.subject.uid.clone());
        let of = subject(&answered);
        forgotten.extend(calls.extract_if(.., |it| subject(it) == of));
        if answered.weight() <= BYTES {
            calls.push(Arc::new(answered));
        }
        let mut bytes: usize = calls.iter().map(|it| it.weight()).sum();
        while bytes > BYTES || calls.len() > CALLS {
            let oldest = calls.remove(0);
            bytes -= oldest.weight();
            forgotten.push(oldest);
        }
        drop(calls);
    }

    /// Those of one hook. Compared without the lock: bodies are large.
    fn of(&self, hook: Hook) -> Vec<Arc<Answered>> {
        self.lock().iter().filter(|it| it.hook == hook).map(Arc::clone).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Answered>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// In how many pieces from the beginning two texts are the same.
fn in_common(a: &[u8], b: &[u8]) -> usize {
    a.chunks(256).zip(b.chunks(256)).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(fleet: &str, body: String) -> Answered {
        let tag = Some(Tag::of(body.as_bytes()));
        let subject = Arc::new(Subject { fleet: fleet.to_owned(), ..Subject::default() });
        Answered { hook: Hook::Sync, body: body.into(), request: None, answer: 0, tag, subject }
    }

    fn fleet(found: Option<Arc<Answered>>) -> Option<String> {
        found.map(|it| it.subject.fleet.clone())
    }

    #[test]
    fn of_each_fleet_and_hook_the_last_call_is_known_by_its_bytes() {
        let recall = Recall::default();
        for (name, body) in [("a", "1"), ("b", "2"), ("a", "3")] {
            recall.remember(call(name, body.to_owned()));
        }
        recall.remember(Answered { hook: Hook::Customize, ..call("c", "4".to_owned()) });
        for (hook, body, found) in [
            (Hook::Sync, "1", None),
            (Hook::Sync, "2", Some("b")),
            (Hook::Sync, "3", Some("a")),
            (Hook::Sync, "4", None),
            (Hook::Customize, "4", Some("c")),
            (Hook::Sync, "33", None),
        ] {
            assert_eq!(fleet(recall.same(hook, &body.into())).as_deref(), found, "{body}");
        }
    }

    #[test]
    fn a_fleets_own_call_is_most_like_its_next_one() {
        let recall = Recall::default();
        let body = |fleet: &str, version: usize| format!("{:4096}{fleet:4096}{version}", "controller");
        for name in ["a", "b", "c"] {
            recall.remember(call(name, body(name, 1)));
        }
        for name in ["a", "b", "c"] {
            assert_eq!(fleet(recall.like(Hook::Sync, &body(name, 2).into())).as_deref(), Some(name));
        }
        assert!(recall.like(Hook::Customize, &body("a", 1).into()).is_none());
    }

    #[test]
    fn the_memory_is_bounded_and_keeps_what_is_used() {
        let recall = Recall::default();
        let body = |n: usize| " ".repeat(BYTES / 10 - 9) + &format!("{n:9}");
        for n in 0..30 {
            recall.remember(call(&n.to_string(), body(n)));
            assert_eq!(
                fleet(recall.same(Hook::Sync, &body(0).into())).as_deref(),
                Some("0"),
                "used all the time"
            );
        }
        assert_eq!(recall.lock().len(), 10);
        assert!(recall.same(Hook::Sync, &body(1).into()).is_none());
        assert!(recall.same(Hook::Sync, &body(29).into()).is_some());
        recall.remember(call("29", " ".repeat(BYTES + 1)));
        assert_eq!(recall.lock().len(), 9, "too large, and the one before is not its fleet's last any more");
        for n in 0..3 * CALLS {
            recall.remember(call(&n.to_string(), n.to_string()));
        }
        assert_eq!(recall.lock().len(), CALLS);
    }
}
