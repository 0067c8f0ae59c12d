//! A program of ours, as a child process: what it says goes to a file, and it never outlives the demo.

use std::{
    env,
    ffi::OsStr,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    process::{Child, Command},
    time::timeout,
};

/// How long a program may take to end in good order: more than the bridge's own limit.
const PATIENCE: Duration = Duration::from_secs(10);

/// A running program.
#[derive(Debug)]
pub(super) struct Program {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Program {
    pub(super) fn start(
        programs: &Path,
        name: &'static str,
        log: PathBuf,
        args: impl IntoIterator<Item = impl AsRef<OsStr>>,
    ) -> Result<Self> {
        let file = File::create(&log).with_context(|| log.display().to_string())?;
        let child = command(programs, name)
            .args(args)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            // Ctrl-C is for the demo alone, which then ends the programs one after the other.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| {
                let path = programs.join(name);
                format!("cannot start {}: build it with `cargo build -p {name}`", path.display())
            })?;
        Ok(Self { name, child, log })
    }

    /// Returns only if the program ends although nobody asked it to; the error says what it said last.
    pub(super) async fn unexpected_end(&mut self) -> anyhow::Error {
        match self.child.wait().await {
            Ok(status) => anyhow::anyhow!("{} has ended ({status}):\n{}", self.name, self.last_words(10)),
            Err(error) => anyhow::anyhow!("{}: {error}", self.name),
        }
    }

    /// SIGTERM, and the end of it.
    pub(super) async fn stop(mut self) -> Result<ExitStatus> {
        let id = self.child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        if let Some(id) = id {
            kill_process(id, Signal::TERM).with_context(|| format!("SIGTERM to {}", self.name))?;
        }
        // If it does not, it is killed as it is dropped.
        let status = timeout(PATIENCE, self.child.wait()).await;
        status
            .with_context(|| format!("{} does not end:\n{}", self.name, self.last_words(10)))?
            .with_context(|| self.name)
    }

    /// The last lines of its log.
    pub(super) fn last_words(&self, lines: usize) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let all: Vec<&str> = text.lines().collect();
        all.get(all.len().saturating_sub(lines)..).unwrap_or_default().join("\n")
    }
}

/// A command without what the caller's environment would tell it: our programs take every flag from there as well.
pub(super) fn command(programs: &Path, name: &str) -> Command {
    let mut command = Command::new(programs.join(name));
    for (variable, _) in env::vars_os() {
        if variable.to_string_lossy().starts_with("SERIALFLEET_") || variable == "RUST_LOG" {
            command.env_remove(variable);
        }
    }
    command
}
