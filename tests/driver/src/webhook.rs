//! Calls of a hook (`pkg/hooks/webhook.go`, `webhook_etag.go`): which codes are success, what 429 means, and the cache
//! of answers by tag. Plain HTTP only; redirects are not followed.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use axum::body::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, StatusCode, Uri, header};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use serde_json::Value;
use tokio::time::{Instant, timeout};

use crate::{
    metrics::{self, Metrics},
    object,
    response::Reading,
    spec::{Hook, Mode, Version},
    timed::Timed,
};

/// The connections to all hooks: two idle ones a host, for 90 seconds, as Go's default transport keeps them.
#[derive(Clone)]
pub struct Connections {
    client: Client<HttpConnector, Full<Bytes>>,
    metrics: Metrics,
}

impl Connections {
    /// Without any yet.
    pub fn new(metrics: Metrics) -> Self {
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(90))
            .pool_max_idle_per_host(2)
            .build_http();
        Self { client, metrics }
    }
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The hook asks to come back after so many seconds.
    TooManyRequests(i64),
    /// Anything else, for people.
    Failed(String),
}

/// Why there is no such hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// It is written wrongly; an event says so.
    Wrong(String),
    /// Metacontroller falls over it: no event, the controller just does not start (`NewWebhookExecutor`).
    Panics,
}

type EtagKey = (String, String);

/// A hook that can be called.
pub struct Webhook {
    url: Uri,
    version: Version,
    mode: Mode,
    timeout: Duration,
    etags: Option<Mutex<Timed<EtagKey, (String, Bytes)>>>,
    connections: Connections,
    metrics: metrics::Hook,
}

impl Webhook {
    /// The hook of a controller, if it is declared.
    ///
    /// # Errors
    /// If it cannot be called.
    pub fn new(
        hook: Option<&Hook>,
        kind: &'static str,
        controller: &str,
        connections: &Connections,
    ) -> Result<Option<Self>, Unusable> {
        let Some((hook, webhook)) = hook.and_then(|hook| Some((hook, hook.webhook.as_ref()?))) else {
            return Ok(None);
        };
        let address = webhook.url().map_err(Unusable::Wrong)?;
        let url: Uri =
            address.parse().map_err(|error| Unusable::Wrong(format!("hook {kind}: {address:?}: {error}")))?;
        if url.scheme_str() != Some("http") || webhook.is_secured() {
            let problem =
                "this stand-in for Metacontroller calls hooks over plain HTTP without credentials only";
            return Err(Unusable::Wrong(format!("hook {kind}: {problem}")));
        }
        let etags = match &webhook.etag {
            Some(etag) if etag.enabled == Some(true) => {
                let life = match (etag.cache_timeout_seconds, etag.cache_cleanup_seconds) {
                    (Some(_), None) => return Err(Unusable::Panics),
                    (seconds, _) => seconds.and_then(|seconds| u64::try_from(seconds).ok()),
                };
                Some(Mutex::new(Timed::new(life.map(Duration::from_secs))))
            }
            _ => None,
        };
        Ok(Some(Self {
            url,
            version: hook.version(),
            mode: webhook.mode(hook.version()),
            timeout: webhook.timeout(),
            etags,
            connections: connections.clone(),
            metrics: metrics::Hook { kind, controller: controller.to_owned(), url: address },
        }))
    }

    /// Version of the protocol.
    pub fn version(&self) -> Version {
        self.version
    }

    /// How its answers are read.
    pub fn reading(&self) -> Reading {
        Reading { hook: self.metrics.kind, version: self.version, mode: self.mode }
    }

    /// Posts a request about `parent`; the body of the answer.
    ///
    /// # Errors
    /// If there is no answer that counts.
    pub async fn call(&self, body: Vec<u8>, parent: &Value) -> Result<Bytes, Failure> {
        // UID and generation are not part of it: a new parent of the same name gets the old one's answers.
        let key = (object::kind(parent).to_owned(), object::key(parent));
        let known = self.etags().and_then(|etags| etags.get(&key, Instant::now()));
        let sent = known.as_ref().map(|(tag, _)| tag.as_str());
        self.connections.metrics.begin(&self.metrics);
        let begun = Instant::now();
        let answer = timeout(self.timeout, self.post(body, sent)).await;
        let code = answer.as_ref().ok().and_then(|it| it.as_ref().ok()).map(|it| it.status().as_u16());
        self.connections.metrics.end(&self.metrics, code, begun.elapsed());
        let answer = answer.map_err(|_elapsed| {
            Failure::Failed(format!("http error: Post {:?}: timeout", self.metrics.url))
        })??;
        let verdict = verdict(&answer, sent.is_some(), self.etags.is_some(), SystemTime::now())?;
        let tag = answer.headers().get(header::ETAG).and_then(|tag| tag.to_str().ok()).map(str::to_owned);
        match (verdict, known) {
            (Verdict::Cached, Some((_, body))) => Ok(body),
            (Verdict::Fresh, _) => {
                let body = answer.into_body();
                if let (Some(mut etags), Some(tag)) = (self.etags(), tag.filter(|tag| !tag.is_empty())) {
                    etags.set(key, (tag, body.clone()), Instant::now());
                }
                Ok(body)
            }
            (Verdict::Cached, None) => Err(Failure::Failed("cannot find cached response".to_owned())),
        }
    }

