//! The beginning of a body, as it stands on the page; the rest is for download. Only as much as is shown is taken apart.

use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};

use crate::{debug::html, visible::visible_lines};

/// Largest part of a body that stands on the page itself, in bytes, and longest line of it.
const EXCERPT: usize = 16 << 10;
const LINE: usize = 1000;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::debug) struct BodyView {
    pub(in crate::debug) bytes: usize,
    pub(in crate::debug) url: String,
    #[serde(skip)]
    pub(in crate::debug) excerpt: String,
}

impl BodyView {
    pub(super) fn new(fleet: &str, what: &str, bytes: usize, text: &[u8]) -> Self {
        let shown = String::from_utf8_lossy(text.get(..EXCERPT).unwrap_or(text));
        let mut excerpt = visible_lines(&shown, LINE);
        if text.len() > EXCERPT {
            excerpt.push_str("\n… (download it to see the rest)");
        }
        Self { bytes, url: format!("/debug/fleets/{}/{what}.json", html::encoded(fleet)), excerpt }
    }
}

/// An answer, indented, one child after the other.
pub(super) fn answer(answer: &[u8]) -> Vec<u8> {
    let parts = serde_json::from_slice::<Parts<'_>>(answer);
    parts.and_then(|it| it.pretty()).unwrap_or_else(|_| answer.to_vec())
}

#[derive(Deserialize)]
struct Parts<'a> {
    #[serde(borrow)]
    status: &'a RawValue,
    #[serde(borrow)]
    children: Vec<&'a RawValue>,
    #[serde(rename = "resyncAfterSeconds")]
    resync_after_seconds: Option<f64>,
}

impl Parts<'_> {
    fn pretty(&self) -> serde_json::Result<Vec<u8>> {
        let mut text = Vec::new();
        if let Some(seconds) = self.resync_after_seconds {
            text.extend_from_slice(format!("resyncAfterSeconds: {seconds}\n").as_bytes());
        }
        text.extend_from_slice(b"status: ");
        write(&mut text, self.status)?;
        for child in &self.children {
            if text.len() > EXCERPT {
                break;
            }
            text.extend_from_slice(b"\nchild: ");
            write(&mut text, child)?;
        }
        Ok(text)
    }
}

fn write(text: &mut Vec<u8>, raw: &RawValue) -> serde_json::Result<()> {
    let value: Value = serde_json::from_str(raw.get())?;
    serde_json::to_writer_pretty(text, &value)
}
