//! The inner process: the first of its PID namespace, with a network, mounts and a directory in memory of its own.
//!
//! Owner: one scenario. When it returns, everything that was started is killed by the kernel.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;
use std::{env, fs};

use anyhow::{Context, Result, anyhow, bail};
use rustix::mount::{MountFlags, mount};
use tokio::io::AsyncReadExt;
use tokio::runtime::Builder;
use tokio::task::LocalSet;
use tokio::time::timeout;

use super::{LOGS_VARIABLE, START, Scenario};

/// Errors and logs go to the standard error, which the outer process keeps.
#[allow(clippy::print_stderr, reason = "the outer process shows it")]
pub(super) fn run(scenarios: &[Scenario], mut arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let name = arguments.next().unwrap_or_default();
    let directory = PathBuf::from(arguments.next().unwrap_or_default());
    let Some(scenario) = scenarios.iter().find(|scenario| name == scenario.name) else {
        eprintln!("there is no scenario {}", name.display());
        return ExitCode::FAILURE;
    };
    let start = START.get_or_init(Instant::now);
    let result = play(scenario, &directory);
    keep(&directory, scenario.name);
    let Err(error) = result else { return ExitCode::SUCCESS };
    for log in logs(&directory) {
        eprintln!("---- {}\n{}", log.strip_prefix(&directory).unwrap_or(&log).display(), tail(&log));
    }
    eprintln!("---- {} failed after {:.1} s\n{error:?}", scenario.name, start.elapsed().as_secs_f32());
    ExitCode::FAILURE
}

fn play(scenario: &Scenario, directory: &Path) -> Result<()> {
    mount("lab", directory, "tmpfs", MountFlags::empty(), None).context("a tmpfs for the lab")?;
    serialfleet_sim::namespace::raise_loopback()?;
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    // As a task, for a panic to be an error whose logs are shown.
    let tasks = LocalSet::new();
    let body = tasks.spawn_local((scenario.body)(directory.to_owned()));
    let limited = async {
        tokio::select! {
            ended = timeout(scenario.limit, body) => match ended {
                Ok(Ok(result)) => result,
                Ok(Err(panic)) => Err(anyhow!(panic)),
                Err(_) => bail!("it did not end within {:?}", scenario.limit),
            },
            () = alone() => bail!("the harness has gone"),
        }
    };
    let result = runtime.block_on(tasks.run_until(limited));
    // What still runs there is not waited for: the kernel ends it with this process.
    runtime.shutdown_background();
    result
}

/// Ends when the outer process does: the other end of the standard input is there.
async fn alone() {
    let mut input = tokio::io::stdin();
    let mut byte = [0];
    while input.read(&mut byte).await.is_ok_and(|length| length > 0) {}
}

/// The lab's directory is gone with this process. Its logs stay where the caller asked for them.
fn keep(directory: &Path, scenario: &str) {
    let Some(target) = env::var_os(LOGS_VARIABLE).map(|path| PathBuf::from(path).join(scenario)) else {
        return;
    };
    for log in logs(directory) {
        let copy = target.join(log.strip_prefix(directory.join(LOGS)).unwrap_or(&log));
        if let Some(parent) = copy.parent() {
            fs::create_dir_all(parent).ok();
        }
        fs::copy(&log, &copy).ok();
    }
}

/// All files below the lab's `logs`, in order. Nothing is mounted there.
fn logs(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![directory.join(LOGS)];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => open.push(entry.path()),
                Ok(kind) if kind.is_file() => found.push(entry.path()),
                _ => {}
            }
        }
    }
    found.sort();
    found
}

fn tail(log: &Path) -> String {
    let bytes = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    let last = lines.get(lines.len().saturating_sub(TAIL_LINES)..).unwrap_or_default();
    let cut = last.iter().map(|line| line.chars().take(TAIL_COLUMNS).collect::<String>());
    cut.collect::<Vec<_>>().join("\n")
}

const LOGS: &str = "logs";
const TAIL_LINES: usize = 30;
const TAIL_COLUMNS: usize = 400;
