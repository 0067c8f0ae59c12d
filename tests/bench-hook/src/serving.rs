//! A hook that serves, from its start to its end.
//!
//! Owner: the plan; dropping it ends the process and waits.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal};
use tempfile::TempDir;

use crate::exchange::Line;
use crate::interrupt;
use crate::load::{LoadArgs, Outcome};
use crate::loopback::free_addresses;
use crate::peer::{Peer, Programs};
use crate::process::Process;
use crate::procfs;

/// A running hook.
pub(crate) struct Serving {
    process: Process,
    pub(crate) address: SocketAddr,
    /// From the start of the process to its first answer.
    pub(crate) cold_start: Duration,
    directory: TempDir,
}

/// What a load did to it.
pub(crate) struct Loaded {
    pub(crate) outcome: Outcome,
    /// Its CPU time for a call, in milliseconds.
    pub(crate) cpu: f64,
}

impl Serving {
    /// Starts it and waits for its answer to `body`.
    pub(crate) fn start(programs: &Programs, peer: Peer, body: Option<&[u8]>) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("serialfleet-bench-hook-").tempdir()?;
        let address = free_addresses(1)?.pop().context("an address")?;
        // uvicorn's parent passes an interrupt on to its workers; killed, it would leave them behind.
        let end = if peer == Peer::FastWorkers { Signal::TERM } else { Signal::KILL };
        let mut command = programs.command(peer, address)?;
        let started = Instant::now();
        let mut process = Process::start(&mut command, directory.path(), end)?;
        let mut line = connect(address, &mut process)?;
        if let Some(body) = body {
            line.post(body)?;
        }
        Ok(Self { process, address, cold_start: started.elapsed(), directory })
    }

    pub(crate) fn pid(&self) -> Pid {
        self.process.pid()
    }

    /// Loads it from a process of its own.
    pub(crate) fn load(&self, programs: &Programs, args: &LoadArgs) -> Result<Loaded> {
        let mut command = programs.load();
        command.arg("--address").arg(self.address.to_string()).arg("--body").arg(&args.body);
        command.args(["--connections", &args.connections.to_string()]);
        command.args(["--milliseconds", &args.milliseconds.to_string(), "--calls", &args.calls.to_string()]);
        command.args(args.close.then_some("--close")).args(args.changed.then_some("--changed"));
        let before = procfs::cpu_time(self.pid())?;
        let mut load = Process::start(&mut command, self.directory.path(), Signal::KILL)?;
        let text = load.output(Duration::from_millis(args.milliseconds) * args.patience + SERVED)?;
        let cpu = procfs::cpu_time(self.pid())?.saturating_sub(before);
        let outcome: Outcome = serde_json::from_str(&text)?;
        #[allow(clippy::cast_precision_loss, reason = "a count of calls")]
        let cpu = cpu.as_secs_f64() * 1e3 / outcome.calls as f64;
        Ok(Loaded { outcome, cpu })
    }
}

/// Connects as soon as somebody listens.
fn connect(address: SocketAddr, process: &mut Process) -> Result<Line> {
    let deadline = Instant::now() + SERVED;
    loop {
        interrupt::check()?;
        match Line::connect(address) {
            Ok(line) => return Ok(line),
            Err(error) if Instant::now() > deadline => {
                bail!("{address} is not served: {error:#}; {}", process.last_words())
            }
            Err(_) if process.has_ended() => bail!("it has ended: {}", process.last_words()),
            Err(_) => std::thread::sleep(AGAIN),
        }
    }
}

/// Size of a program, in MB.
#[allow(clippy::cast_precision_loss, reason = "the size of a file")]
pub(crate) fn megabytes(file: &Path) -> Option<f64> {
    Some(std::fs::metadata(file).ok()?.len() as f64 / 1e6)
}

/// A hook that does not serve after this long is broken.
const SERVED: Duration = Duration::from_secs(30);
const AGAIN: Duration = Duration::from_micros(200);
