//! `serialfleet-bench-hook`: the release hook server beside plain Go and Python hooks, on the same requests.
//!
//! Owner: `make bench-hook`. It measures programs from outside, as processes; nothing of the product is linked in.
//! Prints one Markdown table and what it says of the goals, installs nothing, leaves nothing behind.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the table and the progress are its job")]

mod alike;
mod exchange;
mod fleet;
mod floor;
mod goals;
mod load;
mod managed_fields;
mod peer;
mod plan;
mod request;
mod serving;
mod stored;
mod table;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use serialfleet_bench::{figures, interrupt, loopback, process, procfs};

use crate::stored::Strategy;

/// The hook server beside plain Go and Python hooks: throughput, latency, CPU, memory, cold start, size.
#[derive(Debug, Parser)]
#[command(name = "serialfleet-bench-hook")]
struct Args {
    /// About a minute: short windows, one round; for a look, not for figures to quote
    #[arg(long)]
    quick: bool,
    /// Rounds; each measures every peer once. Medians are shown [default: 3, with --quick 1]
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,
    /// Only rows that contain this text, e.g. `64 devices` or `cold start` (may be given again: all must hold)
    #[arg(long, value_name = "TEXT")]
    only: Vec<String>,
    /// How Metacontroller writes children, which decides how much it sends
    #[arg(long, value_enum, default_value = "dynamic-apply")]
    strategy: Strategy,
    /// The release hook server [default: beside this program]
    #[arg(long, value_name = "FILE")]
    hook: Option<PathBuf>,
    /// Sources of the other hooks
    #[arg(long, value_name = "DIR", default_value = "tests/bench-hook/peers")]
    peers: PathBuf,
    /// What `peers/build` made of them [default: ../bench-hook beside this program]
    #[arg(long, value_name = "DIR")]
    built: Option<PathBuf>,
    /// Write the requests there and end
    #[arg(long, value_name = "DIR")]
    requests: Option<PathBuf>,
    #[command(subcommand)]
    inner: Option<Inner>,
}

/// What the bench starts itself as.
#[derive(Debug, Subcommand)]
enum Inner {
    /// The load: prints one line of JSON
    #[command(hide = true)]
    Load(load::LoadArgs),
    /// The floor: takes requests, does nothing, answers blanks
    #[command(hide = true)]
    Floor { address: SocketAddr },
}

fn main() -> ExitCode {
    let Args { quick, rounds, only, strategy, hook, peers, built, requests, inner } = Args::parse();
    let result =
        match inner {
            Some(Inner::Load(args)) => load::run(&args),
            Some(Inner::Floor { address }) => floor::serve(address),
            None => interrupt::watch().and_then(|()| peer::Programs::find(hook, peers, built)).and_then(
                |programs| plan::Plan::new(programs, quick, rounds, strategy, only).run(requests.as_deref()),
            ),
        };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) if interrupt::stopped() => ExitCode::from(130),
        Err(error) => {
            eprintln!("serialfleet-bench-hook: {error:#}");
            ExitCode::FAILURE
        }
    }
}
