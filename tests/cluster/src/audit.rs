//! The API server's audit log: who wrote what, and when all were quiet.
//!
//! Owner: scenarios that count writes. It only reads; the control plane's audit policy decides what is logged.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use crate::wait;

/// The log of one control plane.
#[derive(Clone, Debug)]
pub struct Audit {
    path: PathBuf,
}

/// A place in the log: what is before it has happened already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(u64);

/// A write that the API server has answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Write {
    /// When the answer went out.
    pub time: Timestamp,
    /// As it was authenticated, e.g. `system:serviceaccount:kube-system:daemon-set-controller`.
    pub user: String,
    /// `create`, `update`, `patch`, `delete` or `deletecollection`.
    pub verb: String,
    /// Empty for the core group.
    pub group: String,
    /// In the plural.
    pub resource: String,
    /// Such as `status`; mostly empty.
    pub subresource: String,
    /// Empty for what is cluster-scoped.
    pub namespace: String,
    /// Empty when a name was to be generated, and for `deletecollection`.
    pub name: String,
    /// The answer's HTTP status.
    pub code: u16,
    /// What was sent, if the scenario asked for bodies of this user.
    pub request: Option<Value>,
    /// What was answered, likewise.
    pub response: Option<Value>,
}

impl Write {
    /// What a cluster writes without end while nothing changes: leases and heartbeats, events, and questions that
    /// only look like writes.
    #[must_use]
    pub fn is_background(&self) -> bool {
        let heartbeat =
            self.resource == "nodes" && self.subresource == "status" && self.user.starts_with("system:node:");
        let token = self.resource == "serviceaccounts" && self.subresource == "token";
        heartbeat
            || token
            || matches!(self.resource.as_str(), "events" | "leases")
            || matches!(self.group.as_str(), "authentication.k8s.io" | "authorization.k8s.io")
    }
}

impl std::fmt::Display for Write {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { time, user, verb, resource, subresource, namespace, name, code, .. } = self;
        write!(formatter, "{time} {user}: {verb} {resource}")?;
        for part in [subresource, namespace, name].into_iter().filter(|part| !part.is_empty()) {
            write!(formatter, "/{part}")?;
        }
        write!(formatter, ": {code}")
    }
}

impl Audit {
    pub(crate) fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// The log's end now. A write that has been answered is before it, but for what the API server still does
    /// after a long answer.
    ///
    /// # Errors
    /// If the log cannot be read.
    pub fn mark(&self) -> Result<Mark> {
        match self.path.metadata() {
            Ok(metadata) => Ok(Mark(metadata.len())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Mark(0)),
            Err(error) => Err(error).with_context(|| self.path.display().to_string()),
        }
    }

    /// All writes after a mark, the background included.
    ///
    /// # Errors
    /// If the log cannot be read, or holds what is no audit event.
    pub fn writes_since(&self, mark: Mark) -> Result<Vec<Write>> {
        Ok(self.read(mark)?.0)
    }

    /// Waits for a span of time in which nothing was written that `counts`; at most `limit` in all.
    ///
    /// # Errors
    /// If there was no such span; with the last writes.
    pub async fn quiet_for(
        &self,
        span: Duration,
        limit: Duration,
        counts: impl Fn(&Write) -> bool,
    ) -> Result<()> {
        let mut mark = self.mark()?;
        let mut quiet_since = Instant::now();
        let mut last = Vec::new();
        let waited = wait::until("quiet", limit, async || {
            let (writes, end) = self.read(mark)?;
            mark = end;
            let writes: Vec<Write> = writes.into_iter().filter(&counts).collect();
            if !writes.is_empty() {
                quiet_since = Instant::now();
                last = writes;
            }
            Ok((quiet_since.elapsed() >= span).then_some(()))
        })
        .await;
        if let Err(error) = waited {
            let last: Vec<String> = last.iter().map(ToString::to_string).collect();
            bail!("no {span:?} without a write that counts: {error:#}\n{}", last.join("\n"));
        }
        Ok(())
    }

