//! Which kinds the API server has (`pkg/dynamic/discovery`): looked up at an interval, so that kinds which appear later
//! are found then and not before. The reading of the answer is pure.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use serde_json::Value;
use tokio::sync::watch;

use crate::{
    api::Api,
    object::{self, Gvk},
};

/// One kind of objects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resource {
    /// Empty for the core group.
    pub group: String,
    /// As in `v1`.
    pub version: String,
    /// As in `Service`.
    pub kind: String,
    /// As in `services`.
    pub plural: String,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// Whether the status is written by itself.
    pub has_status: bool,
}

impl Resource {
    /// A kind that is known without asking.
    pub fn known(api_version: &str, kind: &str, plural: &str, namespaced: bool) -> Self {
        let (group, version) = object::group_version(api_version);
        Self {
            group: group.to_owned(),
            version: version.to_owned(),
            kind: kind.to_owned(),
            plural: plural.to_owned(),
            namespaced,
            has_status: true,
        }
    }

    /// As in `apps/v1`.
    pub fn api_version(&self) -> String {
        self.gvk().api_version()
    }

    /// Group, version and kind.
    pub fn gvk(&self) -> Gvk {
        Gvk { group: self.group.clone(), version: self.version.clone(), kind: self.kind.clone() }
    }

    /// The path of an object, of one of its parts, or of all. Without a namespace it is that of all namespaces.
    pub fn path(&self, namespace: &str, name: Option<&str>, part: Option<&str>) -> String {
        let root = if self.group.is_empty() { "/api" } else { "/apis" };
        let mut path = format!("{root}/{}", self.api_version());
        if self.namespaced && !namespace.is_empty() {
            path = format!("{path}/namespaces/{namespace}");
        }
        for segment in [Some(self.plural.as_str()), name, part].into_iter().flatten() {
            path = format!("{path}/{segment}");
        }
        path
    }
}

/// The kinds of one answer.
#[derive(Clone, Debug, Default)]
pub struct Kinds {
    by_plural: HashMap<(String, String), Resource>,
    by_kind: HashMap<(String, String), Resource>,
}

impl Kinds {
    /// Adds what an `APIGroupDiscoveryList` says.
    pub fn add(&mut self, list: &Value) {
        for group in items(list, "items") {
            let name = object::name(group);
            for version in items(group, "versions") {
                for resource in items(version, "resources") {
                    self.add_resource(name, text(version, "version"), resource);
                }
            }
        }
    }

    fn add_resource(&mut self, group: &str, version: &str, resource: &Value) {
        let found = Resource {
            group: group.to_owned(),
            version: version.to_owned(),
            kind: resource
                .pointer("/responseKind/kind")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned(),
            plural: text(resource, "resource").to_owned(),
            namespaced: text(resource, "scope") == "Namespaced",
            has_status: items(resource, "subresources")
                .iter()
                .any(|part| text(part, "subresource") == "status"),
        };
        let api_version = found.api_version();
        self.by_plural.insert((api_version.clone(), found.plural.clone()), found.clone());
        self.by_kind.insert((api_version, found.kind.clone()), found);
    }
}

fn items<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value.get(field).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// What was found at the last look.
pub struct Discovery {
    kinds: RwLock<Arc<Kinds>>,
    looked: watch::Sender<bool>,
}

impl Default for Discovery {
    fn default() -> Self {
        Self { kinds: RwLock::default(), looked: watch::Sender::new(false) }
    }
}

impl Discovery {
    const ACCEPT: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

    /// Looks once. What was known stays known if the server does not answer.
    pub async fn refresh(&self, api: &Api) {
        let mut kinds = Kinds::default();
        for path in ["/api", "/apis"] {
            match api.read(path, Self::ACCEPT).await {
                Ok(list) => kinds.add(&list),
                Err(refusal) => return tracing::error!(%refusal, "Failed to fetch discovery info"),
            }
        }
        *self.kinds.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(kinds);
        self.looked.send_replace(true);
    }

    /// Waits until there was a first look.
    pub async fn ready(&self) {
        // It cannot fail while self, which owns the sender, is borrowed.
        let _ready = self.looked.subscribe().wait_for(|looked| *looked).await.is_ok();
    }

    /// A kind by its plural name.
    ///
    /// # Errors
    /// If the server had none at the last look.
    pub fn resource(&self, api_version: &str, plural: &str) -> Result<Resource, String> {
        let key = (api_version.to_owned(), plural.to_owned());
        self.kinds()
            .by_plural
            .get(&key)
            .cloned()
            .ok_or_else(|| format!("discovery: can't find resource {plural} in apiVersion {api_version}"))
    }

    /// A kind by its name.
    ///
    /// # Errors
    /// If the server had none at the last look.
    pub fn kind(&self, api_version: &str, kind: &str) -> Result<Resource, String> {
        let key = (api_version.to_owned(), kind.to_owned());
        self.kinds()
            .by_kind
            .get(&key)
            .cloned()
            .ok_or_else(|| format!("discovery: can't find kind {kind} in apiVersion {api_version}"))
    }

    fn kinds(&self) -> Arc<Kinds> {
        self.kinds.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn kinds_are_found_in_an_aggregated_answer() {
        let mut kinds = Kinds::default();
        kinds.add(&json!({"items": [
            {"metadata": {"name": "apps"}, "versions": [{"version": "v1", "resources": [
                {"resource": "daemonsets", "responseKind": {"kind": "DaemonSet"}, "scope": "Namespaced",
                 "subresources": [{"subresource": "status"}]}]}]},
            {"metadata": {}, "versions": [{"version": "v1", "resources": [
                {"resource": "nodes", "responseKind": {"kind": "Node"}, "scope": "Cluster"}]}]}]}));
        let daemon_set = &kinds.by_plural[&("apps/v1".to_owned(), "daemonsets".to_owned())];
        assert!(daemon_set.has_status && daemon_set.namespaced);
        assert_eq!(
            daemon_set.path("iot", Some("a"), Some("status")),
            "/apis/apps/v1/namespaces/iot/daemonsets/a/status"
        );
        assert_eq!(daemon_set.path("", None, None), "/apis/apps/v1/daemonsets");
        let node = &kinds.by_kind[&("v1".to_owned(), "Node".to_owned())];
        assert_eq!(
            (node.path("iot", Some("a"), None), node.has_status),
            ("/api/v1/nodes/a".to_owned(), false)
        );
    }
}
