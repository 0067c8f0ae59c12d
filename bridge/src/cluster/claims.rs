//! What the pod's own token says about the pod: which node, which pod. Pure.
//!
//! The signature is not checked: the token is ours, mounted by the kubelet, and what we conclude from it is
//! judged by the API server anyway (the admission policy compares it with the same claims, verified).

use base64::{Engine, alphabet, engine};
use serde::Deserialize;

/// Longest token that is looked at; real ones have about 1.2 KiB.
const MAX_TOKEN: usize = 16 * 1024;

const URL_SAFE: engine::GeneralPurpose = engine::GeneralPurpose::new(
    &alphabet::URL_SAFE,
    engine::GeneralPurposeConfig::new().with_decode_padding_mode(engine::DecodePaddingMode::Indifferent),
);

/// The part of a service account token that names what it is bound to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Claims {
    /// Namespace of the pod.
    #[serde(default)]
    pub namespace: Option<String>,
    /// The node; absent before Kubernetes 1.32.
    #[serde(default)]
    pub node: Option<Bound>,
    /// The pod.
    #[serde(default)]
    pub pod: Option<Bound>,
}

/// An object that a token is bound to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Bound {
    /// Its name.
    pub name: String,
    /// Its uid.
    #[serde(default)]
    pub uid: Option<String>,
}

/// Why a token says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimsError {
    /// Longer than any token.
    #[error("it is longer than 16 KiB")]
    TooLong,
    /// Not three parts of base64.
    #[error("it is not a JSON web token")]
    NotAToken,
    /// A token, but not one of a service account that is bound to an object.
    #[error("it is not a pod's token")]
    NotBound,
}

/// The claims of a service account token.
///
/// # Errors
/// If it is no such token.
pub fn decode(token: &str) -> Result<Claims, ClaimsError> {
    #[derive(Deserialize)]
    struct Payload {
        #[serde(rename = "kubernetes.io")]
        kubernetes: Claims,
    }
    if token.len() > MAX_TOKEN {
        return Err(ClaimsError::TooLong);
    }
    let mut parts = token.split('.');
    let (Some(_), Some(payload), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(ClaimsError::NotAToken);
    };
    let payload = URL_SAFE.decode(payload).map_err(|_| ClaimsError::NotAToken)?;
    let payload: Payload = serde_json::from_slice(&payload).map_err(|_| ClaimsError::NotBound)?;
    Ok(payload.kubernetes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(payload: &str) -> String {
        format!("e30.{}.c2ln", engine::general_purpose::URL_SAFE_NO_PAD.encode(payload))
    }

    #[test]
    fn a_bound_token_names_node_and_pod() {
        let claims = decode(&token(
            r#"{"aud":["x"],"exp":1,"kubernetes.io":{"namespace":"serialfleet-system","node":{"name":"wyse-1","uid":"n"},
            "pod":{"name":"home-bridge-abcde","uid":"p"},"serviceaccount":{"name":"bridge","uid":"s"},"warnafter":2}}"#,
        ))
        .unwrap();
        assert_eq!(claims.node, Some(Bound { name: "wyse-1".into(), uid: Some("n".into()) }));
        assert_eq!(claims.pod.unwrap().uid.as_deref(), Some("p"));
        assert_eq!(claims.namespace.as_deref(), Some("serialfleet-system"));
    }

    #[test]
    fn an_old_token_names_no_node() {
        assert_eq!(decode(&token(r#"{"kubernetes.io":{"pod":{"name":"a","uid":"p"}}}"#)).unwrap().node, None);
    }

    #[test]
    fn anything_else_is_refused_without_a_panic() {
        let long = "a".repeat(MAX_TOKEN + 1);
        let cases = [
            ("", ClaimsError::NotAToken),
            ("...", ClaimsError::NotAToken),
            ("a.!.c", ClaimsError::NotAToken),
            ("a.é.c", ClaimsError::NotAToken),
            ("a.e30.c", ClaimsError::NotBound),
            ("a..c", ClaimsError::NotBound),
            (long.as_str(), ClaimsError::TooLong),
        ];
        for (token, error) in cases {
            assert_eq!(decode(token), Err(error), "{token:.20}");
        }
        assert_eq!(
            decode(&token(r#"{"kubernetes.io":[]}"#)).err(),
            None,
            "a sequence reads as an empty struct"
        );
        assert_eq!(decode(&token("\u{0}")), Err(ClaimsError::NotBound));
    }
}
