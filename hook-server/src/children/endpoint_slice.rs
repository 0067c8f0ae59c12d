//! A device's EndpointSlice in one address family: no endpoint, or the one of the bridge that has the device. Fields
//! stand in the order of their names, as in every other child.

use serde::Serialize;
use serialfleet_api::names;

use super::{Pairs, device_service::PORT_NAME, labels, texts::Text};
use crate::{
    observed::{Family, Pod},
    outcome::Outcome,
    services::Wanted,
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
    metadata: Text<'c, Metadata<'c>>,
    ports: [Port; 1],
}

/// Metadata of a device's slice: whatever bridge it leads to, it stays the same.
#[derive(Debug, Serialize)]
pub(super) struct Metadata<'c> {
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
    pub(super) fn new(outcome: &'c Outcome<'_>, family: Family, metadata: Text<'c, Metadata<'c>>) -> Self {
        Self {
            address_type: family.address_type(),
            api_version: "discovery.k8s.io/v1",
            endpoints: outcome.endpoint.as_ref().and_then(|pod| Some([endpoint(pod, family)?])),
            kind: "EndpointSlice",
            metadata,
            ports: [Port {
                app_protocol: "tcp",
                name: PORT_NAME,
                port: outcome.wanted.pod_port,
                protocol: "TCP",
            }],
        }
    }
}

impl<'c> Metadata<'c> {
    pub(super) fn new(fleet: &'c str, wanted: &'c Wanted<'_>, namespace: &'c str, family: Family) -> Self {
        let labels = labels(
            fleet,
            "device",
            &[
                (names::LABEL_DEVICE, &wanted.device.name),
                (names::LABEL_SERVICE_NAME, &wanted.name),
                (names::LABEL_SLICE_MANAGED_BY, names::SLICE_MANAGER),
            ],
        );
        Self { labels: Pairs::new(labels), name: family.slice(&wanted.name), namespace }
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
