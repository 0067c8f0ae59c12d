//! `serialfleet-bench`: the release bridge beside its peers, on PTYs of the same make, in one run.
//!
//! Owner: `make bench`. It measures programs from outside, as processes; nothing of the product is linked in.
//! Prints one Markdown table, installs nothing, leaves nothing behind.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the table and the progress are its job")]

mod cold_start;
mod connects;
mod cpu_clock;
mod echo;
mod flood;
mod goals;
mod line;
mod measures;
mod memory;
mod paced;
mod peer;
mod plan;
mod plug;
mod ready;
mod round_trip;
mod serving;
mod stick;
mod system_calls;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use serialfleet_bench::{figures, interrupt, loopback, process, procfs};

/// The bridge beside ser2net, socat and a plain epoll copier: throughput, latency, CPU, memory, time to serve.
#[derive(Debug, Parser)]
#[command(name = "serialfleet-bench")]
struct Args {
    /// A minute or two instead of twelve: for a look, not for figures to quote
    #[arg(long)]
    quick: bool,
    /// Rounds; each starts every peer anew. Medians over all turns are shown [default: 2, with --quick 1]
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,
    /// Only what contains this text, e.g. `Modbus` (may be given again)
    #[arg(long, value_name = "TEXT")]
    only: Vec<String>,
    /// Release binaries to measure [default: beside this one]
    #[arg(long, value_name = "DIR")]
    binaries: Option<PathBuf>,
    #[command(subcommand)]
    inner: Option<Inner>,
}

/// What the bench starts itself as.
#[derive(Debug, Subcommand)]
enum Inner {
    /// Inside private namespaces: plugs a stick, prints microseconds
    #[command(hide = true)]
    Plug {
        #[arg(long)]
        bridge: PathBuf,
        #[arg(long)]
        plugs: usize,
        #[arg(long)]
        uevents: bool,
    },
}

fn main() -> ExitCode {
    let Args { quick, rounds, only, binaries, inner } = Args::parse();
    let result = match inner {
        Some(Inner::Plug { bridge, plugs, uevents }) => {
            interrupt::watch().and_then(|()| plug::inside(&bridge, plugs, uevents))
        }
        None => interrupt::watch()
            .and_then(|()| plan::Plan::new(quick, rounds, only, binaries))
            .and_then(|plan| plan.run()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) if interrupt::stopped() => ExitCode::from(130),
        Err(error) => {
            eprintln!("serialfleet-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
