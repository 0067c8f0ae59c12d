//! A prediction as it is shown: bounded, with the number of calls in a row in which the same was predicted.

use serde::Serialize;

use crate::{
    foresight::HOT,
    journal::Repeats,
    predict::{Action, Change, From, PathChange, Prediction, write},
    visible::{visible, visible_json},
};

/// Longest path and value in characters; how many changes of a fleet, and paths of a change.
const PATH: usize = 300;
const VALUE: usize = 300;
const CHANGES: usize = 128;
const PATHS: usize = 64;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::debug) struct PredictionView {
    pub(in crate::debug) summary: String,
    pub(in crate::debug) unchanged: usize,
    pub(in crate::debug) changes: Vec<ChangeView>,
    pub(in crate::debug) more_changes: usize,
    /// Something is written again and again.
    pub(in crate::debug) hot: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::debug) struct ChangeView {
    pub(in crate::debug) action: &'static str,
    pub(in crate::debug) object: String,
    pub(in crate::debug) reason: String,
    pub(in crate::debug) calls_in_a_row: u32,
    pub(in crate::debug) paths: Vec<PathView>,
    pub(in crate::debug) more_paths: usize,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::debug) struct PathView {
    pub(in crate::debug) path: String,
    pub(in crate::debug) before: Option<String>,
    pub(in crate::debug) after: Option<String>,
    pub(in crate::debug) drift: bool,
    pub(in crate::debug) calls_in_a_row: u32,
}

impl PredictionView {
    pub(super) fn new(prediction: &Prediction, repeats: &Repeats) -> Self {
        let mut changes: Vec<ChangeView> =
            prediction.changes.iter().take(CHANGES).map(|change| ChangeView::of(change, repeats)).collect();
        if !prediction.status.is_empty() {
            changes.push(ChangeView::of_status(&prediction.status, repeats));
        }
        Self {
            summary: prediction.summary(),
            unchanged: prediction.unchanged,
            hot: changes.iter().any(|it| it.calls_in_a_row >= HOT),
            changes,
            more_changes: prediction.changes.len().saturating_sub(CHANGES),
        }
    }
}

impl ChangeView {
    fn of(change: &Change, repeats: &Repeats) -> Self {
        let count = |path| if change.is_written() { repeats.of(write(Some(change), path)) } else { 0 };
        let paths: Vec<PathView> =
            change.paths.iter().map(|path| PathView::of(path, count(Some(path)))).collect();
        Self {
            action: change.action.as_str(),
            object: visible(&change.title(), PATH),
            reason: visible(&change.reason, PATH),
            calls_in_a_row: paths.iter().map(|it| it.calls_in_a_row).max().unwrap_or_else(|| count(None)),
            more_paths: paths.len().saturating_sub(PATHS),
            paths: paths.into_iter().take(PATHS).collect(),
        }
    }

    fn of_status(paths: &[PathChange], repeats: &Repeats) -> Self {
        let more_paths = paths.len().saturating_sub(PATHS);
        let paths: Vec<PathView> =
            paths.iter().take(PATHS).map(|it| PathView::of(it, repeats.of(write(None, Some(it))))).collect();
        Self {
            action: Action::Update.as_str(),
            object: "status of the fleet".to_owned(),
            reason: "it replaces what is there".to_owned(),
            calls_in_a_row: paths.iter().map(|it| it.calls_in_a_row).max().unwrap_or_default(),
            more_paths,
            paths,
        }
    }
}

impl PathView {
    fn of(path: &PathChange, calls_in_a_row: u32) -> Self {
        let value = |it: &serde_json::Value| visible_json(it, VALUE);
        Self {
            path: visible(&path.path, PATH),
            before: path.before.as_ref().map(value),
            after: path.after.as_ref().map(value),
            drift: path.from == From::Drift,
            calls_in_a_row,
        }
    }
}
