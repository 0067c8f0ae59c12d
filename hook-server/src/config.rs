//! What the operator decided by flags. Plain values, made by `main` only; nothing in here comes from a
//! SerialFleet, and nothing in a SerialFleet reaches what is in here.

use std::time::Duration;

/// What the children depend on besides the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Image of the bridge pods.
    pub bridge_image: String,
    /// Pull policy of that image; `None`: Kubernetes' default for its tag.
    pub bridge_pull_policy: Option<PullPolicy>,
    /// Priority class of the bridge pods; empty: none.
    pub bridge_priority_class: String,
    /// Whether a fleet may ask for `hostNetwork`.
    pub allow_host_network: bool,
}

impl Config {
    /// The default priority class: serial devices come back before what uses them.
    pub const PRIORITY_CLASS: &'static str = "system-node-critical";

    /// Defaults with this image.
    pub fn with_image(image: impl Into<String>) -> Self {
        Self {
            bridge_image: image.into(),
            bridge_pull_policy: None,
            bridge_priority_class: Self::PRIORITY_CLASS.to_owned(),
            allow_host_network: false,
        }
    }
}

/// When the kubelet pulls an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the words of the Kubernetes API")]
pub enum PullPolicy {
    Always,
    IfNotPresent,
    Never,
}

impl PullPolicy {
    /// The word of the Kubernetes API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Always => "Always",
            Self::IfNotPresent => "IfNotPresent",
            Self::Never => "Never",
        }
    }
}

/// What the HTTP surface depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// This replica's revision: hook calls with another `?rev=` are sent away. `None`: any is served.
    pub rev: Option<String>,
    /// Largest request body, in bytes.
    pub max_body_bytes: usize,
    /// Most bytes of all request bodies in memory at once; at least one body of the largest size always fits. What
    /// finds no room within a second is told to come again.
    pub max_body_memory: usize,
    /// Hook calls at work at once; what comes on top is told to come again.
    pub max_calls: usize,
    /// How long a call may take, its body included; below Metacontroller's own 10 s.
    pub call_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            rev: None,
            max_body_bytes: 64 << 20,
            max_body_memory: 128 << 20,
            max_calls: 64,
            call_timeout: Duration::from_secs(9),
        }
    }
}
