//! Parts of children as JSON text, kept with the spec that they follow from: most bytes of an answer are the same ones
//! every time, and copying is a good deal faster than writing.
//!
//! Kept are the Service of a scope-Cluster device and the metadata of its slices, for the namespace that the spec names.
//! Any other is written anew, by the same constructors: nodes come and go, and old namespaces with them.

use std::sync::OnceLock;

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use super::{device_service::DeviceService, endpoint_slice::Metadata};
use crate::{observed::Family, request::Parent, services::Wanted};

/// JSON text that is kept, or what is to be written anew.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Text<'c, T> {
    /// It was written before.
    Kept(&'c RawValue),
    /// It was not.
    New(T),
}

/// The texts of a fleet's devices.
#[derive(Clone, Debug)]
pub struct Texts {
    /// What they are made of, besides the spec.
    fleet: String,
    devices: Vec<OnceLock<Option<Device>>>,
}

#[derive(Clone, Debug)]
struct Device {
    service: Box<RawValue>,
    /// In the order of [`Family::ALL`].
    metadata: [Box<RawValue>; 2],
}

impl Texts {
    /// None yet.
    fn new(parent: &Parent) -> Self {
        let devices = parent.wish.devices.iter().map(|_| OnceLock::new()).collect();
        Self { fleet: parent.name.clone(), devices }
    }

    /// The Service in one of its namespaces.
    pub(super) fn service<'c>(
        parent: &'c Parent,
        wanted: &'c Wanted<'_>,
        namespace: &'c str,
    ) -> Text<'c, DeviceService<'c>> {
        match Self::kept(parent, wanted, namespace) {
            Some(kept) => Text::Kept(&kept.service),
            None => Text::New(DeviceService::new(&parent.name, wanted, namespace)),
        }
    }

    /// Metadata of its slice there.
    pub(super) fn metadata<'c>(
        parent: &'c Parent,
        wanted: &'c Wanted<'_>,
        namespace: &'c str,
        family: Family,
    ) -> Text<'c, Metadata<'c>> {
        match Self::kept(parent, wanted, namespace) {
            Some(Device { metadata: [v4, v6], .. }) => Text::Kept(match family {
                Family::V4 => v4,
                Family::V6 => v6,
            }),
            None => Text::New(Metadata::new(&parent.name, wanted, namespace, family)),
        }
    }

    fn kept<'c>(parent: &'c Parent, wanted: &Wanted<'_>, namespace: &str) -> Option<&'c Device> {
        if wanted.node.is_some() || namespace != parent.service_namespace() {
            return None;
        }
        let texts = parent.wish.texts.get_or_init(|| Self::new(parent));
        if texts.fleet != parent.name {
            return None;
        }
        let device = texts.devices.get(wanted.index)?;
        device.get_or_init(|| Device::new(&parent.name, wanted, namespace)).as_ref()
    }
}

impl Device {
    fn new(fleet: &str, wanted: &Wanted<'_>, namespace: &str) -> Option<Self> {
        let [v4, v6] =
            Family::ALL.map(|family| to_raw_value(&Metadata::new(fleet, wanted, namespace, family)).ok());
        let service = to_raw_value(&DeviceService::new(fleet, wanted, namespace)).ok()?;
        Some(Self { service, metadata: [v4?, v6?] })
    }
}
