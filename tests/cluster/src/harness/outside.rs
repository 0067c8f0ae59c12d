//! The outer process: starts a scenario's namespaces, keeps what it says, and ends it at its limit.
//!
//! Owner: one trial. It must not touch the lab: what is inside is gone with its first process.

use std::env;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::{INSIDE, LOGS_VARIABLE, Scenario};
use crate::capability::UNSHARE;

/// The error is everything that the scenario has said, unless that goes to the terminal at once.
pub(super) fn run(scenario: &Scenario, nocapture: bool) -> Result<()> {
    let directory = tempfile::Builder::new().prefix("serialfleet-lab-").tempdir()?;
    let lab = directory.path().join("lab");
    fs::create_dir(&lab)?;
    let output = directory.path().join("output");
    let file = File::create(&output)?;
    let mut command = Command::new("unshare");
    command
        .args(UNSHARE)
        .arg(env::current_exe().context("a test executable knows its path")?)
        .args([INSIDE, scenario.name])
        .arg(&lab)
        // The way to an error through the runtime is of no interest; a panic still shows its own.
        .env("RUST_LIB_BACKTRACE", "0")
        // Held open until the end: by its closing the scenario knows that nobody waits for it any more.
        .stdin(Stdio::piped());
    if !nocapture {
        command.stdout(file.try_clone()?).stderr(file);
    }
    let mut child = command.spawn().context("unshare")?;
    let deadline = Instant::now() + scenario.limit + REPORTING;
    let status = loop {
        match child.try_wait()? {
            Some(status) => break Some(status),
            None if Instant::now() > deadline => {
                child.kill()?;
                child.wait()?;
                break None;
            }
            None => thread::sleep(TURN),
        }
    };
    if let Some(logs) = env::var_os(LOGS_VARIABLE) {
        let kept = Path::new(&logs).join(scenario.name);
        fs::create_dir_all(&kept)?;
        fs::copy(&output, kept.join("scenario.log"))?;
    }
    let said = fs::read(&output)?;
    let said = String::from_utf8_lossy(&said);
    match status {
        Some(status) if status.success() => Ok(()),
        Some(status) => bail!("{status}\n{said}"),
        None => bail!("killed {:?} after its time was up\n{said}", REPORTING),
    }
}

/// A scenario ends by itself at its limit, and shows the logs. This long it may take for that.
const REPORTING: Duration = Duration::from_secs(20);
const TURN: Duration = Duration::from_millis(20);
