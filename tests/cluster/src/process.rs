//! A program of the lab as a child process: what it says goes to a log file, and its end is certain.
//!
//! Owner: the control plane's parts and the nodes hold theirs; dropping one kills it. It must not know what it runs.
//! Whatever it leaves behind dies with the scenario's PID namespace.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// A child process that leads a process group of its own.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts it. What it prints is appended to `log`, whose directory is made if need be.
    ///
    /// # Errors
    /// If the program cannot be started; names it.
    pub fn start(name: &str, mut command: Command, log: &Path) -> Result<Self> {
        if let Some(directory) = log.parent() {
            fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
        }
        let file =
            File::options().create(true).append(true).open(log).with_context(|| log.display().to_string())?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {name} ({})", command.as_std().get_program().display()))?;
        Ok(Self { name: name.to_owned(), child, log: log.to_owned() })
    }

    /// What it was called when it was started.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Nothing once its end has been noticed.
    #[must_use]
    pub fn pid(&self) -> Option<Pid> {
        self.child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?))
    }

    /// Where it writes to.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Waits for its end, for as long as it takes.
    ///
    /// # Errors
    /// If it cannot be waited for, which does not happen to a child of ours.
    pub async fn wait(&mut self) -> Result<ExitStatus> {
        self.child.wait().await.with_context(|| format!("waiting for {}", self.name))
    }

    /// Returns only when it ends although nobody asked it to; the error says what it said last.
    pub async fn unexpected_end(&mut self) -> anyhow::Error {
        match self.wait().await {
            Ok(status) => anyhow::anyhow!("{} has ended ({status}):\n{}", self.name, self.last_words(10)),
            Err(error) => error,
        }
    }

    /// Sends it a signal. One that has gone already is as good.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = self.pid() {
            kill_process(pid, signal).ok();
        }
    }

    /// SIGTERM, and SIGKILL for it and what it started if it has not ended after `grace`.
    ///
    /// # Errors
    /// As [`Process::wait`].
    pub async fn stop(&mut self, grace: Duration) -> Result<ExitStatus> {
        self.signal(Signal::TERM);
        match timeout(grace, self.wait()).await {
            Ok(ended) => ended,
            Err(_) => self.kill().await,
        }
    }

    /// SIGKILL, to it and to what it started.
    ///
    /// # Errors
    /// As [`Process::wait`].
    pub async fn kill(&mut self) -> Result<ExitStatus> {
        self.kill_group();
        self.wait().await
    }

    /// The last lines of its log.
    #[must_use]
    pub fn last_words(&self, lines: usize) -> String {
        let bytes = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let all: Vec<&str> = text.lines().collect();
        all.get(all.len().saturating_sub(lines)..).unwrap_or_default().join("\n")
    }

    fn kill_group(&self) {
        if let Some(pid) = self.pid() {
            kill_process_group(pid, Signal::KILL).ok();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill_group();
    }
}
