//! A pymodbus master over TCP, and a pymodbus server at the other end of the serial line.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;
use serialfleet_clients::{admin::Connections, bridge::Bridge, environment, program::Program, wire::Wire};
use serialfleet_sim::{Host, Mode, Scene, StickSpec};

use crate::say;

pub(crate) fn goes_on_where_it_was_after_a_replug() -> Result<()> {
    let host = Host::new()?;
    let stick = Arc::new(host.plug(StickSpec::new(Scene::Ftdi).mode(Mode::Silent))?);
    // The server's own end of the line, which nobody unplugs.
    let meter = Arc::new(host.plug(StickSpec::new(Scene::Ch340).usb_path("1-2").mode(Mode::Silent))?);
    let _wire = Wire::between(&stick, &meter);
    let _server = {
        let mut python = Command::new(environment::python());
        let mut server = Program::start(
            "pymodbus' server",
            python.arg(environment::script("modbus_server.py")).arg(meter.node(0)?),
        )?;
        server.event("ready", ANSWER)?;
        server
    };
    let bridge = Bridge::start(&host, &["{name: meter, match: {usb: 0403:6001}}"])?;
    let address = bridge.serving("meter")?;
    let mut master = Program::start(
        "pymodbus' client",
        Command::new(environment::python())
            .arg(environment::script("modbus_client.py"))
            .args([address.ip().to_string(), address.port().to_string()]),
    )?;
    master.event("connected", ANSWER)?;
    let registers = json!((0..100).collect::<Vec<_>>());
    let before = master.ask("read 100", "read", ANSWER)?;
    ensure!(before["registers"] == registers, "before the unplug: {before}");
    let measured = master.ask("measure 300", "measured", ANSWER)?;

    stick.unplug()?;
    bridge.admin.wait("meter", "Held")?;
    // A master polls on: this request is lost, and only this one.
    let during = master.ask("read 100", "read", ANSWER)?;
    ensure!(during["registers"].is_string(), "nobody can have answered: {during}");
    std::thread::sleep(OUT);
    stick.plug()?;
    bridge.serving("meter")?;

    let after = master.ask("read 100", "read", ANSWER)?;
    ensure!(after["registers"] == registers, "after the replug: {after}");
    ensure!(after["own_port"] == before["own_port"], "the client has connected anew: {after}");
    let connections = bridge.admin.connections("meter")?;
    ensure!(connections == Connections { accepted: 1.0, ended: 0.0 }, "{connections:?}");
    say(&format!(
        "pymodbus: 10 registers in {} ms (p50), {} ms (p99), through a null modem of ours to a server in Python",
        measured["p50_ms"], measured["p99_ms"]
    ));
    Ok(())
}

/// More than the client's own limit, on a slow machine.
const ANSWER: Duration = Duration::from_secs(30);

/// How long the stick is out: not a wait for anything, but what the scenario is about.
const OUT: Duration = Duration::from_secs(2);
