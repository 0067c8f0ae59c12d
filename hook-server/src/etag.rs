//! Unchanged answers: their tags, and what this replica remembers so that the same request is not worked on twice.
//!
//! A tag is a hash of the answer's bytes and of nothing else. So 304 is right by construction, whatever else changed in
//! between: hook version, flags, revision, replica, or a fleet that was deleted and made anew under its old name
//! (Metacontroller remembers answers by kind, namespace and name only). Metacontroller's own status write changes the
//! request's bytes and not the answer: still 304.
//!
//! A tag alone would cost a whole computation to compare. [`Memo`] therefore remembers which request bytes gave which
//! tag. It holds only answers that depend on nothing but the request, this process's version and its flags; another
//! replica or a new process computes once and then knows as well. Must never hold an answer that the clock had a part
//! in: see [`depends_on_clock`].

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hasher, RandomState},
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use axum::http::{HeaderMap, HeaderValue, header};
use serialfleet_api::fleet::SerialFleetStatus;
use sha2::{Digest, Sha256};

use crate::{calls::Subject, metrics::Hook};

/// Hex digits of a tag: 128 bits.
const DIGITS: usize = 32;
/// Requests remembered. Each fleet has one that matters; an entry is below 1 KiB.
const REMEMBERED: usize = 1024;

/// A strong entity tag, quoted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag(String);

impl Tag {
    /// The tag of these bytes.
    pub fn of(answer: &[u8]) -> Self {
        let digest = Sha256::digest(answer);
        let hex = digest.iter().flat_map(|byte| [byte >> 4, byte & 15]).take(DIGITS);
        let hex = hex.filter_map(|digit| char::from_digit(u32::from(digit), 16));
        Self(std::iter::once('"').chain(hex).chain(['"']).collect())
    }

    /// Its text, with quotes.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As the value of a header. Quoted hex always is one.
    pub fn header(&self) -> Option<HeaderValue> {
        HeaderValue::from_str(&self.0).ok()
    }

    /// Whether the caller says in `If-None-Match` that it has this answer. `W/` is what proxies that compress make of
    /// a tag. `*` names no answer, so it does not count.
    pub fn is_known(&self, headers: &HeaderMap) -> bool {
        let said = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
        said.flat_map(|value| value.split(',')).any(|tag| {
            let tag = tag.trim();
            tag.strip_prefix("W/").unwrap_or(tag) == self.0
        })
    }
}

/// Whether another time would give another answer. Then it has no tag: Metacontroller would replay the old one.
///
/// `now` ends up in an answer in two ways only: as the transition time of a condition that flips, and, wherever time
/// alone can change a verdict, in how soon another look is due. A condition that flipped in this very second counts too, which costs one answer in full.
pub fn depends_on_clock(
    status: &SerialFleetStatus,
    resync_after_seconds: Option<f64>,
    now: SystemTime,
) -> bool {
    let stamp = humantime::format_rfc3339_seconds(now).to_string();
    let mut since = status.conditions.iter().map(|it| it.last_transition_time.as_str());
    resync_after_seconds.is_some() || since.any(|since| since.is_empty() || since == stamp)
}

/// What is known about a request that came before, byte by byte the same.
#[derive(Clone, Debug)]
pub struct Remembered {
    /// Tag of its answer.
    pub tag: Tag,
    /// Whom it was about.
    pub subject: Arc<Subject>,
}

/// Which request had which answer's tag. Bounded: the one unused for longest goes first.
#[derive(Debug, Default)]
pub struct Memo {
    keys: RandomState,
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    /// Counts uses, so that the oldest is known.
    clock: u64,
    by_request: HashMap<Fingerprint, (u64, Remembered)>,
}

/// Stands for a request's bytes. SipHash under a key that nobody outside this process can know: one collision in 2^64,
/// and it would have to hit an entry with the very tag that the caller names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint {
    hook: Hook,
    length: usize,
    hash: u64,
}

