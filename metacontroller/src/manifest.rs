//! `--file`: one `SerialFleet` from YAML text, read as kubectl would read it and refused as the API server would
//! refuse it, with the line. Must not open files.

use std::fmt;

use crate::{
    fleet::SerialFleet,
    rules,
    validate::{Finding, findings},
    yaml::{self, Document},
};

/// Why a file is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileProblem {
    /// Line, from 1; `None` where it concerns the file as a whole.
    pub line: Option<usize>,
    /// Field path; empty where it concerns no field.
    pub path: String,
    /// A sentence that says what to write instead.
    pub message: String,
}

impl fmt::Display for FileProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for FileProblem {}

impl From<yaml::Problem> for FileProblem {
    fn from(problem: yaml::Problem) -> Self {
        Self { line: Some(problem.line), path: problem.path, message: problem.message }
    }
}

/// The one fleet that the text holds.
///
/// # Errors
/// Every refusal, in the order of [`crate::validate::validate`].
pub fn read_fleet(text: &str) -> Result<SerialFleet, Vec<FileProblem>> {
    read(text, |_| Vec::new())
}

/// The one fleet that the text holds, for a bridge without a cluster: devices listen on `port` itself there, so each
/// needs one of its own.
///
/// # Errors
/// Every refusal of [`read_fleet`], else those of ports.
pub fn read_standalone_fleet(text: &str) -> Result<SerialFleet, Vec<FileProblem>> {
    read(text, |fleet| rules::standalone_ports(&fleet.spec))
}

fn read(text: &str, further: impl Fn(&SerialFleet) -> Vec<Finding>) -> Result<SerialFleet, Vec<FileProblem>> {
    let documents = yaml::read(text).map_err(|problem| vec![problem.into()])?;
    let document = only_document(documents).map_err(|problem| vec![problem])?;
    let verdict = findings(&document.value).and_then(|fleet| match further(&fleet) {
        none if none.is_empty() => Ok(fleet),
        some => Err(some),
    });
    verdict.map_err(|findings| {
        findings
            .into_iter()
            .map(|finding| FileProblem {
                line: Some(line(&document, &finding)),
                path: finding.path,
                message: finding.message,
            })
            .collect()
    })
}

/// What kubectl would send of the text: its first document, unchecked.
///
/// # Errors
/// If the text is no YAML that kubectl would take.
pub fn to_json(text: &str) -> Result<Option<serde_json::Value>, FileProblem> {
    let documents = yaml::read(text).map_err(FileProblem::from)?;
    Ok(documents.into_iter().next().map(|document| document.value))
}

fn only_document(documents: Vec<Document>) -> Result<Document, FileProblem> {
    let whole = |line, message| Err(FileProblem { line, path: String::new(), message });
    let kind = |document: &Document| document.value["kind"].as_str().unwrap_or("nothing").to_owned();
    if documents.len() > 1 {
        if let Some(other) = documents.iter().find(|document| kind(document) != "SerialFleet") {
            let message = format!(
                "the file also holds an object of kind {:?}: a file is one SerialFleet and nothing else",
                kind(other)
            );
            return whole(Some(other.line), message);
        }
        let names = documents.iter().filter_map(|document| document.value["metadata"]["name"].as_str());
        let names = names.take(8).collect::<Vec<_>>().join(", ");
        let message =
            format!("the file holds {} SerialFleets ({names}): write one to a file", documents.len());
        return whole(documents.get(1).map(|document| document.line), message);
    }
    match documents.into_iter().next() {
        Some(document) => Ok(document),
        None => whole(None, "the file is empty: write a SerialFleet".to_owned()),
    }
}

/// The line of the field, or of the nearest one around it that is there.
fn line(document: &Document, finding: &Finding) -> usize {
    let mut path = finding.path.as_str();
    let device;
    if path == "spec.devices"
        && let Some(index) = finding.device
    {
        device = format!("spec.devices[{index}]");
        path = &device;
    }
    loop {
        if let Some(line) = document.lines.get(path) {
            return *line;
        }
        let Some(end) = path.rfind(['.', '[']) else { return document.line };
        path = path.get(..end).unwrap_or_default();
    }
}
