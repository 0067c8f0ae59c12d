//! A device's Service: without selector, so that nobody but us says where it leads. Exists as long as its device
//! entry does. Fields stand in the order of their names, as in every other child.

use std::collections::BTreeMap;

use serde::Serialize;
use serialfleet_api::{
    fleet::{ExternalTrafficPolicy, ServiceType},
    names,
};

use super::{Pairs, labels};
use crate::{request::CONTROLLER_UID, services::Wanted};

/// Name of a device's port, the same in Service and slice: kube-proxy compares them.
pub(super) const PORT_NAME: &str = "serial";

/// A device's Service.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceService<'c> {
    api_version: &'static str,
    kind: &'static str,
    metadata: Metadata<'c>,
    spec: Spec<'c>,
}

#[derive(Debug, Serialize)]
struct Metadata<'c> {
    #[serde(skip_serializing_if = "Pairs::is_empty")]
    annotations: Pairs<'c>,
    labels: Pairs<'c>,
    name: &'c str,
    namespace: &'c str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Spec<'c> {
    #[serde(skip_serializing_if = "Option::is_none")]
    external_traffic_policy: Option<ExternalTrafficPolicy>,
    ip_family_policy: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    load_balancer_class: Option<&'c str>,
    ports: [Port; 1],
    #[serde(rename = "type")]
    type_: ServiceType,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Port {
    app_protocol: &'static str,
    name: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    node_port: Option<i32>,
    port: u16,
    protocol: &'static str,
    target_port: u16,
}

impl<'c> DeviceService<'c> {
    pub(super) fn new(fleet: &'c str, wanted: &'c Wanted<'_>, namespace: &'c str) -> Self {
        let device = wanted.device;
        let service = &device.service;
        // The user's own come first, so that ours win.
        let mut all = users(&service.labels);
        all.append(&mut labels(fleet, "device", &[(names::LABEL_DEVICE, &device.name)]));
        let mut annotations = users(&service.annotations);
        annotations.extend(wanted.node.map(|node| (names::ANNOTATION_NODE, node)));
        // The API server refuses these three on Services of other types.
        let external = service.type_ != ServiceType::ClusterIP;
        let port = Port {
            app_protocol: "tcp",
            name: PORT_NAME,
            node_port: node_port(wanted),
            port: device.port,
            protocol: "TCP",
            target_port: wanted.pod_port,
        };
        Self {
            api_version: "v1",
            kind: "Service",
            metadata: Metadata {
                annotations: Pairs::new(annotations),
                labels: Pairs::new(all),
                name: &wanted.name,
                namespace,
            },
            spec: Spec {
                external_traffic_policy: service.external_traffic_policy.filter(|_| external),
                ip_family_policy: "PreferDualStack",
                load_balancer_class: load_balancer_class(wanted),
                ports: [port],
                type_: service.type_,
            },
        }
    }
}

/// The port on every node that a Service asks for.
pub fn node_port(wanted: &Wanted<'_>) -> Option<i32> {
    let service = &wanted.device.service;
    // One number cannot be several Services'.
    let one = service.type_ != ServiceType::ClusterIP && wanted.node.is_none();
    service.node_port.filter(|_| one)
}

/// Who is to implement a Service's load balancer, where somebody was named.
pub fn load_balancer_class<'c>(wanted: &'c Wanted<'_>) -> Option<&'c str> {
    let service = &wanted.device.service;
    let balanced = service.type_ == ServiceType::LoadBalancer;
    service.load_balancer_class.as_deref().filter(|class| balanced && !class.is_empty())
}

/// The user's labels or annotations, without the keys by which Metacontroller and kubectl keep their books: one of
/// them here would stop the whole fleet. The CRD refuses them with a sentence; this is the second lock.
fn users(map: &BTreeMap<String, String>) -> Vec<(&str, &str)> {
    map.iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .filter(|(key, _)| {
            let owner = key.split_once('/').map_or("", |(owner, _)| owner);
            *key != CONTROLLER_UID
                && !["metacontroller.k8s.io", "metacontroller.io", "kubectl.kubernetes.io", names::GROUP]
                    .contains(&owner)
        })
        .collect()
}
