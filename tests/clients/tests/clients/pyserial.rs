//! pyserial's own test suite, through the bridge to a stick that echoes.

use anyhow::Result;
use serialfleet_clients::{bridge::Bridge, pyserial};
use serialfleet_sim::{Host, Scene, StickSpec};

use crate::say;

pub(crate) fn over_raw_tcp() -> Result<()> {
    let host = Host::new()?;
    let _stick = host.plug(StickSpec::new(Scene::Cp210x))?;
    let bridge = Bridge::start(&host, &["{name: stick, match: {usb: 10c4:ea60}}"])?;
    let address = bridge.serving("stick")?;
    let counts =
        pyserial::run(&format!("socket://{address}"), include_str!("../../expected/pyserial-socket.txt"))?;
    say(&format!("pyserial over socket://: {counts}"));
    Ok(())
}

pub(crate) fn over_rfc2217_without_modem_lines() -> Result<()> {
    let host = Host::new()?;
    let _stick = host.plug(StickSpec::new(Scene::Cp210x))?;
    let bridge = Bridge::start(&host, &[RFC2217])?;
    let address = bridge.serving("stick")?;
    let counts = pyserial::run(
        &format!("rfc2217://{address}"),
        include_str!("../../expected/pyserial-rfc2217-pty.txt"),
    )?;
    say(&format!("pyserial over rfc2217:// without modem lines: {counts}"));
    Ok(())
}

/// A stick that echoes, for those who set its line over the network.
pub(crate) const RFC2217: &str = "{name: stick, match: {usb: 10c4:ea60}, protocol: Rfc2217}";
