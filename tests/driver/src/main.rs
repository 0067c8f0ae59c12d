//! `metacontroller-driver`: flags, log, signals. Everything else is in the library.

use std::{io::Write, process::ExitCode, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serialfleet_driver::{
    api::Api,
    args::Args,
    controller::World,
    discovery::Discovery,
    events::{self, Recorder},
    informers::Informers,
    manager,
    metrics::Metrics,
    serve,
    webhook::Connections,
};
use tokio::{
    signal::unix::{SignalKind, signal},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// How long the last events may take.
const DRAIN: Duration = Duration::from_secs(3);

fn main() -> ExitCode {
    let args = match Args::parse(std::env::args().skip(1)) {
        Ok(args) => args,
        Err(problem) => {
            // Go's flag package leaves with 2, too.
            let _told = writeln!(std::io::stderr(), "metacontroller-driver: {problem}").is_ok();
            return ExitCode::from(2);
        }
    };
    let filter = EnvFilter::new(format!("{},hyper=info,hyper_util=info,kube=info,tower=info", args.log));
    tracing_subscriber::fmt().json().with_env_filter(filter).with_writer(std::io::stderr).init();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "no runtime");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run(args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "Terminating");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> Result<()> {
    if !args.ignored.is_empty() {
        tracing::info!(flags = ?args.ignored, "these flags do nothing here");
    }
    let config = match &args.kubeconfig {
        Some(path) => {
            let kubeconfig = Kubeconfig::read_from(path).with_context(|| format!("reading {path}"))?;
            kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?
        }
        // controller-runtime's order: a pod's own account goes before a file in the home directory.
        None if std::env::var_os("KUBECONFIG").is_none() => match kube::Config::incluster() {
            Ok(config) => config,
            Err(_) => kube::Config::infer().await?,
        },
        None => kube::Config::infer().await?,
    };
    let client = kube::Client::try_from(config).context("making a client of the API server")?;
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    let metrics = Metrics::default();
    for (address, router) in
        [(&args.health_address, serve::health()), (&args.metrics_address, serve::metrics(metrics.clone()))]
    {
        if let Some(address) = address {
            let listener = serve::listen(address).await?;
            tasks.spawn(serve::serve(listener, router, stop.clone()));
        }
    }
    let (recorder, recorded) = Recorder::new();
    // Events have a client, and a limit, of their own there.
    let for_events = Api::new(client.clone(), args.qps, args.burst);
    let (qps, burst) = (args.events_qps, args.events_burst);
    tasks.spawn(async move {
        events::write(for_events, recorded, qps, burst).await;
        Ok(())
    });
    let world = Arc::new(World {
        api: Api::new(client.clone(), args.qps, args.burst),
        discovery: Discovery::default(),
        informers: Informers::new(client),
        recorder,
        connections: Connections::new(metrics),
        workers: args.workers,
        flush_interval: args.cache_flush_interval,
        strategy: args.apply_strategy,
        field_manager: args.field_manager,
        applied: Default::default(),
    });
    let stopping = stop.clone();
    tasks.spawn(async move {
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = stopping.cancelled() => {}
        }
        stopping.cancel();
        Ok(())
    });
    manager::run(world, args.discovery_interval, stop.clone()).await;
    stop.cancel();
    let ended = async {
        while let Some(ended) = tasks.join_next().await {
            ended.context("a task ended badly")??;
        }
        Ok(())
    };
    // Events that the API server does not take any more must not keep the program.
    tokio::time::timeout(DRAIN, ended).await.unwrap_or(Ok(()))
}
