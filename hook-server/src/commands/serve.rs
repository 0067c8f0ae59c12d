//! `serialfleet-hook serve`: its flags, and how they become a running server. Part of the program, not of the library;
//! what is served is the library's business.

use std::{
    convert::Infallible,
    future::pending,
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    thread::available_parallelism,
    time::{Duration, SystemTime},
};

use anyhow::Context;
use clap::Args;
use serialfleet_hook::{
    access::{Access, Tokens},
    app::{Readiness, Surface},
    config::Limits,
    metrics::Metrics,
    reload::{self, Broken, Reload},
    serve::{Timing, bind, serve_with},
    tls,
};
use tokio::signal::unix::{SignalKind, signal};

use super::debugging::{DebugArgs, Debugging};
use crate::{BridgeArgs, config};

#[derive(Args)]
pub(crate) struct ServeArgs {
    /// Address and port of the hooks.
    #[arg(long, env = "SERIALFLEET_LISTEN", default_value = "[::]:8080")]
    listen: SocketAddr,
    /// Revision of this replica: calls with another `?rev=` are sent away. Default: any is served.
    #[arg(long, env = "SERIALFLEET_REV")]
    rev: Option<String>,
    /// Image of the bridge pods.
    #[arg(long, env = "SERIALFLEET_BRIDGE_IMAGE")]
    bridge_image: String,
    #[command(flatten)]
    bridge: BridgeArgs,
    /// Largest request body, in bytes or as 64MiB.
    #[arg(long, env = "SERIALFLEET_MAX_BODY_BYTES", default_value = "64MiB", value_parser = size)]
    max_body_bytes: usize,
    /// All request bodies in memory together, in bytes or as 128MiB; what finds no room is told to come again.
    /// Default: twice the largest one.
    #[arg(long, env = "SERIALFLEET_MAX_BODY_MEMORY", value_parser = size)]
    max_body_memory: Option<usize>,
    /// Calls at work at once; what comes on top is told to come again.
    #[arg(long, env = "SERIALFLEET_MAX_CALLS", default_value = "64", value_parser = at_least_one)]
    max_calls: usize,
    /// How long connections are still accepted after SIGTERM, such as 5s.
    #[arg(long, env = "SERIALFLEET_DRAIN_DELAY", default_value = "5s", value_parser = humantime::parse_duration)]
    drain_delay: Duration,
    /// How long calls at work may then still take, such as 10s.
    #[arg(long, env = "SERIALFLEET_DRAIN_LIMIT", default_value = "10s", value_parser = humantime::parse_duration)]
    drain_limit: Duration,
    #[command(flatten)]
    tls: TlsArgs,
    #[command(flatten)]
    debug: DebugArgs,
}

/// Threads that talk to callers and do what is small: Metacontroller calls on a few connections at once.
const REACTORS: usize = 4;

/// Who may call, and over what. Files are read again when they change.
#[derive(Args)]
struct TlsArgs {
    /// Certificate chain (PEM): serve HTTPS instead of HTTP.
    #[arg(long, env = "SERIALFLEET_TLS_CERT", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Private key (PEM) of that certificate.
    #[arg(long, env = "SERIALFLEET_TLS_KEY", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// CA certificates (PEM): hook calls need a client certificate that one of these signed.
    #[arg(long, env = "SERIALFLEET_CLIENT_CA", requires = "tls_cert")]
    client_ca: Option<PathBuf>,
    /// File with bearer tokens, one per line: hook calls need one of these.
    #[arg(long, env = "SERIALFLEET_BEARER_TOKEN_FILE")]
    bearer_token_file: Option<PathBuf>,
}

