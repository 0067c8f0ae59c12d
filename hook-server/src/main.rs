//! The program: flags, log, files, signals, exit codes. Everything else is in the library.

mod commands {
    mod debugging;
    pub(crate) mod offline;
    pub(crate) mod serve;
}

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, anyhow};
use clap::{Args, Parser, Subcommand, ValueEnum};
use serialfleet_hook::{
    config::{Config, PullPolicy},
    reload::Broken,
    render::{read_nodes, render},
};

use tracing_subscriber::{filter::Targets, layer::SubscriberExt, util::SubscriberInitExt};

use self::commands::{
    offline::{DiffArgs, DoctorArgs, ExplainArgs, run_diff, run_doctor, run_explain},
    serve::{ServeArgs, run_serve},
};

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
    Serve(Box<ServeArgs>),
    /// Print the children of a SerialFleet as YAML, without a cluster.
    Render(RenderArgs),
    /// Print what Metacontroller will change after a captured request, and why. Exit code 1 if anything.
    Diff(DiffArgs),
    /// Print why a device is served where it is, or what to do, from a captured request.
    Explain(ExplainArgs),
    /// Print what is wrong with a CompositeController, and the fix. Exit code 1 if anything.
    Doctor(DoctorArgs),
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
    // Not EnvFilter: it would bring an engine for regular expressions, 400 KB.
    let filter = match log.parse::<Targets>() {
        Ok(filter) => filter,
        Err(error) => return fail(USAGE, &anyhow!(error).context(format!("--log {log:?}"))),
    };
    let lines = tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(std::io::stderr);
    tracing_subscriber::registry().with(filter).with(lines).init();
    std::panic::set_hook(Box::new(|panic| tracing::error!("bug: {panic}")));
    match command {
        Command::Serve(args) => match run_serve(*args) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(if error.is::<Broken>() { USAGE } else { 1 }, &error),
        },
        Command::Render(args) => match run_render(&args) {
            Ok(text) => match std::io::stdout().write_all(text.as_bytes()) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => fail(1, &error.into()),
            },
            Err(error) => fail(USAGE, &error),
        },
        Command::Diff(args) => offline(run_diff(args)),
        Command::Explain(args) => offline(run_explain(args)),
        Command::Doctor(args) => offline(run_doctor(args)),
    }
}

/// Whatever cannot be said is for want of a proper file.
fn offline(result: anyhow::Result<ExitCode>) -> ExitCode {
    result.unwrap_or_else(|error| fail(USAGE, &error))
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
