//! Who may call the hooks: whoever shows what the operator asked for, a client certificate, a bearer token, or both.
//! Says yes or no; what the files say comes from [`crate::reload`], what a connection showed from [`crate::serve`].
//! Probes and metrics are not asked: a kubelet shows neither.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use axum::http::{Extensions, HeaderMap, header};
use subtle::{Choice, ConstantTimeEq};
use tokio::sync::watch;

use crate::reload::Broken;

/// What a connection showed, for the requests on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// Whether it showed a certificate that the client CA signed.
    pub certified: bool,
}

/// What a caller has to show. By default nothing.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// Needed is one of these.
    pub tokens: Option<watch::Receiver<Tokens>>,
    /// Needed is a client certificate.
    pub certificate: bool,
}

/// What is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// No client certificate.
    #[error("no client certificate: set clientTLS in the CompositeController")]
    Certificate,
    /// No bearer token, or another one.
    #[error(
        "no valid bearer token: set authorization in the CompositeController to what --bearer-token-file holds"
    )]
    Token,
}

impl Access {
    /// Whether a call may come in.
    ///
    /// # Errors
    /// If something is missing.
    pub fn check(&self, headers: &HeaderMap, extensions: &Extensions) -> Result<(), Denied> {
        let peer = extensions.get::<Peer>().copied().unwrap_or_default();
        if self.certificate && !peer.certified {
            return Err(Denied::Certificate);
        }
        let Some(tokens) = &self.tokens else { return Ok(()) };
        let said = headers.get(header::AUTHORIZATION).map(|value| value.as_bytes()).unwrap_or_default();
        let token = match said.split_at_checked(7) {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case(b"bearer ") => token.trim_ascii(),
            _ => return Err(Denied::Token),
        };
        if tokens.borrow().allow(token) { Ok(()) } else { Err(Denied::Token) }
    }
}

/// The tokens of a file, one per line, so that one can be replaced while both are valid.
#[derive(Clone, PartialEq, Eq)]
pub struct Tokens(Vec<Vec<u8>>);

impl Tokens {
    /// Reads them.
    ///
    /// # Errors
    /// If a file cannot be read, or there is no token at all: that would let nobody in, or everybody.
    pub fn load(files: &[PathBuf]) -> Result<Self, Broken> {
        let [file] = files else { return Err(Broken::new(Path::new(""), "tokens come in one file")) };
        let text = std::fs::read(file).map_err(|error| Broken::new(file, error))?;
        let lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
        let tokens: Vec<Vec<u8>> = lines.filter(|line| !line.is_empty()).map(<[u8]>::to_vec).collect();
        if tokens.is_empty() {
            return Err(Broken::new(file, "holds no token: write one per line"));
        }
        Ok(Self(tokens))
    }

    /// How long this takes depends on lengths only, never on how much of a token was right.
    fn allow(&self, said: &[u8]) -> bool {
        let found = self.0.iter().fold(Choice::from(0), |found, token| found | token.as_slice().ct_eq(said));
        found.into()
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} tokens", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn said(text: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, HeaderValue::from_str(text).unwrap());
        headers
    }

    #[test]
    fn a_token_is_right_as_a_whole_or_not_at_all() {
        let tokens = Tokens(vec![b"old-token".to_vec(), b"new-token".to_vec()]);
        let (_sender, receiver) = watch::channel(tokens);
        let access = Access { tokens: Some(receiver), certificate: false };
        for (text, is) in [
            ("Bearer old-token", true),
            ("bearer new-token", true),
            ("Bearer  new-token ", true),
            ("Bearer new-toke", false),
            ("Bearer new-token2", false),
            ("Bearer ", false),
            ("Bearer", false),
            ("", false),
            ("Basic new-token", false),
            ("new-token", false),
        ] {
            assert_eq!(access.check(&said(text), &Extensions::new()).is_ok(), is, "{text:?}");
        }
        assert_eq!(access.check(&HeaderMap::new(), &Extensions::new()), Err(Denied::Token));
        assert!(!format!("{access:?}").contains("token-"), "never shown");
    }

    #[test]
    fn where_both_are_asked_for_both_are_needed() {
        let (_sender, receiver) = watch::channel(Tokens(vec![b"t".to_vec()]));
        let access = Access { tokens: Some(receiver), certificate: true };
        let mut certified = Extensions::new();
        certified.insert(Peer { certified: true });
        assert_eq!(access.check(&said("Bearer t"), &Extensions::new()), Err(Denied::Certificate));
        assert_eq!(access.check(&HeaderMap::new(), &certified), Err(Denied::Token));
        assert_eq!(access.check(&said("Bearer t"), &certified), Ok(()));
        assert_eq!(Access::default().check(&HeaderMap::new(), &Extensions::new()), Ok(()));
    }
}
