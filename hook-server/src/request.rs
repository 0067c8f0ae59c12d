//! The sync request as far as the hook needs it: the parent, and of each observed object the few fields that a
//! decision depends on. Everything else (managedFields, last-applied annotations, fields of later versions) is
//! skipped while reading, never stored.
//!
//! Unlike [`serialfleet_api::hook`], which holds whole objects for tools, this reads a megabyte in milliseconds.
//! What cannot be understood becomes a [`Refusal`], never an empty list: an empty list would delete children.

mod labels;
mod objects;
mod text;
mod views;
mod wish;

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serialfleet_api::{fleet::SerialFleetStatus, meta::Metadata};

pub use labels::Labels;
pub use objects::{Group, Objects};
pub use views::*;
pub use wish::Wish;

use self::text::{Entry, Text};
use crate::doctor::Controller;

/// Why a request gets no answer. Metacontroller then leaves children and status as they are and shows the text in
/// an event, hence one short line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The body is not what Metacontroller sends.
    #[error("this is no hook request: {0}")]
    Envelope(String),
    /// The SerialFleet cannot be understood.
    #[error("the SerialFleet cannot be understood: {0}")]
    Parent(String),
    /// Nothing is said of a kind that tells who serves what: a controller without our customize hook. To answer would be
    /// to take every endpoint away.
    #[error(
        "`related` has no {0}, so nobody knows who serves what: is hooks.customize this hook server's? Until then every \
         endpoint stays as it is"
    )]
    Unheard(&'static str),
}

impl Refusal {
    pub(crate) fn envelope(error: &serde_json::Error) -> Self {
        Self::Envelope(one_line(&error.to_string()))
    }

    pub(crate) fn nameless() -> Self {
        Self::Parent("it has no metadata.name".to_owned())
    }

    fn parent(part: &str, error: &serde_json::Error) -> Self {
        Self::Parent(one_line(&format!("{part}: {error}")))
    }

    /// The same of a part of the request.
    fn at(self, part: &str) -> Self {
        match self {
            Self::Envelope(text) => Self::Envelope(one_line(&format!("{part}: {text}"))),
            Self::Parent(text) => Self::Parent(one_line(&format!("{part}: {text}"))),
            Self::Unheard(_) => self,
        }
    }
}

fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(400).collect()
}

/// One call of the sync hook.
#[derive(Clone, Debug)]
pub struct SyncRequest {
    /// The CompositeController that calls, where it said so and can be read.
    pub controller: Option<Arc<Controller>>,
    /// The SerialFleet.
    pub parent: Parent,
    /// Observed children.
    pub children: Objects,
    /// What the customize hook asked for.
    pub related: Objects,
    /// Whether this is a call of the finalize hook.
    pub finalizing: bool,
    places: Places,
}

/// The SerialFleet of a call.
#[derive(Clone, Debug)]
pub struct Parent {
    /// Its name: never empty.
    pub name: String,
    /// Its metadata: name, uid, generation and resource version.
    pub metadata: Metadata,
    /// What is wanted.
    pub wish: Arc<Wish>,
    /// What the last sync said; empty where that cannot be read.
    pub status: Arc<SerialFleetStatus>,
}

/// The label by which Metacontroller tells the children of one parent from those of another.
pub const CONTROLLER_UID: &str = "controller-uid";

/// Where in the request's bytes stood what a later request may show again, observed objects aside.
#[derive(Clone, Debug, Default)]
struct Places {
    envelope: Vec<Entry<Part>>,
    parent: Vec<Entry<Part>>,
    metadata: Vec<Entry<Part>>,
}

/// What was read of one entry of the envelope, of the parent, or of the parent's metadata.
#[derive(Clone, Debug)]
enum Part {
    Controller(Option<Arc<Controller>>),
    Kind(String),
    Wish(Arc<Wish>),
    Status(Arc<SerialFleetStatus>),
    Name(Option<String>),
    Uid(Option<String>),
    Generation(Option<i64>),
    ResourceVersion(Option<String>),
    /// Of no interest.
    Other,
    /// An object that is read entry by entry itself.
    Nested,
}

