//! What is observed of a child that was answered: Metacontroller's label, owner and annotation, the API server's
//! defaults, who manages which field.
//!
//! Owner: the requests. Pure.

use serde_json::{Value, json};

use crate::fleet::{FLEET, Size, fleet_uid, metadata};
use crate::managed_fields::{By, managed_fields};

/// The group that a child is sent in, `Kind.group/version` or `Kind.version`.
pub(crate) fn group(child: &Value) -> String {
    format!("{}.{}", text(child, "kind"), text(child, "apiVersion"))
}

/// Its key in that group.
pub(crate) fn key(child: &Value) -> String {
    format!("{}/{}", text(&child["metadata"], "namespace"), text(&child["metadata"], "name"))
}

fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object[field].as_str().unwrap_or_default()
}

/// How Metacontroller writes children (`--apply-strategy`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Strategy {
    /// Its default: a copy of each child is kept in an annotation.
    DynamicApply,
    /// The API server keeps the books.
    ServerSideApply,
}

/// The child as it comes back with the next request.
pub(crate) fn stored(size: Size, strategy: Strategy, answered: &Value) -> Value {
    let mut desired = answered.clone();
    desired["metadata"]["labels"]["controller-uid"] = json!(fleet_uid());
    let mut object = desired.clone();
    let kind = text(&desired, "kind").to_owned();
    let (namespace, name) = (text(&desired["metadata"], "namespace"), text(&desired["metadata"], "name"));
    object["metadata"] = metadata(namespace, name, &kind);
    for part in ["annotations", "labels"] {
        if let Some(said) = desired["metadata"].get(part) {
            object["metadata"][part] = said.clone();
        }
    }
    object["metadata"]["ownerReferences"] = json!([{"apiVersion": "serialfleet.io/v1alpha1", "blockOwnerDeletion": true,
        "controller": true, "kind": "SerialFleet", "name": FLEET, "uid": fleet_uid()}]);
    let mut managed = Vec::new();
    if strategy == Strategy::ServerSideApply {
        managed.push(managed_fields(&object, By::APPLIED));
    }
    match kind.as_str() {
        "DaemonSet" => daemon_set(&mut object),
        "Service" => {
            object["spec"]["internalTrafficPolicy"] = json!("Cluster");
            object["spec"]["sessionAffinity"] = json!("None");
        }
        _ => {}
    }
    if strategy == Strategy::DynamicApply {
        object["metadata"]["annotations"]["metacontroller.k8s.io/last-applied-configuration"] =
            json!(desired.to_string());
        managed.push(managed_fields(&object, By::METACONTROLLER));
    }
    if kind == "DaemonSet" {
        let status = json!({"apiVersion": "apps/v1", "status": size.bridges()});
        managed.push(managed_fields(&status, By::CONTROLLER_MANAGER_STATUS));
    }
    object["metadata"]["managedFields"] = Value::Array(managed);
    // What is allocated or reported belongs to nobody's fields.
    match kind.as_str() {
        "Service" => {
            let address = object["spec"]["clusterIP"].as_str().map_or_else(|| address(name), str::to_owned);
            object["spec"]["clusterIPs"] = json!([address]);
            object["spec"]["clusterIP"] = json!(address);
            object["spec"]["ipFamilies"] = json!(["IPv4"]);
            object["status"] = json!({"loadBalancer": {}});
        }
        "DaemonSet" => {
            object["metadata"]["generation"] = json!(1);
            object["status"] = size.bridges();
        }
        _ => object["metadata"]["generation"] = json!(1),
    }
    object
}

fn address(name: &str) -> String {
    let sum = name.bytes().fold(7_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    format!("10.96.{}.{}", sum / 256 % 256, sum % 254 + 1)
}

fn set(object: &mut Value, defaults: &Value) {
    let (Some(object), Some(defaults)) = (object.as_object_mut(), defaults.as_object()) else { return };
    for (key, value) in defaults {
        object.entry(key.clone()).or_insert_with(|| value.clone());
    }
}

fn each(list: &mut Value) -> impl Iterator<Item = &mut Value> {
    list.as_array_mut().into_iter().flatten()
}

fn daemon_set(object: &mut Value) {
    object["metadata"]["annotations"]["deprecated.daemonset.template.generation"] = json!("1");
    let spec = &mut object["spec"];
    set(spec, &json!({"revisionHistoryLimit": 10}));
    set(&mut spec["updateStrategy"]["rollingUpdate"], &json!({"maxSurge": 0}));
    let pod = &mut spec["template"]["spec"];
    let account = pod["serviceAccountName"].clone();
    set(
        pod,
        &json!({"dnsPolicy": "ClusterFirst", "restartPolicy": "Always", "schedulerName": "default-scheduler",
            "securityContext": {}, "serviceAccount": account}),
    );
    for container in each(&mut pod["containers"]) {
        set(
            container,
            &json!({"imagePullPolicy": "IfNotPresent", "terminationMessagePath": "/dev/termination-log",
                "terminationMessagePolicy": "File"}),
        );
        for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
            if let Some(probe) = container.get_mut(probe) {
                set(
                    probe,
                    &json!({"failureThreshold": 3, "periodSeconds": 10, "successThreshold": 1, "timeoutSeconds": 1}),
                );
                set(&mut probe["httpGet"], &json!({"scheme": "HTTP"}));
            }
        }
        for variable in each(&mut container["env"]) {
            if let Some(field) = variable.pointer_mut("/valueFrom/fieldRef") {
                set(field, &json!({"apiVersion": "v1"}));
            }
        }
    }
    for volume in each(&mut pod["volumes"]) {
        for part in ["secret", "projected"] {
            if let Some(part) = volume.get_mut(part) {
                set(part, &json!({"defaultMode": 420}));
            }
        }
    }
}
