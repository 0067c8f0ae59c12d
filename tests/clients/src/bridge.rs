//! The real bridge as users start it without a cluster: `run --file`, on a simulated machine.
//!
//! Owner: one scenario each. It ends with it.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};

use anyhow::{Context, Result};
use serialfleet_sim::Host;
use tempfile::TempDir;

use crate::admin::Admin;
use crate::environment;
use crate::program::Program;

/// A running bridge.
#[derive(Debug)]
pub struct Bridge {
    /// Where it answers questions.
    pub admin: Admin,
    program: Program,
    _directory: TempDir,
}

impl Bridge {
    /// Starts it with these `devices:` of a SerialFleet, each in YAML's flow style.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(host: &Host, devices: &[&str]) -> Result<Self> {
        Self::start_with(host, &fleet(devices))
    }

    /// Starts it with this SerialFleet.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start_with(host: &Host, fleet: &str) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("serialfleet-clients-").tempdir()?;
        let file = directory.path().join("fleet.yaml");
        fs::write(&file, fleet)?;
        let address = own_address();
        let mut command = Command::new(environment::bridge());
        for (variable, _) in std::env::vars_os() {
            // It takes every flag from there as well.
            if variable.to_string_lossy().starts_with("SERIALFLEET_") {
                command.env_remove(variable);
            }
        }
        command.arg("run").arg("--file").arg(&file).args(["--bind", &address.to_string()]);
        command.arg("--sysfs-root").arg(host.sysfs_root()).arg("--dev-root").arg(host.dev_root());
        let program = Program::start("serialfleet-bridge", &mut command)?;
        let admin = Admin(SocketAddr::new(address, ADMIN_PORT));
        Ok(Self { admin, program, _directory: directory })
    }

    /// Where the device is served, once it is.
    ///
    /// # Errors
    /// It is not soon; says what it is instead.
    pub fn serving(&self, device: &str) -> Result<SocketAddr> {
        let port = self.admin.wait(device, "Serving").with_context(|| self.program.said())?;
        let address = port["addresses"][0].as_str().with_context(|| format!("no address in {port}"))?;
        Ok(address.parse()?)
    }
}

/// A SerialFleet with these devices, each in YAML's flow style.
#[must_use]
pub fn fleet(devices: &[&str]) -> String {
    let devices: String = devices.iter().map(|device| format!("  - {device}\n")).collect();
    format!(
        "apiVersion: serialfleet.io/v1alpha1\nkind: SerialFleet\nmetadata: {{name: clients}}\nspec:\n  devices:\n{devices}"
    )
}

/// The bridge's own default.
pub const ADMIN_PORT: u16 = 9640;

/// Addresses of 127/8 are all ours: each bridge has its own, so that fixed ports never meet.
fn own_address() -> IpAddr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [_, _, high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, high.max(1), low, NEXT.fetch_add(1, Ordering::Relaxed)).into()
}
