//! A device's Service: without selector, so that nobody but us says where it leads. Exists as long as its device
//! entry does.

use serde_json::{Map, Value, json};
use serialfleet_api::{fleet::ServiceType, names};

use super::labels;
use crate::outcome::Outcome;

/// Name of a device's port, the same in Service and slice: kube-proxy compares them.
pub(super) const PORT_NAME: &str = "serial";

pub(super) fn device_service(fleet: &str, outcome: &Outcome<'_>, namespace: &str) -> Value {
    let (wanted, device) = (&outcome.wanted, outcome.wanted.device);
    let mut all: Map<String, Value> = users(&device.service.labels);
    all.append(&mut labels(fleet, "device", &[(names::LABEL_DEVICE, &device.name)]));
    let mut annotations = users(&device.service.annotations);
    if let Some(node) = wanted.node {
        annotations.insert(names::ANNOTATION_NODE.to_owned(), json!(node));
    }
    let mut port = json!({
        "name": PORT_NAME,
        "port": device.port,
        "protocol": "TCP",
        "appProtocol": "tcp",
        "targetPort": wanted.pod_port,
    });
    let mut spec = json!({"type": device.service.type_, "ipFamilyPolicy": "PreferDualStack"});
    let external = device.service.type_ != ServiceType::ClusterIP;
    // The API server refuses these three on Services of other types.
    if external {
        if let Some(policy) = device.service.external_traffic_policy {
            spec["externalTrafficPolicy"] = json!(policy);
        }
        // One number cannot be several Services'.
        if let (Some(number), None) = (device.service.node_port, wanted.node) {
            port["nodePort"] = json!(number);
        }
    }
    if device.service.type_ == ServiceType::LoadBalancer
        && let Some(class) = device.service.load_balancer_class.as_ref().filter(|class| !class.is_empty())
    {
        spec["loadBalancerClass"] = json!(class);
    }
    spec["ports"] = json!([port]);
    let mut metadata = json!({"name": wanted.name, "namespace": namespace, "labels": all});
    if !annotations.is_empty() {
        metadata["annotations"] = Value::Object(annotations);
    }
    json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec})
}

/// The user's labels or annotations, without the keys by which Metacontroller and kubectl keep their books: one of
/// them here would stop the whole fleet. The CRD refuses them with a sentence; this is the second lock.
fn users(map: &std::collections::BTreeMap<String, String>) -> Map<String, Value> {
    map.iter()
        .filter(|(key, _)| {
            let owner = key.split_once('/').map_or("", |(owner, _)| owner);
            key.as_str() != "controller-uid"
                && !["metacontroller.k8s.io", "metacontroller.io", "kubectl.kubernetes.io", names::GROUP]
                    .contains(&owner)
        })
        .map(|(key, value)| (key.clone(), json!(value)))
        .collect()
}
