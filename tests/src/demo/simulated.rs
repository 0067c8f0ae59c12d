//! From a device's `match` to a stick that satisfies it. Pure.

use anyhow::{Result, bail};
use serialfleet_api::{fleet::Match, resolve::ResolvedDevice};
use serialfleet_sim::{Mode, Scene, StickSpec};

/// Whether the device wants a simulated stick: what is real never says so in its product string.
pub(super) fn is_simulated(device: &ResolvedDevice) -> bool {
    device.matcher.product.as_deref().is_some_and(|product| product.starts_with("Simulated"))
}

/// A stick for the device at `index` of its fleet.
pub(super) fn stick_for(device: &ResolvedDevice, index: usize) -> Result<StickSpec> {
    let wanted = &device.matcher;
    let several = |number: Option<i32>| number.is_some_and(|number| number != 0);
    if several(wanted.interface_number) || several(wanted.port_number) {
        bail!("{}: adapters with several ports are not simulated here", device.name);
    }
    Ok(usb(wanted, index).mode(firmware(&device.name)))
}

/// What answers behind a device of this name.
fn firmware(name: &str) -> Mode {
    if name.contains("zigbee") {
        Mode::ZStack
    } else if name.contains("meter") || name.contains("modbus") {
        Mode::Modbus
    } else {
        Mode::Echo
    }
}

fn usb(wanted: &Match, index: usize) -> StickSpec {
    let ids = wanted.usb.as_deref().unwrap_or("0403:6001").to_ascii_lowercase();
    let scene = match ids.split(':').next() {
        Some("10c4") => Scene::Cp210x,
        Some("1a86") => Scene::Ch340,
        Some("067b") => Scene::Pl2303,
        Some("2341") => Scene::Arduino,
        Some("0658") => Scene::CdcAcm,
        _ => Scene::Ftdi,
    };
    let text = |pattern: &Option<String>| pattern.as_ref().map(|text| text.trim_end_matches('*').to_owned());
    let socket = match wanted.usb_path.as_deref().and_then(|path| path.rsplit_once("usb-")) {
        Some((_, chain)) => format!("1-{chain}"),
        None => format!("1-1.{}", index + 1),
    };
    StickSpec::new(scene)
        .usb(&ids)
        .serial_number(text(&wanted.serial_number).as_deref())
        .manufacturer(text(&wanted.manufacturer).as_deref())
        .product(text(&wanted.product).as_deref())
        .usb_path(&socket)
        .lowest_number(FIRST_NUMBER)
}

/// Far above what is really plugged in, which keeps its names.
const FIRST_NUMBER: u16 = 100;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::demo::fleet::Fleet;

    #[test]
    fn every_device_of_the_example_gets_a_stick_of_its_own() {
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/demo.yaml");
        let fleet = Fleet::read(&example).unwrap();
        assert!(fleet.devices.iter().all(is_simulated));
        let sticks: Vec<StickSpec> = fleet
            .devices
            .iter()
            .enumerate()
            .map(|(index, device)| stick_for(device, index).unwrap())
            .collect();
        let modes: Vec<Mode> = sticks.iter().map(|stick| stick.mode).collect();
        assert_eq!(modes, [Mode::ZStack, Mode::Echo, Mode::Modbus]);
        assert_eq!(sticks[0].usb_path, "1-1.1");
        assert_eq!(sticks[0].serial_number.as_deref(), Some("DEMO-ZIGBEE"));
        assert_eq!(sticks[1].serial_number, None);
        assert_eq!(sticks[2].product.as_deref(), Some("Simulated"));
        let ports: std::collections::BTreeSet<u16> = fleet.ports().into_iter().collect();
        assert_eq!(ports.len(), fleet.devices.len(), "ports of one machine must differ");
    }
}
