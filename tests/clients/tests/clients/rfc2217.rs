//! Clients that set the line over the network: serialx as zigpy uses it, and esptool's reset sequence.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serialfleet_clients::{bridge::Bridge, environment, program::Program, visitor::Visitor};
use serialfleet_sim::{Host, Mode, Scene, StickSpec};

use crate::pyserial::RFC2217;
use crate::say;

pub(crate) fn serialx_opens_and_sets_a_stick_without_modem_lines() -> Result<()> {
    let host = Host::new()?;
    let stick = host.plug(StickSpec::new(Scene::Cp210x).mode(Mode::ZStack))?;
    let bridge = Bridge::start(&host, &[RFC2217])?;
    let address = bridge.serving("stick")?;
    let mut client = Program::start(
        "serialx",
        Command::new(environment::python())
            .arg(environment::script("serialx_zstack.py"))
            .arg(format!("rfc2217://{address}")),
    )?;
    client.event("coordinator", ANSWER)?;
    let line = client.event("line", ANSWER)?;
    ensure!(line["baudrate"] == 38400, "read back: {line}");
    client.event("done", ANSWER)?;
    // Whoever leaves takes along what it has set.
    stick.wait_line(0, ANSWER, |line| line.baud == 115_200)?;
    ensure!(stick.opens(0)? == 1, "each open is an edge on the lines of a real stick");
    Ok(())
}

pub(crate) fn esptools_sequence_changes_the_line_and_leaves_it() -> Result<()> {
    let host = Host::new()?;
    let stick = host.plug(StickSpec::new(Scene::Cp210x))?;
    let bridge = Bridge::start(&host, &[RFC2217])?;
    let address = bridge.serving("stick")?;
    let mut client = Program::start(
        "esptool's sequence",
        Command::new(environment::python())
            .arg(environment::script("esptool_reset.py"))
            .arg(format!("rfc2217://{address}?ign_set_control")),
    )?;
    let reset = client.event("reset", ANSWER)?;
    client.event("done", ANSWER)?;
    ensure!(stick.line(0)?.baud == 921_600, "the rate in force is {}", stick.line(0)?.baud);
    drop(client);
    stick.wait_line(0, ANSWER, |line| line.baud == 115_200)?;
    ensure!(stick.opens(0)? == 1, "each open is an edge on the lines of a real stick");
    say(&format!("esptool's reset sequence, of which 650 ms are its own pauses: {} ms", reset["ms"]));
    Ok(())
}

/// The answer comes after the ioctl: how long both take together, beside whatever else this machine does.
pub(crate) fn orders_for_lines_are_answered() -> Result<()> {
    let host = Host::new()?;
    let _stick = host.plug(StickSpec::new(Scene::Cp210x))?;
    let bridge = Bridge::start(&host, &[RFC2217])?;
    let mut client = Visitor::to(bridge.serving("stick")?)?;
    client.agree_on_com_port()?;
    let mut taken = Vec::with_capacity(ORDERS);
    for round in 0..ORDERS {
        let start = Instant::now();
        client.set_dtr(round % 2 == 0)?;
        taken.push(start.elapsed().as_secs_f64() * 1e3);
    }
    taken.sort_by(f64::total_cmp);
    say(&format!(
        "{ORDERS} orders for DTR: answered in {:.2} ms (p50), {:.2} ms (p99), with a client in this process",
        taken[ORDERS / 2],
        taken[ORDERS * 99 / 100]
    ));
    Ok(())
}

const ORDERS: usize = 1000;

/// More than the clients' own limits.
const ANSWER: Duration = Duration::from_secs(30);
