//! What the API server stores of a child, and what Metacontroller's two apply strategies would then write: enough of
//! both to say whether an answer comes to rest.

use serde_json::{Map, Value, json};

/// The object as it is stored: defaults filled in, as observed on a real API server.
pub(crate) fn stored(child: &Value) -> Value {
    let mut object = owned(child);
    let desired = object.to_string();
    let metadata = &mut object["metadata"];
    metadata["uid"] = json!("9f6f7c1e-0000-4000-8000-000000000000");
    metadata["resourceVersion"] = json!("7");
    metadata["generation"] = json!(1);
    metadata["creationTimestamp"] = json!("2026-11-21T08:41:04Z");
    metadata["ownerReferences"] = json!([{"apiVersion": "serialfleet.io/v1alpha1", "kind": "SerialFleet", "name": "home",
        "uid": "u", "controller": true, "blockOwnerDeletion": true}]);
    metadata["annotations"][LAST_APPLIED] = json!(desired);
    defaulted(&mut object);
    object
}

/// The answer's child as Metacontroller desires it: with its own label.
pub(crate) fn owned(child: &Value) -> Value {
    let mut object = child.clone();
    object["metadata"]["labels"]["controller-uid"] = json!("u");
    object
}

const LAST_APPLIED: &str = "metacontroller.k8s.io/last-applied-configuration";

fn default(object: &mut Value, field: &str, value: Value) {
    if object[field].is_null() {
        object[field] = value;
    }
}

fn defaulted(object: &mut Value) {
    match object["kind"].as_str().unwrap() {
        "DaemonSet" => {
            default(
                &mut object["metadata"]["annotations"],
                "deprecated.daemonset.template.generation",
                json!("1"),
            );
            let spec = &mut object["spec"];
            default(spec, "revisionHistoryLimit", json!(10));
            if spec["updateStrategy"]["type"] == "RollingUpdate" {
                default(&mut spec["updateStrategy"]["rollingUpdate"], "maxSurge", json!(0));
            }
            pod(&mut spec["template"]["spec"]);
        }
        "Service" => service(&mut object["spec"]),
        _ => {}
    }
}

fn pod(pod: &mut Value) {
    for (field, value) in [
        ("restartPolicy", json!("Always")),
        ("dnsPolicy", json!("ClusterFirst")),
        ("schedulerName", json!("default-scheduler")),
        ("securityContext", json!({})),
        ("serviceAccount", pod["serviceAccountName"].clone()),
    ] {
        default(pod, field, value);
    }
    let host_network = pod["hostNetwork"] == true;
    for volume in pod["volumes"].as_array_mut().unwrap() {
        for kind in ["secret", "projected"] {
            if volume.get(kind).is_some() {
                default(&mut volume[kind], "defaultMode", json!(420));
            }
        }
    }
    for container in pod["containers"].as_array_mut().unwrap() {
        default(container, "terminationMessagePath", json!("/dev/termination-log"));
        default(container, "terminationMessagePolicy", json!("File"));
        default(container, "imagePullPolicy", json!("IfNotPresent"));
        for port in container["ports"].as_array_mut().unwrap() {
            if host_network {
                let number = port["containerPort"].clone();
                default(port, "hostPort", number);
            }
        }
        for env in container["env"].as_array_mut().unwrap() {
            if env.get("valueFrom").is_some() {
                default(&mut env["valueFrom"]["fieldRef"], "apiVersion", json!("v1"));
            }
        }
        for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
            let probe = &mut container[probe];
            for (field, value) in [
                ("timeoutSeconds", 1),
                ("periodSeconds", 10),
                ("successThreshold", 1),
                ("failureThreshold", 3),
            ] {
                default(probe, field, json!(value));
            }
            default(&mut probe["httpGet"], "scheme", json!("HTTP"));
        }
    }
}

fn service(spec: &mut Value) {
    let address = spec["clusterIP"].as_str().unwrap_or("10.96.7.7").to_owned();
    let external = spec["type"] != "ClusterIP";
    default(spec, "clusterIP", json!(address));
    default(spec, "clusterIPs", json!([address]));
    default(spec, "internalTrafficPolicy", json!("Cluster"));
    default(spec, "ipFamilies", json!(["IPv4"]));
    default(spec, "sessionAffinity", json!("None"));
    if external {
        default(spec, "externalTrafficPolicy", json!("Cluster"));
        for port in spec["ports"].as_array_mut().unwrap() {
            default(port, "nodePort", json!(31638));
        }
    }
    if spec["type"] == "LoadBalancer" {
        default(spec, "allocateLoadBalancerNodePorts", json!(true));
    }
}

