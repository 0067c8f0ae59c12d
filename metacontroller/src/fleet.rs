//! `SerialFleet`: what a person writes, and the status that the hook server answers.
//!
//! Written by people (`spec`) and by the hook server through Metacontroller (`status`); read by the hook server
//! and by every bridge. This module holds the shape only: bounds stand beside the fields, defaults in
//! [`crate::resolve`], rules over several fields in `rules.rs`.

mod settings;
mod status;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::meta::{Metadata, is_default};

pub use settings::{
    ClientPolicy, ClientSettings, ExternalTrafficPolicy, FlowControl, KeepaliveSettings, LineSettings, Peer,
    Protocol, Rs485, ServiceSettings, ServiceType, Settings, SlowReader, TlsMode, TlsSettings, Writers,
};
pub use status::{DeviceStatus, FleetSummary, NodeCounts, NodeProblem, SerialFleetStatus};

/// One `SerialFleet` object as the API server or a file holds it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "crd", schemars(extend("x-kubernetes-validations" = crate::cel::fleet())))]
pub struct SerialFleet {
    /// `serialfleet.io/v1alpha1`.
    #[serde(default)]
    #[cfg_attr(feature = "crd", schemars(skip))]
    pub api_version: String,
    /// `SerialFleet`.
    #[serde(default)]
    #[cfg_attr(feature = "crd", schemars(skip))]
    pub kind: String,
    /// Standard object metadata; the name is a DNS label of at most 40 characters.
    #[serde(default)]
    #[cfg_attr(feature = "crd", schemars(skip))]
    pub metadata: Metadata,
    /// What is wanted.
    #[serde(default)]
    pub spec: SerialFleetSpec,
    /// What is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<SerialFleetStatus>,
}

/// The devices of the fleet, and how the bridges run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "crd", schemars(extend("x-kubernetes-validations" = crate::cel::spec())))]
pub struct SerialFleetSpec {
    /// Namespace of the devices' Services; default `serialfleet-system`. It must exist and carry the label
    /// `serialfleet.io/services: allowed` (serialfleet-system needs none).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "crd", schemars(length(max = 63), extend("x-kubernetes-validations" = crate::cel::service_namespace())))]
    pub service_namespace: Option<String>,
    /// How and where the node agents run.
    #[serde(default, skip_serializing_if = "is_default")]
    pub bridge: BridgeSpec,
    /// Settings for every device that does not say otherwise.
    #[serde(default, skip_serializing_if = "is_default")]
    pub defaults: Settings,
    /// The serial devices, at most 256; none means discovery only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "crd", schemars(length(max = 256), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])))]
    pub devices: Vec<Device>,
}

/// How and where the node agents run. The pod template depends on these fields (except `logLevel`) and on the
/// hook server's flags only.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct BridgeSpec {
    /// Nodes that run a bridge; default: every Linux node.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[cfg_attr(feature = "crd", schemars(extend("maxProperties" = 16), extend("x-kubernetes-validations" = crate::cel::label_keys()), transform = crate::crd::label_values))]
    pub node_selector: BTreeMap<String, String>,
    /// `true` (default): a stick on a tainted node works as well; `false`: only what `tolerations` lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tolerate_all_taints: Option<bool>,
    /// Tolerations of the bridge pods, used when `tolerateAllTaints` is `false`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "crd", schemars(length(max = 16), extend("x-kubernetes-list-type" = "atomic")))]
    pub tolerations: Vec<Toleration>,
    /// Compute resources of a bridge pod: cpu and memory only.
    #[serde(default, skip_serializing_if = "is_default")]
    pub resources: Resources,
    /// Image pull Secrets in serialfleet-system.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "crd", schemars(length(max = 8), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])))]
    pub image_pull_secrets: Vec<LocalReference>,
    /// How bridges are replaced; default `RollingUpdate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update_strategy: Option<UpdateStrategy>,
    /// `true`: bridges listen on the node's own addresses, which survive a pod restart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_network: Option<bool>,
    /// Port of livez, readyz and metrics; default 9640.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "crd", schemars(range(min = 1024, max = 65535), extend("x-kubernetes-validations" = crate::cel::admin_port())))]
    pub admin_port: Option<i32>,
    /// What bridges log; default `Info`. Never the bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_level: Option<LogLevel>,
}

/// A toleration as in a pod spec.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "crd", schemars(extend("x-kubernetes-validations" = crate::cel::toleration())))]
pub struct Toleration {
    /// Taint key; absent with operator `Exists` means every key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "crd", schemars(length(max = 253), extend("x-kubernetes-validations" = crate::cel::label_key())))]
    pub key: Option<String>,
    /// `Equal` (default) or `Exists`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<TolerationOperator>,
    /// Taint value, with operator `Equal`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "crd", schemars(length(max = 63), extend("pattern" = crate::rules::LABEL_VALUE)))]
    pub value: Option<String>,
    /// Taint effect; absent means every effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<TaintEffect>,
    /// Seconds that a NoExecute taint is tolerated; absent means for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "crd", schemars(range(min = 0, max = 2147483647)))]
    pub toleration_seconds: Option<i64>,
}

