//! `serialfleet-soak`: one bridge, many sticks, and clients, plugs and edits at random until time is up.
//!
//! Owner: `make soak`. One port is left in peace and must never lose a byte; all others are churned. Every minute all
//! churn stops, the first fleet is served again, and memory and descriptors are looked at: they must stay flat.
//! Prints one line for each look, exits 1 if anything went wrong. Leaves nothing behind.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "its lines are its job")]

mod churn;
mod fleet;
mod gate;
mod look;
mod steady;
mod world;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use serialfleet_bench::interrupt;

use crate::{
    gate::Gate,
    look::Looks,
    world::{Spread, World},
};

/// The bridge under random connects, unplugs and edits; memory and descriptors must stay flat.
#[derive(Debug, Parser)]
#[command(name = "serialfleet-soak")]
struct Args {
    /// How long, in minutes
    #[arg(long, default_value_t = 60)]
    minutes: u64,
    /// Ports that are churned, 2 to 32
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u8).range(2..=32))]
    ports: u8,
    /// For the same random numbers again (threads still meet as they like)
    #[arg(long)]
    seed: Option<u64>,
    /// Seconds of churn between two looks
    #[arg(long, default_value_t = 60)]
    between: u64,
    /// The bridge [default: beside this program]
    #[arg(long, value_name = "PATH")]
    bridge: Option<PathBuf>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match interrupt::watch().and_then(|()| soak(&args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) if interrupt::stopped() => ExitCode::from(130),
        Err(error) => {
            eprintln!("serialfleet-soak: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn soak(args: &Args) -> Result<()> {
    let bridge = match &args.bridge {
        Some(path) => path.clone(),
        None => std::env::current_exe()?.with_file_name("serialfleet-bridge"),
    };
    ensure!(bridge.exists(), "{} is missing: build serialfleet-bridge first", bridge.display());
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(..));
    println!("seed {seed}, {} ports, {} minutes", args.ports, args.minutes);
    let mut random = fastrand::Rng::with_seed(seed);

    let world = World::start(&bridge, args.ports.into())?;
    let gate = Gate::default();
    let spread = Spread::default();
    let mut looks = Looks::default();
    let between = Duration::from_secs(args.between);
    std::thread::scope(|scope| {
        let (world, gate, spread) = (&world, &gate, &spread);
        let act = |acted: Result<()>| acted.unwrap_or_else(|error| gate.fail(format!("{error:#}")));
        let mut actors = vec![scope.spawn(move || act(steady::run(world, gate, spread)))];
        for port in 0..world.churned() {
            let (clients, plugs) = (random.fork(), random.fork());
            actors.push(scope.spawn(move || act(churn::clients(world, gate, spread, port, clients))));
            actors.push(scope.spawn(move || act(churn::plugs(world, gate, spread, port, plugs))));
        }
        let edits = random.fork();
        actors.push(scope.spawn(move || act(churn::edits(world, gate, spread, edits))));

        let rounds = (args.minutes * 60).div_ceil(args.between.max(1));
        let looked = (0..=rounds).try_for_each(|round| {
            if round > 0 {
                gate.open_for(between)?;
            }
            gate.close()?;
            looks.look(world, spread)
        });
        gate.end();
        for actor in actors {
            actor.join().ok().context("a thread has failed")?;
        }
        looked
    })?;
    println!("{spread}");
    world.stop()?;
    looks.verdict(world.churned())
}
