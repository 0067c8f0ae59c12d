//! A request and its answer as far as a prediction needs them. Objects stay raw until they are compared, one at a
//! time: a request of a large fleet never stands in memory as a tree.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor},
};
use serde_json::{Map, Value, value::RawValue};

/// Which child: kind with API group, namespace, name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) api_version: String,
    pub(super) kind: String,
    pub(super) namespace: String,
    pub(super) name: String,
}

impl Key {
    pub(super) fn of(object: &Value) -> Self {
        let text =
            |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        Self {
            api_version: text("/apiVersion"),
            kind: text("/kind"),
            namespace: text("/metadata/namespace"),
            name: text("/metadata/name"),
        }
    }
}

/// What Metacontroller says.
pub(super) struct Asked<'a> {
    pub(super) controller: Controller,
    pub(super) fleet: Fleet,
    pub(super) children: BTreeMap<Key, &'a RawValue>,
}

/// The parent.
#[derive(Debug, Default)]
pub(super) struct Fleet {
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) generation: Option<i64>,
    pub(super) devices: BTreeSet<String>,
    pub(super) service_namespace: String,
    pub(super) status: Value,
}

/// The settings that decide how children are written.
#[derive(Debug)]
pub(super) struct Controller {
    pub(super) generates_selector: bool,
    methods: Option<BTreeMap<String, String>>,
}

impl Controller {
    /// A request without its CompositeController is a made-up one: taken as the shipped manifest has it.
    fn read(raw: Option<&RawValue>) -> Self {
        let whole = raw.and_then(|raw| serde_json::from_str::<Value>(raw.get()).ok()).unwrap_or_default();
        let spec = &whole["spec"];
        if !spec.is_object() {
            return Self { generates_selector: true, methods: None };
        }
        let resources = spec["childResources"].as_array();
        let methods = resources.into_iter().flatten().filter_map(|it| {
            let method = it["updateStrategy"]["method"].as_str().unwrap_or_default();
            Some((it["resource"].as_str()?.to_owned(), method.to_owned()))
        });
        Self { generates_selector: spec["generateSelector"] == true, methods: Some(methods.collect()) }
    }

    /// How children of this kind are changed.
    pub(super) fn method(&self, kind: &str) -> Method {
        let Some(methods) = &self.methods else { return Method::InPlace };
        let resource = match kind {
            "NetworkPolicy" => "networkpolicies".to_owned(),
            kind => format!("{}s", kind.to_ascii_lowercase()),
        };
        match methods.get(&resource).map(String::as_str) {
            Some("InPlace" | "RollingInPlace") => Method::InPlace,
            Some("Recreate" | "RollingRecreate") => Method::Recreate,
            _ => Method::OnDelete,
        }
    }
}

/// What happens to a child that differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    InPlace,
    Recreate,
    OnDelete,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default)]
    controller: Option<&'a RawValue>,
    #[serde(borrow)]
    parent: &'a RawValue,
    #[serde(borrow, default)]
    children: Option<BTreeMap<Cow<'a, str>, Option<Group<'a>>>>,
}

type Group<'a> = BTreeMap<Cow<'a, str>, &'a RawValue>;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Identity {
    #[serde(rename = "apiVersion")]
    api_version: String,
    kind: String,
    metadata: IdentityMetadata,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct IdentityMetadata {
    name: String,
    namespace: String,
}

impl<'a> Asked<'a> {
    pub(super) fn read(request: &'a [u8]) -> serde_json::Result<Self> {
        let envelope: Envelope<'a> = serde_json::from_slice(request)?;
        let parent = object(envelope.parent)?;
        let mut children = BTreeMap::new();
        for (group, objects) in envelope.children.into_iter().flatten() {
            for raw in objects.into_iter().flatten().map(|(_, raw)| raw).filter(|raw| raw.get() != "null") {
                let Identity { api_version, kind, metadata } = serde_json::from_str(raw.get())?;
                // Made-up requests leave these out: the group says them, too.
                let (group_kind, group_version) = group.split_once('.').unwrap_or((&group, ""));
                let or = |said: String, group: &str| if said.is_empty() { group.to_owned() } else { said };
                let key = Key {
                    api_version: or(api_version, group_version),
                    kind: or(kind, group_kind),
                    namespace: metadata.namespace,
                    name: metadata.name,
                };
                children.insert(key, raw);
            }
        }
        Ok(Self { controller: Controller::read(envelope.controller), fleet: Fleet::read(parent), children })
    }
}

impl Fleet {
    fn read(mut parent: Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let devices = parent["spec"]["devices"].as_array().into_iter().flatten();
        Self {
            name: text(&parent["metadata"]["name"]),
            uid: text(&parent["metadata"]["uid"]),
            generation: parent["metadata"]["generation"].as_i64(),
            devices: devices.map(|it| text(&it["name"])).collect(),
            service_namespace: crate::request::service_namespace(parent["spec"]["serviceNamespace"].as_str())
                .to_owned(),
            status: parent.get_mut("status").map(Value::take).unwrap_or_default(),
        }
    }
}

/// What we say.
#[derive(Deserialize)]
pub(super) struct Told<'a> {
    #[serde(default)]
    pub(super) status: Value,
    #[serde(borrow, default)]
    pub(super) children: Vec<&'a RawValue>,
}

impl<'a> Told<'a> {
    pub(super) fn read(answer: &'a [u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(answer)
    }
}

/// An object without its managedFields, which no merge touches and which are most of it.
pub(super) fn object(raw: &RawValue) -> serde_json::Result<Value> {
    Without { metadata: false }.deserialize(&mut serde_json::Deserializer::from_str(raw.get()))
}

/// Reads an object, or the metadata of one.
struct Without {
    metadata: bool,
}

impl<'de> DeserializeSeed<'de> for Without {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Without {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            let value = match key.as_str() {
                "metadata" if !self.metadata => map.next_value_seed(Self { metadata: true })?,
                "managedFields" if self.metadata => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
                _ => map.next_value()?,
            };
            fields.insert(key, value);
        }
        Ok(Value::Object(fields))
    }
}
