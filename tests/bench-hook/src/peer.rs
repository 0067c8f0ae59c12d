//! Who is measured, and how each is started.
//!
//! Owner: the plan. Installs nothing: what is not there is left out and named.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::exchange::REVISION;

/// A hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Peer {
    /// Ours.
    Hook,
    /// `net/http` and `encoding/json`.
    Go,
    /// `http.server` and `json`.
    Plain,
    /// FastAPI on uvicorn, orjson.
    Fast,
    /// The same with a worker for each core.
    FastWorkers,
    /// Does nothing.
    Floor,
}

impl Peer {
    pub(crate) const ALL: [Self; 6] =
        [Self::Hook, Self::Go, Self::Plain, Self::Fast, Self::FastWorkers, Self::Floor];
    /// Those that the goal names: one process each.
    pub(crate) const NAMED: [Self; 3] = [Self::Go, Self::Plain, Self::Fast];
    /// Those that ours is compared with.
    pub(crate) const OTHERS: [Self; 4] = [Self::Go, Self::Plain, Self::Fast, Self::FastWorkers];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Hook => "serialfleet-hook",
            Self::Go => "Go net/http",
            Self::Plain => "Python http.server",
            Self::Fast => "FastAPI, orjson",
            Self::FastWorkers => "FastAPI, worker per core",
            Self::Floor => "floor",
        }
    }
}

/// Where they are.
pub(crate) struct Programs {
    pub(crate) hook: PathBuf,
    own: PathBuf,
    peers: PathBuf,
    built: PathBuf,
}

impl Programs {
    pub(crate) fn find(hook: Option<PathBuf>, peers: PathBuf, built: Option<PathBuf>) -> Result<Self> {
        let own = std::env::current_exe()?;
        let directory = own.parent().context("this program is nowhere")?;
        let hook = hook.unwrap_or_else(|| directory.join("serialfleet-hook"));
        ensure!(hook.is_file(), "{} is not there: cargo build --release -p serialfleet-hook", hook.display());
        let built = built.unwrap_or_else(|| directory.with_file_name("bench-hook"));
        Ok(Self { hook, peers, built, own })
    }

    /// Whether it can be started here.
    pub(crate) fn has(&self, peer: Peer) -> bool {
        match peer {
            Peer::Hook | Peer::Floor => true,
            Peer::Go => self.go().is_file(),
            Peer::Plain => self.peers.join("plain.py").is_file() && self.python().is_file(),
            Peer::Fast | Peer::FastWorkers => self.built.join("fastapi").is_file() && self.python().is_file(),
        }
    }

    /// The one file that is the program, if it is one.
    pub(crate) fn file(&self, peer: Peer) -> Option<PathBuf> {
        match peer {
            Peer::Hook => Some(self.hook.clone()),
            Peer::Go => Some(self.go()),
            _ => None,
        }
    }

    fn go(&self) -> PathBuf {
        self.built.join("go-hook")
    }

    fn python(&self) -> PathBuf {
        self.built.join("venv/bin/python")
    }

    /// The load generator.
    pub(crate) fn load(&self) -> Command {
        let mut command = Command::new(&self.own);
        command.arg("load");
        command
    }

    pub(crate) fn command(&self, peer: Peer, address: SocketAddr) -> Result<Command> {
        let (host, port) = (address.ip().to_string(), address.port().to_string());
        let workers = std::thread::available_parallelism().map_or(2, std::num::NonZero::get).to_string();
        let (program, args): (&Path, Vec<String>) = match peer {
            Peer::Hook => {
                let flags =
                    ["serve", "--rev", REVISION, "--bridge-image", "example/serialfleet:bench", "--listen"];
                (&self.hook, flags.map(str::to_owned).into_iter().chain([address.to_string()]).collect())
            }
            Peer::Go => (&self.go(), vec![address.to_string()]),
            Peer::Plain => (&self.python(), vec![self.script("plain.py")?, host, port]),
            Peer::Fast => (&self.python(), vec![self.script("fast.py")?, host, port, "1".to_owned()]),
            Peer::FastWorkers => (&self.python(), vec![self.script("fast.py")?, host, port, workers]),
            Peer::Floor => (&self.own, vec!["floor".to_owned(), address.to_string()]),
        };
        let mut command = Command::new(program);
        // Nothing is written beside the sources; uvicorn's workers find `fast` there.
        command.args(args).env("PYTHONDONTWRITEBYTECODE", "1").env("PYTHONPATH", &self.peers);
        Ok(command)
    }

    fn script(&self, name: &str) -> Result<String> {
        let path = self.peers.join(name);
        path.into_os_string().into_string().ok().context("a path that is no text")
    }
}
