//! One child: what is there, what is desired, what comes of it. Does as Metacontroller does
//! (`pkg/controller/common/manage_children.go`), also where that is to do nothing.

use serde_json::Value;

use super::{
    Action, Change, From, PathChange,
    read::{Fleet, Key, Method},
    reason,
};
use crate::merge::{self, Difference, LAST_APPLIED, differences};

/// Stands for the annotation in which Metacontroller remembers what it wrote, in paths.
pub(super) const REMEMBERED: &str = "(last applied)";

/// Nothing, where the child stays as it is.
pub(super) fn compare(
    key: &Key,
    observed: Option<&Value>,
    desired: &Value,
    method: Method,
) -> Option<Change> {
    let Some(observed) = observed else {
        let reason = reason::created(key, desired);
        return Some(change(key, Action::Create, reason, Vec::new()));
    };
    if is_leaving(observed) {
        let reason = "it is being deleted: left alone until it is gone, then made anew".to_owned();
        return Some(change(key, Action::Leave, reason, Vec::new()));
    }
    let paths = match path_changes(observed, desired) {
        Ok(paths) => paths,
        Err(error) => {
            let reason = format!("the sync of the whole fleet fails: {error}; remove that annotation");
            return Some(change(key, Action::Leave, reason, Vec::new()));
        }
    };
    if paths.is_empty() {
        return None;
    }
    let (action, reason) = match method {
        Method::InPlace => (Action::Update, reason::updated(key, &paths, observed, desired)),
        Method::Recreate => (
            Action::Recreate,
            format!(
                "{}; the update method is Recreate, see doctor",
                reason::updated(key, &paths, observed, desired)
            ),
        ),
        Method::OnDelete => {
            (Action::Leave, "the update method of its kind is missing or OnDelete: see doctor".to_owned())
        }
    };
    Some(change(key, action, reason, paths))
}

/// A child that nobody desires any more.
pub(super) fn undesired(key: Key, observed: &Value, fleet: &Fleet) -> Option<Change> {
    // Metacontroller has asked for that already.
    (!is_leaving(observed)).then(|| {
        let reason = reason::deleted(&key, observed, fleet);
        change(&key, Action::Delete, reason, Vec::new())
    })
}

fn change(key: &Key, action: Action, reason: String, paths: Vec<PathChange>) -> Change {
    let Key { kind, namespace, name, .. } = key.clone();
    Change { action, kind, namespace, name, reason, paths }
}

fn is_leaving(observed: &Value) -> bool {
    observed["metadata"]["deletionTimestamp"].is_string()
}

fn path_changes(observed: &Value, desired: &Value) -> Result<Vec<PathChange>, merge::UnreadableLastApplied> {
    match merge::last_applied(observed)? {
        Some(last) => dynamic(observed, &Value::Object(last), desired),
        None => Ok(server_side(observed, desired)),
    }
}

/// With what was written last on the child, what somebody changed can be told from what is newly desired.
fn dynamic(
    observed: &Value,
    last: &Value,
    desired: &Value,
) -> Result<Vec<PathChange>, merge::UnreadableLastApplied> {
    let merged = merge::update(observed, desired)?;
    if merged == *observed {
        return Ok(Vec::new());
    }
    let drifted = differences(observed, &merge::merge(observed, Some(last), last));
    let mut found = differences(observed, &merged);
    let text = last_applied_path();
    let with_text = found.len();
    found.retain(|it| it.path != text);
    let is_remembered_anew = found.len() < with_text;
    let is_drift = |difference: &Difference| drifted.contains(difference);
    let mut paths: Vec<PathChange> = found
        .into_iter()
        .map(|it| {
            let from = if is_drift(&it) { From::Drift } else { From::Wish };
            PathChange::of(it, from)
        })
        .collect();
    if paths.is_empty() && is_remembered_anew {
        // The object stays, only its memory is written: told by what differs in there.
        let inner = differences(last, &merge::without_last_applied(desired));
        paths = inner
            .into_iter()
            .map(|mut it| {
                it.path = format!("{REMEMBERED}: {}", it.path);
                PathChange::of(it, From::Wish)
            })
            .collect();
        if paths.is_empty() {
            let path = REMEMBERED.to_owned();
            paths.push(PathChange { path, before: None, after: None, from: From::Unknown });
        }
    }
    Ok(paths)
}

/// Without it, as under server-side apply, only what desired names can be compared: what it named before is unknown.
fn server_side(observed: &Value, desired: &Value) -> Vec<PathChange> {
    let merged = merge::merge(observed, None, desired);
    differences(observed, &merged).into_iter().map(|it| PathChange::of(it, From::Unknown)).collect()
}

fn last_applied_path() -> String {
    format!("metadata.annotations[{LAST_APPLIED:?}]")
}
