//! A fleet of so many devices on so many nodes: what a person wrote, what bridges report, and what Kubernetes says of
//! the bridges' pods, as the API server stores it.
//!
//! Owner: the requests. Pure; knows nothing of what the hook answers.

use serde_json::{Value, json};

use crate::managed_fields::{By, managed_fields};

/// The fleet's name, and the namespaces that matter.
pub(crate) const FLEET: &str = "home";
pub(crate) const SYSTEM: &str = "serialfleet-system";
pub(crate) const SERVICES: &str = "iot-system";
pub(crate) const TIME: &str = "2026-11-21T08:41:06Z";
/// What changed requests change: a version of objects that no other object has, and the name of one tty.
pub(crate) const VERSION: &str = "70000000";
pub(crate) const TTY: &str = "ttyUSB90";

/// How large.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Size {
    pub(crate) devices: usize,
    pub(crate) nodes: usize,
}

/// What the issue names.
pub(crate) const SIZES: [Size; 3] =
    [Size { devices: 4, nodes: 2 }, Size { devices: 64, nodes: 20 }, Size { devices: 256, nodes: 100 }];

/// What is plugged in.
struct Stick {
    usb: &'static str,
    manufacturer: &'static str,
    product: &'static str,
    driver: &'static str,
    name: &'static str,
}

const STICKS: [Stick; 4] = [
    Stick {
        usb: "10c4:ea60",
        manufacturer: "ITEAD",
        product: "Sonoff Zigbee 3.0 USB Dongle Plus",
        driver: "cp210x",
        name: "zigbee",
    },
    Stick {
        usb: "0403:6001",
        manufacturer: "FTDI",
        product: "FT232R USB UART",
        driver: "ftdi_sio",
        name: "meter",
    },
    Stick {
        usb: "0658:0200",
        manufacturer: "Zooz",
        product: "800 Z-Wave Stick",
        driver: "cdc_acm",
        name: "zwave",
    },
    Stick {
        usb: "1a86:55d4",
        manufacturer: "QinHeng",
        product: "USB Single Serial",
        driver: "cdc_acm",
        name: "ups",
    },
];

/// A device of the fleet, by its number.
#[derive(Clone, Copy)]
struct Device(usize);

impl Device {
    fn stick(self) -> &'static Stick {
        match STICKS.get(self.0 % STICKS.len()) {
            Some(stick) => stick,
            None => unreachable!("a remainder"),
        }
    }

    fn name(self) -> String {
        format!("{}-{:03}", self.stick().name, self.0)
    }

    fn serial(self) -> String {
        format!("{:08x}{:04x}", hash("serial", self.0) & 0xffff_ffff, self.0)
    }

    fn tty(self, on_node: usize) -> String {
        match (self.0, self.stick().driver) {
            (0, _) => TTY.to_owned(),
            (_, "cdc_acm") => format!("ttyACM{on_node}"),
            _ => format!("ttyUSB{on_node}"),
        }
    }
}

/// Where devices are and what bridges say of them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Each device is on one node, or nowhere.
    Before,
    /// Then some were unplugged and their clients are kept, and some appeared on a second node.
    Settled,
}

impl Size {
    /// As a row names it.
    pub(crate) fn name(self) -> String {
        format!("{} devices, {} nodes", self.devices, self.nodes)
    }

    fn all(self) -> impl Iterator<Item = Device> {
        (0..self.devices).map(Device)
    }

    /// Devices on a node with their states. One of eight is nowhere, one of sixteen only kept, one on two nodes.
    fn on_node(self, node: usize, phase: Phase) -> Vec<(Device, &'static str)> {
        let mut found = Vec::new();
        for device in self.all().filter(|device| device.0 % 8 != 3) {
            let (home, again) = (device.0 % self.nodes, (device.0 + 1) % self.nodes);
            let (held, twice) = (device.0 % 16 == 7, device.0 % 16 == 5);
            if node == home {
                found.push((device, if held && phase == Phase::Settled { "Held" } else { "Serving" }));
            } else if node == again && twice && phase == Phase::Settled {
                found.push((device, "Serving"));
            }
        }
        found
    }

