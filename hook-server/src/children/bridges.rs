//! The bridges' DaemonSet and the Service over its pods, which depend on the hook server's flags and on a few fields of
//! the spec: made once for each spec, however many syncs show it.

use std::sync::Arc;

use serde_json::Value;
use serialfleet_api::names;

use super::{anchor, daemon_set};
use crate::{
    config::Config,
    observed::{Key, Kind},
    request::Parent,
};

/// The two of them.
#[derive(Debug)]
pub struct Bridges {
    /// What they were made of, besides the spec.
    fleet: String,
    config: Config,
    daemon_set: (String, Value),
    anchor: (String, Value),
}

impl Bridges {
    /// Those of a fleet.
    pub fn of(parent: &Parent, config: &Config) -> Arc<Self> {
        let known = parent.wish.bridges.get_or_init(|| Arc::new(Self::new(parent, config)));
        if known.fleet == parent.name && known.config == *config {
            Arc::clone(known)
        } else {
            Arc::new(Self::new(parent, config))
        }
    }

    fn new(parent: &Parent, config: &Config) -> Self {
        let fleet = &parent.name;
        Self {
            fleet: fleet.clone(),
            config: config.clone(),
            daemon_set: (names::bridge(fleet), daemon_set::daemon_set(parent, config)),
            anchor: (names::anchor(fleet), anchor::anchor(parent)),
        }
    }

    /// The DaemonSet, or else the Service, with its namespace and name.
    pub(super) fn child(&self, kind: Kind) -> (&Value, Key<'_>) {
        let (name, child) = if kind == Kind::DaemonSet { &self.daemon_set } else { &self.anchor };
        (child, (names::SYSTEM_NAMESPACE, name))
    }
}
