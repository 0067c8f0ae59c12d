//! The HTTP surface: `POST /sync`, `POST /customize`, `GET /livez`, `/readyz`, `/metrics`. Bodies in, bodies out; what
//! they mean is [`crate::sync`]'s and [`crate::customize`]'s business.
//!
//! Every refusal is one short line of text: Metacontroller shows it in an event. Trouble that passes by itself is 429
//! with `Retry-After`, which Metacontroller obeys without backing off; never zero seconds, which it takes for "at
//! once".

mod body;
mod call;
mod failure;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::SystemTime,
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::map_response_with_state,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use tower_http::catch_panic::CatchPanicLayer;

pub(crate) use self::failure::line;
use crate::{
    access::Access,
    admission::Admission,
    calls::Call,
    config::{Config, Limits},
    metrics::{Hook, Metrics},
    recall::Recall,
};

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

/// Told of every hook call that is over, on the thread that answers: it must be quick and must not block.
pub type Witness = Arc<dyn Fn(&Call) + Send + Sync>;

/// What the surface is made of.
#[derive(Clone)]
pub struct Surface {
    /// What the children depend on.
    pub config: Config,
    /// What is too much.
    pub limits: Limits,
    /// Only asked for the transition times of conditions, and for how long they have lasted.
    pub clock: fn() -> SystemTime,
    /// What `/readyz` says.
    pub ready: Readiness,
    /// Who may call the hooks.
    pub access: Access,
    /// What `/metrics` shows.
    pub metrics: Arc<Metrics>,
    /// Who else wants to know of calls.
    pub witness: Option<Witness>,
}

impl fmt::Debug for Surface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Surface")
            .field("config", &self.config)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

struct App {
    surface: Surface,
    admission: Admission,
    recall: Recall,
}

/// The surface with nothing but what it needs: whoever reaches it may call.
pub fn app(config: Config, limits: Limits, clock: fn() -> SystemTime, ready: Readiness) -> Router {
    let metrics = Arc::new(Metrics::new(limits.rev.as_deref()));
    Surface { config, limits, clock, ready, access: Access::default(), metrics, witness: None }.router()
}

impl Surface {
    /// The routes.
    pub fn router(self) -> Router {
        let limits = &self.limits;
        let admission = Admission::new(limits.max_calls, limits.max_body_memory.max(limits.max_body_bytes));
        let app = Arc::new(App { admission, recall: Recall::default(), surface: self });
        let sync = post(|State(app): State<Arc<App>>, request: Request| call::call(app, Hook::Sync, request));
        let customize =
            post(|State(app): State<Arc<App>>, request: Request| call::call(app, Hook::Customize, request));
        Router::new()
            .route("/sync", sync)
            .route("/customize", customize)
            .route("/livez", get(|| async { "alive\n" }))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics))
            .fallback(|| async { line(StatusCode::NOT_FOUND, "no such path: POST to /sync or /customize; the debug page is on the address of --debug-listen") })
            .method_not_allowed_fallback(|| async {
                line(
                    StatusCode::METHOD_NOT_ALLOWED,
                    "wrong method: hooks are called by POST, everything else by GET",
                )
            })
            .layer(CatchPanicLayer::custom(panicked))
            .layer(map_response_with_state(Arc::clone(&app), last_of_its_connection))
            .with_state(app)
    }
}

/// While this replica is going, each caller is told to go elsewhere with its next call: a connection that is closed
/// under a request on its way is a lost call.
async fn last_of_its_connection(State(app): State<Arc<App>>, mut response: Response) -> Response {
    if !app.surface.ready.is_ready() {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

async fn readyz(State(app): State<Arc<App>>) -> Response {
    if app.surface.ready.is_ready() {
        "ready\n".into_response()
    } else {
        line(StatusCode::SERVICE_UNAVAILABLE, "shutting down")
    }
}

async fn metrics(State(app): State<Arc<App>>) -> Response {
    match app.surface.metrics.text() {
        Ok(text) => {
            ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
                .into_response()
        }
        Err(error) => line(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

fn panicked(_: Box<dyn std::any::Any + Send>) -> Response<Body> {
    line(StatusCode::INTERNAL_SERVER_ERROR, "bug: the hook server panicked, see its log")
}
