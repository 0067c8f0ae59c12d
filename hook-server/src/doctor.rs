//! The doctor: what is wrong with a CompositeController, as data: the setting, what that does, the fix. Pure; reads
//! text and objects, never files. Used by the fleet's status, and by `serialfleet-hook doctor`.
//!
//! Metacontroller takes most of these settings without a word and then does nothing, or the same again and again: no
//! condition on the CompositeController says so. The hook gets the object with every call, and can.

mod webhook;

use std::fmt;

use serde::Deserialize;
use serde_json::Value;
use serialfleet_api::names;

/// A CompositeController as far as its settings decide whether fleets work.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Controller {
    metadata: Metadata,
    spec: Value,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Metadata {
    name: Value,
}

impl Controller {
    /// Its name, or empty.
    pub fn name(&self) -> &str {
        self.metadata.name.as_str().unwrap_or_default()
    }
}

/// One wrong or missing setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Its path below `spec`.
    pub setting: String,
    /// What it is, and what comes of that.
    pub wrong: String,
    /// What to write instead.
    pub fix: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "spec.{}: {}; {}", self.setting, self.wrong, self.fix)
    }
}

/// Why a text has no CompositeController to look at.
#[derive(Debug, thiserror::Error)]
pub enum DoctorError {
    /// It is neither YAML nor JSON.
    #[error(transparent)]
    Yaml(#[from] serde_yaml::Error),
    /// It holds none.
    #[error(
        "no CompositeController of SerialFleets in it: give the output of kubectl get compositecontrollers -o yaml, a manifest, or \
         a captured request"
    )]
    None,
}

/// The CompositeControllers of SerialFleets in a text: YAML documents, Lists, or a captured request.
///
/// # Errors
/// If the text is no YAML, or holds none.
pub fn read(text: &str) -> Result<Vec<Controller>, DoctorError> {
    let mut found = Vec::new();
    for document in serde_yaml::Deserializer::from_str(text) {
        collect(Value::deserialize(document)?, &mut found);
    }
    if found.is_empty() { Err(DoctorError::None) } else { Ok(found) }
}

fn collect(mut value: Value, found: &mut Vec<Controller>) {
    if let Some(Value::Array(items)) = value.get_mut("items").map(Value::take) {
        items.into_iter().for_each(|item| collect(item, found));
    } else if let Some(controller) = value.get_mut("controller").map(Value::take) {
        collect(controller, found);
    } else if value["kind"] == "CompositeController" {
        // Others' controllers in the same file are none of our business.
        let parent = &value["spec"]["parentResource"];
        let is_of_our_group =
            parent["apiVersion"].as_str().is_some_and(|it| it.split('/').next() == Some(names::GROUP));
        if is_of_our_group || parent["resource"].as_str().is_none_or(|resource| resource == PARENTS) {
            found.extend(serde_json::from_value::<Controller>(value));
        }
    }
}

const PARENTS: &str = "serialfleets";

/// The kinds of children that the hook makes.
const KINDS: [(&str, &str); 4] = [
    ("daemonsets", "apps/v1"),
    ("services", "v1"),
    ("endpointslices", "discovery.k8s.io/v1"),
    ("networkpolicies", "networking.k8s.io/v1"),
];

/// What is wrong, in the order of the manifest.
pub fn doctor(controller: &Controller) -> Vec<Finding> {
    let mut findings = Findings::default();
    let spec = &controller.spec;
    if spec["generateSelector"] != true {
        findings.add(
            "generateSelector",
            "is not true, so children are not told apart by parent and none is ever observed",
            "set it to true",
        );
    }
    parent(&spec["parentResource"], &mut findings);
    children(&spec["childResources"], &mut findings);
    webhook::hooks(&spec["hooks"], &mut findings);
    if !spec["resyncPeriodSeconds"].is_null() {
        findings.add(
            "resyncPeriodSeconds",
            "makes every fleet sync for nothing, for ever",
            "remove it: the hook asks for another look where one is due",
        );
    }
    findings.0
}

#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, setting: impl Into<String>, wrong: impl Into<String>, fix: impl Into<String>) {
        self.0.push(Finding { setting: setting.into(), wrong: wrong.into(), fix: fix.into() });
    }
}

fn parent(parent: &Value, findings: &mut Findings) {
    if parent["apiVersion"] != names::API_VERSION {
        findings.add(
            "parentResource.apiVersion",
            format!("is {}", said(&parent["apiVersion"])),
            format!("set it to {}", names::API_VERSION),
        );
    }
    if parent["resource"] != PARENTS {
        findings.add(
            "parentResource.resource",
            format!("is {}", said(&parent["resource"])),
            format!("set it to {PARENTS}"),
        );
    }
    if parent["ignoreStatusChanges"] != true {
        findings.add(
            "parentResource.ignoreStatusChanges",
            "is not true, so each write of a fleet's status calls the hook again",
            "set it to true",
        );
    }
    if !parent["revisionHistory"].is_null() {
        findings.add(
            "parentResource.revisionHistory",
            "asks for rolling updates by revision, which stall",
            "remove it: the DaemonSet rolls by itself",
        );
    }
}

fn children(resources: &Value, findings: &mut Findings) {
    let resources = resources.as_array().map_or(&[][..], Vec::as_slice);
    for (kind, version) in KINDS {
        let setting = |field: &str| format!("childResources[{kind}]{field}");
        let Some(resource) = resources.iter().find(|it| it["resource"] == kind) else {
            findings.add(
                setting(""),
                "is missing, so these are made once and never seen, changed or deleted again",
                format!(
                    "add {{apiVersion: {version}, resource: {kind}, updateStrategy: {{method: InPlace}}}}"
                ),
            );
            continue;
        };
        if resource["apiVersion"] != version {
            findings.add(
                setting(".apiVersion"),
                format!(
                    "is {}, so children are deleted and made again for ever",
                    said(&resource["apiVersion"])
                ),
                format!("set it to {version}"),
            );
        }
        let method = &resource["updateStrategy"]["method"];
        let wrong = match method.as_str() {
            Some("InPlace") => continue,
            None | Some("" | "OnDelete") => {
                format!("is {}, so these are made once and never changed again", said(method))
            }
            Some("Recreate") => {
                "is Recreate, so each change deletes the object first: addresses and bridges go with it"
                    .to_owned()
            }
            Some(_) => format!("is {}, so changes stall between revisions", said(method)),
        };
        findings.add(setting(".updateStrategy.method"), wrong, "set it to InPlace");
    }
    for resource in resources {
        let name = resource["resource"].as_str().unwrap_or("?");
        if !KINDS.iter().any(|(kind, _)| *kind == name) {
            findings.add(
                format!("childResources[{}]", clipped(name)),
                "is no kind that the hook makes; Metacontroller keeps every one of the cluster in memory",
                "remove it",
            );
        }
    }
}

/// What a setting holds, for a sentence.
fn said(value: &Value) -> String {
    match value {
        Value::Null => "missing".to_owned(),
        Value::String(text) => clipped(text),
        other => clipped(&other.to_string()),
    }
}

/// Whoever writes a CompositeController is an administrator; a slip of theirs still must not fill a status.
fn clipped(text: &str) -> String {
    crate::status::clip(text, 80)
}

#[cfg(test)]
mod tests;
