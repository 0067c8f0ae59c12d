//! The bridge, its sticks, its fleet file; and what has been done to them.
//!
//! Owner: `soak`. Every process and thread in it ends with it.

use std::{
    collections::BTreeMap,
    fmt,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::Command,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal};
use serialfleet_bench::{interrupt, loopback::free_addresses, process::Process};
use serialfleet_sim::{Host, Mode, Scene, Stick, StickSpec};
use tempfile::TempDir;

use crate::fleet::{self, Devices, STEADY, serial_number};

/// Fields are dropped in this order: the process before what it uses.
pub(crate) struct World {
    process: Mutex<Option<Process>>,
    pid: Pid,
    admin: SocketAddr,
    steady: SocketAddr,
    addresses: Vec<SocketAddr>,
    pub(crate) devices: Devices,
    pub(crate) sticks: Vec<Stick>,
    _steady_stick: Stick,
    _host: Host,
    directory: TempDir,
}

impl World {
    pub(crate) fn start(bridge: &Path, ports: usize) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("serialfleet-soak-").tempdir()?;
        let host = Host::at(&directory.path().join("sys"), &directory.path().join("dev"))?;
        let stick = |number: &str| {
            let spec = StickSpec::new(Scene::Cp210x).serial_number(number).mode(Mode::Echo);
            spec.usb_path(&format!("1-{}", 1 + usage(number)))
        };
        let steady_stick = host.plug(stick(STEADY))?;
        let sticks =
            (0..ports).map(|port| host.plug(stick(&serial_number(port)))).collect::<Result<Vec<_>>>()?;
        let mut addresses = free_addresses(ports + 2)?;
        let admin = addresses.pop().context("an address for the admin endpoints")?;
        let steady = addresses.pop().context("an address for the port that is left in peace")?;
        let devices =
            Devices { steady: steady.port(), churned: addresses.iter().map(SocketAddr::port).collect() };
        std::fs::write(directory.path().join("fleet.yaml"), fleet::first(&devices))?;
        let mut command = Command::new(bridge);
        command.arg("run").arg("--file").arg(directory.path().join("fleet.yaml")).args(["--node", "soak"]);
        command.args(["--bind", &admin.ip().to_string(), "--admin", &admin.to_string()]);
        command.arg("--sysfs-root").arg(host.sysfs_root()).arg("--dev-root").arg(host.dev_root());
        // Every client is a line of the log: an hour of them is not wanted.
        command.env("RUST_LOG", "error");
        let process = Process::start(&mut command, directory.path(), Signal::TERM)?;
        Ok(Self {
            pid: process.pid(),
            process: Mutex::new(Some(process)),
            admin,
            steady,
            addresses,
            devices,
            sticks,
            _steady_stick: steady_stick,
            _host: host,
            directory,
        })
    }

    /// The bridge ends by SIGTERM, in time.
    pub(crate) fn stop(&self) -> Result<()> {
        let process = self.process.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut process = process.context("it has been stopped")?;
        ensure!(!process.has_ended(), "the bridge has ended by itself: {}", process.last_words());
        rustix::process::kill_process(self.pid, Signal::TERM)?;
        let limit = Instant::now() + STOP;
        while !process.has_ended() {
            ensure!(Instant::now() < limit, "the bridge has not ended {STOP:?} after SIGTERM");
            std::thread::sleep(TURN);
        }
        Ok(())
    }

    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    pub(crate) fn churned(&self) -> usize {
        self.addresses.len()
    }

    pub(crate) fn address(&self, port: usize) -> Result<SocketAddr> {
        self.addresses.get(port).copied().context("no such port")
    }

    pub(crate) fn steady(&self) -> SocketAddr {
        self.steady
    }

    /// Replaces the fleet's file as editors do.
    pub(crate) fn edit(&self, text: &str) -> Result<()> {
        let next = self.directory.path().join("fleet.yaml.next");
        std::fs::write(&next, text)?;
        Ok(std::fs::rename(next, self.directory.path().join("fleet.yaml"))?)
    }

    /// Asks the admin listener.
    pub(crate) fn get(&self, path: &str) -> Result<String> {
        let mut stream = TcpStream::connect_timeout(&self.admin, ANSWER)?;
        stream.set_read_timeout(Some(ANSWER))?;
        write!(stream, "GET {path} HTTP/1.1\r\nhost: soak\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        ensure!(answer.starts_with("HTTP/1.1 200"), "{path}: {}", answer.lines().next().unwrap_or_default());
        answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).context("no body")
    }

    /// Waits until `probe` has an answer.
    pub(crate) fn wait<T>(&self, what: &str, mut probe: impl FnMut() -> Option<T>) -> Result<T> {
        let limit = Instant::now() + SETTLED;
        loop {
            interrupt::check()?;
            if let Some(found) = probe() {
                return Ok(found);
            }
            ensure!(Instant::now() < limit, "{what} has not come about in {SETTLED:?}");
            std::thread::sleep(TURN);
        }
    }
}

/// A socket of its own for each stick.
fn usage(serial: &str) -> usize {
    serial.trim_start_matches("SOAK").parse::<usize>().map_or(0, |number| number + 1)
}

/// How often each thing was done.
#[derive(Default)]
pub(crate) struct Spread(Mutex<BTreeMap<&'static str, u64>>);

impl Spread {
    pub(crate) fn count(&self, what: &'static str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(what).or_default() += 1;
    }

    pub(crate) fn total(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().sum()
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let parts: Vec<String> = counts.iter().map(|(what, count)| format!("{count} {what}")).collect();
        f.write_str(&parts.join(", "))
    }
}

const TURN: Duration = Duration::from_millis(20);
const ANSWER: Duration = Duration::from_secs(10);
const STOP: Duration = Duration::from_secs(8);
/// Longer than any hold, back-off or dead client's time.
const SETTLED: Duration = Duration::from_secs(60);
