//! The flags of `serve` that are about debugging, and the listener that they ask for.

use std::{
    convert::Infallible,
    future::pending,
    io,
    net::SocketAddr,
    str::FromStr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::Context;
use clap::Args;
use serialfleet_hook::{
    app::{Readiness, Witness},
    debug::{Replica, router},
    foresight::Foresight,
    journal::Journal,
    metrics::Metrics,
    serve::{Timing, bind, serve},
};
use tokio::net::TcpListener;

use super::serve::size;

/// Where the debug page is, unless told otherwise.
const DEFAULT: &str = "127.0.0.1:8081";

/// What is shown to whom.
#[derive(Args)]
pub(crate) struct DebugArgs {
    /// Address and port of the debug page, or off. Default: 127.0.0.1:8081, where that is free.
    #[arg(long, env = "SERIALFLEET_DEBUG_LISTEN")]
    debug_listen: Option<DebugListen>,
    /// Memory for the last request and answer of each fleet, all together, in bytes or as 8MiB.
    #[arg(long, env = "SERIALFLEET_DEBUG_MEMORY", default_value = "8MiB", value_parser = size)]
    debug_memory: usize,
}

#[derive(Clone, Copy)]
enum DebugListen {
    Off,
    At(SocketAddr),
}

impl FromStr for DebugListen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            text => text.parse().map(Self::At).map_err(|_| "write ADDRESS:PORT, or off".to_owned()),
        }
    }
}

/// What looks on while calls are answered.
pub(crate) struct Debugging {
    journal: Journal,
    listener: Option<TcpListener>,
    replica: Replica,
    /// Held for as long as it is to run.
    _foresight: Foresight,
}

impl Debugging {
    /// Binds what has to be bound.
    pub(crate) async fn start(
        args: DebugArgs,
        rev: Option<String>,
        metrics: Arc<Metrics>,
    ) -> anyhow::Result<Self> {
        let DebugArgs { debug_listen, debug_memory } = args;
        let listener = match debug_listen {
            Some(DebugListen::Off) => None,
            Some(DebugListen::At(address)) => {
                Some(bind(address).await.with_context(|| format!("--debug-listen {address}"))?)
            }
            // Nobody asked for it: a second server on one machine must not fail for that.
            None => match TcpListener::bind(DEFAULT).await {
                Ok(listener) => Some(listener),
                Err(error) => {
                    tracing::warn!("no debug page, as {DEFAULT} cannot be had: {error}; see --debug-listen");
                    None
                }
            },
        };
        let journal = match listener {
            Some(_) => Journal::new(debug_memory, SystemTime::now),
            None => Journal::passing(debug_memory, SystemTime::now),
        };
        let foresight = Foresight::start(journal.clone(), metrics).context("thread")?;
        let replica = Replica { hostname: hostname(), rev, started: SystemTime::now() };
        Ok(Self { journal, listener, replica, _foresight: foresight })
    }

    /// Who is to be told of calls.
    pub(crate) fn witness(&self) -> Witness {
        self.journal.witness()
    }

    /// Where the page is.
    pub(crate) fn address(&self) -> io::Result<Option<SocketAddr>> {
        self.listener.as_ref().map(TcpListener::local_addr).transpose()
    }

    /// Shows the page, for as long as it is polled.
    pub(crate) async fn run(self) -> Infallible {
        let Self { journal, listener, replica, _foresight: foresight } = self;
        if let Some(listener) = listener {
            // A listener of the machine itself is asked by its own names only.
            let local = listener.local_addr().is_ok_and(|address| address.ip().is_loopback());
            let app = router(journal, replica, SystemTime::now, local);
            let timing = Timing { next_request: Duration::from_secs(60), ..Timing::default() };
            serve(listener, app, Readiness::default(), timing, pending()).await;
        }
        let never = pending().await;
        drop(foresight);
        never
    }
}

fn hostname() -> String {
    let said = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let said = said.trim();
    if said.is_empty() { "unknown".to_owned() } else { said.to_owned() }
}
