//! A child process: what it said, its end for certain.
//!
//! Owner: whoever started it; dropping it ends it and waits. It leads a process group of its own, so that what it
//! forks ends with it.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::interrupt;

/// A child that runs.
pub struct Process {
    child: Child,
    pid: Pid,
    log: PathBuf,
    output: PathBuf,
    end: Signal,
}

impl Process {
    /// Starts it, what it prints into files in `directory`; `end` is the signal that it is ended with.
    pub fn start(command: &mut Command, directory: &Path, end: Signal) -> Result<Self> {
        interrupt::check()?;
        let name = Path::new(command.get_program()).file_name().unwrap_or_default().to_owned();
        let log = directory.join(&name).with_extension("log");
        let output = directory.join(&name).with_extension("out");
        let child = command
            .stdin(Stdio::null())
            .stdout(File::create(&output)?)
            .stderr(File::create(&log)?)
            .process_group(0)
            .spawn()
            .with_context(|| format!("starting {}", name.display()))?;
        let pid = Pid::from_child(&child);
        interrupt::remember(pid);
        Ok(Self { child, pid, log, output, end })
    }

    /// Its number.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// What it has said last, for a message.
    pub fn last_words(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = log.lines().rev().take(5).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits until it has ended by itself, and returns what it printed.
    pub fn output(&mut self, limit: Duration) -> Result<String> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait()? {
                ensure!(status.success(), "{status}: {}", self.last_words());
                return Ok(fs::read_to_string(&self.output)?);
            }
            interrupt::check()?;
            ensure!(Instant::now() < deadline, "it has not ended after {limit:?}: {}", self.last_words());
            std::thread::sleep(TURN);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        interrupt::forget(self.pid);
        // While it is not waited for, the group's number is nobody else's. Gone already is as good.
        if !self.has_ended() {
            kill_process_group(self.pid, self.end).ok();
            let deadline = Instant::now() + PATIENCE;
            while self.end != Signal::KILL && !self.has_ended() {
                if Instant::now() > deadline {
                    kill_process_group(self.pid, Signal::KILL).ok();
                    break;
                }
                std::thread::sleep(TURN);
            }
            drop(self.child.wait());
        }
    }
}

/// How long a child may take to end in good order.
const PATIENCE: Duration = Duration::from_secs(5);
const TURN: Duration = Duration::from_millis(1);
