//! What is there: written by the hook server, read by people and bridges.

use serde::{Deserialize, Serialize};

use crate::meta::Condition;

/// What is there: written by the hook server through Metacontroller.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct SerialFleetStatus {
    /// Generation that this status speaks of; set by Metacontroller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready, Stalled, Reconciling, Applied, DevicesBound, Degraded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "crd", schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"])))]
    pub conditions: Vec<Condition>,
    /// Counts and short strings, for columns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<FleetSummary>,
    /// Each device.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "crd", schemars(length(max = 256), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])))]
    pub devices: Vec<DeviceStatus>,
}

/// Counts and short strings, for columns.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct FleetSummary {
    /// Devices in the spec (scope Node: each expected node counts).
    #[cfg_attr(feature = "crd", schemars(range(min = 0)))]
    pub devices: i32,
    /// Of them Serving or Held.
    #[cfg_attr(feature = "crd", schemars(range(min = 0)))]
    pub devices_bound: i32,
    /// Nodes that should run a bridge.
    #[cfg_attr(feature = "crd", schemars(range(min = 0)))]
    pub nodes: i32,
    /// Of them with a ready bridge.
    #[cfg_attr(feature = "crd", schemars(range(min = 0)))]
    pub nodes_ready: i32,
    /// `devicesBound/devices`.
    #[cfg_attr(feature = "crd", schemars(length(max = 32)))]
    pub bound: String,
    /// `nodesReady/nodes`.
    #[cfg_attr(feature = "crd", schemars(length(max = 32)))]
    pub ready: String,
    /// The first thing that is wrong, or empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[cfg_attr(feature = "crd", schemars(length(max = 512)))]
    pub problem: String,
}

/// One device as the fleet sees it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct DeviceStatus {
    /// The device's name.
    #[cfg_attr(feature = "crd", schemars(length(max = 63)))]
    pub name: String,
    /// A port state, or `Conflict`. Scope Node: `Serving` if any node serves it, else the least healthy state.
    #[cfg_attr(feature = "crd", schemars(length(max = 64)))]
    pub state: String,
    /// One CamelCase word, where the state has one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[cfg_attr(feature = "crd", schemars(length(max = 64)))]
    pub reason: String,
    /// Scope Cluster: the node that serves it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[cfg_attr(feature = "crd", schemars(length(max = 253)))]
    pub node: String,
    /// Scope Cluster: its tty there.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[cfg_attr(feature = "crd", schemars(length(max = 64)))]
    pub tty: String,
    /// `<service>.<namespace>.svc:<port>`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[cfg_attr(feature = "crd", schemars(length(max = 253)))]
    pub address: String,
    /// A sentence with the next step, or empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[cfg_attr(feature = "crd", schemars(length(max = 1024)))]
    pub message: String,
    /// Scope Node: how many nodes serve it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<NodeCounts>,
    /// Scope Node: the first eight nodes that do not serve it although they should.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "crd", schemars(length(max = 8), extend("x-kubernetes-list-type" = "atomic")))]
    pub problems: Vec<NodeProblem>,
}

/// Scope Node: how many nodes serve the device.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct NodeCounts {
    /// Nodes that serve it.
    #[cfg_attr(feature = "crd", schemars(range(min = 0)))]
    pub serving: i32,
    /// Nodes that have, or are expected to have, one.
    #[cfg_attr(feature = "crd", schemars(range(min = 0)))]
    pub total: i32,
}

/// Scope Node: a node that does not serve the device although it should.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct NodeProblem {
    /// The node.
    #[cfg_attr(feature = "crd", schemars(length(max = 253)))]
    pub node: String,
    /// The port's state there.
    #[cfg_attr(feature = "crd", schemars(length(max = 64)))]
    pub state: String,
    /// A sentence with the next step.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[cfg_attr(feature = "crd", schemars(length(max = 1024)))]
    pub message: String,
}