    /// The SerialFleet, with this status.
    pub(crate) fn parent(self, status: &Value) -> Value {
        let devices: Vec<Value> = self
            .all()
            .map(|device| {
                json!({
                    "name": device.name(),
                    "description": format!("Cabinet {}, slot {}", device.0 / 8, device.0 % 8),
                    "match": {"usb": device.stick().usb, "serialNumber": device.serial()},
                })
            })
            .collect();
        let spec = json!({"serviceNamespace": SERVICES, "defaults": {"line": {"baudRate": 115_200}}, "devices": devices});
        let said = json!({"apiVersion": "serialfleet.io/v1alpha1", "kind": "SerialFleet",
            "metadata": {"annotations": {}, "name": FLEET}, "spec": spec});
        let mut parent = said.clone();
        let annotations = json!({"kubectl.kubernetes.io/last-applied-configuration": format!("{said}\n")});
        parent["metadata"] = metadata("", FLEET, "parent");
        parent["metadata"]["annotations"] = annotations;
        parent["metadata"]["generation"] = json!(1);
        parent["metadata"]["resourceVersion"] = json!(VERSION);
        let mut managed = vec![managed_fields(&parent, By::KUBECTL)];
        if !status.is_null() {
            parent["status"] = status.clone();
            managed.push(managed_fields(
                &json!({"apiVersion": "serialfleet.io/v1alpha1", "status": status}),
                By::STATUS,
            ));
        }
        parent["metadata"]["managedFields"] = Value::Array(managed);
        parent
    }

    /// SerialNodes by name.
    pub(crate) fn serial_nodes(self, phase: Phase) -> Value {
        (0..self.nodes)
            .map(|node| {
                let name = format!("{FLEET}.{}", node_name(node));
                (name.clone(), self.serial_node(node, &name, phase))
            })
            .collect()
    }

    fn serial_node(self, node: usize, name: &str, phase: Phase) -> Value {
        let found = self.on_node(node, phase);
        let mut devices = Vec::new();
        let mut ports = Vec::new();
        for (index, (device, state)) in found.iter().enumerate() {
            let (stick, identity) = (device.stick(), format!("serialNumber={}", device.serial()));
            let mut port = json!({"name": device.name(), "state": state, "identity": identity, "since": TIME,
                "transitions": [{"state": state, "time": TIME}]});
            if *state == "Serving" {
                let tty = device.tty(index);
                port["tty"] = json!(tty);
                port["baudRate"] = json!(115_200);
                devices.push(json!({"driver": stick.driver, "interfaceNumber": 0, "manufacturer": stick.manufacturer,
                    "matchedBy": device.name(), "portNumber": 0, "product": stick.product, "serialNumber": device.serial(),
                    "tty": tty, "usb": stick.usb, "usbPath": format!("pci-0000:00:14.0-usb-1.{}", index + 1)}));
            } else {
                port["message"] = json!("Unplugged; its clients are kept until 20 s have passed.");
            }
            ports.push(port);
        }
        let names: Vec<String> = found.iter().map(|(device, _)| device.name()).collect();
        let mut object = json!({
            "apiVersion": "serialfleet.io/v1alpha1",
            "kind": "SerialNode",
            "nodeName": node_name(node),
            "fleet": FLEET,
            "podUID": pod_uid(node),
            "bridgeVersion": "0.1.0",
            "summary": {"devices": devices.len().to_string(), "serving": names.join(","), "present": names.join(","), "problem": ""},
        });
        if !ports.is_empty() {
            object["devices"] = Value::Array(devices);
            object["ports"] = Value::Array(ports);
        }
        object["metadata"] = metadata("", name, "serial node");
        object["metadata"]["generation"] = json!(4);
        object["metadata"]["labels"] = json!({"serialfleet.io/fleet": FLEET});
        object["metadata"]["ownerReferences"] =
            json!([{"apiVersion": "v1", "kind": "Node", "name": node_name(node), "uid": uid("node", node)}]);
        if node == 0 {
            object["metadata"]["resourceVersion"] = json!(VERSION);
        }
        let managed = managed_fields(&object, By::BRIDGE);
        object["metadata"]["managedFields"] = json!([managed]);
        object
    }

    /// Slices of the anchor Service, as Kubernetes' own controller writes them: at most 100 pods each.
    pub(crate) fn anchor_slices(self) -> Value {
        let nodes: Vec<usize> = (0..self.nodes).collect();
        nodes.chunks(100).enumerate().map(|(index, nodes)| anchor_slice(index, nodes)).collect()
    }

    /// The DaemonSet's status.
    pub(crate) fn bridges(self) -> Value {
        let all = self.nodes;
        json!({"currentNumberScheduled": all, "desiredNumberScheduled": all, "numberAvailable": all, "numberMisscheduled": 0,
            "numberReady": all, "observedGeneration": 1, "updatedNumberScheduled": all})
    }
}