    async fn post(&self, body: Vec<u8>, tag: Option<&str>) -> Result<Response<Bytes>, Failure> {
        let failed = |error: &dyn std::error::Error| {
            let mut text = format!("http error: Post {:?}: {error}", self.metrics.url);
            let mut source = error.source();
            while let Some(error) = source {
                text = format!("{text}: {error}");
                source = error.source();
            }
            Failure::Failed(text)
        };
        let mut request = Request::post(self.url.clone())
            .header(header::USER_AGENT, "Go-http-client/1.1")
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT_ENCODING, "gzip");
        if let Some(tag) = tag {
            request = request.header(header::IF_NONE_MATCH, tag);
        }
        let request = request.body(Full::new(Bytes::from(body))).map_err(|error| failed(&error))?;
        let response = self.connections.client.request(request).await.map_err(|error| failed(&error))?;
        let (parts, body) = response.into_parts();
        if parts.headers.contains_key(header::CONTENT_ENCODING) {
            return Err(Failure::Failed("this stand-in for Metacontroller does not decode gzip".to_owned()));
        }
        let body = body.collect().await.map_err(|error| failed(&error))?.to_bytes();
        Ok(Response::from_parts(parts, body))
    }

    fn etags(&self) -> Option<MutexGuard<'_, Timed<EtagKey, (String, Bytes)>>> {
        self.etags.as_ref().map(|etags| etags.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Where the answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Fresh,
    Cached,
}

/// What the code of an answer means. `tagged`: `If-None-Match` was sent.
fn verdict(answer: &Response<Bytes>, tagged: bool, cache: bool, now: SystemTime) -> Result<Verdict, Failure> {
    match answer.status() {
        StatusCode::TOO_MANY_REQUESTS => {
            let after = answer.headers().get(header::RETRY_AFTER).and_then(|it| it.to_str().ok());
            Err(Failure::TooManyRequests(retry_after(after.unwrap_or_default(), now)))
        }
        StatusCode::OK => Ok(Verdict::Fresh),
        StatusCode::NOT_MODIFIED | StatusCode::PRECONDITION_FAILED if tagged && cache => Ok(Verdict::Cached),
        code => {
            let body = String::from_utf8_lossy(answer.body());
            Err(Failure::Failed(format!("unsupported status code: {} body: {body}", code.as_u16())))
        }
    }
}

/// Whole seconds or a date; anything else is 0: come back at once.
fn retry_after(value: &str, now: SystemTime) -> i64 {
    let Ok(date) = k8s_openapi::jiff::fmt::rfc2822::parse(value) else {
        return value.parse().unwrap_or_default();
    };
    let date = SystemTime::from(date.timestamp());
    match date.duration_since(now) {
        Ok(wait) => i64::try_from(wait.as_nanos().div_ceil(1_000_000_000)).unwrap_or(i64::MAX),
        Err(past) => -i64::try_from(past.duration().as_secs()).unwrap_or(i64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn codes_mean_what_they_mean_there() {
        let failed = |text: &str| Err(Failure::Failed(text.to_owned()));
        for (code, tagged, cache, expected) in [
            (200, false, false, Ok(Verdict::Fresh)),
            (200, true, true, Ok(Verdict::Fresh)),
            (304, true, true, Ok(Verdict::Cached)),
            (412, true, true, Ok(Verdict::Cached)),
            (304, false, true, failed("unsupported status code: 304 body: no")),
            (412, false, false, failed("unsupported status code: 412 body: no")),
            (204, false, false, failed("unsupported status code: 204 body: no")),
            (500, true, true, failed("unsupported status code: 500 body: no")),
            (429, true, true, Err(Failure::TooManyRequests(0))),
        ] {
            let answer = Response::builder().status(code).body(Bytes::from("no")).unwrap();
            assert_eq!(verdict(&answer, tagged, cache, SystemTime::now()), expected, "{code}");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_or_nothing() {
        let now = humantime::parse_rfc3339("2026-11-21T09:00:00.5Z").unwrap();
        for (value, seconds) in [
            ("2", 2),
            ("", 0),
            ("0", 0),
            ("soon", 0),
            ("1.5", 0),
            ("Sat, 21 Nov 2026 09:00:03 GMT", 3),
            ("Sat, 21 Nov 2026 08:59:00 GMT", -60),
        ] {
            assert_eq!(retry_after(value, now), seconds, "{value}");
        }
    }

    #[test]
    fn a_hook_that_cannot_be_called_is_refused() {
        let new = |hook: Value| {
            let hook: Hook = serde_json::from_value(hook).unwrap();
            Webhook::new(Some(&hook), "sync", "c", &Connections::new(Metrics::default()))
                .map(|it| it.is_some())
        };
        assert_eq!(new(json!({})), Ok(false));
        assert_eq!(new(json!({"webhook": {"url": "http://h/sync?rev=1"}})), Ok(true));
        for odd in [
            json!({"url": "https://h/"}),
            json!({"path": "/"}),
            json!({"url": "http://h/", "authorization": {}}),
        ] {
            assert!(matches!(new(json!({"webhook": odd})), Err(Unusable::Wrong(_))));
        }
        let etag = |etag: Value| new(json!({"webhook": {"url": "http://h/", "etag": etag}}));
        assert_eq!(etag(json!({"enabled": true, "cacheTimeoutSeconds": 1})), Err(Unusable::Panics));
        assert_eq!(etag(json!({"enabled": true, "cacheCleanupSeconds": 1})), Ok(true));
        assert_eq!(etag(json!({"enabled": false, "cacheTimeoutSeconds": 1})), Ok(true));
    }
}
