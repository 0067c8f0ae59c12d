//! The real bridge as users start it without a cluster: `run --file`, on a simulated machine.
//!
//! Owner: one scenario each. It sees of the bridge what anybody sees: `/ports`, `/metrics`, sockets.

use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use serialfleet_sim::Host;
use tempfile::TempDir;

use crate::environment;
use crate::program::Program;

/// A running bridge.
#[derive(Debug)]
pub struct Bridge {
    program: Program,
    address: IpAddr,
    _directory: TempDir,
}

impl Bridge {
    /// Starts it with these `devices:` of a SerialFleet, each a line of YAML.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(host: &Host, devices: &[String]) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("serialfleet-clients-").tempdir()?;
        let fleet = directory.path().join("fleet.yaml");
        let devices: String = devices.iter().map(|device| format!("  - {device}\n")).collect();
        fs::write(&fleet, format!("{HEAD}{devices}"))?;
        let address = own_address();
        let mut command = Command::new(environment::bridge());
        for (variable, _) in std::env::vars_os() {
            // It takes every flag from there as well.
            if variable.to_string_lossy().starts_with("SERIALFLEET_") {
                command.env_remove(variable);
            }
        }
        command.arg("run").arg("--file").arg(&fleet).args(["--bind", &address.to_string()]);
        command.arg("--sysfs-root").arg(host.sysfs_root()).arg("--dev-root").arg(host.dev_root());
        let program = Program::start("serialfleet-bridge", &mut command)?;
        Ok(Self { program, address, _directory: directory })
    }

    /// Where the device is served, once it is.
    ///
    /// # Errors
    /// It is not within [`SOON`]; says what it is instead.
    pub fn serving(&self, device: &str) -> Result<SocketAddr> {
        let port = self.wait(device, "Serving")?;
        let address = port["addresses"][0].as_str().with_context(|| format!("no address in {port}"))?;
        Ok(address.parse()?)
    }

    /// Waits until the device is in this state.
    ///
    /// # Errors
    /// It is not within [`SOON`]; says what it is instead.
    pub fn wait(&self, device: &str, state: &str) -> Result<Value> {
        let deadline = Instant::now() + SOON;
        loop {
            let seen = self.ports();
            if let Ok(ports) = &seen
                && let Some(port) = ports.iter().find(|port| port["name"] == device && port["state"] == state)
            {
                return Ok(port.clone());
            }
            if Instant::now() > deadline {
                bail!("{device} is not {state}: {seen:#?}\n{}", self.program.said());
            }
            std::thread::sleep(LOOK);
        }
    }

    /// The sum of a metric of a device, over all its other labels.
    ///
    /// # Errors
    /// The bridge does not answer.
    pub fn metric(&self, name: &str, device: &str) -> Result<f64> {
        let label = format!("port=\"{device}\"");
        let text = self.get("/metrics")?;
        let lines =
            text.lines().filter(|line| line.starts_with(&format!("{name}{{")) && line.contains(&label));
        Ok(lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
    }

    /// What became of a device's TCP connections until now.
    ///
    /// # Errors
    /// The bridge does not answer.
    pub fn connections(&self, device: &str) -> Result<Connections> {
        let metric = |name| self.metric(name, device);
        Ok(Connections {
            accepted: metric("serialfleet_port_connections_total")?,
            ended: metric("serialfleet_port_clients_ended_total")?,
        })
    }

    fn ports(&self) -> Result<Vec<Value>> {
        Ok(serde_json::from_str(&self.get("/ports")?)?)
    }

    fn get(&self, path: &str) -> Result<String> {
        let admin = SocketAddr::new(self.address, ADMIN_PORT);
        let mut stream = TcpStream::connect_timeout(&admin, SOON)?;
        stream.set_read_timeout(Some(SOON))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no end of the head")?;
        ensure!(head.starts_with("HTTP/1.1 200"), "{path}: {head}");
        ensure!(!head.to_ascii_lowercase().contains("transfer-encoding"), "{path} comes in chunks");
        Ok(body.to_owned())
    }
}

/// How many TCP connections there were, and how many of them have ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Connections {
    /// Ever accepted.
    pub accepted: f64,
    /// Ended, for whatever reason.
    pub ended: f64,
}

/// Longer than anything takes that only the machine's speed delays.
pub const SOON: Duration = Duration::from_secs(10);

const HEAD: &str =
    "apiVersion: serialfleet.io/v1alpha1\nkind: SerialFleet\nmetadata: {name: clients}\nspec:\n  devices:\n";

/// The bridge's own default.
const ADMIN_PORT: u16 = 9640;

/// Between two looks at a state that is awaited.
const LOOK: Duration = Duration::from_millis(10);

/// Addresses of 127/8 are all ours: each bridge has its own, so that fixed ports never meet.
fn own_address() -> IpAddr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [_, _, high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, high.max(1), low, NEXT.fetch_add(1, Ordering::Relaxed)).into()
}
