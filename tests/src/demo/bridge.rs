//! The real bridge, as a child process: started as anybody would, watched through `/ports` and its report file.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    process::ExitStatus,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::Value;
use serialfleet_api::node::{PortState, PresentDevice};
use tokio::time::{Instant, sleep};

use super::{
    address,
    fleet::Fleet,
    hardware::Hardware,
    http,
    program::{Program, command},
};

/// Between two looks at a state that is awaited.
const LOOK: Duration = Duration::from_millis(10);
/// How long an awaited state may take.
const PATIENCE: Duration = Duration::from_secs(8);
/// The admin port that a bridge has in a cluster.
const ADMIN_PORT: u16 = 9640;

/// The name of the program.
pub(super) const BRIDGE: &str = "serialfleet-bridge";

/// A running bridge.
#[derive(Debug)]
pub(super) struct Bridge {
    pub(super) program: Program,
    /// Where devices are served.
    pub(super) address: IpAddr,
    /// Where `/ports` and the like are.
    pub(super) admin: SocketAddr,
    report: PathBuf,
}

/// A port as `/ports` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Port {
    pub(super) name: String,
    pub(super) state: PortState,
    #[serde(default)]
    pub(super) message: String,
    #[serde(default)]
    pub(super) tty: Option<String>,
    #[serde(default)]
    pub(super) addresses: Vec<SocketAddr>,
    #[serde(default)]
    pub(super) clients: Vec<Peer>,
}

/// A client as `/ports` shows it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(super) struct Peer {
    pub(super) peer: SocketAddr,
}

impl Bridge {
    /// Starts it; what it makes of the fleet is to be awaited.
    pub(super) fn start(
        programs: &Path,
        directory: &Path,
        fleet: &Fleet,
        hardware: &Hardware,
    ) -> Result<Self> {
        let address = address::loopback(&fleet.ports())?;
        let admin = address::free(address, ADMIN_PORT)?;
        let report = directory.join("node.json");
        let mut args = vec!["run".into(), "--file".into(), fleet.path.clone().into_os_string()];
        for (flag, value) in [
            ("--bind", address.to_string().into()),
            ("--admin", admin.to_string().into()),
            ("--sysfs-root", hardware.sysfs_root.clone().into_os_string()),
            ("--dev-root", hardware.dev_root.clone().into_os_string()),
            ("--report-file", report.clone().into_os_string()),
        ] {
            args.extend([flag.into(), value]);
        }
        let program = Program::start(programs, BRIDGE, directory.join("bridge.log"), args)?;
        Ok(Self { program, address, admin, report })
    }

    pub(super) async fn ports(&self) -> Result<Vec<Port>> {
        let answer = http::get(self.admin, "/ports").await?;
        serde_json::from_str(&answer.body).context("/ports")
    }

    /// Waits until the bridge answers at all.
    pub(super) async fn answers(&mut self) -> Result<Vec<Port>> {
        self.wait("the first plan", |_| true).await
    }

    /// Waits until all these devices are in that state.
    pub(super) async fn wait_for(&mut self, devices: &[String], state: PortState) -> Result<Vec<Port>> {
        let what = format!("{} {}", devices.join(", "), state.as_str());
        self.wait(&what, |ports| {
            ports.iter().filter(|port| port.state == state && devices.contains(&port.name)).count()
                == devices.len()
        })
        .await
    }

    /// Waits until a device is in another state.
    pub(super) async fn wait_for_other(&mut self, device: &str, state: PortState) -> Result<Vec<Port>> {
        let what = format!("{device} no longer {}", state.as_str());
        self.wait(&what, |ports| ports.iter().any(|port| port.name == device && port.state != state)).await
    }

    /// Waits until `/readyz` agrees and the ports are as wanted.
    async fn wait(&mut self, what: &str, wanted: impl Fn(&[Port]) -> bool) -> Result<Vec<Port>> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let seen = self.look().await;
            if let Ok(ports) = &seen
                && wanted(ports)
            {
                return seen;
            }
            if Instant::now() >= deadline {
                let seen = seen.map_or_else(|error| format!("{error:#}\n"), |ports| described(&ports));
                bail!("waited in vain for: {what}. It is:\n{seen}{}", self.program.last_words(10));
            }
            tokio::select! {
                error = self.program.unexpected_end() => return Err(error),
                () = sleep(LOOK) => {}
            }
        }
    }

    async fn look(&self) -> Result<Vec<Port>> {
        let ready = http::get(self.admin, "/readyz").await?;
        if ready.status != 200 {
            bail!("/readyz: {} {}", ready.status, ready.body.trim());
        }
        self.ports().await
    }

    /// The SerialNode, once it says that all these devices are in that state.
    pub(super) async fn report(&self, devices: &[String], state: PortState) -> Result<Value> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let report = self.last_report();
            let says = |report: &Value| {
                let ports = report["ports"].as_array().into_iter().flatten();
                let there = ports.filter(|port| {
                    port["state"] == state.as_str() && devices.iter().any(|device| port["name"] == *device)
                });
                there.count() == devices.len()
            };
            match report {
                Ok(report) if says(&report) => return Ok(report),
                Ok(report) if Instant::now() >= deadline => {
                    bail!("the SerialNode never said {} for {devices:?}: {report}", state.as_str())
                }
                Err(error) if Instant::now() >= deadline => return Err(error),
                _ => sleep(LOOK).await,
            }
        }
    }

    /// The SerialNode as written last.
    pub(super) fn last_report(&self) -> Result<Value> {
        let text = fs::read(&self.report).context("no SerialNode has been written")?;
        serde_json::from_slice(&text).context("the report file")
    }

    pub(super) async fn stop(self) -> Result<ExitStatus> {
        self.program.stop().await
    }
}

/// What is really plugged into this machine, as `discover` sees it.
pub(super) async fn discover(programs: &Path) -> Result<Vec<PresentDevice>> {
    let output = command(programs, BRIDGE).args(["discover", "--output", "json"]).output().await?;
    serde_json::from_slice(&output.stdout)
        .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

fn described(ports: &[Port]) -> String {
    let line = |port: &Port| format!("  {}: {} {}\n", port.name, port.state.as_str(), port.message);
    ports.iter().map(line).collect()
}
