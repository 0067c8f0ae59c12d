//! `SerialNode`: what one node's bridge sees and serves. Written by that bridge only, by server-side apply and
//! only when its content changes; read by the hook server. Data only: no spec, no status, no heartbeat.

use serde::{Deserialize, Serialize};

use crate::meta::Metadata;

/// Most entries of [`SerialNode::devices`].
pub const MAX_DEVICES: usize = 128;
/// Most entries of [`SerialNode::ports`].
pub const MAX_PORTS: usize = 128;
/// Most entries of [`Port::transitions`].
pub const MAX_TRANSITIONS: usize = 5;
/// Most entries of [`Port::warnings`].
pub const MAX_WARNINGS: usize = 8;

/// One node's report for one fleet; named `<fleet>.<node>`, owned by the Node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct SerialNode {
    /// `serialfleet.io/v1alpha1`.
    #[serde(default)]
    #[cfg_attr(feature = "crd", schemars(skip))]
    pub api_version: String,
    /// `SerialNode`.
    #[serde(default)]
    #[cfg_attr(feature = "crd", schemars(skip))]
    pub kind: String,
    /// Standard object metadata.
    #[serde(default)]
    #[cfg_attr(feature = "crd", schemars(skip))]
    pub metadata: Metadata,
    /// The node.
    #[serde(default)]
    #[cfg_attr(feature = "crd", schemars(length(max = 253)))]
    pub node_name: String,
    /// The fleet.
    #[serde(default)]
    #[cfg_attr(feature = "crd", schemars(length(max = 40)))]
    pub fleet: String,
    /// Uid of the pod that wrote this: believed only while it is the ready anchor endpoint's.
    #[serde(default, rename = "podUID")]
    #[cfg_attr(feature = "crd", schemars(length(max = 64)))]
    pub pod_uid: String,
    /// Version of the bridge.
    #[serde(default)]
    #[cfg_attr(feature = "crd", schemars(length(max = 64)))]
    pub bridge_version: String,
    /// Counts and short strings, for columns.
    #[serde(default)]
    pub summary: NodeSummary,
    /// Every serial device present, matched or not, at most 128.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "crd", schemars(length(max = 128), extend("x-kubernetes-list-type" = "atomic")))]
    pub devices: Vec<PresentDevice>,
    /// Each device of the fleet that is not plainly absent here, at most 128.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "crd", schemars(length(max = 128), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])))]
    pub ports: Vec<Port>,
}

/// Counts and short strings, for columns.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct NodeSummary {
    /// How many serial devices are present, `3`.
    #[serde(default)]
    #[cfg_attr(feature = "crd", schemars(length(max = 16)))]
    pub devices: String,
    /// Names of the devices served, comma separated, cut to fit.
    #[serde(default)]
    #[cfg_attr(feature = "crd", schemars(length(max = 256)))]
    pub serving: String,
    /// What is present, cut to fit.
    #[serde(default)]
    #[cfg_attr(feature = "crd", schemars(length(max = 256)))]
    pub present: String,
    /// The first thing that is wrong, or empty.
    #[serde(default)]
    #[cfg_attr(feature = "crd", schemars(length(max = 512)))]
    pub problem: String,
}

/// A serial device that is plugged in or soldered on. Strings come from hardware: bounded, control characters
/// escaped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct PresentDevice {
    /// Name of the tty; absent where no driver made one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "crd", schemars(length(max = 64)))]
    pub tty: Option<String>,
    /// Kernel driver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "crd", schemars(length(max = 64)))]
    pub driver: Option<String>,
    /// `vendor:product` in lower-case hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "crd", schemars(length(max = 9)))]
    pub usb: Option<String>,
    /// USB serial number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "crd", schemars(length(max = 128)))]
    pub serial_number: Option<String>,
    /// USB manufacturer string.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "crd", schemars(length(max = 128)))]
    pub manufacturer: Option<String>,
    /// USB product string.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "crd", schemars(length(max = 128)))]
    pub product: Option<String>,
    /// `bInterfaceNumber`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "crd", schemars(range(min = 0, max = 255)))]
    pub interface_number: Option<i32>,
    /// usb-serial `port_number`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "crd", schemars(range(min = 0, max = 255)))]
    pub port_number: Option<i32>,
    /// Controller and chain of USB ports, `pci-0000:00:14.0-usb-1.4`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "crd", schemars(length(max = 128)))]
    pub usb_path: Option<String>,
    /// The device of the fleet that it was matched to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "crd", schemars(length(max = 40)))]
    pub matched_by: Option<String>,
}

/// A device of the fleet on this node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Port {
    /// The device's name in the fleet.
    #[cfg_attr(feature = "crd", schemars(length(max = 40)))]
    pub name: String,
    /// What it is doing.
    pub state: PortState,
    /// One CamelCase word that tells cases of one state apart, or empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[cfg_attr(feature = "crd", schemars(length(max = 64)))]
    pub reason: String,
    /// A sentence with the next step, or empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[cfg_attr(feature = "crd", schemars(length(max = 512)))]
    pub message: String,
    /// Name of the tty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "crd", schemars(length(max = 64)))]
    pub tty: Option<String>,
    /// What tells this very device from others: `serialNumber=...` or `usbPath=...` or `tty=...`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "crd", schemars(length(max = 160)))]
    pub identity: Option<String>,
    /// Bits per second in force from `line`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "crd", schemars(range(min = 0)))]
    pub baud_rate: Option<i32>,
    /// RFC 3339 time of the last change of state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "crd", schemars(length(max = 40)))]
    pub since: Option<String>,
    /// The last five changes of state, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "crd", schemars(length(max = 5), extend("x-kubernetes-list-type" = "atomic")))]
    pub transitions: Vec<Transition>,
    /// What is odd although it works, at most eight.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "crd", schemars(length(max = 8), extend("x-kubernetes-list-type" = "atomic")))]
    pub warnings: Vec<Warning>,
}

/// What a port is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
pub enum PortState {
    /// Open and listening.
    Serving,
    /// Not here (reason NoDriver, NearMiss or none).
    #[default]
    Absent,
    /// Unplugged; its clients are kept for a while.
    Held,
    /// Several candidates, none of them open.
    Ambiguous,
    /// Another process has it.
    Busy,
    /// The kernel or its configuration forbids it.
    Denied,
    /// The kernel refused something; the message says what.
    Failed,
    /// Closed because the fleet says so.
    Suspended,
}

impl PortState {
    /// The word used in objects, logs and metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Serving => "Serving",
            Self::Absent => "Absent",
            Self::Held => "Held",
            Self::Ambiguous => "Ambiguous",
            Self::Busy => "Busy",
            Self::Denied => "Denied",
            Self::Failed => "Failed",
            Self::Suspended => "Suspended",
        }
    }
}

/// One change of a port's state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Transition {
    /// RFC 3339 time.
    #[cfg_attr(feature = "crd", schemars(length(max = 40)))]
    pub time: String,
    /// The state from then on.
    pub state: PortState,
    /// Its reason, or empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[cfg_attr(feature = "crd", schemars(length(max = 64)))]
    pub reason: String,
}

/// What is odd although it works.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Warning {
    /// One CamelCase word: OutputStalled, LowLatencyUnsupported, Ambiguous, Contended, NotPublished, ...
    #[cfg_attr(feature = "crd", schemars(length(max = 64)))]
    pub reason: String,
    /// A sentence with the next step.
    #[cfg_attr(feature = "crd", schemars(length(max = 512)))]
    pub message: String,
}
