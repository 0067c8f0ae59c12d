//! Who is measured, where its program is, and how it is told to serve.
//!
//! Owner: the plan. A peer that is not installed is named and left out; nothing is ever installed.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::serving::directory;

/// A forwarder; or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Peer {
    /// SerialFleet's.
    Bridge,
    /// The reference: `copier.c`.
    Copier,
    /// As Debian ships it, with the options that its own example has.
    Ser2net,
    /// As somebody sets it who has read all about it.
    Ser2netTuned,
    /// A process for each port, and one more for each client.
    Socat,
    /// No forwarder: what the PTY alone allows.
    Direct,
}

impl Peer {
    /// In the table's order.
    pub(crate) const ALL: [Self; 6] =
        [Self::Bridge, Self::Copier, Self::Ser2net, Self::Ser2netTuned, Self::Socat, Self::Direct];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Copier => "C copier",
            Self::Ser2net => "ser2net default",
            Self::Ser2netTuned => "ser2net tuned",
            Self::Socat => "socat",
            Self::Direct => "PTY direct",
        }
    }
}

/// The programs.
pub(crate) struct Programs {
    /// `serialfleet-bridge`.
    pub(crate) bridge: PathBuf,
    /// `serialfleet-hook`, for its size.
    pub(crate) hook: PathBuf,
    copier: PathBuf,
    /// Where the copier was built.
    _directory: TempDir,
    ser2net: Option<PathBuf>,
    socat: Option<PathBuf>,
}

impl Programs {
    /// Looks for all of them. Without a bridge there is nothing to measure.
    pub(crate) fn find(binaries: Option<PathBuf>) -> Result<Self> {
        let binaries = match binaries {
            Some(directory) => directory,
            None => std::env::current_exe()?.parent().context("this program's directory")?.to_owned(),
        };
        let bridge = binaries.join("serialfleet-bridge");
        anyhow::ensure!(
            bridge.exists(),
            "{} is missing: build it (`make bench` does) or name its directory with --binaries",
            bridge.display()
        );
        let hook = binaries.join("serialfleet-hook");
        let directory = directory()?;
        let copier = compile(&directory)?;
        let (ser2net, socat) = (installed("ser2net"), installed("socat"));
        Ok(Self { bridge, hook, copier, _directory: directory, ser2net, socat })
    }

    /// Whether the peer can be measured here.
    pub(crate) fn has(&self, peer: Peer) -> bool {
        match peer {
            Peer::Ser2net | Peer::Ser2netTuned => self.ser2net.is_some(),
            Peer::Socat => self.socat.is_some(),
            Peer::Bridge | Peer::Copier | Peer::Direct => true,
        }
    }

    /// The commands that serve each tty at its address: one for all, or one for each. For the bridge see
    /// [`crate::stick`].
    pub(crate) fn commands(
        &self,
        peer: Peer,
        pairs: &[(SocketAddr, &Path)],
        directory: &Path,
    ) -> Result<Vec<Command>> {
        let program = match peer {
            Peer::Copier => Some(&self.copier),
            Peer::Ser2net | Peer::Ser2netTuned => self.ser2net.as_ref(),
            Peer::Socat => self.socat.as_ref(),
            Peer::Bridge | Peer::Direct => None,
        };
        let program = program.context("no program for this peer")?;
        let mut command = Command::new(program);
        match peer {
            Peer::Socat => {
                let one = |(address, tty): &(SocketAddr, &Path)| {
                    let mut command = Command::new(program);
                    // Without `nonblock`, with which it sleeps 10 ms each time that the tty's queue is full.
                    command.arg("-b16384").arg(format!(
                        "TCP4-LISTEN:{},bind={},reuseaddr,nodelay,fork",
                        address.port(),
                        address.ip()
                    ));
                    command.arg(format!("OPEN:{},rawer", tty.display()));
                    command
                };
                return Ok(pairs.iter().map(one).collect());
            }
            Peer::Copier => {
                command.args(pairs.iter().map(|(address, tty)| format!("{address}={}", tty.display())));
            }
            _ => {
                let file = directory.join("ser2net.yaml");
                fs::write(&file, ser2net_configuration(pairs, peer == Peer::Ser2netTuned))?;
                // Stays in the foreground; no UUCP lock files outside of our directory.
                command.args(["-n", "-u", "-c"]).arg(file);
            }
        }
        Ok(vec![command])
    }
}

/// The reference, built anew each time: `cargo build` needs no C compiler for it.
fn compile(directory: &TempDir) -> Result<PathBuf> {
    let (source, program) = (directory.path().join("copier.c"), directory.path().join("copier"));
    fs::write(&source, include_str!("../copier.c"))?;
    let output = Command::new("cc")
        .args(["-O2", "-o"])
        .args([&program, &source])
        .output()
        .context("the reference is written in C: install gcc or clang")?;
    anyhow::ensure!(output.status.success(), "cc: {}", String::from_utf8_lossy(&output.stderr));
    Ok(program)
}

/// Default: only what is needed to serve the device at all.
fn ser2net_configuration(pairs: &[(SocketAddr, &Path)], tuned: bool) -> String {
    let (nodelay, options) = if tuned {
        (
            "(nodelay)",
            "  options:\n    chardelay: false\n    dev-to-net-bufsize: 65536\n    net-to-dev-bufsize: 65536\n",
        )
    } else {
        ("", "")
    };
    let connection = |(index, (address, tty)): (usize, &(SocketAddr, &Path))| {
        let (ip, port, tty) = (address.ip(), address.port(), tty.display());
        format!(
            "connection: &port{index}\n  accepter: tcp{nodelay},{ip},{port}\n  connector: serialdev,{tty},115200n81,local\n{options}"
        )
    };
    format!("%YAML 1.1\n---\n{}", pairs.iter().enumerate().map(connection).collect::<String>())
}

fn installed(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Debian keeps ser2net where the PATH of people who are not root does not look.
    let directories = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    directories.map(|directory| directory.join(program)).find(|candidate| candidate.exists())
}
