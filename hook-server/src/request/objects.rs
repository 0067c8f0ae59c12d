//! Observed objects, by kind.

use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::{
    Refusal,
    text::{Entry, Text},
    views::{DaemonSet, Namespace, Policy, SerialNode, Service, Slice},
};

/// Observed objects by kind. Keys inside a group are ignored: Metacontroller's two API versions spell them
/// differently, the objects' own metadata says it all.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    /// `DaemonSet.apps`.
    pub daemon_sets: Group<DaemonSet>,
    /// `Service`.
    pub services: Group<Service>,
    /// `EndpointSlice.discovery.k8s.io`.
    pub slices: Group<Slice>,
    /// `NetworkPolicy.networking.k8s.io`.
    pub policies: Group<Policy>,
    /// `SerialNode.serialfleet.io`; `None` where there is no such group at all.
    pub serial_nodes: Option<Group<SerialNode>>,
    /// `Namespace`.
    pub namespaces: Group<Namespace>,
}

impl Objects {
    /// Reads objects by group key, such as `Service.v1`.
    pub(super) fn read(text: &mut Text<'_>, known: &Self) -> Result<Self, Refusal> {
        let mut objects = Self::default();
        text.object_or_null(&[], |text, key| {
            match key.split_once('/').map_or(key, |(kind, _)| kind) {
                "DaemonSet.apps" => objects.daemon_sets = Group::read(text, Some(&known.daemon_sets))?,
                "Service.v1" => objects.services = Group::read(text, Some(&known.services))?,
                "EndpointSlice.discovery.k8s.io" => objects.slices = Group::read(text, Some(&known.slices))?,
                "NetworkPolicy.networking.k8s.io" => {
                    objects.policies = Group::read(text, Some(&known.policies))?
                }
                "SerialNode.serialfleet.io" => {
                    objects.serial_nodes = Some(Group::read(text, known.serial_nodes.as_ref())?);
                }
                "Namespace.v1" => objects.namespaces = Group::read(text, Some(&known.namespaces))?,
                _ => text.skip()?,
            }
            Ok(())
        })?;
        Ok(objects)
    }
}

/// Objects of one kind, in the order of the request. What was read once is shared by all requests that show it.
#[derive(Clone, Debug)]
pub struct Group<T>(Vec<Entry<Option<Arc<T>>>>);

impl<T> Default for Group<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Group<T> {
    /// Each object.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().filter_map(|entry| entry.value.as_deref())
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T: DeserializeOwned> Group<T> {
    fn read(text: &mut Text<'_>, known: Option<&Self>) -> Result<Self, Refusal> {
        let known = known.map_or(&[][..], |known| &known.0);
        let read = text.object_or_null(known, |text, key| {
            let object: Option<T> = text.value().map_err(|refusal| refusal.at(key))?;
            Ok(object.map(Arc::new))
        });
        read.map(Self)
    }
}
