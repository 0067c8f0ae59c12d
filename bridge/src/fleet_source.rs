//! The one `SerialFleet` that this process serves, from the API server ([`follow_api`]) or from a file
//! ([`follow_file`]).
//!
//! One task, owned by `main` on the control thread, publishes [`FleetState`]s; the supervisor and the report read
//! them. Bad input keeps the last good fleet in force. Must not know ports, and never ends before it is told to:
//! without the API server, ports go on.
//!
//! A fleet is published without what changes by itself (resource version, managed fields, labels, annotations),
//! so that equal content never wakes the supervisor.

pub mod api;
pub mod cache;
pub mod file;

use std::{collections::BTreeMap, sync::Arc};

use serialfleet_api::{
    fleet::{SerialFleet, SerialFleetStatus},
    meta::Metadata,
    validate::LenientFleet,
};
use tokio::sync::watch;

pub use self::{
    api::follow_api,
    file::{FileError, follow_file, read_file},
};

/// A fleet that can be served.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fleet {
    /// What is understood of it.
    pub object: SerialFleet,
    /// Devices left out because this version does not understand them, each with a sentence.
    pub refused: BTreeMap<String, String>,
}

impl Fleet {
    fn new(mut object: SerialFleet, refused: BTreeMap<String, String>) -> Self {
        object.metadata = Metadata {
            name: object.metadata.name,
            uid: object.metadata.uid,
            generation: object.metadata.generation,
            ..Metadata::default()
        };
        Self { object, refused }
    }
}

impl From<LenientFleet> for Fleet {
    fn from(read: LenientFleet) -> Self {
        Self::new(read.fleet, read.refused)
    }
}

impl From<SerialFleet> for Fleet {
    fn from(object: SerialFleet) -> Self {
        Self::new(object, BTreeMap::new())
    }
}

/// Where the fleet in force comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// There is none yet.
    #[default]
    None,
    /// `--file`.
    File,
    /// `--state-dir`, because the API server has not answered; such a fleet has no status.
    Cache,
    /// The API server.
    Api,
}

/// What is known of the fleet.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FleetState {
    /// The fleet in force: the last good one.
    pub fleet: Option<Arc<Fleet>>,
    /// Where that comes from.
    pub origin: Origin,
    /// Why the latest edit is not in force; a sentence.
    pub problem: Option<String>,
    /// The object is deleted or being deleted; what that means for ports is the supervisor's decision.
    pub gone: bool,
}

impl FleetState {
    /// The status of the fleet in force.
    pub fn status(&self) -> Option<&SerialFleetStatus> {
        self.fleet.as_ref()?.object.status.as_ref()
    }
}

/// Publishes, unless everybody knows already.
fn publish(tx: &watch::Sender<FleetState>, next: &FleetState) {
    tx.send_if_modified(|known| {
        let differs = known != next;
        if differs {
            known.clone_from(next);
        }
        differs
    });
}
