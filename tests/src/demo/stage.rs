//! Everything that is set up for a demo, in the order in which it is taken down again: programs, sticks, files.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serialfleet_api::node::PortState;
use tempfile::TempDir;

use super::{bridge::Bridge, fleet::Fleet, hardware::Hardware, hook::Hook};

/// The running demo.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) programs: PathBuf,
    pub(super) fleet: Fleet,
    pub(super) bridge: Bridge,
    pub(super) hook: Hook,
    pub(super) hardware: Hardware,
    /// Last: the sticks' nodes are in it.
    directory: TempDir,
}

impl Stage {
    /// Sets everything up and waits until it serves. `uevents`: the sticks also speak as the kernel does.
    pub(super) async fn build(programs: &Path, fleet: Fleet, simulated: bool, uevents: bool) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("serialfleet-demo-").tempdir()?;
        let hardware = if simulated {
            Hardware::simulated(directory.path(), &fleet.devices, uevents)?
        } else {
            Hardware::own()
        };
        let mut bridge = Bridge::start(programs, directory.path(), &fleet, &hardware)?;
        let hook = Hook::start(programs, directory.path(), bridge.address).await?;
        bridge.answers().await?;
        let simulated = hardware.simulated_devices();
        bridge.wait_for(&simulated, PortState::Serving).await?;
        bridge.report(&simulated, PortState::Serving).await?;
        Ok(Self { programs: programs.to_owned(), fleet, bridge, hook, hardware, directory })
    }

    /// Takes everything down in good order.
    pub(super) async fn strike(self) -> Result<()> {
        let Self { bridge, hook, hardware, directory, .. } = self;
        // Programs first: the bridge must not see its sticks being pulled.
        let (bridge, hook) = tokio::join!(bridge.stop(), hook.stop());
        drop(hardware);
        directory.close().context("removing the temporary directory")?;
        let (bridge, hook) = (bridge?, hook?);
        ensure!(bridge.success(), "after SIGTERM the bridge ended with {bridge}");
        ensure!(hook.success(), "after SIGTERM the hook server ended with {hook}");
        Ok(())
    }
}