fn anchor_slice(index: usize, nodes: &[usize]) -> (String, Value) {
    let name = format!("{FLEET}-anchor-{:05x}", hash("anchor", index) & 0xf_ffff);
    let endpoints: Vec<Value> = nodes
        .iter()
        .map(|node| {
            let pod = format!("{FLEET}-bridge-{:05x}", hash("pod", *node) & 0xf_ffff);
            json!({
                "addresses": [format!("10.244.{}.{}", node / 200, node % 200 + 2)],
                "conditions": {"ready": true, "serving": true, "terminating": false},
                "nodeName": node_name(*node),
                "targetRef": {"kind": "Pod", "name": pod, "namespace": SYSTEM, "uid": pod_uid(*node)},
            })
        })
        .collect();
    let mut slice = json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": [{"name": "admin", "port": 9640, "protocol": "TCP"}],
    });
    slice["metadata"] = metadata(SYSTEM, &name, "anchor slice");
    slice["metadata"]["generateName"] = json!(format!("{FLEET}-anchor-"));
    slice["metadata"]["generation"] = json!(5);
    slice["metadata"]["annotations"] = json!({"endpoints.kubernetes.io/last-change-trigger-time": TIME});
    slice["metadata"]["labels"] = json!({
        "app.kubernetes.io/component": "bridge",
        "app.kubernetes.io/instance": FLEET,
        "app.kubernetes.io/managed-by": "serialfleet",
        "app.kubernetes.io/name": "serialfleet",
        "app.kubernetes.io/version": "0.1.0",
        "controller-uid": fleet_uid(),
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
        "kubernetes.io/service-name": format!("{FLEET}-anchor"),
        "serialfleet.io/fleet": FLEET,
        "service.kubernetes.io/headless": "",
    });
    slice["metadata"]["ownerReferences"] = json!([{"apiVersion": "v1", "blockOwnerDeletion": true, "controller": true,
        "kind": "Service", "name": format!("{FLEET}-anchor"), "uid": uid("anchor", 0)}]);
    let managed = managed_fields(&slice, By::CONTROLLER_MANAGER);
    slice["metadata"]["managedFields"] = json!([managed]);
    (format!("{SYSTEM}/{name}"), slice)
}

/// The namespace of the Services, whose owner allows them.
pub(crate) fn namespace() -> Value {
    let said = json!({"apiVersion": "v1", "kind": "Namespace",
        "metadata": {"annotations": {}, "labels": {"serialfleet.io/services": "allowed"}, "name": SERVICES}});
    let mut object = said.clone();
    object["metadata"] = metadata("", SERVICES, "namespace");
    object["metadata"]["annotations"] =
        json!({"kubectl.kubernetes.io/last-applied-configuration": format!("{said}\n")});
    object["metadata"]["labels"] =
        json!({"kubernetes.io/metadata.name": SERVICES, "serialfleet.io/services": "allowed"});
    let managed = managed_fields(&object, By::KUBECTL);
    object["metadata"]["managedFields"] = json!([managed]);
    object["spec"] = json!({"finalizers": ["kubernetes"]});
    object["status"] = json!({"phase": "Active"});
    object
}

/// Metadata that the API server sets.
pub(crate) fn metadata(namespace: &str, name: &str, what: &str) -> Value {
    let number = hash(&format!("{what} {namespace}/{name}"), 0);
    let uid = if what == "parent" { fleet_uid() } else { uid(&format!("{what} {name}"), 0) };
    let mut metadata = json!({
        "creationTimestamp": TIME,
        "name": name,
        "resourceVersion": (10_000_000 + number % 50_000_000).to_string(),
        "uid": uid,
    });
    if !namespace.is_empty() {
        metadata["namespace"] = json!(namespace);
    }
    metadata
}

pub(crate) fn fleet_uid() -> String {
    uid("fleet", 0)
}

fn pod_uid(node: usize) -> String {
    uid("pod", node)
}

fn node_name(node: usize) -> String {
    format!("worker-{node:03}")
}

fn uid(what: &str, index: usize) -> String {
    let (a, b) = (hash(what, index), hash(what, index + 1_000_000));
    let (low, high) = (a & 0xffff_ffff, a >> 32);
    format!(
        "{low:08x}-{:04x}-4{:03x}-a{:03x}-{b:012x}",
        high & 0xffff,
        (high >> 16) & 0xfff,
        b >> 52,
        b = b & 0xffff_ffff_ffff
    )
}

/// FNV-1a: the same requests on every machine.
fn hash(what: &str, index: usize) -> u64 {
    let bytes = what.bytes().chain(index.to_le_bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    // FNV's upper bits hardly depend on the last bytes.
    hash ^ (hash >> 29)
}
