//! The HTTP surface: `POST /sync`, `POST /customize`, `GET /livez`, `/readyz`, `/metrics`. Bodies in, bodies out; what
//! they mean is [`crate::sync`]'s and [`crate::customize`]'s business.
//!
//! Every refusal is one short line of text: Metacontroller shows it in an event. Trouble that passes by itself is 429
//! with `Retry-After`, which Metacontroller obeys without backing off; never zero seconds, which it takes for "at
//! once".

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Instant, SystemTime},
};

use axum::{
    BoxError, Router,
    body::Body,
    error_handling::HandleErrorLayer,
    extract::{Query, Request, State},
    http::{StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::Deserialize;
use tower::{ServiceBuilder, limit::GlobalConcurrencyLimitLayer, load_shed::LoadShedLayer};
use tower_http::catch_panic::CatchPanicLayer;

use crate::{
    config::{Config, Limits},
    customize::{CustomizeRequest, customize},
    metrics::{Hook, Metrics},
    request::{Refusal, SyncRequest},
    sync::sync,
};

/// Bodies from here on are worked on beside the reactor, so that probes are answered meanwhile.
const LARGE_BODY: usize = 64 << 10;

/// Whether `/readyz` says yes. Set to no before the listener closes.
#[derive(Clone, Debug)]
pub struct Readiness(Arc<AtomicBool>);

impl Default for Readiness {
    fn default() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }
}

impl Readiness {
    /// From now on, no.
    pub fn end(&self) {
        self.0.store(false, Ordering::Release);
    }

    fn is_ready(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

#[derive(Clone)]
struct App {
    config: Arc<Config>,
    limits: Arc<Limits>,
    clock: fn() -> SystemTime,
    ready: Readiness,
    metrics: Arc<Metrics>,
}

/// The whole surface. `clock` is only asked for the transition times of conditions.
pub fn app(config: Config, limits: Limits, clock: fn() -> SystemTime, ready: Readiness) -> Router {
    let calls = ServiceBuilder::new()
        .layer(HandleErrorLayer::new(overloaded))
        .layer(LoadShedLayer::new())
        .layer(GlobalConcurrencyLimitLayer::new(limits.max_calls));
    let app = App {
        config: Arc::new(config),
        limits: Arc::new(limits),
        clock,
        ready,
        metrics: Arc::new(Metrics::default()),
    };
    Router::new()
        .route("/sync", post(|State(app): State<App>, request: Request| call(app, Hook::Sync, request)))
        .route(
            "/customize",
            post(|State(app): State<App>, request: Request| call(app, Hook::Customize, request)),
        )
        .route_layer(calls)
        .route("/livez", get(|| async { "alive\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .fallback(|| async { line(StatusCode::NOT_FOUND, "no such path: POST to /sync or /customize") })
        .method_not_allowed_fallback(|| async {
            line(
                StatusCode::METHOD_NOT_ALLOWED,
                "wrong method: hooks are called by POST, everything else by GET",
            )
        })
        .layer(CatchPanicLayer::custom(panicked))
        .with_state(app)
}

async fn readyz(State(app): State<App>) -> Response {
    if app.ready.is_ready() {
        "ready\n".into_response()
    } else {
        line(StatusCode::SERVICE_UNAVAILABLE, "shutting down")
    }
}

async fn metrics(State(app): State<App>) -> Response {
    match app.metrics.text() {
        Ok(text) => {
            ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
                .into_response()
        }
        Err(error) => line(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

/// Why a call is sent away, in the order in which it is looked at.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("this replica has another revision than {0:?}: come again")]
    OtherRevision(String),
    #[error("the URL says no revision: add ?rev=... as the shipped manifests do")]
    NoRevision,
    #[error("the body is larger than {0} bytes: raise --max-body-bytes")]
    TooLarge(usize),
    #[error("the body did not arrive: {0}")]
    Body(String),
    #[error("the body did not arrive in time")]
    Slow,
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("bug: {0}")]
    Bug(String),
}

impl Failure {
    fn status(&self) -> StatusCode {
        match self {
            Self::OtherRevision(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::NoRevision | Self::Body(_) | Self::Refused(Refusal::Envelope(_)) => StatusCode::BAD_REQUEST,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
            Self::Refused(Refusal::Parent(_)) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Bug(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::OtherRevision(_) => "OtherRevision",
            Self::NoRevision => "NoRevision",
            Self::TooLarge(_) => "TooLarge",
            Self::Body(_) => "Body",
            Self::Slow => "Slow",
            Self::Refused(Refusal::Envelope(_)) => "Envelope",
            Self::Refused(Refusal::Parent(_)) => "Parent",
            Self::Bug(_) => "Bug",
        }
    }
}

async fn call(app: App, hook: Hook, request: Request) -> Response {
    let metrics = Arc::clone(&app.metrics);
    match answer(app, hook, request).await {
        Ok(body) => {
            metrics.called(hook, "Answered");
            ([(header::CONTENT_TYPE, "application/json")], body).into_response()
        }
        Err(failure) => {
            metrics.called(hook, failure.reason());
            tracing::warn!(hook = hook.as_str(), reason = failure.reason(), "refused: {failure}");
            line(failure.status(), &failure.to_string())
        }
    }
}

async fn answer(app: App, hook: Hook, request: Request) -> Result<Vec<u8>, Failure> {
    same_revision(app.limits.rev.as_deref(), request.uri())?;
    // Whatever the Content-Type says: `curl -d @request.json` replays a captured request.
    let body =
        tokio::time::timeout(app.limits.call_timeout, read(request.into_body(), app.limits.max_body_bytes))
            .await
            .map_err(|_| Failure::Slow)??;
    if body.len() < LARGE_BODY {
        return work(&app, hook, &body);
    }
    let work = tokio::task::spawn_blocking(move || work(&app, hook, &body));
    work.await.map_err(|error| Failure::Bug(error.to_string()))?
}

fn work(app: &App, hook: Hook, body: &[u8]) -> Result<Vec<u8>, Failure> {
    let start = Instant::now();
    let answer = match hook {
        Hook::Sync => sync_call(app, body),
        Hook::Customize => {
            let response = customize(&CustomizeRequest::parse(body)?);
            serde_json::to_vec(&response).map_err(bug)
        }
    }?;
    app.metrics.took(hook, start.elapsed(), body.len());
    Ok(answer)
}

fn sync_call(app: &App, body: &[u8]) -> Result<Vec<u8>, Failure> {
    let start = Instant::now();
    let request = SyncRequest::parse(body)?;
    let response = sync(&request, &app.config, (app.clock)()).map_err(bug)?;
    let answer = serde_json::to_vec(&response).map_err(bug)?;
    tracing::info!(
        hook = "sync",
        fleet = request.parent.name,
        uid = request.parent.metadata.uid,
        generation = request.parent.metadata.generation,
        bytes_in = body.len(),
        bytes_out = answer.len(),
        children = response.children.len(),
        resync_after_seconds = response.resync_after_seconds,
        microseconds = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX),
        "answered"
    );
    Ok(answer)
}

fn bug(error: serde_json::Error) -> Failure {
    Failure::Bug(error.to_string())
}

#[derive(Deserialize)]
struct Revision {
    rev: Option<String>,
}

/// Two versions behind one URL would undo each other's children, hundreds of times a minute.
fn same_revision(own: Option<&str>, uri: &Uri) -> Result<(), Failure> {
    let Some(own) = own else { return Ok(()) };
    let said = Query::<Revision>::try_from_uri(uri).ok().and_then(|query| query.0.rev);
    match said {
        Some(said) if said == own => Ok(()),
        Some(said) => Err(Failure::OtherRevision(said.chars().take(64).collect())),
        // Not 429: that would be silence for ever.
        None => Err(Failure::NoRevision),
    }
}

async fn read(body: Body, most: usize) -> Result<Bytes, Failure> {
    match Limited::new(body, most).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Failure::TooLarge(most)),
        Err(error) => Err(Failure::Body(error.to_string())),
    }
}

async fn overloaded(_: BoxError) -> Response {
    line(StatusCode::TOO_MANY_REQUESTS, "too many calls at once: come again")
}

fn panicked(_: Box<dyn std::any::Any + Send>) -> Response<Body> {
    line(StatusCode::INTERNAL_SERVER_ERROR, "bug: the hook panicked, see its log")
}

fn line(status: StatusCode, text: &str) -> Response {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).chain(['\n']).collect();
    let headers = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
    if status == StatusCode::TOO_MANY_REQUESTS {
        (status, headers, [(header::RETRY_AFTER, "1")], text).into_response()
    } else {
        (status, headers, text).into_response()
    }
}
