//! What the bridge needs beside a PTY: a sysfs tree that describes it as a USB stick, and a fleet that names it.
//!
//! Owner: [`crate::serving`]. The tree is a simulated stick's; its node is replaced by the bench's own PTY, so that
//! every forwarder works on a PTY of the same make with the same device behind it.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use anyhow::Result;
use serialfleet_sim::{Host, Mode, Scene, Stick, StickSpec};

use crate::line::Line;

/// The stick with this number: sets its serial number and its socket.
pub(crate) fn spec(index: usize) -> StickSpec {
    StickSpec::new(Scene::Ftdi)
        .serial_number(serial_number(index).as_str())
        .usb_path(&format!("1-{}", index + 1))
        .mode(Mode::Echo)
}

/// A stick in the tree whose tty is `line`.
pub(crate) fn present(host: &Host, index: usize, line: &Line) -> Result<Stick> {
    let stick = host.plug(spec(index))?;
    let (name, node) = (stick.name(0)?, stick.node(0)?);
    fs::remove_file(&node)?;
    symlink(&line.path, &node)?;
    fs::write(host.sysfs_root().join("class/tty").join(name).join("dev"), format!("{}\n", line.number))?;
    Ok(stick)
}

/// A fleet with one device for each address. A flood is not paced, so a client must not be ended for it.
pub(crate) fn fleet(addresses: &[SocketAddr]) -> String {
    let device = |(index, address): (usize, &SocketAddr)| {
        let (number, port) = (serial_number(index), address.port());
        format!(
            "  - {{name: port-{index}, match: {{usb: \"0403:6001\", serialNumber: \"{number}\"}}, port: {port}}}\n"
        )
    };
    let devices: String = addresses.iter().enumerate().map(device).collect();
    format!("{HEAD}{devices}")
}

/// The bridge, serving `fleet` from the host's sticks.
pub(crate) fn command(bridge: &Path, host: &Host, fleet: &Path, bind: SocketAddr) -> Command {
    let mut command = Command::new(bridge);
    command.arg("run").arg("--file").arg(fleet).args(["--node", "bench"]);
    command.args(["--bind", &bind.ip().to_string(), "--admin", &bind.to_string()]);
    command.arg("--sysfs-root").arg(host.sysfs_root()).arg("--dev-root").arg(host.dev_root());
    command
}

fn serial_number(index: usize) -> String {
    format!("BENCH{index:03}")
}

const HEAD: &str = "apiVersion: serialfleet.io/v1alpha1
kind: SerialFleet
metadata: {name: bench}
spec:
  defaults: {clients: {slowReader: Block}}
  devices:
";
