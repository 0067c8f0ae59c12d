//! Why a hook call gets no answer, and what it gets instead: a code that makes Metacontroller do the right thing, and
//! one short line of text that it shows in an event.

use std::hash::{BuildHasher, Hasher, RandomState};

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use crate::{access::Denied, request::Refusal};

/// Longest line, in characters.
const LINE: usize = 500;
/// Who is told to come again comes within so many seconds, and not all at once.
const SPREAD: u64 = 3;

/// Why a call is sent away, in the order in which it is looked at.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error(transparent)]
    Denied(#[from] Denied),
    #[error("this replica has another revision than {0:?}: come again")]
    OtherRevision(String),
    #[error("the URL says no revision: add ?rev=... as the shipped manifests do")]
    NoRevision,
    #[error("the body is encoded as {0:?}: send it plain")]
    Encoded(String),
    #[error("too many calls at once: come again")]
    TooMany,
    #[error("too many large bodies at once: come again")]
    NoRoom,
    #[error("the body is larger than {0} bytes: raise --max-body-bytes")]
    TooLarge(usize),
    #[error("the body did not arrive: {0}")]
    Body(String),
    #[error("the body did not arrive in time: come again")]
    Slow,
    #[error("no answer in time: come again")]
    Late,
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("bug: the hook panicked, see its log")]
    Panic,
    #[error("bug: {0}")]
    Bug(String),
    #[error("the caller went away")]
    Abandoned,
}

impl Failure {
    /// What passes by itself is 429: Metacontroller comes again as told, without event and without backing off.
    pub(super) fn code(&self) -> u16 {
        match self {
            Self::NoRevision | Self::Body(_) | Self::Refused(Refusal::Envelope(_)) => 400,
            Self::Denied(_) => 401,
            Self::TooLarge(_) => 413,
            Self::Encoded(_) => 415,
            Self::Refused(Refusal::Parent(_) | Refusal::Unheard(_)) => 422,
            Self::OtherRevision(_) | Self::TooMany | Self::NoRoom | Self::Slow | Self::Late => 429,
            Self::Abandoned => 499,
            Self::Panic | Self::Bug(_) => 500,
        }
    }

    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Denied(Denied::Certificate) => "Certificate",
            Self::Denied(Denied::Token) => "Token",
            Self::OtherRevision(_) => "OtherRevision",
            Self::NoRevision => "NoRevision",
            Self::Encoded(_) => "Encoded",
            Self::TooMany => "TooMany",
            Self::NoRoom => "NoRoom",
            Self::TooLarge(_) => "TooLarge",
            Self::Body(_) => "Body",
            Self::Slow => "Slow",
            Self::Late => "Late",
            Self::Refused(Refusal::Envelope(_)) => "Envelope",
            Self::Refused(Refusal::Parent(_)) => "Parent",
            Self::Refused(Refusal::Unheard(_)) => "Unheard",
            Self::Panic => "Panic",
            Self::Bug(_) => "Bug",
            Self::Abandoned => "Abandoned",
        }
    }

    pub(super) fn response(&self) -> Response {
        let code = StatusCode::from_u16(self.code()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = line(code, &self.to_string());
        let headers = response.headers_mut();
        match self {
            Self::Denied(Denied::Token) => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            // The other replica is there: nobody else waits for the same thing.
            Self::OtherRevision(_) => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
                // A connection that is kept leads to this replica again, until it ends.
                headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            _ if code == StatusCode::TOO_MANY_REQUESTS => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(1 + random() % SPREAD));
            }
            _ => {}
        }
        response
    }
}

fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// One line of text, whatever is in it.
pub(crate) fn line(code: StatusCode, text: &str) -> Response {
    let text: String =
        text.chars().take(LINE).map(|c| if c.is_control() { ' ' } else { c }).chain(['\n']).collect();
    (code, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn who_is_sent_away_comes_again_after_whole_seconds_and_not_all_at_once() {
        let after = |failure: Failure| {
            let response = failure.response();
            response.headers().get(header::RETRY_AFTER).map(|it| it.to_str().unwrap().parse::<u64>().unwrap())
        };
        let overload: BTreeSet<_> = (0..200).map(|_| after(Failure::TooMany)).collect();
        assert_eq!(overload, BTreeSet::from([Some(1), Some(2), Some(3)]));
        assert_eq!(after(Failure::OtherRevision("7".to_owned())), Some(1));
        assert!(Failure::OtherRevision("7".to_owned()).response().headers().contains_key(header::CONNECTION));
        assert_eq!(after(Failure::Panic), None);
    }
}
