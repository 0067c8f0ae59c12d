//! The sync request as far as the hook needs it: the parent, and of each observed object the few fields that a
//! decision depends on. Everything else (managedFields, last-applied annotations, fields of later versions) is
//! skipped while reading, never stored.
//!
//! Unlike [`serialfleet_api::hook`], which holds whole objects for tools, this reads a megabyte in milliseconds.
//! What cannot be understood becomes a [`Refusal`], never an empty list: an empty list would delete children.

mod labels;
mod views;

use serde::Deserialize;
use serde_json::value::RawValue;
use serialfleet_api::{
    fleet::{SerialFleetSpec, SerialFleetStatus},
    meta::Metadata,
    resolve::{ResolvedDevice, resolve},
};

pub use labels::Labels;
pub use views::*;

use crate::doctor::Controller;

/// Why a request gets no answer. Metacontroller then leaves children and status as they are and shows the text in
/// an event, hence one short line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The body is not what Metacontroller sends.
    #[error("this is no hook request: {0}")]
    Envelope(String),
    /// The SerialFleet cannot be understood.
    #[error("the SerialFleet cannot be understood: {0}")]
    Parent(String),
}

impl Refusal {
    pub(crate) fn envelope(error: &serde_json::Error) -> Self {
        Self::Envelope(one_line(&error.to_string()))
    }

    pub(crate) fn nameless() -> Self {
        Self::Parent("it has no metadata.name".to_owned())
    }

    fn parent(part: &str, error: &serde_json::Error) -> Self {
        Self::Parent(one_line(&format!("{part}: {error}")))
    }
}

fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(400).collect()
}

/// One call of the sync hook.
#[derive(Clone, Debug)]
pub struct SyncRequest {
    /// The CompositeController that calls, where it said so and can be read.
    pub controller: Option<Controller>,
    /// The SerialFleet.
    pub parent: Parent,
    /// Observed children.
    pub children: Objects,
    /// What the customize hook asked for.
    pub related: Objects,
    /// Whether this is a call of the finalize hook.
    pub finalizing: bool,
}

/// The SerialFleet of a call.
#[derive(Clone, Debug)]
pub struct Parent {
    /// Its name: never empty.
    pub name: String,
    /// Its metadata.
    pub metadata: Metadata,
    /// What is wanted.
    pub spec: SerialFleetSpec,
    /// The devices of the spec with every setting decided, sorted by name, each name once.
    pub devices: Vec<ResolvedDevice>,
    /// What the last sync said; empty where that cannot be read.
    pub status: SerialFleetStatus,
}

/// The label by which Metacontroller tells the children of one parent from those of another.
pub const CONTROLLER_UID: &str = "controller-uid";

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default)]
    controller: Option<&'a RawValue>,
    #[serde(borrow, default)]
    parent: Option<RawParent<'a>>,
    #[serde(default)]
    children: Option<Objects>,
    #[serde(default)]
    related: Option<Objects>,
    #[serde(default)]
    finalizing: bool,
}

#[derive(Deserialize)]
struct RawParent<'a> {
    #[serde(default)]
    kind: String,
    #[serde(borrow, default)]
    metadata: Option<&'a RawValue>,
    #[serde(borrow, default)]
    spec: Option<&'a RawValue>,
    #[serde(borrow, default)]
    status: Option<&'a RawValue>,
}

impl SyncRequest {
    /// Reads the body of a call.
    ///
    /// # Errors
    /// If it is no hook request, or if its parent is no SerialFleet that can be understood.
    pub fn parse(body: &[u8]) -> Result<Self, Refusal> {
        let envelope: Envelope<'_> =
            serde_json::from_slice(body).map_err(|error| Refusal::envelope(&error))?;
        let parent = envelope.parent.ok_or_else(|| Refusal::Envelope("it has no parent".to_owned()))?;
        Ok(Self {
            // Settings of a later Metacontroller must not stand in the way of the fleet.
            controller: envelope.controller.and_then(|raw| serde_json::from_str(raw.get()).ok()),
            parent: Parent::parse(&parent)?,
            children: envelope.children.unwrap_or_default(),
            related: envelope.related.unwrap_or_default(),
            finalizing: envelope.finalizing,
        })
    }
}

