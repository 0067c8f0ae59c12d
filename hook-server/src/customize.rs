//! The customize hook: which related objects Metacontroller sends along. Pure, and infallible for anything that has a
//! name: Metacontroller asks once per generation, inside its event loop, and swallows errors.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::json;
use serialfleet_api::{
    hook::{CustomizeResponse, ResourceRule},
    names,
};

use crate::request::{Refusal, service_namespace};

/// Most names in a selector: beyond, foreign slices of the later ones stay unseen.
const MAX_NAMES: usize = 1024;

/// The few fields that rules depend on, however the others look.
#[derive(Debug, Deserialize)]
pub struct CustomizeRequest {
    parent: Parent,
}

#[derive(Debug, Deserialize)]
struct Parent {
    metadata: Metadata,
    #[serde(default)]
    spec: Spec,
}

#[derive(Debug, Deserialize)]
struct Metadata {
    name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    service_namespace: Option<String>,
    devices: Vec<Device>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Device {
    name: String,
    scope: String,
    r#match: Match,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Match {
    nodes: Vec<String>,
}

impl CustomizeRequest {
    /// Reads the body of a call.
    ///
    /// # Errors
    /// If it is no hook request with a parent.
    pub fn parse(body: &[u8]) -> Result<Self, Refusal> {
        serde_json::from_slice(body).map_err(|error| Refusal::envelope(&error))
    }
}

/// The rules for a fleet.
pub fn customize(request: &CustomizeRequest) -> CustomizeResponse {
    let fleet = &request.parent.metadata.name;
    let spec = &request.parent.spec;
    let namespace = service_namespace(spec.service_namespace.as_deref());
    let slices = |namespace: &str, selector| ResourceRule {
        api_version: "discovery.k8s.io/v1".to_owned(),
        resource: "endpointslices".to_owned(),
        namespace: Some(namespace.to_owned()),
        label_selector: Some(selector),
        ..ResourceRule::default()
    };
    let not_ours = json!({"key": names::LABEL_FLEET, "operator": "NotIn", "values": [fleet]});
    let mut rules = vec![
        ResourceRule {
            api_version: names::API_VERSION.to_owned(),
            resource: "serialnodes".to_owned(),
            label_selector: Some(json!({"matchLabels": {(names::LABEL_FLEET): fleet}})),
            ..ResourceRule::default()
        },
        slices(
            names::SYSTEM_NAMESPACE,
            json!({"matchLabels": {(names::LABEL_SERVICE_NAME): names::anchor(fleet)}}),
        ),
        ResourceRule {
            api_version: "v1".to_owned(),
            resource: "services".to_owned(),
            namespace: Some(namespace.to_owned()),
            label_selector: Some(json!({"matchExpressions": [not_ours]})),
            ..ResourceRule::default()
        },
    ];
    if namespace != names::SYSTEM_NAMESPACE {
        rules.push(ResourceRule {
            api_version: "v1".to_owned(),
            resource: "namespaces".to_owned(),
            names: vec![namespace.to_owned()],
            ..ResourceRule::default()
        });
    }
    let services = service_names(&spec.devices);
    // An empty list of values is refused, and would take the whole fleet down with it.
    if !services.is_empty() {
        let ours = json!({"key": names::LABEL_SERVICE_NAME, "operator": "In", "values": services});
        rules.push(slices(namespace, json!({"matchExpressions": [ours, not_ours]})));
    }
    CustomizeResponse { related_resources: rules }
}

/// Names that follow from the spec alone; a scope-Node device without `match.nodes` has none.
fn service_names(devices: &[Device]) -> BTreeSet<String> {
    let names = devices.iter().flat_map(|device| match device.scope.as_str() {
        "Node" => device.r#match.nodes.iter().map(|node| names::node_service(&device.name, node)).collect(),
        _ => vec![device.name.clone()],
    });
    names.filter(|name| !name.is_empty()).collect::<BTreeSet<_>>().into_iter().take(MAX_NAMES).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn rules(parent: Value) -> Vec<Value> {
        let request = CustomizeRequest::parse(json!({"parent": parent}).to_string().as_bytes()).unwrap();
        serde_json::to_value(customize(&request)).unwrap()["relatedResources"].as_array().unwrap().clone()
    }

    #[test]
    fn a_fleet_sees_its_nodes_its_anchor_its_namespace_and_what_stands_in_its_way() {
        let rules =
            rules(json!({"metadata": {"name": "home"}, "spec": {"serviceNamespace": "iot", "devices": [
            {"name": "zwave"}, {"name": "meter", "scope": "Node", "match": {"nodes": ["a.b", "c"]}},
            {"name": "free", "scope": "Node"}]}}));
        assert_eq!(
            Value::Array(rules),
            json!([
                {"apiVersion": "serialfleet.io/v1alpha1", "resource": "serialnodes",
                 "labelSelector": {"matchLabels": {"serialfleet.io/fleet": "home"}}},
                {"apiVersion": "discovery.k8s.io/v1", "resource": "endpointslices",
                 "namespace": "serialfleet-system",
                 "labelSelector": {"matchLabels": {"kubernetes.io/service-name": "home-anchor"}}},
                {"apiVersion": "v1", "resource": "services", "namespace": "iot", "labelSelector":
                 {"matchExpressions": [{"key": "serialfleet.io/fleet", "operator": "NotIn", "values": ["home"]}]}},
                {"apiVersion": "v1", "resource": "namespaces", "names": ["iot"]},
                {"apiVersion": "discovery.k8s.io/v1", "resource": "endpointslices", "namespace": "iot",
                 "labelSelector": {"matchExpressions": [
                    {"key": "kubernetes.io/service-name", "operator": "In",
                     "values": [names::node_service("meter", "a.b"), "meter-c", "zwave"]},
                    {"key": "serialfleet.io/fleet", "operator": "NotIn", "values": ["home"]}]}},
            ])
        );
    }

    #[test]
    fn a_fleet_without_devices_in_the_system_namespace_names_no_empty_list() {
        let rules = rules(json!({"metadata": {"name": "home"}}));
        assert_eq!(rules.len(), 3);
        assert!(rules.iter().all(|rule| rule["resource"] != "namespaces"));
    }

    #[test]
    fn no_parent_is_refused() {
        for body in ["{}", "[]", "", r#"{"parent": {"metadata": {}}}"#] {
            assert!(CustomizeRequest::parse(body.as_bytes()).is_err(), "{body}");
        }
    }
}
