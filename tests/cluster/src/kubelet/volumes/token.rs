//! Tokens of service accounts, bound to their pod and renewed in time.
//!
//! Owner: the pod's volumes.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{ServiceAccount, ServiceAccountTokenProjection};
use kube::Api;
use kube::api::PostParams;

use super::super::environment::Subject;

/// The tokens of a pod, by volume and file.
#[derive(Debug, Default)]
pub(super) struct Tokens(Mutex<BTreeMap<String, Token>>);

#[derive(Clone, Debug)]
struct Token {
    text: String,
    renew: Instant,
}

impl Tokens {
    /// The one that is good, or a new one once 80 % of its life are over.
    pub(super) async fn current(
        &self,
        key: &str,
        subject: &Subject<'_>,
        source: &ServiceAccountTokenProjection,
    ) -> Result<String> {
        let known = self.0.lock().expect("no panic while it is held").get(key).cloned();
        if let Some(token) = known.filter(|token| token.renew > Instant::now()) {
            return Ok(token.text);
        }
        let account = subject.field("spec.serviceAccountName")?;
        let lifetime = source.expiration_seconds.unwrap_or(3600);
        let request = TokenRequest {
            spec: TokenRequestSpec {
                audiences: source.audience.iter().cloned().collect(),
                bound_object_ref: Some(BoundObjectReference {
                    api_version: Some("v1".to_owned()),
                    kind: Some("Pod".to_owned()),
                    name: Some(subject.view.name.clone()),
                    uid: Some(subject.view.uid.clone()),
                }),
                expiration_seconds: Some(lifetime),
            },
            ..TokenRequest::default()
        };
        let api = Api::<ServiceAccount>::namespaced(subject.client.clone(), &subject.view.namespace);
        let answer = api
            .create_token_request(&account, &PostParams::default(), &request)
            .await
            .with_context(|| format!("failed to fetch token of {account:?}"))?;
        let text = answer.status.context("a TokenRequest without an answer")?.token;
        let renew = Instant::now() + Duration::from_secs(u64::try_from(lifetime)?) * 4 / 5;
        let token = Token { text: text.clone(), renew };
        self.0.lock().expect("no panic while it is held").insert(key.to_owned(), token);
        Ok(text)
    }
}
