//! Sticks come, go, come back, or hang.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serialfleet_clients::{admin::Connections, visitor::Visitor};
use serialfleet_hardware::lab::Lab;

use crate::{CH340, FTDI, SONOFF, Stick, ZWAVE, plug_in, pull_out, say};

pub(crate) fn each_driver_is_served(lab: &mut Lab) -> Result<()> {
    let admin = lab.admin()?;
    let mut visitors = Vec::new();
    for stick in DRIVERS {
        let mut visitor = Visitor::to(plug_in(lab, stick)?)?;
        visitor.echo(b"before").context(stick.kind)?;
        visitors.push(visitor);
    }
    for stick in DRIVERS {
        lab.unplug(stick.device)?;
        admin.wait(stick.device, "Held")?;
    }
    std::thread::sleep(OUT);
    for (stick, visitor) in DRIVERS.into_iter().zip(&mut visitors) {
        let start = Instant::now();
        lab.plug(stick.device, stick.kind)?;
        visitor.call_until_heard().context(stick.kind)?;
        let taken = start.elapsed().as_millis();
        visitor.echo(b"after").context(stick.kind)?;
        let connections = admin.connections(stick.device)?;
        ensure!(connections == Connections { accepted: 1.0, ended: 0.0 }, "{stick:?}: {connections:?}");
        say(&format!("{}: from plugging in to bytes in {taken} ms, in emulation", stick.kind));
    }
    drop(visitors);
    pull_out(lab, &DRIVERS)
}

pub(crate) fn a_socket_tells_sticks_without_a_serial_number_apart(lab: &mut Lab) -> Result<()> {
    let admin = lab.admin()?;
    let before = admin.connections("ch340")?.ended;
    let address = plug_in(lab, CH340)?;
    let mut visitor = Visitor::to(address)?;
    visitor.echo(b"before")?;
    lab.unplug("ch340")?;
    admin.wait("ch340", "Held")?;
    lab.plug_into("ch340", CH340.kind, OTHER_SOCKET)?;
    admin.wait("ch340", "Serving")?;
    ensure!(visitor.call_until_heard().is_err(), "who talked to one stick now talks to another one");
    ensure!(admin.connections("ch340")?.ended == before + 1.0, "the bridge did not end it");
    Visitor::to(address)?.echo(b"anew")?;
    pull_out(lab, &[CH340])
}

pub(crate) fn a_stick_that_hangs_disturbs_nobody(lab: &mut Lab) -> Result<()> {
    let mut hanging = Visitor::to(plug_in(lab, CH340)?)?;
    let mut other = Visitor::to(plug_in(lab, SONOFF)?)?;
    hanging.echo(b"alive")?;
    // What is written now stays in the kernel: the driver would wait for it at close, as long as the tty says.
    lab.freeze("ch340", true)?;
    hanging.say(&[0x55; 4096])?;
    other.echo(&[0xAA; 512])?;
    drop(hanging);
    pull_out(lab, &[CH340])?;
    other.echo(&[0xAA; 512])?;
    // The same stick again, well this time.
    lab.freeze("ch340", false)?;
    Visitor::to(plug_in(lab, CH340)?)?.echo(b"alive again")?;
    other.echo(&[0xAA; 512])?;
    drop(other);
    pull_out(lab, &[SONOFF, CH340])
}

/// One stick for each driver.
const DRIVERS: [Stick; 4] = [FTDI, SONOFF, CH340, ZWAVE];

/// Nobody else's.
const OTHER_SOCKET: u8 = 9;

/// How long a stick is out: not a wait for anything, but what the scenario is about.
const OUT: Duration = Duration::from_secs(2);
