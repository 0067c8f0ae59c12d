//! Labels of observed objects: the few that decisions depend on, and which of the others are not ours. A large fleet's
//! objects carry thousands of them, so their keys are told apart without being copied.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};
use serialfleet_api::names;

/// The labels that decisions depend on, and the keys of those that are none of ours.
#[derive(Clone, Debug, Default)]
pub struct Labels {
    /// The fleet it says it belongs to.
    pub fleet: Option<String>,
    /// The device it belongs to.
    pub device: Option<String>,
    /// A slice's Service.
    pub service_name: Option<String>,
    /// Whether a Namespace's owner allows our Services in it.
    pub services: Option<String>,
    /// Keys that neither we nor Metacontroller write.
    pub others: Vec<String>,
}

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = Labels;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("labels")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Labels, A::Error> {
                let mut labels = Labels::default();
                while let Some(key) = map.next_key()? {
                    match key {
                        LabelKey::Fleet => labels.fleet = map.next_value()?,
                        LabelKey::Device => labels.device = map.next_value()?,
                        LabelKey::ServiceName => labels.service_name = map.next_value()?,
                        LabelKey::Services => labels.services = map.next_value()?,
                        LabelKey::Known => drop(map.next_value::<IgnoredAny>()?),
                        LabelKey::Other(key) => {
                            labels.others.push(key);
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                Ok(labels)
            }
        }
        deserializer.deserialize_map(Keys)
    }
}

enum LabelKey {
    Fleet,
    Device,
    ServiceName,
    Services,
    Known,
    Other(String),
}

impl<'de> Deserialize<'de> for LabelKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = LabelKey;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a label's key")
            }

            fn visit_str<E>(self, key: &str) -> Result<LabelKey, E> {
                Ok(match key {
                    names::LABEL_FLEET => LabelKey::Fleet,
                    names::LABEL_DEVICE => LabelKey::Device,
                    names::LABEL_SERVICE_NAME => LabelKey::ServiceName,
                    names::LABEL_SERVICES => LabelKey::Services,
                    key if KNOWN_LABELS.contains(&key) => LabelKey::Known,
                    key => LabelKey::Other(key.to_owned()),
                })
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// Further labels that we or Metacontroller write.
const KNOWN_LABELS: [&str; 7] = [
    "app.kubernetes.io/name",
    "app.kubernetes.io/instance",
    "app.kubernetes.io/component",
    "app.kubernetes.io/managed-by",
    "app.kubernetes.io/version",
    names::LABEL_SLICE_MANAGED_BY,
    super::CONTROLLER_UID,
];
