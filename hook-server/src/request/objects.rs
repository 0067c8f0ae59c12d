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
    /// `EndpointSlice.discovery.k8s.io`; `None` where there is no such group at all.
    pub slices: Option<Group<Slice>>,
    /// `NetworkPolicy.networking.k8s.io`.
    pub policies: Group<Policy>,
    /// `SerialNode.serialfleet.io`; `None` where there is no such group at all.
    pub serial_nodes: Option<Group<SerialNode>>,
    /// `Namespace`.
    pub namespaces: Group<Namespace>,
}

impl Objects {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        let Self { daemon_sets, services, slices, policies, serial_nodes, namespaces } = self;
        let slices = slices.as_ref().map_or(0, Group::len);
        let serial_nodes = serial_nodes.as_ref().map_or(0, Group::len);
        daemon_sets.len() + services.len() + slices + policies.len() + serial_nodes + namespaces.len()
    }

    /// The first kind that tells who serves what and that has no group at all: Metacontroller sends one, empty or not,
    /// for each rule of the customize hook.
    pub(super) fn unheard(&self) -> Option<&'static str> {
        match (&self.serial_nodes, &self.slices) {
            (None, _) => Some("SerialNodes"),
            (_, None) => Some("EndpointSlices"),
            (Some(_), Some(_)) => None,
        }
    }

    /// Reads objects by group key, such as `Service.v1`.
    pub(super) fn read(text: &mut Text<'_>, known: &Self) -> Result<Self, Refusal> {
        let mut objects = Self::default();
        text.object_or_null(&[], |text, key| {
            match key.split_once('/').map_or(key, |(kind, _)| kind) {
                "DaemonSet.apps" => {
                    objects.daemon_sets.fill(key, Group::read(text, Some(&known.daemon_sets))?)?
                }
                "Service.v1" => objects.services.fill(key, Group::read(text, Some(&known.services))?)?,
                "EndpointSlice.discovery.k8s.io" => {
                    let read = Group::read(text, known.slices.as_ref())?;
                    objects.slices.get_or_insert_default().fill(key, read)?;
                }
                "NetworkPolicy.networking.k8s.io" => {
                    objects.policies.fill(key, Group::read(text, Some(&known.policies))?)?;
                }
                "SerialNode.serialfleet.io" => {
                    let read = Group::read(text, known.serial_nodes.as_ref())?;
                    objects.serial_nodes.get_or_insert_default().fill(key, read)?;
                }
                "Namespace.v1" => {
                    objects.namespaces.fill(key, Group::read(text, Some(&known.namespaces))?)?
                }
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

    /// Takes over what was read. A group that stands there twice has no meaning: the second could be the shorter one.
    fn fill(&mut self, key: &str, read: Self) -> Result<(), Refusal> {
        if !self.0.is_empty() {
            return Err(Refusal::Envelope(format!("{key} stands there twice")));
        }
        *self = read;
        Ok(())
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