/// Serves until a signal says otherwise.
///
/// # Errors
/// If it cannot begin; with a [`Broken`] if that is for a file that was named.
pub(crate) fn run_serve(args: ServeArgs) -> anyhow::Result<()> {
    let ServeArgs {
        listen,
        rev,
        bridge_image,
        bridge,
        max_body_bytes,
        max_body_memory,
        max_calls,
        drain_delay,
        drain_limit,
        tls,
        debug,
    } = args;
    let rev = rev.filter(|rev| !rev.is_empty());
    let max_body_memory = max_body_memory.unwrap_or_else(|| max_body_bytes.saturating_mul(2));
    let limits = Limits { rev, max_body_bytes, max_body_memory, max_calls, ..Limits::default() };
    let timing = Timing { drain_delay, drain_limit, ..Timing::default() };
    let config = config(bridge_image, bridge);
    let files = Files::read(tls)?;
    // Work is nothing but computing: more threads than cores would only take memory.
    let threads = available_parallelism().map_or(2, |cores| cores.get().clamp(2, 8));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads.min(REACTORS))
        .enable_all()
        .max_blocking_threads(threads)
        .build()
        .context("runtime")?;
    runtime.block_on(async {
        let (mut terminate, mut interrupt) = (
            signal(SignalKind::terminate()).context("SIGTERM")?,
            signal(SignalKind::interrupt()).context("SIGINT")?,
        );
        let listener = bind(listen).await.with_context(|| format!("--listen {listen}"))?;
        let (ready, metrics) = (Readiness::default(), Arc::new(Metrics::new(limits.rev.as_deref())));
        let debugging = Debugging::start(debug, limits.rev.clone(), Arc::clone(&metrics)).await?;
        let app = Surface {
            config,
            limits,
            clock: SystemTime::now,
            ready: ready.clone(),
            access: files.access(),
            metrics: Arc::clone(&metrics),
            witness: Some(debugging.witness()),
        };
        let tls = files.tls.as_ref().map(Reload::subscribe);
        tracing::info!(
            address = %listener.local_addr()?,
            version = env!("CARGO_PKG_VERSION"),
            tls = tls.is_some(),
            client_certificate = files.client_ca,
            bearer_token = files.tokens.is_some(),
            debug = debugging.address()?.map(|it| it.to_string()),
            "listening"
        );
        let serve = serve_with(listener, tls, app.router(), ready, timing, async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        });
        tokio::select! {
            () = serve => Ok(()),
            never = files.follow(metrics) => match never {},
            never = debugging.run() => match never {},
        }
    })
}

/// What certificates and tokens say, and how they stay up to date.
struct Files {
    tls: Option<Reload<Arc<rustls::ServerConfig>>>,
    tokens: Option<Reload<Tokens>>,
    client_ca: bool,
}

impl Files {
    fn read(args: TlsArgs) -> Result<Self, Broken> {
        let TlsArgs { tls_cert, tls_key, client_ca, bearer_token_file } = args;
        let has_client_ca = client_ca.is_some();
        let tls = tls_cert.zip(tls_key).map(|(cert, key)| {
            let files = [cert, key].into_iter().chain(client_ca).collect();
            Reload::first("tls", files, tls::load)
        });
        let tokens = bearer_token_file.map(|file| Reload::first("bearer-token", vec![file], Tokens::load));
        if tls.is_none() && tokens.is_some() {
            tracing::warn!(
                "bearer tokens come in unencrypted: set --tls-cert, or put something before that does"
            );
        }
        Ok(Self { tls: tls.transpose()?, tokens: tokens.transpose()?, client_ca: has_client_ca })
    }

    fn access(&self) -> Access {
        Access { tokens: self.tokens.as_ref().map(Reload::subscribe), certificate: self.client_ca }
    }

    async fn follow(self, metrics: Arc<Metrics>) -> Infallible {
        tokio::select! {
            never = follow(self.tls, Arc::clone(&metrics)) => never,
            never = follow(self.tokens, metrics) => never,
        }
    }
}

async fn follow<T>(files: Option<Reload<T>>, metrics: Arc<Metrics>) -> Infallible {
    match files {
        Some(files) => files.follow(reload::EVERY, metrics).await,
        None => pending().await,
    }
}

pub(super) fn size(text: &str) -> Result<usize, String> {
    let (number, factor) =
        [("KiB", 10), ("MiB", 20), ("GiB", 30), ("Ki", 10), ("Mi", 20), ("Gi", 30), ("", 0)]
            .iter()
            .find_map(|(unit, power)| Some((text.strip_suffix(unit)?, 1_usize << power)))
            .unwrap_or((text, 1));
    let bytes = number.trim().parse::<usize>().ok().and_then(|number| number.checked_mul(factor));
    bytes.filter(|bytes| *bytes > 0).ok_or_else(|| format!("{text:?} is no size: write bytes, or 64MiB"))
}

fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|n| *n > 0).ok_or_else(|| "write a number from 1 on".to_owned())
}
