//! Tags of answers, so that an unchanged one costs no bytes.
//!
//! A tag is a hash of the answer's bytes and of nothing else. So 304 is right by construction, whatever else changed in
//! between: hook version, flags, revision, replica, or a fleet that was deleted and made anew under its old name
//! (Metacontroller remembers answers by kind, namespace and name only). Metacontroller's own status write changes the
//! request's bytes and not the answer: still 304.
//!
//! The hash is a cryptographic one: whoever writes a fleet, or a node's report, has a part in the answer's bytes, and
//! two answers with one tag would let him hold an old one in force. It is ring's, which TLS brings along and which uses
//! what the processor has for it.
//!
//! A tag alone would cost a whole computation to compare: [`crate::recall`] knows it from the request.

use std::time::SystemTime;

use axum::http::{HeaderMap, HeaderValue, header};
use ring::digest::{SHA256, digest};
use serialfleet_api::fleet::SerialFleetStatus;

/// Hex digits of a tag: 128 bits.
const DIGITS: usize = 32;

/// A strong entity tag, quoted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag(String);

impl Tag {
    /// The tag of these bytes.
    pub fn of(answer: &[u8]) -> Self {
        let digest = digest(&SHA256, answer);
        let hex = digest.as_ref().iter().flat_map(|byte| [byte >> 4, byte & 15]).take(DIGITS);
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
}
