//! The accept loop: owns the listener and every connection, and ends them in order. What is served is
//! [`crate::app`]'s business.
//!
//! An own loop, because `axum::serve` has no header timeout: one half-sent request would keep the process from ending
//! for ever.

use std::{future::Future, io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use axum::Router;
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::{GracefulShutdown, Watcher},
};
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

use crate::{
    access::Peer,
    app::Readiness,
    pace::{Paced, Turns},
};

/// Connections at once. Metacontroller needs a handful; what comes on top waits in the kernel's queue.
const MAX_CONNECTIONS: usize = 512;

/// How long what may take.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// From one answer to the end of the next request's headers. hyper counts the idle time of a kept connection in,
    /// and Metacontroller keeps one for 90 s: a shorter time here would make its next call fail now and then.
    pub next_request: Duration,
    /// From the first byte of a request to the end of its headers.
    pub head: Duration,
    /// Without the caller taking a byte of its answer.
    pub write: Duration,
    /// For a TLS handshake.
    pub handshake: Duration,
    /// From the word to end until the listener closes: so long may load balancers take to hear of it.
    pub drain_delay: Duration,
    /// From then on until connections that are still at work are cut.
    pub drain_limit: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            next_request: Duration::from_secs(120),
            head: Duration::from_secs(10),
            write: Duration::from_secs(30),
            handshake: Duration::from_secs(5),
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

/// TLS as it is to be from the next connection on.
pub type Tls = watch::Receiver<Arc<ServerConfig>>;

/// Serves plain HTTP until `stop` is done; then says "not ready", goes on accepting for [`Timing::drain_delay`],
/// finishes what is at work, and returns.
pub async fn serve(
    listener: TcpListener,
    app: Router,
    ready: Readiness,
    timing: Timing,
    stop: impl Future<Output = ()>,
) {
    serve_with(listener, None, app, ready, timing, stop).await;
}

/// As [`serve`], with TLS where there is any.
pub async fn serve_with(
    listener: TcpListener,
    tls: Option<Tls>,
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
                    let tls = tls.as_ref().map(|tls| TlsAcceptor::from(Arc::clone(&tls.borrow())));
                    let talk = Talk { builder: builder.clone(), app: app.clone(), timing, watcher: graceful.watcher() };
                    connections.spawn(async move {
                        match tls {
                            None => talk.plain(stream, Peer::default()).await,
                            Some(tls) => talk.secure(stream, tls).await,
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

/// One connection's.
struct Talk {
    builder: http1::Builder,
    app: Router,
    timing: Timing,
    watcher: Watcher,
}

impl Talk {
    async fn secure(self, stream: TcpStream, tls: TlsAcceptor) {
        match timeout(self.timing.handshake, tls.accept(stream)).await {
            Ok(Ok(stream)) => {
                // rustls has checked it against the client CA, or there is none here.
                let certified = stream.get_ref().1.peer_certificates().is_some_and(|it| !it.is_empty());
                self.plain(stream, Peer { certified }).await;
            }
            // Whoever connects can bring this about, plain HTTP to this port for example.
            Ok(Err(error)) => tracing::info!("TLS handshake failed: {error}"),
            Err(_) => tracing::debug!("TLS handshake not done in time"),
        }
    }

    async fn plain(self, stream: impl AsyncRead + AsyncWrite + Unpin + 'static, peer: Peer) {
        let Self { builder, app, timing, watcher } = self;
        let turns = Turns::default();
        let stream = Paced::new(stream, turns.clone(), timing.head, timing.write);
        let service = service_fn(move |mut request: Request<Incoming>| {
            let (app, turn) = (app.clone(), turns.begin());
            async move {
                request.extensions_mut().insert(peer);
                let response = app.oneshot(request).await;
                drop(turn);
                response
            }
        });
        if let Err(error) = watcher.watch(builder.serve_connection(TokioIo::new(stream), service)).await {
            tracing::debug!("connection ended: {error}");
        }
    }
}
