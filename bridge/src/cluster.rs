//! The way to the API server, and who we are in its eyes.
//!
//! Used by [`crate::fleet_source`] and [`crate::report`], the only two that talk to the API server; called once,
//! by `main`, on the control thread. Must not know fleets or ports, and must not decide when something is
//! retried: that is [`backoff`] in the hands of whoever calls.

pub mod backoff;
pub mod claims;

use std::{env, hash::BuildHasher, path::Path, time::Duration};

use kube::{
    Api, Client, Config,
    core::{ApiResource, DynamicObject, GroupVersionKind},
};
use serialfleet_api::names;

pub use self::claims::Claims;
use crate::report::{
    NodeIdentity,
    bounds::{MAX_MESSAGE, clean},
};

/// How long a TCP and TLS connection may take to come up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may be silent while an answer is due. A quiet watch is ended by the server after 290
/// seconds, so anything longer is a dead peer that the kernel has not noticed.
const READ_TIMEOUT: Duration = Duration::from_secs(310);

/// Why there is no way to the API server, or no name for us there.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// Neither a pod's service account nor a kubeconfig.
    #[error("no API server: {0}; outside of a cluster set KUBECONFIG, or use --file")]
    NoConfig(String),
    /// The configuration makes no client.
    #[error("the API server's address or credentials are unusable: {0}")]
    Client(#[source] kube::Error),
    /// The node's name is unknown.
    #[error(
        "the name of this node is unknown: the pod's token does not carry it (Kubernetes 1.32 or later does); \
         set --node"
    )]
    NoNode,
}

/// A client, and what its credentials say about this pod.
pub struct Cluster {
    /// The client; clones share its connections.
    pub client: Client,
    /// Absent outside of a pod.
    pub claims: Option<Claims>,
}

/// Connects lazily: from KUBECONFIG where that is set, else as the pod's service account, else from
/// `~/.kube/config`. An API server that is away is no error here.
///
/// # Errors
/// If there is no configuration, or none that makes a client.
pub async fn connect() -> Result<Cluster, ClusterError> {
    let no_config = |error: &dyn std::error::Error| ClusterError::NoConfig(error.to_string());
    let mut config =
        if env::var_os("KUBECONFIG").is_none() && env::var_os("KUBERNETES_SERVICE_HOST").is_some() {
            Config::incluster().map_err(|error| no_config(&error))?
        } else {
            Config::infer().await.map_err(|error| no_config(&error))?
        };
    // Whoever calls decides when to try again: a client that retries by itself hides outages from the back-off.
    config.default_retry = false;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = Some(READ_TIMEOUT);
    config.reset_reader_on_write = true;
    let claims = config.auth_info.token_file.as_deref().and_then(|file| claims_in(Path::new(file)));
    let client = Client::try_from(config).map_err(ClusterError::Client)?;
    Ok(Cluster { client, claims })
}

/// What the token in a file says; a warning and nothing where it says nothing.
fn claims_in(file: &Path) -> Option<Claims> {
    let token = std::fs::read_to_string(file)
        .inspect_err(|error| tracing::warn!(file = %file.display(), %error, "cannot read the pod's token"))
        .ok()?;
    claims::decode(token.trim())
        .inspect_err(
            |error| tracing::warn!(file = %file.display(), %error, "the pod's token says nothing about us"),
        )
        .ok()
}

/// Who we are: what was said by flag or environment, else what the token says.
///
/// # Errors
/// If nothing names the node.
pub fn identity(
    fleet: &str,
    node: Option<&str>,
    pod_uid: Option<&str>,
    claims: Option<&Claims>,
) -> Result<NodeIdentity, ClusterError> {
    let claimed = claims.and_then(|claims| claims.node.as_ref());
    let said = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(str::to_owned);
    let node = said(node).or_else(|| claimed.map(|node| node.name.clone())).ok_or(ClusterError::NoNode)?;
    if let Some(claimed) = claimed.filter(|claimed| claimed.name != node) {
        tracing::warn!(node, token = claimed.name, "the node was named otherwise than in the pod's token");
    }
    Ok(NodeIdentity {
        fleet: fleet.to_owned(),
        node_uid: claimed.filter(|claimed| claimed.name == node).and_then(|claimed| claimed.uid.clone()),
        node,
        pod_uid: said(pod_uid)
            .or_else(|| claims.and_then(|claims| claims.pod.as_ref()?.uid.clone()))
            .unwrap_or_default(),
    })
}

