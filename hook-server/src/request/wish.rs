//! What a SerialFleet asks for, and what follows from that alone.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use serde_json::{Value, value::RawValue};
use serialfleet_api::{
    fleet::SerialFleetSpec,
    ports::pod_ports,
    resolve::{ResolvedDevice, resolve},
};

use super::{Refusal, one_line};
use crate::children::{Bridges, Texts};

/// What a SerialFleet says that is wanted, with what follows from that alone: worked out once for each spec.
#[derive(Clone, Debug)]
pub struct Wish {
    /// Its spec.
    pub spec: SerialFleetSpec,
    /// The devices of the spec with every setting decided, sorted by name, each name once.
    pub devices: Vec<ResolvedDevice>,
    /// The port on which a bridge serves each of them.
    pub pod_ports: Vec<u16>,
    /// The bridges and their Service, once they were asked for.
    pub(crate) bridges: OnceLock<Arc<Bridges>>,
    /// What the devices' children have in common each time.
    pub(crate) texts: OnceLock<Texts>,
}

impl Wish {
    pub(super) fn read(raw: &RawValue) -> Result<Self, Refusal> {
        let read = |spec: serde_json::Result<SerialFleetSpec>| {
            let spec = spec.map_err(|error| Refusal::parent("spec", &error))?;
            let devices = resolved(&spec)?;
            Ok((spec, devices))
        };
        // The bridge will say of its device that it does not know this; the hook has no part in it.
        let strict: serde_json::Result<SerialFleetSpec> = serde_json::from_str(raw.get());
        // What stands there twice must not be taken for its second half.
        let twice = strict.as_ref().is_err_and(|error| error.to_string().contains("duplicate field"));
        let (spec, devices) = read(strict).or_else(|refusal| match twice {
            true => Err(refusal),
            false => read(without_what_is_the_bridges(raw)).map_err(|_: Refusal| refusal),
        })?;
        // With the nodes' own network there is nothing to translate: the port is the device's.
        let ports = match spec.bridge.host_network {
            Some(true) => BTreeMap::new(),
            _ => pod_ports(devices.iter().map(|device| device.name.as_str())),
        };
        let port = |device: &ResolvedDevice| ports.get(device.name.as_str()).copied().unwrap_or(device.port);
        let pod_ports = devices.iter().map(port).collect();
        Ok(Self { spec, devices, pod_ports, bridges: OnceLock::new(), texts: OnceLock::new() })
    }
}

/// Settings of a device that no child depends on.
const THE_BRIDGES: [&str; 8] =
    ["description", "suspend", "protocol", "line", "holdSeconds", "keepalive", "frameGapMilliseconds", "tls"];

/// A spec without them: values there that only a later version knows concern one device, and the bridge that has it,
/// not the children of the whole fleet.
fn without_what_is_the_bridges(raw: &RawValue) -> serde_json::Result<SerialFleetSpec> {
    let mut spec: Value = serde_json::from_str(raw.get())?;
    if let Some(bridge) = spec.get_mut("bridge").and_then(Value::as_object_mut) {
        bridge.remove("logLevel");
    }
    let mut all: Vec<&mut Value> = Vec::new();
    for (field, value) in spec.as_object_mut().into_iter().flatten() {
        match (field.as_str(), value) {
            ("defaults", defaults) => all.push(defaults),
            ("devices", Value::Array(devices)) => all.extend(devices),
            _ => {}
        }
    }
    for settings in all.into_iter().filter_map(Value::as_object_mut) {
        settings.retain(|field, _| !THE_BRIDGES.contains(&field.as_str()));
        if let Some(clients) = settings.get_mut("clients").and_then(Value::as_object_mut) {
            clients.retain(|field, _| field == "allowFrom");
        }
    }
    serde_json::from_value(spec)
}

fn resolved(spec: &SerialFleetSpec) -> Result<Vec<ResolvedDevice>, Refusal> {
    let mut devices = resolve(spec)
        .into_iter()
        .collect::<Result<Vec<_>, _>>()
        .map_err(|(name, error)| Refusal::Parent(one_line(&format!("spec.devices: {name}: {error}"))))?;
    devices.sort_by(|a, b| a.name.cmp(&b.name));
    if let Some((twin, _)) = devices.iter().zip(devices.iter().skip(1)).find(|(a, b)| a.name == b.name) {
        return Err(Refusal::Parent(one_line(&format!("spec.devices: two are named {}", twin.name))));
    }
    Ok(devices)
}
