//! Sticks come, go, come back, or hang.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serialfleet_clients::admin::Connections;
use serialfleet_hardware::{lab::Lab, visitor::Visitor};

use crate::{CH340, FTDI, SONOFF, ZWAVE, say};

pub(crate) fn each_driver_is_served(lab: &mut Lab) -> Result<()> {
    let admin = lab.admin()?;
    let mut visitors = Vec::new();
    for (device, kind, port) in STICKS {
        lab.plug(device, kind)?;
        admin.wait(device, "Serving")?;
        let mut visitor = Visitor::to(lab.address(port)?)?;
        visitor.echo(b"before").context(device)?;
        visitors.push(visitor);
    }
    for (device, ..) in STICKS {
        lab.unplug(device)?;
        admin.wait(device, "Held")?;
    }
    std::thread::sleep(OUT);
    for ((device, kind, _), visitor) in STICKS.into_iter().zip(&mut visitors) {
        let start = Instant::now();
        lab.plug(device, kind)?;
        visitor.call_until_heard().context(device)?;
        let taken = start.elapsed().as_millis();
        visitor.echo(b"after").context(device)?;
        let connections = admin.connections(device)?;
        ensure!(connections == Connections { accepted: 1.0, ended: 0.0 }, "{device}: {connections:?}");
        say(&format!("{kind}: from plugging in to bytes in {taken} ms, in emulation"));
    }
    drop(visitors);
    remove(lab, &STICKS)
}

pub(crate) fn a_socket_tells_sticks_without_a_serial_number_apart(lab: &mut Lab) -> Result<()> {
    let admin = lab.admin()?;
    let before = admin.connections("ch340")?.ended;
    lab.plug("ch340", "ch340")?;
    admin.wait("ch340", "Serving")?;
    let mut visitor = Visitor::to(lab.address(CH340)?)?;
    visitor.echo(b"before")?;
    lab.unplug("ch340")?;
    admin.wait("ch340", "Held")?;
    lab.plug_into("ch340", "ch340", OTHER_SOCKET)?;
    admin.wait("ch340", "Serving")?;
    ensure!(visitor.call_until_heard().is_err(), "who talked to one stick now talks to another one");
    ensure!(admin.connections("ch340")?.ended == before + 1.0, "the bridge ended it");
    Visitor::to(lab.address(CH340)?)?.echo(b"anew")?;
    remove(lab, &[STICKS[2]])
}

pub(crate) fn a_stick_that_hangs_disturbs_nobody(lab: &mut Lab) -> Result<()> {
    let admin = lab.admin()?;
    lab.plug("sonoff", "cp2102")?;
    lab.plug("ch340", "ch340")?;
    admin.wait("sonoff", "Serving")?;
    admin.wait("ch340", "Serving")?;
    let mut hanging = Visitor::to(lab.address(CH340)?)?;
    let mut other = Visitor::to(lab.address(SONOFF)?)?;
    hanging.echo(b"alive")?;
    // What is written now stays in the kernel: the driver would wait for it at close, as long as the tty says.
    lab.freeze("ch340", true)?;
    hanging.say(&[0x55; 4096])?;
    other.echo(&[0xAA; 512])?;
    drop(hanging);
    lab.unplug("ch340")?;
    admin.wait("ch340", "Absent")?;
    other.echo(&[0xAA; 512])?;
    // The same stick again, well this time.
    lab.freeze("ch340", false)?;
    lab.plug("ch340", "ch340")?;
    admin.wait("ch340", "Serving")?;
    Visitor::to(lab.address(CH340)?)?.echo(b"alive again")?;
    other.echo(&[0xAA; 512])?;
    let connections = admin.connections("sonoff")?;
    drop(other);
    remove(lab, &[STICKS[1], STICKS[2]])?;
    ensure!(lab.run("grep -c panicked /tmp/bridge.log || true")?.trim() == "0", "something panicked");
    say(&format!("beside a stick that hung: {} connections to the other one in all", connections.accepted));
    Ok(())
}

fn remove(lab: &mut Lab, sticks: &[Stick]) -> Result<()> {
    sticks.iter().try_for_each(|(device, ..)| lab.unplug(device))?;
    sticks.iter().try_for_each(|(device, ..)| lab.admin()?.wait(device, "Absent").map(drop))
}

/// A device of the fleet, the stick for it, and where it is served.
type Stick = (&'static str, &'static str, u16);

/// One for each driver.
const STICKS: [Stick; 4] = [
    ("ftdi", "ftdi", FTDI),
    ("sonoff", "cp2102", SONOFF),
    ("ch340", "ch340", CH340),
    ("zwave", "zwave", ZWAVE),
];

/// Nobody else's.
const OTHER_SOCKET: u8 = 9;

/// How long a stick is out: not a wait for anything, but what the scenario is about.
const OUT: Duration = Duration::from_secs(2);
