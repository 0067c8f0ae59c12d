//! What Metacontroller will do with an answer: which children it will create, change or delete, path by path and why,
//! and what changes in the fleet's status. A pure function of a request and its answer, both as they went over the
//! wire; it uses [`crate::merge`], which does as Metacontroller does.
//!
//! For `serialfleet-hook diff`, the debug page and the count of predicted changes. It reads each object whole, one at a
//! time, which costs several times what the answer itself costs: never on the way of an answer. It must not decide
//! anything, and a prediction that fails must not matter to anybody but its reader.

mod child;
mod read;
mod reason;
mod text;

use std::hash::{DefaultHasher, Hash, Hasher};

use serde::Serialize;
use serde_json::{Map, Value, json};

use self::{
    child::compare,
    read::{Asked, Told},
};
use crate::{
    merge::{self, Difference, differences},
    visible::visible,
};

/// Longest name of a write, in characters.
const LABEL: usize = 300;

/// Why nothing can be said.
#[derive(Debug, thiserror::Error)]
pub enum PredictError {
    /// The request is none.
    #[error("the request cannot be read: {0}")]
    Request(serde_json::Error),
    /// The answer is none.
    #[error("the answer cannot be read: {0}")]
    Answer(serde_json::Error),
}

/// What will be done.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Prediction {
    /// Name of the fleet.
    pub fleet: String,
    /// Children that will not stay as they are, in the order of the answer, then those that go.
    pub changes: Vec<Change>,
    /// How many stay as they are.
    pub unchanged: usize,
    /// What changes in the fleet's status.
    pub status: Vec<PathChange>,
}

/// One child that will not stay as it is.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// What is done.
    pub action: Action,
    /// Kind of the child.
    pub kind: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Why, in a few words.
    pub reason: String,
    /// What differs; empty for what is made or deleted.
    pub paths: Vec<PathChange>,
}

/// What Metacontroller does about a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Action {
    /// It is made.
    Create,
    /// It is changed in place.
    Update,
    /// It is deleted, and made anew at the next sync: the update method of its kind says so.
    Recreate,
    /// It is deleted.
    Delete,
    /// It differs and stays so, for the reason given.
    Leave,
}

impl Action {
    /// The word in metrics and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "Create",
            Self::Update => "Update",
            Self::Recreate => "Recreate",
            Self::Delete => "Delete",
            Self::Leave => "Leave",
        }
    }
}

/// One path that differs.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PathChange {
    /// As in `spec.ports[0].port`.
    pub path: String,
    /// What is there; nothing where there is no such path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// What will be there; nothing where the path goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
    /// Where the difference is from.
    pub from: From,
}

/// Where a difference is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum From {
    /// Something else is desired than when the child was written last.
    Wish,
    /// Somebody changed what was written.
    Drift,
    /// That cannot be told: the child does not say what was written last.
    Unknown,
}

/// What will be done with `answer` to `request`.
///
/// # Errors
/// If one of the two cannot be read.
pub fn predict(request: &[u8], answer: &[u8]) -> Result<Prediction, PredictError> {
    let asked = Asked::read(request).map_err(PredictError::Request)?;
    let told = Told::read(answer).map_err(PredictError::Answer)?;
    let mut prediction = Prediction { fleet: asked.fleet.name.clone(), ..Prediction::default() };
    let mut observed = asked.children;
    for raw in told.children {
        let mut desired = read::object(raw).map_err(PredictError::Answer)?;
        if asked.controller.generates_selector {
            merge::add_controller_uid(&mut desired, &asked.fleet.uid);
        }
        let key = read::Key::of(&desired);
        let there = match observed.remove(&key) {
            Some(raw) => Some(read::object(raw).map_err(PredictError::Request)?),
            None => None,
        };
        match compare(&key, there.as_ref(), &desired, asked.controller.method(&key.kind)) {
            Some(change) => prediction.changes.push(change),
            None => prediction.unchanged += 1,
        }
    }
    for (key, raw) in observed {
        let there = read::object(raw).map_err(PredictError::Request)?;
        prediction.changes.extend(child::undesired(key, &there, &asked.fleet));
    }
    prediction.status = status(&asked.fleet.status, asked.fleet.generation, told.status);
    Ok(prediction)
}