impl SyncRequest {
    /// Reads the body of a call.
    ///
    /// # Errors
    /// If it is no hook request, or if its parent is no SerialFleet that can be understood.
    pub fn parse(body: &[u8]) -> Result<Self, Refusal> {
        Self::read(Text::new(body, &[]), None)
    }

    /// The same, sooner: what stands in `earlier` as well, the body that `known` was read from, is taken from there. What
    /// comes of it does not depend on the two.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn parse_after(body: &[u8], earlier: &[u8], known: &Self) -> Result<Self, Refusal> {
        Self::read(Text::new(body, earlier), Some(known))
    }

    fn read(mut text: Text<'_>, known: Option<&Self>) -> Result<Self, Refusal> {
        let nothing = (Places::default(), Objects::default());
        let (places, known_children, known_related) = match known {
            Some(known) => (&known.places, &known.children, &known.related),
            None => (&nothing.0, &nothing.1, &nothing.1),
        };
        let (mut controller, mut parent, mut finalizing) = (None, None, false);
        let (mut children, mut related) = (None, None);
        let mut envelope = text.object(&places.envelope, |text, key| {
            match key {
                "controller" => {
                    let raw: &RawValue = text.value()?;
                    // Settings of a later Metacontroller must not stand in the way of the fleet.
                    return Ok(Part::Controller(serde_json::from_str(raw.get()).ok().map(Arc::new)));
                }
                "parent" if text.null()? => {}
                "parent" => once(key, &mut parent, RawParent::read(text, places)?)?,
                "children" => {
                    let read = Objects::read(text, known_children).map_err(|refusal| refusal.at(key))?;
                    once(key, &mut children, read)?;
                }
                "related" => {
                    let read = Objects::read(text, known_related).map_err(|refusal| refusal.at(key))?;
                    once(key, &mut related, read)?;
                }
                "finalizing" => finalizing = text.value()?,
                _ => text.skip()?,
            }
            Ok(Part::Other)
        })?;
        text.end()?;
        // The rest of it is read entry by entry, and known by those.
        envelope.retain(|entry| matches!(entry.value, Part::Controller(_)));
        for entry in &envelope {
            if let Part::Controller(it) = &entry.value {
                controller.clone_from(it);
            }
        }
        let parent = parent.ok_or_else(|| Refusal::Envelope("it has no parent".to_owned()))?;
        let (parent, places) = parent.finish(envelope)?;
        let (children, related) = (children.unwrap_or_default(), related.unwrap_or_default());
        // A fleet that is coming up is answered all the same: its status says what is wrong. One that goes must not wait.
        if let Some(kind) = related.unheard()
            && !finalizing
            && children.slices.iter().flat_map(Group::iter).any(|slice| !slice.endpoints.is_empty())
        {
            return Err(Refusal::Unheard(kind));
        }
        Ok(Self { controller, parent, children, related, finalizing, places })
    }
}

/// What stands there twice has no meaning, and the second could be the shorter list.
fn once<T>(key: &str, place: &mut Option<T>, value: T) -> Result<(), Refusal> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(Refusal::Envelope(format!("{key} stands there twice"))),
    }
}

/// The entries of a parent and of its metadata.
struct RawParent {
    fields: Vec<Entry<Part>>,
    metadata: Vec<Entry<Part>>,
}

