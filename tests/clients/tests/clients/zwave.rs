//! A zwave-js driver over TCP, with its own mock of a controller behind the stick.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use serialfleet_clients::{admin::Connections, bridge::Bridge, environment, program::Program, wire::Wire};
use serialfleet_sim::{Host, Mode, Scene, StickSpec};

use crate::say;

pub(crate) fn does_not_notice_that_its_stick_was_out() -> Result<()> {
    let host = Host::new()?;
    let stick = Arc::new(host.plug(StickSpec::new(Scene::CdcAcm).mode(Mode::Silent))?);
    let directory = tempfile::tempdir()?;
    let socket = directory.path().join("stick");
    let _wire = Wire::to_socket(&stick, &socket)?;
    let bridge = Bridge::start(&host, &["{name: zwave, match: {usb: 0658:0200}}"])?;
    let address = bridge.serving("zwave")?;
    let mut driver = Program::start(
        "zwave-js",
        Command::new("node")
            .arg(environment::script("zwave.mjs"))
            .arg(environment::node_modules())
            .arg(&socket)
            .arg(format!("tcp://{address}"))
            .arg(directory.path()),
    )?;
    let ready = driver.event("ready", START)?;
    ensure!(ready["nodes"] == 2, "the controller knows another network: {ready}");
    let before = driver.ask("ping", "pinged", ANSWER)?;
    ensure!(before["answered"] == true, "before the unplug: {before}");

    stick.unplug()?;
    bridge.admin.wait("zwave", "Held")?;
    // A driver is never idle for long: it repeats what is not acknowledged, some seconds.
    driver.tell("ping")?;
    std::thread::sleep(OUT);
    stick.plug()?;
    bridge.serving("zwave")?;
    let during = driver.event("pinged", ANSWER)?;

    let after = driver.ask("ping", "pinged", ANSWER)?;
    ensure!(after["answered"] == true, "after the replug: {after}");
    let connections = bridge.admin.connections("zwave")?;
    ensure!(connections == Connections { accepted: 1.0, ended: 0.0 }, "{connections:?}");
    say(&format!(
        "zwave-js: a node answered in {} ms before, {} ms after; what was asked while the stick was out: {during}",
        before["ms"], after["ms"]
    ));
    driver.ask("quit", "gone", ANSWER)?;
    Ok(())
}

/// Node.js reads a lot of files first.
const START: Duration = Duration::from_secs(60);

/// More than the driver's own limits.
const ANSWER: Duration = Duration::from_secs(30);

/// How long the stick is out: not a wait for anything, but what the scenario is about.
const OUT: Duration = Duration::from_secs(2);
