//! Which TCP port a bridge listens on for a device: a pure function of the fleet's device names, so that hook
//! server and bridges agree without talking.

use std::collections::BTreeMap;

/// First pod port.
pub const FIRST_POD_PORT: u16 = 20_000;
/// How many pod ports there are: 20000..29999.
pub const POD_PORTS: u16 = 10_000;

/// Pod port of each device: SHA-256 of its name, probing upwards (and around) on collision, in name order.
/// Names beyond [`POD_PORTS`] get none; a fleet has at most 256.
pub fn pod_ports<'a>(names: impl IntoIterator<Item = &'a str>) -> BTreeMap<&'a str, u16> {
    let names: std::collections::BTreeSet<&str> = names.into_iter().collect();
    let mut taken = std::collections::BTreeSet::new();
    let mut ports = BTreeMap::new();
    for name in names {
        #[allow(clippy::cast_possible_truncation, reason = "less than POD_PORTS")]
        let start = (crate::sha256_prefix(name) % u32::from(POD_PORTS)) as u16;
        let free = (0..POD_PORTS)
            .map(|step| FIRST_POD_PORT + (start + step) % POD_PORTS)
            .find(|port| !taken.contains(port));
        if let Some(port) = free {
            taken.insert(port);
            ports.insert(name, port);
        }
    }
    ports
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pins: a change here moves every Service's endpoint while hook server and bridges are of two versions.
    #[test]
    fn pod_ports_never_change() {
        let ports = pod_ports(["zigbee", "zwave", "meter"]);
        assert_eq!(
            ports.into_iter().collect::<Vec<_>>(),
            [("meter", 22_826), ("zigbee", 20_944), ("zwave", 20_659)]
        );
    }

    #[test]
    fn ports_are_unique_and_independent_of_order() {
        let names: Vec<String> = (0..256).map(|n| format!("device-{n}")).collect();
        let forward = pod_ports(names.iter().map(String::as_str));
        let backward = pod_ports(names.iter().rev().map(String::as_str));
        assert_eq!(forward, backward);
        let distinct: std::collections::BTreeSet<u16> = forward.values().copied().collect();
        assert_eq!(distinct.len(), 256);
        assert!(distinct.iter().all(|port| (20_000..30_000).contains(port)));
    }

    /// The first two names that want the same port: the later one in name order takes the next free port, whichever
    /// comes first in the fleet, and the others stay where they are.
    #[test]
    fn names_that_want_the_same_port_get_neighbours() {
        let start = |name: &str| crate::sha256_prefix(name) % u32::from(POD_PORTS);
        let mut wanted = BTreeMap::new();
        let (first, second) = (0..)
            .map(|n| format!("device-{n:04}"))
            .find_map(|name| wanted.insert(start(&name), name.clone()).map(|earlier| (earlier, name)))
            .unwrap();
        let port = FIRST_POD_PORT + u16::try_from(start(&first)).unwrap();
        let ports = pod_ports([second.as_str(), "zigbee", first.as_str()]);
        assert_eq!(ports[first.as_str()], port);
        assert_eq!(ports[second.as_str()], if port == 29_999 { 20_000 } else { port + 1 });
        assert_eq!(ports["zigbee"], 20_944);
    }

    #[test]
    fn the_last_port_is_followed_by_the_first() {
        let names: Vec<String> = (0..usize::from(POD_PORTS) + 5).map(|n| format!("n{n}")).collect();
        let ports = pod_ports(names.iter().map(String::as_str));
        let distinct: std::collections::BTreeSet<u16> = ports.values().copied().collect();
        assert_eq!((ports.len(), distinct.len()), (10_000, 10_000));
    }
}
