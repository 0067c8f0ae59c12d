//! The debug surface, on a listener of its own: `GET /debug` is one page for people, `/debug.json` the same as data, and
//! the last request and answer of each fleet can be downloaded and replayed. Reads [`crate::journal`]; everything is
//! worked out when somebody looks, one look at a time. It changes nothing, and shows no credentials.

mod html;
mod page;
mod redact;
mod sections;
mod view;

use std::{net::IpAddr, sync::Arc, time::SystemTime};

use axum::{
    Router,
    body::Body,
    extract::{Path, Query, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header, uri::Authority},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Redirect, Response},
    routing::get,
};
use bytes::Bytes;
use serde::Deserialize;
use tokio::sync::Semaphore;
use tower_http::catch_panic::CatchPanicLayer;

use self::{redact::redacted, view::view};
use crate::{
    app::line,
    journal::{Bodies, Journal},
};

/// Which replica this is.
#[derive(Clone, Debug)]
pub struct Replica {
    /// Name of the machine, which in a cluster is that of the pod.
    pub hostname: String,
    /// Its revision.
    pub rev: Option<String>,
    /// Since when it runs.
    pub started: SystemTime,
}

struct Debug {
    journal: Journal,
    replica: Replica,
    clock: fn() -> SystemTime,
    local: bool,
    looks: Semaphore,
}

/// The routes. `local`: the listener is for this machine only, so whoever names another host in a request comes from a
/// web page that has its own name lead here.
pub fn router(journal: Journal, replica: Replica, clock: fn() -> SystemTime, local: bool) -> Router {
    let debug = Arc::new(Debug { journal, replica, clock, local, looks: Semaphore::new(1) });
    Router::new()
        .route("/", get(|| async { Redirect::to("/debug") }))
        .route("/debug", get(page))
        .route("/debug.json", get(json))
        .route("/debug/fleets/{fleet}/request.json", get(request))
        .route("/debug/fleets/{fleet}/answer.json", get(answer))
        .fallback(|| async { line(StatusCode::NOT_FOUND, "no such path: see /debug") })
        .method_not_allowed_fallback(|| async {
            line(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered here")
        })
        .layer(CatchPanicLayer::custom(|_| line(StatusCode::INTERNAL_SERVER_ERROR, "bug: see the log")))
        .layer(from_fn_with_state(Arc::clone(&debug), guard))
        .with_state(debug)
}

/// Nothing of this is for other sites, caches or scripts.
async fn guard(State(debug): State<Arc<Debug>>, request: Request, next: Next) -> Response {
    let mut response = if debug.local && !names_this_machine(request.headers()) {
        line(StatusCode::FORBIDDEN, "ask for 127.0.0.1 or localhost, or set --debug-listen")
    } else {
        next.run(request).await
    };
    for (name, value) in [
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; \
             frame-ancestors 'none'",
        ),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (header::VARY, "accept"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

fn names_this_machine(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST) else { return true };
    let authority = host.to_str().ok().and_then(|host| host.parse::<Authority>().ok());
    authority.is_some_and(|it| {
        let host = it.host().trim_matches(['[', ']']);
        host == "localhost" || host.parse::<IpAddr>().is_ok_and(|it| it.is_loopback())
    })
}

async fn page(State(debug): State<Arc<Debug>>, headers: HeaderMap) -> Response {
    let accepts = headers.get(header::ACCEPT).and_then(|it| it.to_str().ok()).unwrap_or_default();
    if accepts.contains("application/json") && !accepts.contains("text/html") {
        return json(State(debug)).await;
    }
    look(debug, |debug| {
        let page = page::page(&debug.view());
        Ok(([(header::CONTENT_TYPE, "text/html; charset=utf-8")], page).into_response())
    })
    .await
}

async fn json(State(debug): State<Arc<Debug>>) -> Response {
    look(debug, |debug| {
        let mut text = serde_json::to_vec_pretty(&debug.view())?;
        text.push(b'\n');
        Ok(([(header::CONTENT_TYPE, "application/json")], text).into_response())
    })
    .await
}

#[derive(Deserialize)]
struct How {
    #[serde(default)]
    pretty: bool,
}

async fn request(
    State(debug): State<Arc<Debug>>,
    Path(fleet): Path<String>,
    Query(how): Query<How>,
) -> Response {
    let Some(bodies) = debug.bodies(&fleet) else { return nothing() };
    look(debug, move |_| Ok(download(&fleet, "request", redacted(&bodies.request, how.pretty)?.into()))).await
}

async fn answer(State(debug): State<Arc<Debug>>, Path(fleet): Path<String>) -> Response {
    match debug.bodies(&fleet) {
        Some(Bodies { answer: Some(answer), .. }) => download(&fleet, "answer", answer),
        Some(Bodies { refusal: Some(refusal), .. }) => {
            line(StatusCode::NOT_FOUND, &format!("it was refused: {refusal}"))
        }
        _ => nothing(),
    }
}

fn nothing() -> Response {
    line(
        StatusCode::NOT_FOUND,
        "nothing is kept of such a fleet here: calls are split between replicas, see /debug",
    )
}

fn download(fleet: &str, what: &str, body: Bytes) -> Response {
    let safe: String =
        fleet.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.')).take(63).collect();
    let headers = [
        (header::CONTENT_TYPE, "application/json".to_owned()),
        (header::CONTENT_DISPOSITION, format!("inline; filename=\"{safe}-{what}.json\"")),
    ];
    (headers, body).into_response()
}

impl Debug {
    fn view(&self) -> view::View {
        view(&self.journal.snapshot(), &self.replica, (self.clock)())
    }

    fn bodies(&self, fleet: &str) -> Option<Bodies> {
        self.journal.fleet(fleet)?.bodies
    }
}

/// One look at a time, beside the reactor: hooks are not to wait for it.
async fn look(
    debug: Arc<Debug>,
    work: impl FnOnce(&Debug) -> serde_json::Result<Response<Body>> + Send + 'static,
) -> Response {
    let Ok(permit) = debug.looks.acquire().await else { return failed() };
    let work = {
        let debug = Arc::clone(&debug);
        move || work(&debug)
    };
    let worked = tokio::task::spawn_blocking(work).await;
    drop(permit);
    match worked {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => line(StatusCode::INTERNAL_SERVER_ERROR, &format!("it cannot be shown: {error}")),
        Err(_) => failed(),
    }
}

fn failed() -> Response {
    line(StatusCode::INTERNAL_SERVER_ERROR, "bug: see the log")
}
