//! The customize hook: which related objects Metacontroller sends along. Pure, and infallible for anything that has a
//! name: Metacontroller asks once per generation, inside its event loop, and swallows errors. So the spec is not read
//! as a fleet but looked into: what is of another type or of a later version than this gets its rules all the same.
//!
//! What is not ours is told by `controller-uid`, which Metacontroller puts on every child: such a rule doubles nothing
//! that the request shows as a child, and shows what only looks like ours.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::{Value, json};
use serialfleet_api::{
    hook::{CustomizeResponse, ResourceRule},
    names,
};

use crate::request::{CONTROLLER_UID, Refusal, service_namespace};

/// Most names in a selector: beyond, foreign slices of the later ones stay unseen.
const MAX_NAMES: usize = 1024;

/// Who writes the EndpointSlices of most Services, and ours: of these the names are known.
const SLICE_MANAGERS: [&str; 3] =
    ["endpointslice-controller.k8s.io", "endpointslicemirroring-controller.k8s.io", names::SLICE_MANAGER];

/// The few fields that rules depend on, however the others look.
#[derive(Debug, Deserialize)]
pub struct CustomizeRequest {
    parent: Parent,
}

#[derive(Debug, Deserialize)]
struct Parent {
    metadata: Metadata,
    #[serde(default)]
    spec: Value,
}

#[derive(Debug, Deserialize)]
struct Metadata {
    name: String,
    #[serde(default)]
    uid: Value,
}

impl CustomizeRequest {
    /// Reads the body of a call.
    ///
    /// # Errors
    /// If it is no hook request with a parent that has a name.
    pub fn parse(body: &[u8]) -> Result<Self, Refusal> {
        let request: Self = serde_json::from_slice(body).map_err(|error| Refusal::envelope(&error))?;
        if request.parent.metadata.name.is_empty() {
            return Err(Refusal::nameless());
        }
        Ok(request)
    }
}

/// The rules for a fleet.
pub fn customize(request: &CustomizeRequest) -> CustomizeResponse {
    let Metadata { name: fleet, uid } = &request.parent.metadata;
    let spec = &request.parent.spec;
    let namespace = service_namespace(spec["serviceNamespace"].as_str());
    // Without a uid (a call by hand), the fleet's label has to do.
    let not_ours = match uid.as_str().filter(|uid| !uid.is_empty()) {
        Some(uid) => json!({"key": CONTROLLER_UID, "operator": "NotIn", "values": [uid]}),
        None => json!({"key": names::LABEL_FLEET, "operator": "NotIn", "values": [fleet]}),
    };
    let system = names::SYSTEM_NAMESPACE;
    let (bridge, anchor) = (names::bridge(fleet), names::anchor(fleet));
    let of_anchor = json!({"matchLabels": {(names::LABEL_SERVICE_NAME): anchor}});
    let by_hand =
        json!({"key": names::LABEL_SLICE_MANAGED_BY, "operator": "NotIn", "values": SLICE_MANAGERS});
    let mut rules = vec![
        ResourceRule {
            api_version: names::API_VERSION.to_owned(),
            resource: "serialnodes".to_owned(),
            label_selector: Some(json!({"matchLabels": {(names::LABEL_FLEET): fleet}})),
            ..ResourceRule::default()
        },
        selected(SLICES, system, of_anchor),
        selected(SERVICES, namespace, json!({"matchExpressions": [not_ours]})),
        selected(SLICES, namespace, json!({"matchExpressions": [by_hand]})),
        // By name, ours among them: other fleets' bridges change often, and are none of our business.
        named(("apps/v1", "daemonsets"), system, &bridge),
        named(("networking.k8s.io/v1", "networkpolicies"), system, &bridge),
    ];
    if namespace != system {
        rules.push(named(SERVICES, system, &anchor));
        rules.push(ResourceRule {
            api_version: "v1".to_owned(),
            resource: "namespaces".to_owned(),
            names: vec![namespace.to_owned()],
            ..ResourceRule::default()
        });
    }
    let services = service_names(&spec["devices"]);
    // An empty list of values is refused, and would take the whole fleet down with it.
    if !services.is_empty() {
        let ours = json!({"key": names::LABEL_SERVICE_NAME, "operator": "In", "values": services});
        rules.push(selected(SLICES, namespace, json!({"matchExpressions": [ours, not_ours]})));
    }
    CustomizeResponse { related_resources: rules }
}

type Resource = (&'static str, &'static str);

const SERVICES: Resource = ("v1", "services");
const SLICES: Resource = ("discovery.k8s.io/v1", "endpointslices");

fn selected((api_version, resource): Resource, namespace: &str, selector: Value) -> ResourceRule {
    ResourceRule {
        api_version: api_version.to_owned(),
        resource: resource.to_owned(),
        namespace: Some(namespace.to_owned()),
        label_selector: Some(selector),
        ..ResourceRule::default()
    }
}

