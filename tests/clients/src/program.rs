//! A client, a peer or the bridge as a child process: what it tells on standard output is read line by line, what else it
//! says is kept, and it never outlives its scenario.
//!
//! Owner: the scenario that started it.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::NamedTempFile;

/// A running program.
#[derive(Debug)]
pub struct Program {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    reader: Option<JoinHandle<()>>,
    errors: NamedTempFile,
}

impl Program {
    /// Starts it. `name` is for messages.
    ///
    /// # Errors
    /// There is no such program.
    pub fn start(name: &str, command: &mut Command) -> Result<Self> {
        let errors = NamedTempFile::new()?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(errors.reopen()?);
        let mut child = command.spawn().with_context(|| format!("cannot start {name}: {command:?}"))?;
        let stdout = child.stdout.take().context("standard output is a pipe")?;
        // A program that tells more than anybody reads waits: that is the bound.
        let (sender, lines) = sync_channel(1024);
        let reader = std::thread::spawn(move || {
            let told = BufReader::new(stdout).lines().map_while(Result::ok);
            for line in told {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let stdin = child.stdin.take();
        Ok(Self { name: name.to_owned(), child, stdin, lines, reader: Some(reader), errors })
    }

    /// Tells it a line.
    ///
    /// # Errors
    /// It has ended.
    pub fn tell(&mut self, line: &str) -> Result<()> {
        let stdin = self.stdin.as_mut().context("standard input is closed")?;
        writeln!(stdin, "{line}").with_context(|| format!("{} has ended", self.name))
    }

    /// The next line of JSON that it tells; `None`: it has ended.
    ///
    /// # Errors
    /// None came within `limit`; or something that is not JSON.
    pub fn next(&mut self, limit: Duration) -> Result<Option<Value>> {
        match self.lines.recv_timeout(limit) {
            Ok(line) => {
                let value = serde_json::from_str(&line);
                value.map(Some).with_context(|| format!("{} says: {line}", self.name))
            }
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => {
                bail!("{} told nothing for {limit:?}. It said:\n{}", self.name, self.said())
            }
        }
    }

    /// The next line of JSON with this `event`; others before it are passed over.
    ///
    /// # Errors
    /// It did not come within `limit`, or the program has ended.
    pub fn event(&mut self, event: &str, limit: Duration) -> Result<Value> {
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.next(left).with_context(|| format!("waiting for {event:?}"))? {
                Some(told) if told["event"] == event => return Ok(told),
                Some(told) if told["event"] == "error" => bail!("{}: {told}", self.name),
                Some(_) => {}
                None => bail!("{} has ended without {event:?}. It said:\n{}", self.name, self.said()),
            }
        }
    }

    /// Asks for something with a line, and waits for the event that answers.
    ///
    /// # Errors
    /// As [`Program::tell`] and [`Program::event`].
    pub fn ask(&mut self, line: &str, event: &str, limit: Duration) -> Result<Value> {
        self.tell(line)?;
        self.event(event, limit)
    }

    /// What it said on standard error: the last of it.
    #[must_use]
    pub fn said(&self) -> String {
        let text = fs::read(self.errors.path()).unwrap_or_default();
        let last = text.get(text.len().saturating_sub(8 * 1024)..).unwrap_or_default();
        String::from_utf8_lossy(last).into_owned()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.stdin = None;
        if let Some(id) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // It may have ended already.
            kill_process(id, Signal::TERM).ok();
        }
        let deadline = Instant::now() + Duration::from_secs(10);
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                self.child.kill().ok();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        // Ends with the pipe, or as nobody takes its lines.
        let (_, nobody) = sync_channel(0);
        self.lines = nobody;
        if let Some(reader) = self.reader.take() {
            reader.join().ok();
        }
    }
}
