//! The ports for people and probes: `/healthz`, `/readyz` and `/metrics`. Owned by the program; never asks a
//! controller anything.

use anyhow::{Context, Result};
use axum::{Router, http::header, routing::get};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

/// `/healthz` and `/readyz`.
pub fn health() -> Router {
    // Both are pings there: ready as soon as it runs.
    Router::new().route("/healthz", get(|| async { "ok" })).route("/readyz", get(|| async { "ok" }))
}

/// `/metrics`.
pub fn metrics(metrics: Metrics) -> Router {
    let render = move || {
        let text = metrics.render();
        async move { ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text) }
    };
    Router::new().route("/metrics", get(render))
}

/// Listens on an address, or on every IPv4 address where the machine has no IPv6.
///
/// # Errors
/// If the address cannot be bound.
pub async fn listen(address: &str) -> Result<TcpListener> {
    match TcpListener::bind(address).await {
        Err(error) => match address.strip_prefix("[::]") {
            Some(port) => TcpListener::bind(format!("0.0.0.0{port}")).await,
            None => Err(error),
        },
        bound => bound,
    }
    .with_context(|| format!("cannot listen on {address}"))
}

/// Serves until the token is cancelled.
///
/// # Errors
/// If the listener fails.
pub async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) -> Result<()> {
    axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await.context("serving")
}
