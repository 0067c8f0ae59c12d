//! Probes, metrics and the list of ports over HTTP, on the control thread. Answers from what others publish; must
//! not decide anything, and nothing waits for it.

use std::{net::SocketAddr, sync::PoisonError, time::Duration};

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use tokio::{net::TcpListener, task::JoinSet};
use tower::{ServiceBuilder, limit::ConcurrencyLimitLayer};

use crate::{data::Pulse, metrics::Metrics, supervisor::Outlook};

/// The data thread may be silent for this long before the process counts as dead.
const SILENCE: Duration = Duration::from_secs(30);
/// Requests worked on at once; more wait.
const CONCURRENCY: usize = 16;

#[derive(Clone)]
struct Admin {
    outlook: Outlook,
    metrics: Metrics,
    pulse: Pulse,
}

/// `/livez`, `/readyz`, `/metrics` and `/ports`.
pub fn router(outlook: Outlook, metrics: Metrics, pulse: Pulse) -> Router {
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics_text))
        .route("/ports", get(ports))
        .layer(ServiceBuilder::new().layer(ConcurrencyLimitLayer::new(CONCURRENCY)))
        .with_state(Admin { outlook, metrics, pulse })
}

/// Binds every address or none.
///
/// # Errors
/// The first address that cannot be bound, with the reason.
pub async fn bind(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, (SocketAddr, std::io::Error)> {
    let mut listeners = Vec::new();
    for address in addresses {
        listeners.push(TcpListener::bind(address).await.map_err(|error| (*address, error))?);
    }
    Ok(listeners)
}

/// Serves until dropped: a probe that is under way at the end may be cut off.
pub async fn serve(listeners: Vec<TcpListener>, router: Router) {
    let mut servers = JoinSet::new();
    for listener in listeners {
        servers.spawn(axum::serve(listener, router.clone()).into_future());
    }
    while let Some(ended) = servers.join_next().await {
        if let Ok(Err(error)) = ended {
            tracing::error!(%error, "the admin listener ended");
        }
    }
}

/// False only if the data thread has not answered for 30 s.
async fn livez(State(admin): State<Admin>) -> impl IntoResponse {
    let silence = admin.pulse.silence();
    if silence < SILENCE {
        (StatusCode::OK, "ok\n".to_owned())
    } else {
        let text = format!("the data thread has been silent for {} s\n", silence.as_secs());
        (StatusCode::SERVICE_UNAVAILABLE, text)
    }
}

/// True once the first plan is applied, until SIGTERM.
async fn readyz(State(admin): State<Admin>) -> impl IntoResponse {
    if *admin.outlook.ready.borrow() {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "no fleet is served yet, or the bridge is stopping\n")
    }
}

async fn metrics_text(State(admin): State<Admin>) -> impl IntoResponse {
    let ttys: Vec<_> = {
        let mut ttys = admin.outlook.ttys.lock().unwrap_or_else(PoisonError::into_inner);
        ttys.retain(|port, tty| {
            let is_open = tty.strong_count() > 0;
            if !is_open {
                admin.metrics.set_queued(port, 0);
            }
            is_open
        });
        ttys.iter().filter_map(|(port, tty)| Some((port.clone(), tty.upgrade()?))).collect()
    };
    let metrics = admin.metrics.clone();
    // Some drivers ask the device.
    let counted = tokio::task::spawn_blocking(move || {
        for (port, tty) in ttys {
            if let Some(errors) = tty.line_errors() {
                metrics.set_line_errors(&port, errors);
            }
            metrics.set_queued(&port, tty.queued().unwrap_or(0));
        }
    });
    if let Err(error) = counted.await {
        tracing::error!(%error, "line errors not read");
    }
    match admin.metrics.encode() {
        Ok(text) => (
            StatusCode::OK,
            [(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")],
            text,
        )
            .into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

async fn ports(State(admin): State<Admin>) -> impl IntoResponse {
    Json(admin.outlook.ports.borrow().clone())
}
