//! From the plug to bytes: how long a client that waits for a stick has to wait.
//!
//! Owner: the plan. Kernel events can only be injected into a network namespace of one's own, so the bench starts
//! itself again below `unshare` of util-linux. Time runs from before the stick's tree is made, which is earlier than
//! the kernel's event: the figure is an upper bound.

use std::fs;
use std::fs::File;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::{Signal, set_parent_process_death_signal};
use serialfleet_sim::{Host, Stick, namespace};

use crate::interrupt;
use crate::loopback::free_addresses;
use crate::peer::Programs;
use crate::process::Process;
use crate::round_trip::Latency;
use crate::serving::{connect, directory};
use crate::stick;

/// Plugs a stick so many times, with the kernel's events or with the new node in the device directory alone.
pub(crate) fn run(programs: &Programs, plugs: usize, uevents: bool) -> Result<Latency> {
    namespace::possible()?;
    let directory = directory()?;
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--net", "--mount"]).arg(std::env::current_exe()?);
    command.arg("plug").arg("--bridge").arg(&programs.bridge).args(["--plugs", &plugs.to_string()]);
    command.args(uevents.then_some("--uevents"));
    // Says to `namespace::enter` that this is the inside.
    command.env(MARKER, directory.path().join("entered"));
    let mut inside = Process::start(&mut command, directory.path(), Signal::TERM)?;
    let limit = PLUG * u32::try_from(plugs)? + PLUG;
    let text = inside.output(limit)?;
    let samples = text.lines().map(|line| Ok(Duration::from_micros(line.parse()?)));
    Latency::of(samples.collect::<Result<_>>()?)
}

/// The same, inside; prints microseconds, one line for each plug.
pub(crate) fn inside(bridge: &Path, plugs: usize, uevents: bool) -> Result<()> {
    ensure!(std::env::var_os(MARKER).is_some(), "only the bench itself starts this");
    set_parent_process_death_signal(Some(Signal::TERM))?;
    ensure!(namespace::enter("plug"), "not inside");
    let directory = directory()?;
    let mut host = Host::at(&directory.path().join("sys"), &directory.path().join("dev"))?;
    if uevents {
        host = host.with_uevents()?;
    }
    let [address, admin] = free_addresses(2)?[..] else { anyhow::bail!("two addresses") };
    let fleet = directory.path().join("fleet.yaml");
    fs::write(&fleet, stick::fleet(&[address]))?;
    let mut command = stick::command(bridge, &host, &fleet, admin);
    let mut process = Process::start(&mut command, directory.path(), Signal::KILL)?;
    let stick = host.stick(stick::spec(0))?;
    // The first plug waits for the start of the process, and counts for nothing.
    for plug in 0..=plugs {
        let took = once(&stick, address, &mut process)?;
        if plug > 0 {
            println!("{}", took.as_micros());
        }
    }
    Ok(())
}

fn once(stick: &Stick, address: SocketAddr, process: &mut Process) -> Result<Duration> {
    let start = Instant::now();
    let took = std::thread::scope(|scope| {
        // The client may be served before the last event is out.
        let plugging = scope.spawn(|| stick.plug());
        let served = connect(address, process).and_then(|client| first_byte(&client));
        let took = start.elapsed();
        plugging.join().ok().context("a thread has failed")??;
        served.map(|()| took)
    })?;
    stick.unplug()?;
    stick.wait_released(PLUG)?;
    // From rest to rest: the bridge looks again half a second after the last event.
    let rest = Instant::now() + REST;
    while Instant::now() < rest {
        interrupt::check()?;
        std::thread::sleep(TURN);
    }
    Ok(took)
}

fn first_byte(mut client: &File) -> Result<()> {
    client.write_all(b"?")?;
    client.read_exact(&mut [0])?;
    Ok(())
}

/// As in `serialfleet_sim::namespace`.
const MARKER: &str = "SERIALFLEET_SIM_NAMESPACE";
/// No plug takes this long.
const PLUG: Duration = Duration::from_secs(10);
const REST: Duration = Duration::from_millis(700);
const TURN: Duration = Duration::from_millis(20);
