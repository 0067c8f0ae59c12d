//! What one hook call was: for the log line, the metrics, and whoever shows calls. Made by [`crate::app`] when a call
//! is over, however it ended. Decides nothing.

use std::{collections::BTreeMap, fmt::Write as _, sync::Arc, time::Duration};

use bytes::Bytes;
use serde::Deserialize;
use serialfleet_api::meta::Metadata;

use crate::{metrics::Hook, request::SyncRequest, sync::Answer};

/// A call that is over.
#[derive(Clone, Debug)]
pub struct Call {
    /// Which hook.
    pub hook: Hook,
    /// The HTTP status; 499 where the caller went away before the answer.
    pub code: u16,
    /// `Answered`, or why not: a closed set of words.
    pub reason: &'static str,
    /// The line that the caller got instead of an answer.
    pub refusal: Option<String>,
    /// Whom it was about, where that could be read.
    pub subject: Option<Arc<Subject>>,
    /// Why no answer had to be sent.
    pub unchanged: Option<Unchanged>,
    /// Size of the request's body.
    pub bytes_in: usize,
    /// Size of what was sent back.
    pub bytes_out: usize,
    /// From the request's first byte after its headers to the answer.
    pub time: Duration,
    /// From the whole request to the answer; nothing where it never came to that.
    pub work: Option<Duration>,
    /// The request, as far as it was read.
    pub request: Bytes,
    /// The answer, where one was made: also where it was not sent.
    pub answer: Option<Bytes>,
}

/// How it was known that the caller has the answer already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unchanged {
    /// The request was the same, byte by byte: nothing was computed.
    Request,
    /// Another request with the same answer.
    Answer,
}

impl Unchanged {
    /// The word for logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Request => "Request",
            Self::Answer => "Answer",
        }
    }
}

/// Whom a call was about, and what it was told.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Subject {
    /// Name of the fleet.
    pub fleet: String,
    /// Its uid.
    pub uid: String,
    /// Its generation.
    pub generation: Option<i64>,
    /// Its resource version.
    pub resource_version: String,
    /// Whether it was a call of the finalize hook.
    pub finalizing: bool,
    /// Observed children.
    pub observed: usize,
    /// Desired children, or related rules.
    pub desired: usize,
    /// `Ready=True Stalled=False`.
    pub conditions: String,
    /// How many devices are in which state.
    pub devices: BTreeMap<String, i64>,
    /// When another look is asked for.
    pub resync_after_seconds: Option<f64>,
}

impl Subject {
    /// Of a sync that was answered.
    pub fn of_sync(request: &SyncRequest, response: &Answer<'_>) -> Self {
        let mut conditions = String::new();
        for condition in &response.status.conditions {
            let space = if conditions.is_empty() { "" } else { " " };
            // Writing to a String never fails.
            write!(conditions, "{space}{}={}", condition.type_, condition.status).unwrap_or_default();
        }
        let mut devices: BTreeMap<String, i64> = BTreeMap::new();
        for device in &response.status.devices {
            match devices.get_mut(&device.state) {
                Some(count) => *count += 1,
                None => drop(devices.insert(device.state.clone(), 1)),
            }
        }
        Self {
            finalizing: request.finalizing,
            observed: request.children.len(),
            desired: response.children.len(),
            conditions,
            devices,
            resync_after_seconds: response.resync_after_seconds,
            ..Self::of_metadata(&request.parent.metadata)
        }
    }

    /// Of any request, as far as it can be read. For those that nothing else can be said about.
    pub fn of_body(request: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Body {
            parent: Parent,
        }
        #[derive(Deserialize)]
        struct Parent {
            metadata: Metadata,
        }
        let body: Body = serde_json::from_slice(request).ok()?;
        Some(Self::of_metadata(&body.parent.metadata))
    }

    fn of_metadata(metadata: &Metadata) -> Self {
        // What comes in is not checked against anything: the log must not become as large as it.
        let text = |it: &Option<String>| {
            it.iter().flat_map(|it| it.chars()).filter(|c| !c.is_control()).take(253).collect()
        };
        Self {
            fleet: text(&metadata.name),
            uid: text(&metadata.uid),
            generation: metadata.generation,
            resource_version: text(&metadata.resource_version),
            ..Self::default()
        }
    }
}

impl Call {
    /// Its one line in the log.
    pub fn log(&self) {
        // What is not known is left out.
        let subject = self.subject.as_deref();
        macro_rules! line {
            ($level:ident, $($message:tt)+) => {
                tracing::$level!(
                    hook = self.hook.as_str(),
                    code = self.code,
                    reason = self.reason,
                    fleet = subject.map(|it| it.fleet.as_str()),
                    uid = subject.map(|it| it.uid.as_str()),
                    generation = subject.and_then(|it| it.generation),
                    resource_version = subject.map(|it| it.resource_version.as_str()),
                    finalizing = subject.and_then(|it| it.finalizing.then_some(true)),
                    bytes_in = self.bytes_in,
                    bytes_out = self.bytes_out,
                    children_observed = subject.map(|it| it.observed),
                    children_desired = subject.map(|it| it.desired),
                    conditions = subject.map(|it| it.conditions.as_str()),
                    unchanged = self.unchanged.map(Unchanged::as_str),
                    resync_after_seconds = subject.and_then(|it| it.resync_after_seconds),
                    microseconds = micros(self.time),
                    work_microseconds = self.work.map(micros),
                    $($message)+
                )
            };
        }
        match &self.refusal {
            None => line!(info, "answered"),
            Some(refusal) if self.code == 500 => line!(error, "failed: {refusal}"),
            Some(refusal) => line!(warn, "refused: {refusal}"),
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
