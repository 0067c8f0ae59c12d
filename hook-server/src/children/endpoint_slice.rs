//! A device's EndpointSlice in one address family: no endpoint, or the one of the bridge that has the device.

use serde_json::{Value, json};
use serialfleet_api::names;

use super::{device_service::PORT_NAME, labels};
use crate::{observed::Family, outcome::Outcome};

pub(super) fn endpoint_slice(fleet: &str, outcome: &Outcome<'_>, namespace: &str, family: Family) -> Value {
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
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": format!("{}{}", wanted.name, family.suffix()),
            "namespace": namespace,
            "labels": labels,
        },
        "addressType": family.address_type(),
        "ports": [{"name": PORT_NAME, "port": wanted.pod_port, "protocol": "TCP", "appProtocol": "tcp"}],
        "endpoints": endpoints(outcome, family),
    })
}

/// `null` for none: the API server stores it so. `[]` would be written again on every sync, and without the key an
/// endpoint that somebody else put there would stay.
fn endpoints(outcome: &Outcome<'_>, family: Family) -> Value {
    let endpoint = outcome.endpoint.as_ref().and_then(|pod| Some((pod, pod.addresses.get(&family)?)));
    let Some((pod, address)) = endpoint else { return Value::Null };
    json!([{
        "addresses": [address],
        "conditions": {"ready": true},
        "nodeName": pod.node,
        "targetRef": {
            "kind": "Pod",
            "namespace": names::SYSTEM_NAMESPACE,
            "name": pod.name,
            "uid": pod.uid,
        },
    }])
}
