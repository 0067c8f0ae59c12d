//! Verdicts on a `SerialFleet` without an API server: the same refusals as the CRD makes, with the same field paths
//! and messages. Must not read files or know YAML ([`crate::manifest`] does).

use std::fmt;

use serde_json::{Map, Value};

use crate::{
    fleet::SerialFleet,
    meta::Metadata,
    names::API_VERSION,
    rules,
    schema::{self, Difference},
};

pub use crate::lenient::{LenientFleet, read_lenient};

/// One refusal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// Field path, spelled as the API server does: `spec.devices[1].match.usb`. Empty: the object as a whole.
    pub path: String,
    /// A sentence that says what to write instead.
    pub message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

/// A violation, and the device that it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) path: String,
    pub(crate) message: String,
    /// Index in `spec.devices`.
    pub(crate) device: Option<usize>,
}

impl From<Difference> for Finding {
    fn from(difference: Difference) -> Self {
        Self {
            device: difference.path.device(),
            path: difference.path.to_string(),
            message: difference.message,
        }
    }
}

impl From<Finding> for Violation {
    fn from(finding: Finding) -> Self {
        Self { path: finding.path, message: finding.message }
    }
}

/// Where a value is in an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Path(pub(crate) Vec<Segment>);

/// One step of a [`Path`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Segment {
    Field(String),
    Index(usize),
}

impl Path {
    /// Whether it begins with these fields.
    pub(crate) fn starts_with(&self, fields: &[&str]) -> bool {
        self.0.len() >= fields.len()
            && self
                .0
                .iter()
                .zip(fields)
                .all(|(segment, field)| matches!(segment, Segment::Field(name) if name == field))
    }

    /// The index of the device that it is in.
    pub(crate) fn device(&self) -> Option<usize> {
        match self.0.get(2)? {
            Segment::Index(index) if self.starts_with(&["spec", "devices"]) => Some(*index),
            _ => None,
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Field(name) if position == 0 => f.write_str(name)?,
                Segment::Field(name) => write!(f, ".{name}")?,
                Segment::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// The fleet, if the API server would accept it. A status is ignored, as it is there.
///
/// # Errors
/// Every refusal: first those of the schema, then those of the rules over several fields.
pub fn validate(object: &Value) -> Result<SerialFleet, Vec<Violation>> {
    findings(object).map_err(|findings| findings.into_iter().map(Violation::from).collect())
}

pub(crate) fn findings(object: &Value) -> Result<SerialFleet, Vec<Finding>> {
    let mut known = envelope(object).map_err(|finding| vec![finding])?;
    known.remove("status");
    let schema = schema::of_kind("SerialFleet").map_err(|error| vec![whole("", error.to_string())])?;
    // With its nulls: an unknown field is one even if it holds nothing.
    let differences = schema::differences(&schema, object).into_iter();
    let mut found: Vec<Finding> =
        differences.filter(|found| !found.path.starts_with(&["status"])).map(Finding::from).collect();
    drop(schema);
    match serde_json::from_value::<SerialFleet>(Value::Object(known)) {
        Ok(fleet) => {
            found.extend(rules::check(&fleet));
            if found.is_empty() { Ok(fleet) } else { Err(found) }
        }
        Err(error) => {
            if found.is_empty() {
                found.push(whole("", error.to_string()));
            }
            Err(found)
        }
    }
}

/// What must be right before anything else can be looked at; without nulls, which count as absent.
pub(crate) fn envelope(object: &Value) -> Result<Map<String, Value>, Finding> {
    let Value::Object(fields) = object else {
        return Err(whole("", "write an object with apiVersion, kind, metadata and spec"));
    };
    let mut fields = fields.clone();
    fields.values_mut().for_each(remove_nulls);
    fields.retain(|_, value| !value.is_null());
    let text = |field: &str| fields.get(field).and_then(Value::as_str).unwrap_or_default();
    if text("kind") != "SerialFleet" {
        return Err(whole("kind", format!("write kind: SerialFleet (found {:?})", text("kind"))));
    }
    if text("apiVersion") != API_VERSION {
        let found = text("apiVersion");
        return Err(whole("apiVersion", format!("write apiVersion: {API_VERSION} (found {found:?})")));
    }
    let metadata = fields.get("metadata").cloned().unwrap_or_else(|| Value::Object(Map::new()));
    serde_json::from_value::<Metadata>(metadata).map_err(|error| whole("metadata", error.to_string()))?;
    Ok(fields)
}

pub(crate) fn whole(path: &str, message: impl Into<String>) -> Finding {
    Finding { path: path.to_owned(), message: message.into(), device: None }
}

fn remove_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(remove_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(remove_nulls),
        _ => {}
    }
}

/// Only the bounds of single fields: what the API server's schema refuses before it runs a CEL rule that looks
/// further than one text.
pub fn check_bounds(object: &Value) -> Vec<Violation> {
    match schema::of_kind("SerialFleet") {
        Ok(schema) => schema::differences(&schema, object)
            .into_iter()
            .map(|found| Finding::from(found).into())
            .collect(),
        Err(error) => vec![whole("", error.to_string()).into()],
    }
}
