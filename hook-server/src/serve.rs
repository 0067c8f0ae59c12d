//! The accept loop: owns the listener and every connection, and ends them in order. What is served is
//! [`crate::app`]'s business.
//!
//! An own loop, because `axum::serve` has no header timeout: one half-sent request would keep the process from ending
//! for ever.

use std::{future::Future, io, net::SocketAddr, pin::pin, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use tokio::{
    net::TcpListener,
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};

use crate::app::Readiness;

/// Connections at once. Metacontroller needs a handful; what comes on top waits in the kernel's queue.
const MAX_CONNECTIONS: usize = 512;

/// How long what may take.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// From one answer to the end of the next request's headers. hyper counts the idle time of a kept connection in,
    /// and Metacontroller keeps one for 90 s: a shorter time here would make its next call fail now and then.
    pub next_request: Duration,
    /// From the word to end until the listener closes: so long may load balancers take to hear of it.
    pub drain_delay: Duration,
    /// From then on until connections that are still at work are cut.
    pub drain_limit: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            next_request: Duration::from_secs(120),
            drain_delay: Duration::from_secs(5),
            drain_limit: Duration::from_secs(10),
        }
    }
}

/// Binds an address. Where the machine has no IPv6, `[::]` stands for every IPv4 address.
///
/// # Errors
/// If the address cannot be bound.
pub async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    match TcpListener::bind(address).await {
        Err(error) if address.is_ipv6() && address.ip().is_unspecified() && lacks_ipv6(&error) => {
            TcpListener::bind((std::net::Ipv4Addr::UNSPECIFIED, address.port())).await
        }
        bound => bound,
    }
}

fn lacks_ipv6(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable || error.kind() == io::ErrorKind::Unsupported
        // EAFNOSUPPORT has no kind of its own.
        || error.raw_os_error() == Some(97)
}

/// Serves until `stop` is done; then says "not ready", goes on accepting for [`Timing::drain_delay`], finishes what is
/// at work, and returns.
pub async fn serve(
    listener: TcpListener,
    app: Router,
    ready: Readiness,
    timing: Timing,
    stop: impl Future<Output = ()>,
) {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(timing.next_request);
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    let mut stop = pin!(stop);
    let mut close_at: Option<Instant> = None;
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                Ok((stream, _)) => {
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!("TCP_NODELAY: {error}");
                    }
                    let service = TowerToHyperService::new(app.clone());
                    let connection = graceful.watch(builder.serve_connection(TokioIo::new(stream), service));
                    connections.spawn(async move {
                        if let Err(error) = connection.await {
                            tracing::debug!("connection ended: {error}");
                        }
                    });
                }
                Err(error) => {
                    // Out of descriptors: the next one will have to wait for a connection to end.
                    tracing::warn!("accept: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            () = &mut stop, if close_at.is_none() => {
                tracing::info!("shutting down");
                ready.end();
                close_at = Some(Instant::now() + timing.drain_delay);
            }
            () = sleep_until(close_at.unwrap_or_else(Instant::now)), if close_at.is_some() => break,
        }
    }
    drop(listener);
    if timeout(timing.drain_limit, graceful.shutdown()).await.is_err() {
        tracing::warn!("{} connections did not end in time", connections.len());
    }
    connections.shutdown().await;
}