/// The fleets of the cluster.
pub(crate) fn fleets(client: &Client) -> Api<DynamicObject> {
    api(client, "SerialFleet")
}

/// The reports of the cluster's nodes.
pub(crate) fn serial_nodes(client: &Client) -> Api<DynamicObject> {
    api(client, "SerialNode")
}

fn api(client: &Client, kind: &str) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk(names::GROUP, names::VERSION, kind);
    Api::all_with(client.clone(), &ApiResource::from_gvk(&kind))
}

/// What went wrong and what to do about it, in a sentence.
pub(crate) fn explain(error: &kube::Error) -> String {
    let kube::Error::Api(status) = error else {
        return format!("the API server does not answer: {}", chain(error));
    };
    let said = if status.message.is_empty() { &status.reason } else { &status.message };
    let said = clean(said, MAX_MESSAGE);
    let next = match status.code {
        401 => "the pod's token is not accepted: is this pod being deleted?",
        403 => {
            "check that the manifests of this version are applied (service account serialfleet-bridge, its role and the \
             admission policy), and that Kubernetes is 1.32 or later"
        }
        404 => "are the CRDs installed? kubectl apply -k metacontroller",
        409 => "somebody else wrote at the same time; trying again",
        410 => "the version asked for is no longer kept; reading again",
        413 | 422 => "the CRDs are older than this bridge: apply those of its version first",
        429 | 500..=599 => "the API server is busy or starting; trying again",
        _ => "trying again",
    };
    format!("the API server answered {}: {said}; {next}", status.code)
}

/// An error with its causes, each said once.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// A random number for jitter; needs no quality.
pub(crate) fn dice() -> u64 {
    std::hash::RandomState::new().hash_one(0_u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims() -> Claims {
        Claims {
            node: Some(claims::Bound { name: "wyse-1".into(), uid: Some("n-1".into()) }),
            pod: Some(claims::Bound { name: "home-bridge-abcde".into(), uid: Some("p-1".into()) }),
            ..Claims::default()
        }
    }

    #[test]
    fn the_token_says_who_we_are() {
        let identity = identity("home", None, None, Some(&claims())).unwrap();
        assert_eq!(identity.node, "wyse-1");
        assert_eq!(identity.node_uid.as_deref(), Some("n-1"));
        assert_eq!(identity.pod_uid, "p-1");
    }

    #[test]
    fn a_flag_wins_and_a_foreign_node_gets_no_uid() {
        let identity = identity("home", Some("wyse-2"), Some("p-2"), Some(&claims())).unwrap();
        assert_eq!((identity.node.as_str(), identity.pod_uid.as_str()), ("wyse-2", "p-2"));
        assert_eq!(identity.node_uid, None);
    }

    #[test]
    fn an_empty_variable_says_nothing() {
        assert_eq!(identity("home", Some(""), Some(""), Some(&claims())).unwrap().node, "wyse-1");
        assert!(matches!(identity("home", Some(""), None, None), Err(ClusterError::NoNode)));
    }

    /// Two TLS providers in one build would make the client panic at its first use.
    #[tokio::test]
    async fn a_client_with_tls_can_be_built() {
        let mut config = Config::new("https://127.0.0.1:1".parse().unwrap());
        config.root_cert = Some(Vec::new());
        assert!(Client::try_from(config).is_ok());
    }

    #[test]
    fn every_refusal_names_the_next_step() {
        for code in [401_u16, 403, 404, 409, 422, 429, 503] {
            let status = kube::core::Status { code, message: "said".into(), ..kube::core::Status::default() };
            let text = explain(&kube::Error::Api(Box::new(status)));
            assert!(text.contains(&code.to_string()) && text.contains("said; "), "{text}");
        }
    }
}