fn named((api_version, resource): Resource, namespace: &str, name: &str) -> ResourceRule {
    ResourceRule {
        api_version: api_version.to_owned(),
        resource: resource.to_owned(),
        namespace: Some(namespace.to_owned()),
        names: vec![name.to_owned()],
        ..ResourceRule::default()
    }
}

/// Names that follow from the spec alone; a scope-Node device without `match.nodes` has none.
fn service_names(devices: &Value) -> BTreeSet<String> {
    let devices = devices.as_array().map_or(&[][..], Vec::as_slice);
    let names = devices.iter().filter_map(|device| Some((device, device["name"].as_str()?)));
    let names = names.flat_map(|(device, name)| match device["scope"].as_str() {
        Some("Node") => {
            let nodes = device["match"]["nodes"].as_array().into_iter().flatten();
            nodes.filter_map(Value::as_str).map(|node| names::node_service(name, node)).collect()
        }
        _ => vec![name.to_owned()],
    });
    // What is no label value would make the API server refuse the selector, and take the whole fleet down with it.
    let names: BTreeSet<String> = names.filter(|name| is_label_value(name)).collect();
    names.into_iter().take(MAX_NAMES).collect()
}

fn is_label_value(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    text.len() <= names::MAX_LABEL
        && text.chars().all(inner)
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.ends_with(|c: char| c.is_ascii_alphanumeric())
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
        let rules = rules(json!({"metadata": {"name": "home", "uid": "u"}, "spec": {
            "serviceNamespace": "iot", "devices": [
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
                 {"matchExpressions": [{"key": "controller-uid", "operator": "NotIn", "values": ["u"]}]}},
                {"apiVersion": "discovery.k8s.io/v1", "resource": "endpointslices", "namespace": "iot",
                 "labelSelector": {"matchExpressions": [
                    {"key": "endpointslice.kubernetes.io/managed-by", "operator": "NotIn", "values": [
                        "endpointslice-controller.k8s.io", "endpointslicemirroring-controller.k8s.io",
                        "serialfleet.io"]}]}},
                {"apiVersion": "apps/v1", "resource": "daemonsets", "namespace": "serialfleet-system",
                 "names": ["home-bridge"]},
                {"apiVersion": "networking.k8s.io/v1", "resource": "networkpolicies",
                 "namespace": "serialfleet-system", "names": ["home-bridge"]},
                {"apiVersion": "v1", "resource": "services", "namespace": "serialfleet-system",
                 "names": ["home-anchor"]},
                {"apiVersion": "v1", "resource": "namespaces", "names": ["iot"]},
                {"apiVersion": "discovery.k8s.io/v1", "resource": "endpointslices", "namespace": "iot",
                 "labelSelector": {"matchExpressions": [
                    {"key": "kubernetes.io/service-name", "operator": "In",
                     "values": [names::node_service("meter", "a.b"), "meter-c", "zwave"]},
                    {"key": "controller-uid", "operator": "NotIn", "values": ["u"]}]}},
            ])
        );
    }

    #[test]
    fn a_fleet_without_devices_in_the_system_namespace_names_no_empty_list() {
        let rules = rules(json!({"metadata": {"name": "home"}}));
        assert_eq!(rules.len(), 6);
        assert!(rules.iter().all(|rule| rule["resource"] != "namespaces"));
    }

    #[test]
    fn a_fleet_of_a_later_version_gets_its_rules_however_it_looks() {
        let parent = |spec: Value| json!({"metadata": {"name": "home", "uid": "u"}, "spec": spec});
        for spec in [
            json!(null),
            json!("none"),
            json!([1]),
            json!({"serviceNamespace": 5, "devices": "all"}),
            json!({"devices": [null, 3, {"name": 4}, {"name": "a", "scope": {"new": 1}, "match": []}]}),
            json!({"devices": [{"name": "b", "scope": "Node", "match": {"nodes": {"a": 1}}}], "news": 1}),
        ] {
            assert!(rules(parent(spec.clone())).len() >= 6, "{spec}");
        }
        let known = rules(parent(json!({"serviceNamespace": "iot", "devices": [
            {"name": "a", "protocol": "Quic", "scope": "Galaxy"}, {"name": "Not A Label!"}, {"name": ""}]})));
        let last = &known.last().unwrap()["labelSelector"]["matchExpressions"][0];
        assert_eq!(last["values"], json!(["a"]));
    }

    #[test]
    fn no_parent_is_refused() {
        for body in
            ["{}", "[]", "", r#"{"parent": {"metadata": {}}}"#, r#"{"parent": {"metadata": {"name": ""}}}"#]
        {
            assert!(CustomizeRequest::parse(body.as_bytes()).is_err(), "{body}");
        }
    }
}