    /// Up to the last complete line: the API server may be in the middle of one.
    fn read(&self, mark: Mark) -> Result<(Vec<Write>, Mark)> {
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok((Vec::new(), mark)),
            Err(error) => return Err(error).with_context(|| self.path.display().to_string()),
        };
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(mark.0.saturating_sub(1)))?;
        file.read_to_end(&mut bytes)?;
        let end_of_line = |byte: &u8| *byte == b'\n';
        // A mark may be within a line that was being written: that one was before it.
        let start = if mark == Mark::default() {
            Some(0)
        } else {
            bytes.iter().position(end_of_line).map(|end| end + 1)
        };
        let complete = bytes.iter().rposition(end_of_line).map_or(0, |end| end + 1);
        let Some(lines) = start.and_then(|start| bytes.get(start..complete)) else {
            return Ok((Vec::new(), mark));
        };
        let writes: Result<Vec<Option<Write>>> =
            lines.split(end_of_line).filter(|line| !line.is_empty()).map(write).collect();
        let end = Mark(mark.0.saturating_sub(1) + u64::try_from(complete)?);
        Ok((writes?.into_iter().flatten().collect(), end))
    }
}

/// Nothing for a dry run, which writes nothing.
fn write(line: &[u8]) -> Result<Option<Write>> {
    let event: Event = serde_json::from_slice(line)
        .with_context(|| format!("no audit event: {}", String::from_utf8_lossy(line)))?;
    if event.request_uri.contains("dryRun=") {
        return Ok(None);
    }
    let object = event.object_ref;
    Ok(Some(Write {
        time: event.stage_timestamp.0,
        user: event.user.username,
        verb: event.verb,
        group: object.api_group,
        resource: object.resource,
        subresource: object.subresource,
        namespace: object.namespace,
        name: object.name,
        code: event.response_status.code,
        request: event.request_object,
        response: event.response_object,
    }))
}

/// What is used of `audit.k8s.io/v1` Event.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    #[serde(rename = "requestURI")]
    request_uri: String,
    stage_timestamp: MicroTime,
    verb: String,
    user: EventUser,
    #[serde(default)]
    object_ref: ObjectReference,
    #[serde(default)]
    response_status: ResponseStatus,
    request_object: Option<Value>,
    response_object: Option<Value>,
}

#[derive(Deserialize)]
struct EventUser {
    username: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ObjectReference {
    api_group: String,
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
}

#[derive(Default, Deserialize)]
struct ResponseStatus {
    #[serde(default)]
    code: u16,
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::io::Write as _;

    use super::*;

    const LINE: &str = r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","stage":"ResponseComplete",
        "requestURI":"/apis/apps/v1/namespaces/n/daemonsets/d/status?QUERY","verb":"update","user":{"username":"someone"},
        "objectRef":{"resource":"daemonsets","namespace":"n","name":"d","apiGroup":"apps","subresource":"status"},
        "responseStatus":{"metadata":{},"code":200},"stageTimestamp":"2026-01-02T03:04:05.678901Z"}"#;

    fn line(query: &str) -> String {
        LINE.replace('\n', " ").replace("QUERY", query) + "\n"
    }

    #[test]
    fn writes_are_read_once_and_only_when_they_are_complete() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let audit = Audit::new(file.path());
        let append = |text: &str| {
            OpenOptions::new().append(true).open(file.path()).unwrap().write_all(text.as_bytes()).unwrap();
        };
        let whole = line("");
        let (half, other) = whole.split_at(40);
        append(&whole);
        let (writes, mark) = audit.read(Mark::default()).unwrap();
        let shown: Vec<String> = writes.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["2026-01-02T03:04:05.678901Z someone: update daemonsets/status/n/d: 200"]);
        assert_eq!(mark, audit.mark().unwrap());

        append(half);
        let within = audit.mark().unwrap();
        assert_eq!(audit.read(mark).unwrap(), (vec![], mark));
        append(other);
        assert_eq!(audit.writes_since(mark).unwrap().len(), 1);
        assert_eq!(audit.writes_since(within).unwrap().len(), 0);
        append(&whole);
        assert_eq!(audit.writes_since(within).unwrap().len(), 1);
        assert_eq!(audit.writes_since(Mark::default()).unwrap().len(), 3);
    }

    #[test]
    fn a_dry_run_is_no_write() {
        assert_eq!(write(line("dryRun=All").as_bytes()).unwrap(), None);
    }
}
