//! SerialFleet's main job on one machine, without a cluster: the real bridge serves a fleet from simulated sticks, the
//! real hook server answers for it, and people (or [`check`]) talk to the devices, unplug them and plug them in again.
//!
//! Owner: `make demo`. It starts the programs as anybody would and sees of them only what anybody sees: command lines,
//! sockets, files. Whatever happens, it leaves neither processes nor files behind.

mod address;
mod bridge;
mod check;
mod dialogue;
mod fleet;
mod hardware;
mod hook;
mod http;
mod interactive;
mod neighbours;
mod network;
mod program;
mod screen;
mod signals;
mod simulated;
mod stage;

use std::{env, path::PathBuf, pin::pin, process::ExitCode};

use anyhow::{Context, Result};
use clap::Parser;

use self::{fleet::Fleet, network::Network, screen::Screen, stage::Stage};

/// Serves a SerialFleet on this machine, to look at and to play with.
#[derive(Debug, Parser)]
#[command(name = "serialfleet-demo")]
pub struct Args {
    /// Fleet of which each device with `product: Simulated*` gets a simulated stick, beside what is plugged in.
    #[arg(long, value_name = "FLEET.yaml", default_value = "examples/demo.yaml")]
    example: PathBuf,
    /// Fleet that is served from this machine's own ttys; nothing is simulated.
    #[arg(long, value_name = "FLEET.yaml", conflicts_with = "check")]
    fleet: Option<PathBuf>,
    /// Nobody is there: check everything, end with 0 or say what failed.
    #[arg(long)]
    check: bool,
    /// Where serialfleet-bridge and serialfleet-hook are [default: beside this program].
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
}

/// Wrong use or configuration (EX_USAGE of sysexits.h).
pub const USAGE: u8 = 64;

/// Runs until somebody has seen enough, or the check is done.
pub fn main(args: Args) -> ExitCode {
    let Args { example, fleet, check, programs } = args;
    let screen = Screen;
    let simulated = fleet.is_none();
    let (result, failure) = match Fleet::read(&fleet.unwrap_or(example)) {
        Ok(fleet) => (run(fleet, simulated, check, programs, screen), ExitCode::FAILURE),
        Err(error) => (Err(error), ExitCode::from(USAGE)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            screen.complain(&format!("demo: {error:#}"));
            failure
        }
    }
}

fn run(fleet: Fleet, simulated: bool, check: bool, programs: Option<PathBuf>, screen: Screen) -> Result<()> {
    // Before there is a second thread: this may begin the program anew, elsewhere.
    let network = if check { network::private()? } else { Network::Shared(None) };
    let programs = programs.map_or_else(beside_this_program, Ok)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        if check {
            check::run(&programs, fleet, network, screen).await
        } else {
            let mut stop = pin!(signals::termination()?);
            let stage = tokio::select! {
                stage = Stage::build(&programs, fleet, simulated, false) => stage?,
                () = &mut stop => return Ok(()),
            };
            interactive::run(stage, stop, screen).await
        }
    })
}

fn beside_this_program() -> Result<PathBuf> {
    let own = env::current_exe().context("where this program is")?;
    Ok(own.parent().context("a program is in a directory")?.to_owned())
}