/// Metacontroller replaces the status and writes the generation into it.
fn status(before: &Value, generation: Option<i64>, after: Value) -> Vec<PathChange> {
    let mut after = if after.is_object() { after } else { json!({}) };
    if let Some(generation) = generation {
        after["observedGeneration"] = json!(generation);
    }
    let mut before = if before.is_object() { before.clone() } else { json!({}) };
    for status in [&mut before, &mut after] {
        for (list, key) in [("conditions", "type"), ("devices", "name")] {
            if let Some(list) = status.get_mut(list) {
                by_name(list, key);
            }
        }
    }
    let found = differences(&before, &after).into_iter();
    found.map(|it| PathChange::of(it, From::Wish)).collect()
}

/// A list as a map, so that what is told apart by name is compared by name. Only where nothing gets lost by it.
fn by_name(list: &mut Value, key: &str) {
    let Some(items) = list.as_array() else { return };
    let named: Map<String, Value> =
        items.iter().filter_map(|item| Some((item[key].as_str()?.to_owned(), item.clone()))).collect();
    if named.len() == items.len() {
        *list = Value::Object(named);
    }
}

impl PathChange {
    fn of(difference: Difference, from: From) -> Self {
        let Difference { path, before, after } = difference;
        Self { path, before, after, from }
    }
}

impl Change {
    /// `Service iot/zigbee`.
    pub fn title(&self) -> String {
        format!("{} {}/{}", self.kind, self.namespace, self.name)
    }

    /// Whether anything is written at all.
    pub fn is_written(&self) -> bool {
        self.action != Action::Leave
    }
}

impl Prediction {
    /// How many children are written.
    pub fn written(&self) -> usize {
        self.changes.iter().filter(|it| it.is_written()).count()
    }

    /// Whether nothing at all is written.
    pub fn is_at_rest(&self) -> bool {
        self.written() == 0 && self.status.is_empty()
    }

    /// `1 created, 2 changed, status changed`, or `nothing`.
    pub fn summary(&self) -> String {
        let count = |action| self.changes.iter().filter(|it| it.action == action).count();
        let mut parts: Vec<String> = [
            (Action::Create, "created"),
            (Action::Update, "changed"),
            (Action::Recreate, "deleted and made anew"),
            (Action::Delete, "deleted"),
            (Action::Leave, "left as is"),
        ]
        .into_iter()
        .map(|(action, word)| (count(action), word))
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
        if !self.status.is_empty() {
            parts.push("status changed".to_owned());
        }
        if parts.is_empty() { "nothing".to_owned() } else { parts.join(", ") }
    }

    /// A number for each single thing that is written: the same one says that the same is written again.
    pub fn writes(&self) -> impl Iterator<Item = (u64, String)> {
        let children = self.changes.iter().filter(|it| it.is_written()).flat_map(|change| {
            let whole = change.paths.is_empty().then_some((change, None));
            whole.into_iter().chain(change.paths.iter().map(move |path| (change, Some(path))))
        });
        let children = children.map(|(change, path)| {
            (write(Some(change), path), label(&change.title(), path.map(|it| it.path.as_str())))
        });
        let status =
            self.status.iter().map(|path| (write(None, Some(path)), label("status", Some(&path.path))));
        children.chain(status)
    }
}

/// The number of one single thing that is written: to a child or to the status, at a path or the whole.
pub fn write(change: Option<&Change>, path: Option<&PathChange>) -> u64 {
    let mut hasher = DefaultHasher::new();
    change.map(|it| (it.action, &it.kind, &it.namespace, &it.name)).hash(&mut hasher);
    path.map(|it| (&it.path, it.after.as_ref().map(merge::to_string))).hash(&mut hasher);
    hasher.finish()
}

fn label(title: &str, path: Option<&str>) -> String {
    let whole = path.map_or_else(|| title.to_owned(), |path| format!("{title} {path}"));
    visible(&whole, LABEL)
}

#[cfg(test)]
mod tests;