impl Parent {
    fn parse(raw: &RawParent<'_>) -> Result<Self, Refusal> {
        if !raw.kind.is_empty() && raw.kind != "SerialFleet" {
            return Err(Refusal::Parent(one_line(&format!(
                "it is a {}; the CompositeController's parentResource must be serialfleets",
                raw.kind
            ))));
        }
        let metadata: Metadata = match raw.metadata {
            Some(raw) => {
                serde_json::from_str(raw.get()).map_err(|error| Refusal::parent("metadata", &error))?
            }
            None => Metadata::default(),
        };
        let name = metadata.name.clone().unwrap_or_default();
        if name.is_empty() {
            return Err(Refusal::nameless());
        }
        // No spec is not an empty one: answering it would delete every Service.
        let spec = raw.spec.ok_or_else(|| Refusal::Parent("it has no spec".to_owned()))?;
        let spec: SerialFleetSpec =
            serde_json::from_str(spec.get()).map_err(|error| Refusal::parent("spec", &error))?;
        let devices = resolved(&spec)?;
        // A status of another version must not stand in the way of the one that replaces it.
        let status = raw.status.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default();
        Ok(Self { name, metadata, spec, devices, status })
    }

    /// Namespace of the devices' Services.
    pub fn service_namespace(&self) -> &str {
        service_namespace(self.spec.service_namespace.as_deref())
    }

    /// Whether the fleet asks for the nodes' own network.
    pub fn host_network(&self) -> bool {
        self.spec.bridge.host_network.unwrap_or(false)
    }

    /// Port of livez, readyz and metrics.
    pub fn admin_port(&self) -> i32 {
        self.spec.bridge.admin_port.unwrap_or(9640)
    }
}

/// Namespace of the devices' Services for what `spec.serviceNamespace` says.
pub(crate) fn service_namespace(said: Option<&str>) -> &str {
    said.filter(|said| !said.is_empty()).unwrap_or(serialfleet_api::names::SYSTEM_NAMESPACE)
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn parse(value: &Value) -> Result<SyncRequest, Refusal> {
        SyncRequest::parse(value.to_string().as_bytes())
    }

    fn fleet() -> Value {
        json!({"kind": "SerialFleet", "metadata": {"name": "home"}, "spec": {"devices": [
            {"name": "b", "match": {"usb": "1:2"}}, {"name": "a", "match": {"usb": "1:3"}}]}})
    }

    #[test]
    fn what_cannot_be_understood_is_refused_with_one_line_and_never_taken_for_empty() {
        for (what, body, says) in [
            ("not JSON", "hello\n".to_owned(), "no hook request"),
            ("no object", "[]".to_owned(), "no hook request"),
            ("no parent", "{}".to_owned(), "no parent"),
            ("null parent", json!({"parent": null}).to_string(), "no parent"),
            ("no name", json!({"parent": {"spec": {}}}).to_string(), "metadata.name"),
            ("no spec", json!({"parent": {"metadata": {"name": "home"}}}).to_string(), "no spec"),
            (
                "a null spec",
                json!({"parent": {"metadata": {"name": "home"}, "spec": null}}).to_string(),
                "spec",
            ),
            (
                "another kind",
                json!({"parent": {"kind": "Pod", "metadata": {"name": "x"}}}).to_string(),
                "Pod",
            ),
            (
                "devices of another type",
                json!({"parent": {"metadata": {"name": "home"}, "spec": {"devices": "none"}}}).to_string(),
                "spec",
            ),
            (
                "twins",
                json!({"parent": {"metadata": {"name": "home"}, "spec": {"devices": [
                    {"name": "a", "match": {}}, {"name": "a", "match": {}}]}}})
                .to_string(),
                "two are named a",
            ),
            (
                "a child that is none",
                json!({"parent": fleet(), "children": {"Service.v1": 3}}).to_string(),
                "no",
            ),
        ] {
            let refusal = SyncRequest::parse(body.as_bytes()).unwrap_err().to_string();
            assert!(refusal.contains(says), "{what}: {refusal}");
            assert!(!refusal.contains('\n') && refusal.len() < 600, "{what}: {refusal}");
        }
    }

    #[test]
    fn unknown_fields_and_missing_or_null_groups_are_tolerated() {
        let request = parse(&json!({"parent": fleet(), "children": null, "related": {"Service.v1": null,
            "Pod.v1": {"x": 1}}, "news": [1]}))
        .unwrap();
        assert!(request.children.services.is_empty());
        assert_eq!(request.parent.devices.iter().map(|d| d.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn a_status_that_cannot_be_read_counts_as_none() {
        let mut parent = fleet();
        parent["status"] = json!({"conditions": "many"});
        assert_eq!(parse(&json!({"parent": parent})).unwrap().parent.status, SerialFleetStatus::default());
    }
}
