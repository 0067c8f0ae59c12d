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
    let outcome = pyserial::run(&format!("socket://{address}"))?;
    let counts = outcome.compare(include_str!("../../expected/pyserial-socket.txt"))?;
    say(&format!("pyserial over socket://: {counts}"));
    Ok(())
}
