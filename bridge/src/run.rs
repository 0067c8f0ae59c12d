//! `run`: starts the threads in the right order, joins the parts, and takes them down on SIGTERM.

use std::{
    convert::Infallible,
    io::{self, IsTerminal},
    pin::pin,
    time::Duration,
};

use anyhow::Context;
use serialfleet_api::fleet::LogLevel;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::{
    EnvFilter, Layer, Registry, filter::Targets, layer::SubscriberExt, reload, util::SubscriberInitExt,
};

use crate::{
    admin,
    args::{LogFormat, RunArgs},
    closer::Closer,
    cluster,
    data::{DataThread, DataThreadJoin},
    discovery::hotplug::Hotplug,
    fleet_source::{self, Fleet, FleetState, file::Look},
    memory,
    metrics::Metrics,
    opener::Opener,
    report::{self, NodeIdentity},
    start_pages,
    supervisor::{Config, GRACE, Supervisor},
    tls,
};

/// By then the first ports are served.
const STARTED: Duration = Duration::from_secs(2);
/// How long closes of ttys may go on after everything else has ended.
const CLOSING: Duration = Duration::from_secs(2);

/// Why the process ends other than by SIGTERM.
#[derive(Debug)]
pub enum Failure {
    /// Wrong use or configuration: exit code 64.
    Usage(String),
    /// Something failed at run time: exit code 1.
    Runtime(anyhow::Error),
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Runtime(error)
    }
}

/// Runs until SIGTERM or SIGINT; a second one ends the process at once.
///
/// # Errors
/// See [`Failure`].
pub fn run(args: RunArgs) -> Result<(), Failure> {
    let level = start_log(args.log_format);
    let first = match &args.file {
        Some(file) => Some(fleet_source::read_file(file).map_err(|error| Failure::Usage(error.to_string()))?),
        None => None,
    };
    // Both threads start before the control thread's runtime: the opener must not inherit anything of it.
    let opener = Opener::start(args.dev_root.clone()).context("cannot start the opener")?;
    let (data, data_join) =
        DataThread::start(memory::queue_ceiling()).context("cannot start the data thread")?;
    let closer = Closer::default();
    let parts = Parts { opener, data, data_join, closer: closer.clone(), level };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .max_blocking_threads(8)
        .thread_keep_alive(Duration::from_secs(1))
        .build()
        .context("cannot start the control thread")?;
    let result = runtime.block_on(control(args, first, parts));
    // An opening may still wait for its device: nobody waits for it.
    runtime.shutdown_timeout(Duration::ZERO);
    if !closer.wait(CLOSING) {
        tracing::warn!("a tty is still being closed; the kernel finishes that");
    }
    result
}

struct Parts {
    opener: Opener,
    data: DataThread,
    data_join: DataThreadJoin,
    closer: Closer,
    level: reload::Handle<Targets, Registry>,
}