impl RawParent {
    fn read(text: &mut Text<'_>, places: &Places) -> Result<Self, Refusal> {
        let mut metadata = Vec::new();
        let mut fields = text.object(&places.parent, |text, key| {
            Ok(match key {
                "kind" => Part::Kind(text.parent_value(key)?),
                "metadata" => {
                    metadata = text.object_or_null(&places.metadata, Self::metadata)?;
                    Part::Nested
                }
                "spec" => match text.value::<Option<&RawValue>>()? {
                    // No spec is not an empty one: answering it would delete every Service.
                    None => Part::Other,
                    Some(raw) => Part::Wish(Arc::new(Wish::read(raw)?)),
                },
                // A status of another version must not stand in the way of the one that replaces it.
                "status" => {
                    let raw: &RawValue = text.value()?;
                    Part::Status(Arc::new(serde_json::from_str(raw.get()).unwrap_or_default()))
                }
                _ => {
                    text.skip()?;
                    Part::Other
                }
            })
        })?;
        fields.retain(|entry| !matches!(entry.value, Part::Nested));
        Ok(Self { fields, metadata })
    }

    fn metadata(text: &mut Text<'_>, key: &str) -> Result<Part, Refusal> {
        Ok(match key {
            "name" => Part::Name(text.parent_value(key)?),
            "uid" => Part::Uid(text.parent_value(key)?),
            "generation" => Part::Generation(text.parent_value(key)?),
            "resourceVersion" => Part::ResourceVersion(text.parent_value(key)?),
            // managedFields and annotations above all: most of a parent.
            _ => {
                text.skip()?;
                Part::Other
            }
        })
    }

    fn finish(self, envelope: Vec<Entry<Part>>) -> Result<(Parent, Places), Refusal> {
        let mut metadata = Metadata::default();
        let (mut wish, mut status) = (None, None);
        for part in self.fields.iter().chain(&self.metadata).map(|entry| &entry.value) {
            match part {
                Part::Kind(kind) if !kind.is_empty() && kind != "SerialFleet" => {
                    return Err(Refusal::Parent(one_line(&format!(
                        "it is a {kind}; the CompositeController's parentResource must be serialfleets"
                    ))));
                }
                Part::Wish(it) => once("spec", &mut wish, Arc::clone(it))?,
                Part::Status(it) => status = Some(Arc::clone(it)),
                Part::Name(it) => metadata.name.clone_from(it),
                Part::Uid(it) => metadata.uid.clone_from(it),
                Part::Generation(it) => metadata.generation = *it,
                Part::ResourceVersion(it) => metadata.resource_version.clone_from(it),
                Part::Controller(_) | Part::Kind(_) | Part::Other | Part::Nested => {}
            }
        }
        let name = metadata.name.clone().unwrap_or_default();
        if name.is_empty() {
            return Err(Refusal::nameless());
        }
        let wish = wish.ok_or_else(|| Refusal::Parent("it has no spec".to_owned()))?;
        let parent = Parent { name, metadata, wish, status: status.unwrap_or_default() };
        Ok((parent, Places { envelope, parent: self.fields, metadata: self.metadata }))
    }
}

impl Text<'_> {
    /// A value of the parent: one of another type is the fleet's fault, not the caller's.
    fn parent_value<T: DeserializeOwned + Default>(&mut self, key: &str) -> Result<T, Refusal> {
        let raw: &RawValue = self.value()?;
        let value: Option<T> =
            serde_json::from_str(raw.get()).map_err(|error| Refusal::parent(key, &error))?;
        Ok(value.unwrap_or_default())
    }
}

impl Parent {
    /// Namespace of the devices' Services.
    pub fn service_namespace(&self) -> &str {
        service_namespace(self.wish.spec.service_namespace.as_deref())
    }

    /// Whether the fleet asks for the nodes' own network.
    pub fn host_network(&self) -> bool {
        self.wish.spec.bridge.host_network.unwrap_or(false)
    }

    /// Port of livez, readyz and metrics.
    pub fn admin_port(&self) -> i32 {
        self.wish.spec.bridge.admin_port.unwrap_or(9640)
    }
}

/// Namespace of the devices' Services for what `spec.serviceNamespace` says.
pub(crate) fn service_namespace(said: Option<&str>) -> &str {
    said.filter(|said| !said.is_empty()).unwrap_or(serialfleet_api::names::SYSTEM_NAMESPACE)
}

#[cfg(test)]
mod tests;