/// What dynamic apply would write over what is observed.
pub(crate) fn dynamic_apply(observed: &Value, desired: &Value) -> Value {
    let last = &observed["metadata"]["annotations"][LAST_APPLIED];
    let last: Value = last.as_str().map_or(Value::Null, |text| serde_json::from_str(text).unwrap());
    let mut merged = merge(&last, observed, desired);
    // These always go back to what is observed.
    merged["metadata"]["annotations"][LAST_APPLIED] =
        observed["metadata"]["annotations"][LAST_APPLIED].clone();
    merged
}

fn merge(last: &Value, observed: &Value, desired: &Value) -> Value {
    match (observed, desired) {
        (Value::Object(there), Value::Object(wanted)) => {
            let mut merged = there.clone();
            for key in last.as_object().into_iter().flat_map(Map::keys) {
                if !wanted.contains_key(key) {
                    merged.remove(key);
                }
            }
            for (key, value) in wanted {
                let merged_value = match there.get(key) {
                    Some(there) => merge(last.get(key).unwrap_or(&Value::Null), there, value),
                    None => value.clone(),
                };
                merged.insert(key.clone(), merged_value);
            }
            Value::Object(merged)
        }
        (Value::Array(there), Value::Array(wanted)) => {
            let before = last.as_array().map_or(&[][..], Vec::as_slice);
            match merge_key([before, there, wanted]) {
                Some(key) => merge_lists(key, before, there, wanted).into(),
                None => desired.clone(),
            }
        }
        _ => desired.clone(),
    }
}

fn merge_key(lists: [&[Value]; 3]) -> Option<&'static str> {
    let keys = ["containerPort", "port", "mountPath", "name", "uid", "ip", "path"];
    let mut items = lists.into_iter().flatten().peekable();
    items.peek()?;
    let items: Vec<&Value> = items.collect();
    keys.into_iter().find(|key| items.iter().all(|item| item.get(key).is_some_and(|it| !it.is_null())))
}

fn merge_lists(key: &str, last: &[Value], there: &[Value], wanted: &[Value]) -> Vec<Value> {
    let find = |list: &[Value], item: &Value| list.iter().find(|it| it[key] == item[key]).cloned();
    let mut merged = Vec::new();
    for item in there {
        match (find(last, item), find(wanted, item)) {
            (last, Some(wanted)) => merged.push(merge(&last.unwrap_or(Value::Null), item, &wanted)),
            (Some(_), None) => {}
            (None, None) => merged.push(item.clone()),
        }
    }
    merged.extend(wanted.iter().filter(|item| find(there, item).is_none()).cloned());
    merged
}

/// What server-side apply would store over what is stored: list maps by the keys of the schema, all other lists whole.
pub(crate) fn server_side_apply(observed: &Value, desired: &Value) -> Value {
    let mut applied = overlay(observed, desired, "");
    defaulted(&mut applied);
    applied
}

fn overlay(observed: &Value, desired: &Value, path: &str) -> Value {
    match (observed, desired) {
        (Value::Object(there), Value::Object(wanted)) => {
            let mut all = there.clone();
            for (key, value) in wanted {
                let value = match there.get(key) {
                    Some(there) => overlay(there, value, &format!("{path}/{key}")),
                    None => value.clone(),
                };
                all.insert(key.clone(), value);
            }
            Value::Object(all)
        }
        (Value::Array(there), Value::Array(wanted)) => match list_key(path) {
            Some(key) => {
                let mut all: Vec<Value> = there
                    .iter()
                    .map(|item| match wanted.iter().find(|it| it[key] == item[key]) {
                        Some(wanted) => overlay(item, wanted, path),
                        None => item.clone(),
                    })
                    .collect();
                all.extend(
                    wanted.iter().filter(|it| !there.iter().any(|item| it[key] == item[key])).cloned(),
                );
                Value::Array(all)
            }
            None => desired.clone(),
        },
        _ => desired.clone(),
    }
}

fn list_key(path: &str) -> Option<&'static str> {
    const KEYS: [(&str, &str); 6] = [
        ("/spec/template/spec/containers", "name"),
        ("/spec/template/spec/containers/env", "name"),
        ("/spec/template/spec/containers/ports", "containerPort"),
        ("/spec/template/spec/containers/volumeMounts", "mountPath"),
        ("/spec/template/spec/volumes", "name"),
        ("/spec/ports", "port"),
    ];
    KEYS.into_iter().find(|(list, _)| *list == path).map(|(_, key)| key)
}
