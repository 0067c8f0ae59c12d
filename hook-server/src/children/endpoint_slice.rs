//! A device's EndpointSlice in one address family: no endpoint, or the one of the bridge that has the device. Fields
//! stand in the order of their names, as in every other child.

use serde::Serialize;
use serialfleet_api::names;

use super::{Pairs, device_service::PORT_NAME, labels};
use crate::{
    observed::{Family, Key, Pod},
    outcome::Outcome,
};

/// A device's EndpointSlice in one address family.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointSlice<'c> {
    address_type: &'static str,
    api_version: &'static str,
    /// `null` for none: the API server stores it so. `[]` would be written again on every sync, and without the key an
    /// endpoint that somebody else put there would stay.
    endpoints: Option<[Endpoint<'c>; 1]>,
    kind: &'static str,
    metadata: Metadata<'c>,
    ports: [Port; 1],
}

#[derive(Debug, Serialize)]
struct Metadata<'c> {
    labels: Pairs<'c>,
    name: String,
    namespace: &'c str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Port {
    app_protocol: &'static str,
    name: &'static str,
    port: u16,
    protocol: &'static str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Endpoint<'c> {
    addresses: [&'c str; 1],
    conditions: Conditions,
    node_name: &'c str,
    target_ref: TargetRef<'c>,
}

#[derive(Debug, Serialize)]
struct Conditions {
    ready: bool,
}

#[derive(Debug, Serialize)]
struct TargetRef<'c> {
    kind: &'static str,
    name: &'c str,
    namespace: &'static str,
    uid: &'c str,
}

impl<'c> EndpointSlice<'c> {
    pub(super) fn new(fleet: &'c str, outcome: &'c Outcome<'_>, namespace: &'c str, family: Family) -> Self {
        let wanted = &outcome.wanted;
        let labels = labels(
            fleet,
            "device",
            &[
                (names::LABEL_DEVICE, &wanted.device.name),
                (names::LABEL_SERVICE_NAME, &wanted.name),
                (names::LABEL_SLICE_MANAGED_BY, names::SLICE_MANAGER),
            ],
        );
        let name = family.slice(&wanted.name);
        Self {
            address_type: family.address_type(),
            api_version: "discovery.k8s.io/v1",
            endpoints: outcome.endpoint.as_ref().and_then(|pod| Some([endpoint(pod, family)?])),
            kind: "EndpointSlice",
            metadata: Metadata { labels: Pairs::new(labels), name, namespace },
            ports: [Port { app_protocol: "tcp", name: PORT_NAME, port: wanted.pod_port, protocol: "TCP" }],
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.metadata.name
    }

    /// Its namespace and name.
    pub fn key(&self) -> Key<'_> {
        (self.metadata.namespace, &self.metadata.name)
    }
}

fn endpoint<'c>(pod: &'c Pod<'_>, family: Family) -> Option<Endpoint<'c>> {
    Some(Endpoint {
        addresses: [pod.addresses.get(&family)?],
        conditions: Conditions { ready: true },
        node_name: pod.node,
        target_ref: TargetRef {
            kind: "Pod",
            name: pod.name,
            namespace: names::SYSTEM_NAMESPACE,
            uid: pod.uid,
        },
    })
}