impl Memo {
    /// What stands for this request. Some 0.2 ms per megabyte.
    pub fn fingerprint(&self, hook: Hook, request: &[u8]) -> Fingerprint {
        let mut hasher = self.keys.build_hasher();
        hasher.write(request);
        Fingerprint { hook, length: request.len(), hash: hasher.finish() }
    }

    /// What is known about a request.
    pub fn recall(&self, request: Fingerprint) -> Option<Remembered> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.clock += 1;
        let now = entries.clock;
        let (used, remembered) = entries.by_request.get_mut(&request)?;
        *used = now;
        Some(remembered.clone())
    }

    /// Remembers the answer to a request.
    pub fn remember(&self, request: Fingerprint, answer: Remembered) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.clock += 1;
        let now = entries.clock;
        if entries.by_request.len() >= REMEMBERED && !entries.by_request.contains_key(&request) {
            let oldest = entries.by_request.iter().min_by_key(|(_, (used, _))| *used).map(|(it, _)| *it);
            if let Some(oldest) = oldest {
                entries.by_request.remove(&oldest);
            }
        }
        entries.by_request.insert(request, (now, answer));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serialfleet_api::meta::Condition;

    use super::*;

    fn known(tag: &Tag, said: &[&str]) -> bool {
        let mut headers = HeaderMap::new();
        for said in said {
            headers.append(header::IF_NONE_MATCH, HeaderValue::from_str(said).unwrap());
        }
        tag.is_known(&headers)
    }

    #[test]
    fn a_tag_is_the_same_in_every_process_and_known_only_as_it_was_given() {
        let tag = Tag::of(b"answer");
        assert_eq!(tag.as_str(), r#""0db52f4076c082518412afd3dd3576e2""#);
        let (tag_text, other) = (tag.as_str(), Tag::of(b"other"));
        for (said, is) in [
            (vec![], false),
            (vec![tag_text], true),
            (vec![other.as_str()], false),
            (vec!["*"], false),
            (vec![""], false),
            (vec![tag_text.trim_matches('"')], false),
            (vec![other.as_str(), tag_text], true),
            (vec![&format!("W/{tag_text}")], true),
            (vec![&format!("{}, {tag_text}", other.as_str())], true),
            (vec![&format!("{tag_text}x")], false),
        ] {
            assert_eq!(known(&tag, &said), is, "{said:?}");
        }
    }

    #[test]
    fn only_an_answer_that_time_does_not_change_is_tagged() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        let since = |time: &str| Condition { last_transition_time: time.to_owned(), ..Condition::default() };
        let status = |time: &str| SerialFleetStatus {
            conditions: vec![since("1970-01-01T00:00:01Z"), since(time)],
            ..SerialFleetStatus::default()
        };
        for (sentence, status, resync, depends) in [
            ("all as before", status("1970-01-01T00:00:02Z"), None, false),
            ("a condition flips", status("1970-01-01T00:16:40Z"), None, true),
            ("another look is due", status("1970-01-01T00:00:02Z"), Some(2.0), true),
            ("no status at all", SerialFleetStatus::default(), None, false),
        ] {
            assert_eq!(depends_on_clock(&status, resync, now), depends, "{sentence}");
        }
    }

    #[test]
    fn the_memory_is_bounded_and_keeps_what_is_used() {
        let memo = Memo::default();
        let of = |n: usize| memo.fingerprint(Hook::Sync, n.to_string().as_bytes());
        let remembered = |n: usize| Remembered {
            tag: Tag::of(n.to_string().as_bytes()),
            subject: Arc::new(Subject { desired: n, ..Subject::default() }),
        };
        for n in 0..3 * REMEMBERED {
            memo.remember(of(n), remembered(n));
            assert_eq!(memo.recall(of(0)).map(|it| it.subject.desired), Some(0), "used all the time");
        }
        let held = memo.entries.lock().unwrap().by_request.len();
        assert_eq!(held, REMEMBERED);
        assert!(memo.recall(of(1)).is_none());
        assert!(memo.recall(of(3 * REMEMBERED - 1)).is_some());
        assert!(
            memo.recall(memo.fingerprint(Hook::Customize, b"0")).is_none(),
            "each hook has its own answers"
        );
    }
}