async fn control(args: RunArgs, first: Option<(Fleet, Look)>, parts: Parts) -> Result<(), Failure> {
    let Parts { opener, data, data_join, closer, level } = parts;
    // First of all: as the first process of a container, one that does not listen is deaf.
    let mut signals = Signals::listen()?;
    let shutdown = CancellationToken::new();
    let metrics = Metrics::default();
    let admin_addresses = args.admin_addresses();
    let bind = args.addresses();
    let RunArgs { fleet, file, node, sysfs_root, dev_root, state_dir, tls_dir, report_file, pod_uid, .. } =
        args;

    // Who we are, and where the fleet comes from.
    let (fleet_tx, fleet_rx) = watch::channel(FleetState::default());
    let mut source = JoinSet::new();
    let (identity, target, in_cluster) = if let (Some(file), Some(first)) = (file, first) {
        let identity = NodeIdentity {
            fleet: first.0.object.metadata.name.clone().unwrap_or_default(),
            node: node.map_or_else(host_name, Ok)?,
            node_uid: None,
            pod_uid: String::new(),
        };
        source.spawn(fleet_source::follow_file(file, first, fleet_tx, shutdown.clone()));
        (identity, report_file.map(report::Target::File), false)
    } else {
        let fleet = fleet.unwrap_or_default();
        let usage = |error: cluster::ClusterError| Failure::Usage(error.to_string());
        let cluster = cluster::connect().await.map_err(usage)?;
        let identity =
            cluster::identity(&fleet, node.as_deref(), pod_uid.as_deref(), cluster.claims.as_ref())
                .map_err(usage)?;
        source.spawn(fleet_source::follow_api(
            cluster.client.clone(),
            fleet,
            state_dir,
            fleet_tx,
            metrics.api_errors.clone(),
            shutdown.clone(),
        ));
        (identity, Some(report::Target::Api(cluster.client)), true)
    };

    let listeners = admin::bind(&admin_addresses).await.map_err(|(address, error)| {
        let next = match error.kind() {
            io::ErrorKind::AddrNotAvailable => "write an address of this machine, with --bind or --admin",
            _ => "choose another with --admin",
        };
        anyhow::anyhow!("cannot answer probes on {address}: {error}; {next}")
    })?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        fleet = identity.fleet,
        node = identity.node,
        admin = ?admin_addresses,
        "bridge starts"
    );
    let config = Config {
        node: identity.node.clone(),
        sysfs_root,
        dev_root: dev_root.clone(),
        bind,
        in_cluster,
        tls: tls::Options { dir: tls_dir, ..tls::Options::default() },
    };
    let hotplug = Hotplug::new(&dev_root);
    let pulse = data.pulse();
    let (supervisor, outlook) =
        Supervisor::new(config, opener, closer, data, metrics.clone(), fleet_rx.clone());

    let mut helpers = JoinSet::new();
    helpers.spawn(admin::serve(listeners, admin::router(outlook.clone(), metrics.clone(), pulse)));
    helpers.spawn(watch_fleet(fleet_rx.clone(), metrics.clone(), in_cluster.then_some(level)));
    let stop_report = CancellationToken::new();
    let mut reporter = JoinSet::new();
    if let Some(target) = target {
        reporter.spawn(report::run(
            target,
            identity,
            outlook.report.clone(),
            fleet_rx,
            metrics.api_errors.clone(),
            stop_report.clone(),
        ));
    }

    let started = async {
        tokio::time::sleep(STARTED).await;
        start_pages::give_back();
        std::future::pending::<Infallible>().await
    };

    // Not a task of its own: what udev hands out may not be shared between threads.
    let stop = shutdown.clone();
    let mut supervising = pin!(supervisor.run(hotplug, shutdown));
    let broken = |what| Err(anyhow::anyhow!("{what} ended by itself; please report this").into());
    tokio::select! {
        () = signals.next() => {}
        never = started => match never {},
        () = &mut supervising => return broken("the supervisor"),
        Some(_) = source.join_next() => return broken("the fleet's source"),
        Some(_) = helpers.join_next() => return broken("a helper task"),
        Some(_) = reporter.join_next(), if !reporter.is_empty() => return broken("the report's writer"),
    }
    tracing::info!("stopping");
    stop.cancel();

    // In order: ports deliver and close, the last report is written, then the rest may go.
    let second = signals.next();
    let drained = async {
        supervising.await;
        stop_report.cancel();
        let reported = tokio::time::timeout(GRACE, async { while reporter.join_next().await.is_some() {} });
        if reported.await.is_err() {
            tracing::warn!("the last report could not be written in time");
        }
        while source.join_next().await.is_some() {}
        helpers.shutdown().await;
        if !data_join.join(GRACE).await {
            tracing::warn!("a port did not end in time");
        }
    };
    tokio::select! {
        () = drained => {
            tracing::info!("stopped");
            Ok(())
        }
        _ = second => Err(Failure::Runtime(anyhow::anyhow!("stopped by a second signal before everything was delivered"))),
    }
}

/// SIGTERM and SIGINT.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From now on, none of them ends the process by itself.
    fn listen() -> anyhow::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?,
            interrupt: signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Log level and metrics that follow the fleet.
async fn watch_fleet(
    mut fleet: watch::Receiver<FleetState>,
    metrics: Metrics,
    level: Option<reload::Handle<Targets, Registry>>,
) {
    let mut rejected = false;
    while fleet.changed().await.is_ok() {
        let state = fleet.borrow_and_update().clone();
        if state.problem.is_some() && !rejected {
            metrics.rejected_fleets.inc();
        }
        rejected = state.problem.is_some();
        metrics.fleet_outdated.set(rejected.into());
        if let (Some(level), Some(fleet)) = (&level, &state.fleet) {
            let wanted = match fleet.object.spec.bridge.log_level.unwrap_or_default() {
                LogLevel::Error => LevelFilter::ERROR,
                LogLevel::Warn => LevelFilter::WARN,
                LogLevel::Info => LevelFilter::INFO,
                LogLevel::Debug => LevelFilter::DEBUG,
            };
            // Fails only if the subscriber is gone.
            level.modify(|now| *now = targets(wanted)).ok();
        }
    }
}

/// To standard error. `RUST_LOG` decides where it is set, else the fleet's `bridge.logLevel`.
fn start_log(format: LogFormat) -> reload::Handle<Targets, Registry> {
    let (level, handle) = reload::Layer::new(targets(LevelFilter::INFO));
    let chosen = EnvFilter::try_from_default_env().ok();
    let layer = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    let layer = match format {
        LogFormat::Json => layer.json().boxed(),
        LogFormat::Text => layer.with_ansi(io::stderr().is_terminal()).boxed(),
    };
    let layer = match chosen {
        Some(filter) => layer.with_filter(filter).boxed(),
        None => layer.with_filter(level).boxed(),
    };
    // A second subscriber can only be a test's.
    tracing_subscriber::registry().with(layer).try_init().ok();
    handle
}

/// Ours at `level`; of the libraries only what nobody else says: failed calls are logged where they are made.
fn targets(level: LevelFilter) -> Targets {
    Targets::new().with_default(LevelFilter::ERROR).with_target("serialfleet_bridge", level)
}

fn host_name() -> Result<String, Failure> {
    let name = rustix::system::uname().nodename().to_string_lossy().to_lowercase();
    if name.is_empty() {
        return Err(Failure::Usage("this machine has no host name: set --node".into()));
    }
    Ok(name)
}