/// How a toleration compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[allow(missing_docs, reason = "the words of the Kubernetes API")]
pub enum TolerationOperator {
    Equal,
    Exists,
}

/// What a taint does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[allow(missing_docs, reason = "the words of the Kubernetes API")]
pub enum TaintEffect {
    NoSchedule,
    PreferNoSchedule,
    NoExecute,
}

/// Compute resources, cpu and memory only.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "crd", schemars(extend("x-kubernetes-validations" = crate::cel::resources())))]
pub struct Resources {
    /// What the scheduler sets aside; default cpu 10m, memory 16Mi.
    #[serde(default, skip_serializing_if = "is_default")]
    pub requests: ResourceAmounts,
    /// What may not be exceeded; default memory 64Mi. A memory limit is at least 32Mi.
    #[serde(default, skip_serializing_if = "is_default")]
    pub limits: ResourceAmounts,
}

/// Amounts of cpu and memory.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ResourceAmounts {
    /// Processor time, at most 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "crd", schemars(extend("x-kubernetes-validations" = crate::cel::cpu())))]
    pub cpu: Option<crate::meta::Quantity>,
    /// Memory, at most 512Mi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "crd", schemars(extend("x-kubernetes-validations" = crate::cel::memory())))]
    pub memory: Option<crate::meta::Quantity>,
}

/// A reference to an object in serialfleet-system.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct LocalReference {
    /// Its name.
    #[cfg_attr(feature = "crd", schemars(length(max = 253), extend("x-kubernetes-validations" = crate::cel::subdomain())))]
    pub name: String,
}

/// How bridges are replaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
pub enum UpdateStrategy {
    /// One node at a time, by the DaemonSet controller.
    #[default]
    RollingUpdate,
    /// When somebody deletes the pod.
    OnDelete,
}

/// What is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[allow(missing_docs, reason = "the words say it")]
pub enum LogLevel {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
}

/// One serial device, or one on each node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "crd", schemars(extend("x-kubernetes-validations" = crate::cel::device())))]
pub struct Device {
    /// The Service's name: a DNS-1035 label of at most 40 characters.
    #[cfg_attr(feature = "crd", schemars(length(max = 40), extend("x-kubernetes-validations" = crate::cel::device_name())))]
    pub name: String,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "crd", schemars(length(max = 256)))]
    pub description: Option<String>,
    /// `Cluster` (default): one such device in the cluster. `Node`: one on each node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
    /// Which device it is: all given fields must hold; at least `usb`, `usbPath` or `tty`.
    #[serde(rename = "match")]
    pub matcher: Match,
    /// `true`: the tty is closed and left alone, the Service stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
    /// `true`: the fleet is not Ready while this device is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub required: Option<bool>,
    /// What `defaults` can set as well.
    #[serde(flatten)]
    pub settings: Settings,
}

/// How many of a device there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
pub enum Scope {
    /// One in the cluster: Service `<device>`.
    #[default]
    Cluster,
    /// One on each node: Service `<device>-<node>`.
    Node,
}

/// Which device it is. All given fields must hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "crd", schemars(extend("x-kubernetes-validations" = crate::cel::matcher())))]
pub struct Match {
    /// `vendor:product` in hexadecimal, as lsusb prints it; case does not matter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "crd", schemars(length(max = 32), extend("x-kubernetes-validations" = crate::cel::usb())))]
    pub usb: Option<String>,
    /// USB serial number, exact; a `*` at the end stands for any ending.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "crd", schemars(length(max = 128), extend("x-kubernetes-validations" = crate::cel::wildcard())))]
    pub serial_number: Option<String>,
    /// USB manufacturer string, exact; a `*` at the end stands for any ending.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "crd", schemars(length(max = 128), extend("x-kubernetes-validations" = crate::cel::wildcard())))]
    pub manufacturer: Option<String>,
    /// USB product string, exact; a `*` at the end stands for any ending.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "crd", schemars(length(max = 128), extend("x-kubernetes-validations" = crate::cel::wildcard())))]
    pub product: Option<String>,
    /// `bInterfaceNumber`, for multi-port adapters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "crd", schemars(range(min = 0, max = 255)))]
    pub interface_number: Option<i32>,
    /// usb-serial `port_number`, for multi-port adapters with one interface.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "crd", schemars(range(min = 0, max = 255)))]
    pub port_number: Option<i32>,
    /// Chain of USB ports, `usb-1.4`, with a controller in front where a node has several:
    /// `pci-0000:00:14.0-usb-1.4`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "crd", schemars(length(max = 128), extend("x-kubernetes-validations" = crate::cel::usb_path())))]
    pub usb_path: Option<String>,
    /// Name of an on-board UART, `ttyS1`; excludes the USB fields.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "crd", schemars(length(max = 32), extend("x-kubernetes-validations" = crate::cel::tty())))]
    pub tty: Option<String>,
    /// Only on these nodes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "crd", schemars(length(max = 64), extend("x-kubernetes-list-type" = "set"), transform = crate::crd::node_names))]
    pub nodes: Vec<String>,
}
