//! `serialfleet-bench`: the release bridge beside its peers, on PTYs of the same make, in one run.
//!
//! Owner: `make bench`. It measures programs from outside, as processes; nothing of the product is linked in.
//! Prints one Markdown table, installs nothing, leaves nothing behind.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the table and the progress are its job")]

mod cold_start;
mod copier;
mod echo;
mod flood;
mod line;
mod peer;
mod plan;
mod plug;
mod round_trip;
mod serving;
mod stick;
mod system_calls;
mod table;
mod throughput;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use serialfleet_bench::{figures, interrupt, loopback, process, procfs};

/// The bridge beside ser2net, socat and a plain epoll copier: throughput, latency, CPU, memory, time to serve.
#[derive(Debug, Parser)]
#[command(name = "serialfleet-bench")]
struct Args {
    /// Under a minute: fewer bytes, one round; for a look, not for figures to quote
    #[arg(long)]
    quick: bool,
    /// Rounds; each measures every peer once. Medians are shown [default: 3, with --quick 1]
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,
    /// Only what contains this text, e.g. `Modbus` (may be given again)
    #[arg(long, value_name = "TEXT")]
    only: Vec<String>,
    /// Also count system calls, in bulk and for 5 s at rest (needs strace)
    #[arg(long)]
    system_calls: bool,
    /// Release binaries to measure [default: beside this one]
    #[arg(long, value_name = "DIR")]
    binaries: Option<PathBuf>,
    #[command(subcommand)]
    inner: Option<Inner>,
}

/// What the bench starts itself as.
#[derive(Debug, Subcommand)]
enum Inner {
    /// The reference: copies between each tty and one TCP client, as plainly as can be
    #[command(hide = true)]
    Copier {
        /// ADDR:PORT=TTY
        #[arg(value_parser = pair, required = true)]
        pairs: Vec<(SocketAddr, PathBuf)>,
    },
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

fn pair(text: &str) -> Result<(SocketAddr, PathBuf), String> {
    let (address, tty) = text.split_once('=').ok_or("ADDR:PORT=TTY")?;
    Ok((address.parse().map_err(|error| format!("{error}"))?, tty.into()))
}

fn main() -> ExitCode {
    let Args { quick, rounds, only, system_calls, binaries, inner } = Args::parse();
    let result = match inner {
        Some(Inner::Copier { pairs }) => copier::copy(&pairs),
        Some(Inner::Plug { bridge, plugs, uevents }) => {
            interrupt::watch().and_then(|()| plug::inside(&bridge, plugs, uevents))
        }
        None => interrupt::watch()
            .and_then(|()| plan::Plan::new(quick, rounds, only, system_calls, binaries))
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
