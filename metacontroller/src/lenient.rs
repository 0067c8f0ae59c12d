//! A fleet as a bridge reads it from the API server: the CRD may be newer than the bridge. What the bridge does not
//! understand is left out, device by device, and never served without it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::{
    fleet::SerialFleet,
    rules,
    schema::{self, Difference},
    validate::{Finding, Path, Segment, Violation, envelope, whole},
};

/// A fleet read by a bridge from the API server.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LenientFleet {
    /// What this version understands of it: refused devices are left out.
    pub fleet: SerialFleet,
    /// Devices that are refused, by name, each with a sentence.
    pub refused: BTreeMap<String, String>,
}

impl LenientFleet {
    /// The names of all devices, the refused ones among them: [`crate::ports::pod_ports`] must be given them all,
    /// or a bridge would count other ports than the hook server.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let served = self.fleet.spec.devices.iter().map(|device| device.name.as_str());
        let names: BTreeSet<&str> = served.chain(self.refused.keys().map(String::as_str)).collect();
        names.into_iter()
    }
}

/// The fleet as far as this version understands it.
///
/// # Errors
/// Only if the envelope is unusable: no object, another kind or version, metadata or lists of another type.
pub fn read_lenient(object: &Value) -> Result<LenientFleet, Vec<Violation>> {
    let fields = envelope(object).map_err(|finding| vec![Violation::from(finding)])?;
    let schema = schema::of_kind("SerialFleet").map_err(|error| vec![whole("", error.to_string()).into()])?;
    let mut object = Value::Object(fields);
    let differences = schema::differences(&schema, &object);
    drop(schema);

    for (pointer, path) in [("/spec", "spec"), ("/spec/devices", "spec.devices")] {
        let fits = |value: &Value| if path == "spec" { value.is_object() } else { value.is_array() };
        if object.pointer(pointer).is_some_and(|value| !fits(value)) {
            return Err(differences.into_iter().map(|found| Finding::from(found).into()).collect());
        }
    }
    let mut refused = BTreeMap::new();
    for difference in &differences {
        refuse(difference, &object, &mut refused);
    }
    for difference in differences.iter().filter(|d| d.path.device().is_none() && !d.is_unknown_field) {
        remove(&mut object, &difference.path);
    }
    if let Some(Value::Array(devices)) = object.pointer_mut("/spec/devices") {
        let mut index = 0;
        devices.retain(|_| {
            index += 1;
            !refused.contains_key(&(index - 1))
        });
    }
    let mut by_name = BTreeMap::new();
    for (_, (name, message)) in refused {
        by_name.entry(name).or_insert(message);
    }
    let mut fleet = read_rest(object)?;
    refuse_by_rules(&mut fleet, &mut by_name);
    Ok(LenientFleet { fleet, refused: by_name })
}

/// Name and sentence of each refused device, by index.
type Refused = BTreeMap<usize, (String, String)>;

/// A difference in a device refuses it; one in `defaults` refuses the devices that do not set that leaf themselves.
fn refuse(difference: &Difference, object: &Value, refused: &mut Refused) {
    let devices = object.pointer("/spec/devices").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let hint = if difference.is_unknown_field {
        "; or upgrade this bridge, which does not know the field"
    } else {
        ""
    };
    let sentence = format!("{}: {}{hint}", difference.path, difference.message);
    for (index, device) in devices.iter().enumerate() {
        let concerned = match difference.path.device() {
            Some(own) => own == index,
            None => {
                difference.path.starts_with(&["spec", "defaults"])
                    && look_up(device, difference.path.0.get(2..).unwrap_or_default()).is_none()
            }
        };
        if concerned {
            let name = device
                .get("name")
                .and_then(Value::as_str)
                .map_or_else(|| format!("devices[{index}]"), str::to_owned);
            refused.entry(index).or_insert_with(|| (name, sentence.clone()));
        }
    }
}

fn look_up<'a>(mut value: &'a Value, path: &[Segment]) -> Option<&'a Value> {
    for segment in path {
        value = match segment {
            Segment::Field(name) => value.get(name)?,
            // A list of `defaults` is replaced whole.
            Segment::Index(_) => return Some(value),
        };
    }
    Some(value)
}

/// Removes a field; of a list with a bad entry, the list.
fn remove(object: &mut Value, path: &Path) {
    let fields: Vec<&str> = path
        .0
        .iter()
        .map_while(|segment| match segment {
            Segment::Field(name) => Some(name.as_str()),
            Segment::Index(_) => None,
        })
        .collect();
    let Some((last, parents)) = fields.split_last() else { return };
    let parent = parents.iter().try_fold(object, |value, name| value.get_mut(*name));
    if let Some(Value::Object(parent)) = parent {
        parent.remove(*last);
    }
}

/// The typed fleet. What still does not fit is of no use to a bridge, and left out: first the status, then
/// `spec.bridge`.
fn read_rest(mut object: Value) -> Result<SerialFleet, Vec<Violation>> {
    for (parent, field) in [("", "status"), ("/spec", "bridge")] {
        if let Ok(fleet) = serde_json::from_value(object.clone()) {
            return Ok(fleet);
        }
        if let Some(Value::Object(parent)) = object.pointer_mut(parent) {
            parent.remove(field);
        }
    }
    serde_json::from_value(object).map_err(|error| vec![whole("spec", error.to_string()).into()])
}

fn refuse_by_rules(fleet: &mut SerialFleet, refused: &mut BTreeMap<String, String>) {
    let findings = rules::check(fleet);
    for finding in &findings {
        if let Some(device) = finding.device.and_then(|index| fleet.spec.devices.get(index)) {
            let sentence = format!("{}: {}", finding.path, finding.message);
            refused.entry(device.name.clone()).or_insert(sentence);
        }
    }
    let mut index = 0;
    fleet.spec.devices.retain(|_| {
        index += 1;
        !findings.iter().any(|finding| finding.device == Some(index - 1))
    });
}
