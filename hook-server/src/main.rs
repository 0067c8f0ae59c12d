//! The program: flags, log, files, signals, exit codes. Everything else is in the library.

use std::{
    io::Write,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, SystemTime},
};

use anyhow::{Context, anyhow};
use clap::{Args, Parser, Subcommand, ValueEnum};
use serialfleet_hook::{
    app::{Readiness, app},
    config::{Config, Limits, PullPolicy},
    render::{read_nodes, render},
    serve::{Timing, bind, serve},
};
use tokio::signal::unix::{SignalKind, signal};

/// SerialFleet's hook server for Metacontroller.
#[derive(Parser)]
#[command(name = "serialfleet-hook", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// What is logged, as `info` or `warn,serialfleet_hook=debug`.
    #[arg(long, env = "SERIALFLEET_LOG", default_value = "info", global = true)]
    log: String,
}

#[derive(Subcommand)]
enum Command {
    /// Answer Metacontroller's calls.
    Serve(ServeArgs),
    /// Print the children of a SerialFleet as YAML, without a cluster.
    Render(RenderArgs),
}

/// What the bridges look like.
#[derive(Args)]
struct BridgeArgs {
    /// Priority class of the bridge pods; empty: none.
    #[arg(long, env = "SERIALFLEET_BRIDGE_PRIORITY_CLASS", default_value = Config::PRIORITY_CLASS)]
    bridge_priority_class: String,
    /// Pull policy of the bridge image; default: Kubernetes' own for its tag.
    #[arg(long, env = "SERIALFLEET_BRIDGE_PULL_POLICY", value_enum, ignore_case = true)]
    bridge_pull_policy: Option<Pull>,
    /// Let fleets ask for the nodes' own network.
    #[arg(long, env = "SERIALFLEET_ALLOW_HOST_NETWORK")]
    allow_host_network: bool,
}

#[derive(Clone, Copy, ValueEnum)]
#[value(rename_all = "PascalCase")]
enum Pull {
    Always,
    IfNotPresent,
    Never,
}

#[derive(Args)]
struct ServeArgs {
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
    /// Calls at work at once; what comes on top is told to come again.
    #[arg(long, env = "SERIALFLEET_MAX_CALLS", default_value = "64", value_parser = at_least_one)]
    max_calls: usize,
    /// How long connections are still accepted after SIGTERM, such as 5s.
    #[arg(long, env = "SERIALFLEET_DRAIN_DELAY", default_value = "5s", value_parser = humantime::parse_duration)]
    drain_delay: Duration,
    /// How long calls at work may then still take, such as 10s.
    #[arg(long, env = "SERIALFLEET_DRAIN_LIMIT", default_value = "10s", value_parser = humantime::parse_duration)]
    drain_limit: Duration,
}

#[derive(Args)]
struct RenderArgs {
    /// File with one SerialFleet, or - for standard input.
    fleet: PathBuf,
    /// File with SerialNodes (a stream or list, as kubectl get sn -o yaml prints it), taken as live.
    #[arg(long, env = "SERIALFLEET_NODES")]
    nodes: Option<PathBuf>,
    /// Image of the bridge pods.
    #[arg(long, env = "SERIALFLEET_BRIDGE_IMAGE", default_value = "serialfleet")]
    bridge_image: String,
    #[command(flatten)]
    bridge: BridgeArgs,
}

/// Wrong use or configuration.
const USAGE: u8 = 64;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let printed = error.print();
            return if error.use_stderr() || printed.is_err() {
                ExitCode::from(USAGE)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    let Cli { command, log } = cli;
    let filter = match tracing_subscriber::EnvFilter::try_new(&log) {
        Ok(filter) => filter,
        Err(error) => return fail(USAGE, &anyhow!(error).context(format!("--log {log:?}"))),
    };
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    match command {
        Command::Serve(args) => run_serve(args).map_or_else(|error| fail(1, &error), |()| ExitCode::SUCCESS),
        Command::Render(args) => match run_render(&args) {
            Ok(text) => match std::io::stdout().write_all(text.as_bytes()) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => fail(1, &error.into()),
            },
            Err(error) => fail(USAGE, &error),
        },
    }
}

fn fail(code: u8, error: &anyhow::Error) -> ExitCode {
    // Where standard error is gone there is nobody left to tell.
    drop(writeln!(std::io::stderr(), "serialfleet-hook: {error:#}"));
    ExitCode::from(code)
}

fn config(image: String, bridge: BridgeArgs) -> Config {
    let BridgeArgs { bridge_priority_class, bridge_pull_policy, allow_host_network } = bridge;
    Config {
        bridge_image: image,
        bridge_pull_policy: bridge_pull_policy.map(|policy| match policy {
            Pull::Always => PullPolicy::Always,
            Pull::IfNotPresent => PullPolicy::IfNotPresent,
            Pull::Never => PullPolicy::Never,
        }),
        bridge_priority_class,
        allow_host_network,
    }
}

fn run_serve(args: ServeArgs) -> anyhow::Result<()> {
    let ServeArgs { listen, rev, bridge_image, bridge, max_body_bytes, max_calls, drain_delay, drain_limit } =
        args;
    let rev = rev.filter(|rev| !rev.is_empty());
    let limits = Limits { rev, max_body_bytes, max_calls, ..Limits::default() };
    let timing = Timing { drain_delay, drain_limit, ..Timing::default() };
    let config = config(bridge_image, bridge);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("runtime")?;
    runtime.block_on(async {
        let (mut terminate, mut interrupt) = (
            signal(SignalKind::terminate()).context("SIGTERM")?,
            signal(SignalKind::interrupt()).context("SIGINT")?,
        );
        let listener = bind(listen).await.with_context(|| format!("--listen {listen}"))?;
        let ready = Readiness::default();
        let app = app(config, limits, SystemTime::now, ready.clone());
        tracing::info!(address = %listener.local_addr()?, version = env!("CARGO_PKG_VERSION"), "listening");
        serve(listener, app, ready, timing, async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        })
        .await;
        Ok(())
    })
}

fn run_render(args: &RenderArgs) -> anyhow::Result<String> {
    let RenderArgs { fleet: path, nodes, bridge_image, bridge } = args;
    let text = read(path)?;
    let fleet = serialfleet_api::manifest::read_fleet(&text).map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(|it| format!("{}: {it}", path.display())).collect();
        anyhow!(lines.join("\n"))
    })?;
    let nodes = match nodes {
        Some(path) => read_nodes(&read(path)?).with_context(|| path.display().to_string())?,
        None => Vec::new(),
    };
    let bridge = BridgeArgs {
        bridge_priority_class: bridge.bridge_priority_class.clone(),
        bridge_pull_policy: bridge.bridge_pull_policy,
        allow_host_network: bridge.allow_host_network,
    };
    Ok(render(&fleet, &nodes, &config(bridge_image.clone(), bridge))?)
}

fn read(path: &Path) -> anyhow::Result<String> {
    if path == Path::new("-") {
        return std::io::read_to_string(std::io::stdin()).context("standard input");
    }
    std::fs::read_to_string(path).with_context(|| path.display().to_string())
}

fn size(text: &str) -> Result<usize, String> {
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
