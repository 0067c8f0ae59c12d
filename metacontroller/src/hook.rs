//! Metacontroller's CompositeController hooks, v2: what it posts and what it expects back
//! (metacontroller `pkg/controller/composite/api/v2`). Tolerant of unknown fields; children and related objects
//! stay untyped here, because the hook server picks only what it needs from each.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Objects by group key (`Kind.group/version`), then by `namespace/name` or `name`. Index by the objects' own
/// metadata, not by these keys: v1 spells them differently.
pub type ObjectMap = BTreeMap<String, BTreeMap<String, Value>>;

/// Body of a call of the sync or finalize hook.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SyncRequest {
    /// The CompositeController itself.
    #[serde(default)]
    pub controller: Value,
    /// The SerialFleet.
    pub parent: Value,
    /// Observed children.
    #[serde(default)]
    pub children: Option<ObjectMap>,
    /// Related objects, as asked for by the customize hook.
    #[serde(default)]
    pub related: Option<ObjectMap>,
    /// Whether this is the finalize hook.
    #[serde(default)]
    pub finalizing: bool,
}

/// Answer of the sync hook. Metacontroller reads it strictly: no other field may stand at the top.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SyncResponse {
    /// Replaces the parent's status.
    pub status: Value,
    /// Every desired child: what is missing here is deleted.
    pub children: Vec<Value>,
    /// Ask for another call after this many seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resync_after_seconds: Option<f64>,
    /// Only for the finalize hook.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finalized: Option<bool>,
}

/// Body of a call of the customize hook.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CustomizeRequest {
    /// The CompositeController itself.
    #[serde(default)]
    pub controller: Value,
    /// The SerialFleet.
    pub parent: Value,
}

/// Answer of the customize hook.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CustomizeResponse {
    /// What to send along with each sync.
    pub related_resources: Vec<ResourceRule>,
}

/// Which objects of one kind are related. `names` excludes the label selector.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceRule {
    /// API version of the kind.
    pub api_version: String,
    /// Plural name of the kind.
    pub resource: String,
    /// Labels that they carry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label_selector: Option<Value>,
    /// Namespace that they are in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Their names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
}
