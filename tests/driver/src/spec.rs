//! A CompositeController as far as decisions depend on it (`pkg/apis/metacontroller/v1alpha1/types.go`). Pure reading;
//! what hooks are shown of it is made in [`crate::controller_json`].

use std::{fmt, time::Duration};

use serde::Deserialize;
use serde_json::Value;

use crate::{duration, selector::LabelSelector};

/// `spec` of a CompositeController.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Spec {
    /// Kind of the parents.
    pub parent_resource: ParentResource,
    /// Kinds of the children.
    pub child_resources: Vec<ChildResource>,
    /// Who decides.
    pub hooks: Option<Hooks>,
    /// Select children by the parent's UID.
    pub generate_selector: Option<bool>,
    /// Sync every parent this often.
    pub resync_period_seconds: Option<i64>,
}

/// Kind of the parents.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ParentResource {
    /// As in `serialfleet.io/v1alpha1`.
    pub api_version: String,
    /// Plural name.
    pub resource: String,
    /// Parents that are served; none: all.
    pub label_selector: Option<LabelSelector>,
    /// Whether changes of nothing but the status are no reason for a sync.
    pub ignore_status_changes: Option<bool>,
}

/// Kind of children.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ChildResource {
    /// As in `apps/v1`.
    pub api_version: String,
    /// Plural name.
    pub resource: String,
    /// What to do about a difference.
    pub update_strategy: Option<UpdateStrategy>,
}

/// What to do about a difference.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct UpdateStrategy {
    /// Empty is `OnDelete`: nothing.
    pub method: String,
}

/// Who decides.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Hooks {
    /// What is to exist.
    pub sync: Option<Hook>,
    /// The same for a parent that goes.
    pub finalize: Option<Hook>,
    /// What to send along.
    pub customize: Option<Hook>,
}

/// One hook.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Hook {
    /// Of the protocol.
    pub version: Option<Version>,
    /// Where it is.
    pub webhook: Option<Webhook>,
}

/// Version of the hook protocol.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Version {
    /// Keys relative to the parent.
    #[default]
    V1,
    /// Keys with the namespace, objects from everywhere.
    V2,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
        })
    }
}

/// Where a hook is and how it is called.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Webhook {
    url: Option<String>,
    timeout: Option<String>,
    path: Option<String>,
    service: Option<Service>,
    /// Whether answers are cached by tag.
    pub etag: Option<Etag>,
    #[serde(rename = "responseUnMarshallMode")]
    mode: Option<Mode>,
    ca_bundle: Option<Value>,
    #[serde(rename = "clientTLS")]
    client_tls: Option<Value>,
    authorization: Option<Value>,
    basic_auth: Option<Value>,
}

/// The cache of a hook's answers.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Etag {
    /// Whether there is one.
    pub enabled: Option<bool>,
    /// How long an answer is kept; none: for ever.
    pub cache_timeout_seconds: Option<i64>,
    /// How often it is swept.
    pub cache_cleanup_seconds: Option<i64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Service {
    name: String,
    namespace: String,
    port: Option<i64>,
    protocol: Option<String>,
}

/// How answers are read.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Fields that are unknown or there twice are passed over.
    Loose,
    /// They fail the call.
    Strict,
}

impl Spec {
    /// Reads the spec of a CompositeController.
    ///
    /// # Errors
    /// If a field that is needed has another type.
    pub fn read(controller: &Value) -> Result<Self, String> {
        Self::deserialize(controller.get("spec").unwrap_or(&Value::Null))
            .map_err(|error| format!("spec: {error}"))
    }
}

impl Hook {
    /// v1 unless it says otherwise.
    pub fn version(&self) -> Version {
        self.version.unwrap_or_default()
    }
}

impl Webhook {
    /// The URL to call.
    ///
    /// # Errors
    /// If there is neither a URL nor a service with a path.
    pub fn url(&self) -> Result<String, String> {
        if let Some(url) = &self.url {
            return Ok(url.clone());
        }
        let (Some(service), Some(path)) = (&self.service, &self.path) else {
            return Err(
                "invalid webhook config: must specify either a full 'url', or both 'service' and 'path'"
                    .to_owned(),
            );
        };
        if service.name.is_empty() || service.namespace.is_empty() {
            return Err(
                "invalid webhook config: 'service' must specify both 'name' and 'namespace'".to_owned()
            );
        }
        let (protocol, port) = (service.protocol.as_deref().unwrap_or("http"), service.port.unwrap_or(80));
        Ok(format!("{protocol}://{}.{}:{port}{path}", service.name, service.namespace))
    }

    /// How long a call may take; 10 s where nothing usable is said.
    pub fn timeout(&self) -> Duration {
        let wanted = self.timeout.as_deref().and_then(duration::parse).filter(|timeout| !timeout.is_zero());
        wanted.unwrap_or(Duration::from_secs(10))
    }

    /// Strict by default for v2.
    pub fn mode(&self, version: Version) -> Mode {
        self.mode.unwrap_or(if version == Version::V2 { Mode::Strict } else { Mode::Loose })
    }

    /// Whether it asks for TLS or credentials, which this stand-in does not have.
    pub fn is_secured(&self) -> bool {
        [&self.ca_bundle, &self.client_tls, &self.authorization, &self.basic_auth]
            .iter()
            .any(|it| it.is_some())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_said_has_its_default() {
        let hook: Hook = serde_json::from_value(
            json!({"webhook": {"service": {"name": "a", "namespace": "b"}, "path": "/c"}}),
        )
        .unwrap();
        let webhook = hook.webhook.clone().unwrap();
        assert_eq!(webhook.url().unwrap(), "http://a.b:80/c");
        assert_eq!((hook.version(), webhook.mode(hook.version())), (Version::V1, Mode::Loose));
        assert_eq!(webhook.mode(Version::V2), Mode::Strict);
        for (text, seconds) in [("3s", 3), ("0s", 10), ("-1s", 10), ("soon", 10)] {
            let webhook: Webhook = serde_json::from_value(json!({"timeout": text})).unwrap();
            assert_eq!(webhook.timeout().as_secs(), seconds);
            assert!(webhook.url().is_err());
        }
    }
}
