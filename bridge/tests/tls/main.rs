//! TLS towards clients: the bridge in process, on simulated sticks, with real certificates and other people's clients.
#![allow(clippy::unwrap_used, reason = "a broken bench must stop the test at once")]

mod bulk;
mod certificates;
mod client;
mod files;
mod hostile;
mod mutual;
#[allow(dead_code, reason = "shared with the tests without TLS, which use all of it")]
#[path = "../serving/rig.rs"]
mod rig;
mod server;

use std::time::Duration;

use serialfleet_bridge::tls::{Limits, Options};
use serialfleet_sim::Host;

use self::{certificates::Mount, rig::Rig};

/// Looked at often, so that tests need not wait.
fn options(mount: &Mount) -> Options {
    Options { dir: Some(mount.path().into()), look_every: Duration::from_millis(20), ..Options::default() }
}

fn rig(mount: &Mount, devices: &str) -> Rig {
    Rig::with_tls(Host::new().unwrap(), devices, options(mount))
}

fn rig_with(mount: &Mount, limits: Limits, devices: &str) -> Rig {
    Rig::with_tls(Host::new().unwrap(), devices, Options { limits, ..options(mount) })
}

fn ended(port: &str, reason: &str) -> String {
    format!("serialfleet_port_clients_ended_total{{port=\"{port}\",reason=\"{reason}\"}}")
}

/// Two sticks and their ports, both with TLS.
const TWO: &str = "  - {name: zigbee, match: {serialNumber: A1, usb: '10c4:ea60'}, port: 6638, tls: {mode: Server}}\n  - {name: zwave, match: {serialNumber: B2, usb: '10c4:ea60'}, port: 6639, tls: {mode: Server}}\n";

fn zigbee(more: &str) -> String {
    format!("  - {{name: zigbee, match: {{serialNumber: A1, usb: '10c4:ea60'}}, {more}}}\n")
}
