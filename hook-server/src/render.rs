//! `render`: the children of a fleet as YAML, without a cluster. Text in, text out: the program reads the files.

use std::time::SystemTime;

use serde::Deserialize;
use serde_json::{Value, json};
use serialfleet_api::{fleet::SerialFleet, names, node::SerialNode};

use crate::{
    config::Config,
    request::{Refusal, SyncRequest},
    sync::sync,
};

/// Why nothing is rendered.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// The file with SerialNodes is no YAML.
    #[error(transparent)]
    Yaml(#[from] serde_yaml::Error),
    /// It holds something else.
    #[error("not every object in it is a SerialNode: give what kubectl get sn -o yaml prints")]
    OtherKind,
    /// A SerialNode belongs to another fleet.
    #[error("SerialNode of node {node:?} is of fleet {fleet:?}: give those of the rendered fleet")]
    OtherFleet {
        /// Its node.
        node: String,
        /// Its fleet.
        fleet: String,
    },
    /// The fleet is refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// An object cannot be written.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// An object cannot be written as YAML.
    #[error(transparent)]
    Write(#[from] serde_saphyr::ser::Error),
}

/// SerialNodes from a YAML stream of objects, lists of objects, or Kubernetes Lists.
///
/// # Errors
/// If the text is no such YAML.
pub fn read_nodes(text: &str) -> Result<Vec<SerialNode>, RenderError> {
    let mut nodes = Vec::new();
    for document in serde_yaml::Deserializer::from_str(text) {
        collect(Value::deserialize(document)?, &mut nodes)?;
    }
    Ok(nodes)
}

fn collect(value: Value, nodes: &mut Vec<SerialNode>) -> Result<(), RenderError> {
    match value {
        Value::Null => {}
        Value::Array(items) => {
            for item in items {
                collect(item, nodes)?;
            }
        }
        mut value => match value.get_mut("items").map(Value::take) {
            Some(items) => collect(items, nodes)?,
            None if value["kind"].as_str().is_some_and(|kind| kind != "SerialNode") => {
                return Err(RenderError::OtherKind);
            }
            None => nodes.push(serde_json::from_value(value)?),
        },
    }
    Ok(())
}

/// The children as the hook would answer if each of the SerialNodes came from a ready bridge and the namespace were
/// allowed. The bridges' addresses are made up, from the range for benchmarks.
///
/// # Errors
/// If the fleet cannot be understood, or a SerialNode is of another one.
pub fn render(fleet: &SerialFleet, nodes: &[SerialNode], config: &Config) -> Result<String, RenderError> {
    let request = SyncRequest::parse(request(fleet, nodes)?.to_string().as_bytes())?;
    let response = sync(&request, config, SystemTime::UNIX_EPOCH)?;
    let mut text = String::new();
    for child in &response.children {
        text.push_str("---\n");
        text.push_str(&serde_saphyr::to_string(child)?);
        if !text.ends_with('\n') {
            text.push('\n');
        }
    }
    Ok(text)
}

fn request(fleet: &SerialFleet, nodes: &[SerialNode]) -> Result<Value, RenderError> {
    let name = fleet.metadata.name.as_deref().unwrap_or_default();
    let (mut reports, mut endpoints) = (serde_json::Map::new(), Vec::new());
    for (index, node) in nodes.iter().enumerate() {
        if node.fleet != name {
            return Err(RenderError::OtherFleet { node: node.node_name.clone(), fleet: node.fleet.clone() });
        }
        let mut report = serde_json::to_value(node)?;
        let key = names::serial_node(name, &node.node_name);
        let uid = if node.pod_uid.is_empty() { &key } else { &node.pod_uid };
        report["metadata"]["name"] = json!(key);
        report["podUID"] = json!(uid);
        endpoints.push(json!({
            "addresses": [format!("198.18.{}.{}", index / 250 % 250, index % 250 + 1)],
            "nodeName": node.node_name,
            "targetRef": {"kind": "Pod", "name": format!("{}-{}", names::bridge(name), node.node_name), "uid": uid},
        }));
        reports.insert(key, report);
    }
    let namespace = fleet.spec.service_namespace.as_deref().unwrap_or(names::SYSTEM_NAMESPACE);
    Ok(json!({
        "parent": fleet,
        "related": {
            "SerialNode.serialfleet.io/v1alpha1": reports,
            "EndpointSlice.discovery.k8s.io/v1": {"anchor": {
                "metadata": {
                    "namespace": names::SYSTEM_NAMESPACE,
                    "labels": {(names::LABEL_SERVICE_NAME): names::anchor(name)},
                },
                "addressType": "IPv4",
                "endpoints": endpoints,
            }},
            "Namespace.v1": {"namespace": {"metadata": {
                "name": namespace,
                "labels": {(names::LABEL_SERVICES): names::SERVICES_ALLOWED},
            }}},
        },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fleet() -> SerialFleet {
        serde_yaml::from_str(
            "metadata: {name: home}\nspec:\n  serviceNamespace: iot\n  bridge: {nodeSelector: {serials: \"no\"}}\n  \
             devices: [{name: zigbee, match: {usb: '10c4:ea60'}}]",
        )
        .unwrap()
    }

    #[test]
    fn children_are_yaml_that_a_yaml_1_1_reader_takes_as_meant() {
        let nodes = read_nodes(
            "- {fleet: home, nodeName: a, ports: [{name: zigbee, state: Serving}]}\n---\nkind: List\nitems: []\n---\n",
        )
        .unwrap();
        let text = render(&fleet(), &nodes, &Config::with_image("example/serialfleet:test")).unwrap();
        assert!(text.contains("serials: \"no\""), "{text}");
        let kinds: Vec<String> = serde_yaml::Deserializer::from_str(&text)
            .map(|document| Value::deserialize(document).unwrap()["kind"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(kinds, ["DaemonSet", "Service", "NetworkPolicy", "Service", "EndpointSlice"]);
        assert!(text.contains("nodeName: a"), "{text}");
    }

    #[test]
    fn without_nodes_there_are_services_but_no_addresses() {
        let text = render(&fleet(), &[], &Config::with_image("example/serialfleet:test")).unwrap();
        assert!(text.contains("name: zigbee") && !text.contains("EndpointSlice"), "{text}");
    }

    #[test]
    fn a_node_of_another_fleet_is_refused() {
        let nodes = read_nodes("{fleet: shed, nodeName: a}").unwrap();
        assert!(render(&fleet(), &nodes, &Config::with_image("x")).unwrap_err().to_string().contains("shed"));
    }
}
