//! A running guest, the bridge in it, and the hands that plug sticks in.
//!
//! Owner: the test target, which boots one for all scenarios. What it does is in `lab/`; this only talks to it.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use serialfleet_clients::{
    admin::Admin,
    bridge::{ADMIN_PORT, fleet},
    environment,
    program::Program,
};
use tempfile::TempDir;

/// A guest with the bridge running in it.
#[derive(Debug)]
pub struct Lab {
    program: Program,
    forwards: BTreeMap<u16, SocketAddr>,
    _share: TempDir,
}

/// What a driver asked of a chip, or what happened to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Seconds of the host's CLOCK_MONOTONIC.
    pub at: f64,
    /// E.g. `dtr=1 rts=0`, `divisor 001a/0000`, `plugged`.
    pub what: String,
}

impl Lab {
    /// Boots a guest and starts the bridge there with these devices, each in YAML's flow style. `ports` are theirs.
    ///
    /// # Errors
    /// QEMU does not start, or the guest does not come up within two minutes.
    pub fn boot(devices: &[&str], ports: &[u16]) -> Result<Self> {
        let share = tempfile::Builder::new().prefix("serialfleet-share-").tempdir()?;
        fs::write(share.path().join("fleet.yaml"), fleet(devices))?;
        bring_bridge(share.path())?;
        let mut command = Command::new("python3");
        command
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .arg(source().join("lab.py"))
            .arg(guest())
            .arg(share.path());
        command.arg(ADMIN_PORT.to_string()).args(ports.iter().map(u16::to_string));
        let mut program = Program::start("the lab", &mut command)?;
        let booted = program.event("booted", BOOT)?;
        let forwards = booted["forwards"].as_object().context("no forwards")?.iter();
        let forwards = forwards
            .map(|(port, address)| Ok((port.parse()?, address.as_str().unwrap_or_default().parse()?)))
            .collect::<Result<_>>()?;
        let mut lab = Self { program, forwards, _share: share };
        lab.run(START_BRIDGE)?;
        lab.admin()?.wait_for_answer()?;
        Ok(lab)
    }

    /// Where a port of the guest is reached.
    ///
    /// # Errors
    /// It was not asked for at boot.
    pub fn address(&self, port: u16) -> Result<SocketAddr> {
        self.forwards.get(&port).copied().with_context(|| format!("port {port} is not forwarded"))
    }

    /// Where the bridge answers questions.
    ///
    /// # Errors
    /// None.
    pub fn admin(&self) -> Result<Admin> {
        self.address(ADMIN_PORT).map(Admin)
    }

    /// Plugs a stick in; `kind` is one of `lab/devices.py`. One of the same name is the same stick, in its own socket.
    ///
    /// # Errors
    /// It is plugged in already, or QEMU refuses it.
    pub fn plug(&mut self, name: &str, kind: &str) -> Result<()> {
        self.ask(&format!("plug {name} {kind}")).map(drop)
    }

    /// Plugs it into another socket (from 1 on).
    ///
    /// # Errors
    /// It is plugged in already, or somebody else is there.
    pub fn plug_into(&mut self, name: &str, kind: &str, socket: u8) -> Result<()> {
        self.ask(&format!("plug {name} {kind} {socket}")).map(drop)
    }

    /// Pulls it out; when this returns, the guest has lost it.
    ///
    /// # Errors
    /// It is not plugged in.
    pub fn unplug(&mut self, name: &str) -> Result<()> {
        self.ask(&format!("unplug {name}")).map(drop)
    }

    /// From now on no bulk transfer completes, or they do again.
    ///
    /// # Errors
    /// There is no such stick.
    pub fn freeze(&mut self, name: &str, frozen: bool) -> Result<()> {
        self.ask(&format!("freeze {name} {}", u8::from(frozen))).map(drop)
    }

    /// What became of a stick, from the first event on.
    ///
    /// # Errors
    /// There is no such stick.
    pub fn events(&mut self, name: &str) -> Result<Vec<Event>> {
        let told = self.ask(&format!("events {name} 0"))?;
        let events = told["events"].as_array().context("no events")?.iter();
        let event = |event: &Value| {
            let (at, what) = (event[0].as_f64()?, event[1].as_str()?.to_owned());
            Some(Event { at, what })
        };
        events.map(|told| event(told).with_context(|| format!("no event: {told}"))).collect()
    }

    /// Runs a script in the guest, and returns what it said.
    ///
    /// # Errors
    /// It fails.
    pub fn run(&mut self, script: &str) -> Result<String> {
        let told = self.ask(&format!("exec {script}"))?;
        let out = told["out"].as_str().unwrap_or_default().to_owned();
        ensure!(told["rc"] == 0, "in the guest, {script:?} ends with {}: {out}", told["rc"]);
        Ok(out)
    }

    /// What the bridge and the kernel said: for a scenario that has failed.
    pub fn said(&mut self) -> String {
        let said = self.run("tail -n 40 /tmp/bridge.log; dmesg | tail -n 20");
        said.unwrap_or_else(|error| format!("{error:#}\n{}", self.program.said()))
    }

    fn ask(&mut self, line: &str) -> Result<Value> {
        let verb = line.split(' ').next().unwrap_or_default();
        self.program.ask(line, verb, ANSWER)
    }
}

/// What is not there, in words that say how to get it.
#[must_use]
pub fn missing() -> Vec<String> {
    let needed =
        [guest().join("vmlinux"), guest().join("initrd"), environment::bridge(), environment::python()];
    let absent = needed.iter().filter(|path| !path.exists());
    absent.map(|path| format!("{} (made by `make test-hardware`)", path.display())).collect()
}

/// The bridge, without what only a debugger reads, and the libraries that it is linked with.
fn bring_bridge(share: &Path) -> Result<()> {
    let bridge = share.join("serialfleet-bridge");
    said_by(Command::new("strip").arg("-o").arg(&bridge).arg(environment::bridge()))?;
    let libraries = share.join("lib");
    fs::create_dir(&libraries)?;
    let listed = said_by(Command::new("ldd").arg(&bridge))?;
    for path in listed.split_whitespace().filter(|word| word.starts_with('/')).map(Path::new) {
        let name = path.file_name().with_context(|| path.display().to_string())?;
        fs::copy(path, libraries.join(name)).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

fn said_by(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// What `lab/build` was told to fill: `SERIALFLEET_HARDWARE`, or `hardware` in the target directory.
fn guest() -> PathBuf {
    env::var_os("SERIALFLEET_HARDWARE").map_or_else(|| environment::target().join("hardware"), PathBuf::from)
}

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("lab")
}

/// As users start it without a cluster, and on the only address that the guest has.
const START_BRIDGE: &str = "setsid /fleet/serialfleet-bridge run --file /fleet/fleet.yaml --bind 10.0.2.15 </dev/null >/tmp/bridge.log 2>&1 &";

/// More than the lab's own patience.
const BOOT: Duration = Duration::from_secs(150);

/// More than anything takes that the lab is asked for.
const ANSWER: Duration = Duration::from_secs(60);
