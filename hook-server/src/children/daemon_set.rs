//! The DaemonSet of the bridges. Its pod template depends on the hook server's flags and on `spec.bridge` without
//! `logLevel` and `updateStrategy`, and on nothing else: an edit of the devices must not restart a single bridge.

use serde_json::{Map, Value, json};
use serialfleet_api::{
    fleet::{BridgeSpec, ResourceAmounts, Toleration, UpdateStrategy},
    meta::Quantity,
    names,
};

use super::{fleet_labels, pod_labels};
use crate::{
    config::Config,
    quantity::{amount, canonical},
    request::Parent,
};

const SERVICE_ACCOUNT: &str = "serialfleet-bridge";
/// Where the image has the bridge: the image holds both programs, so none is its entry point. It must name no user:
/// the opener needs uid 0.
const PROGRAM: &str = "/serialfleet-bridge";
const DEV_ROOT: &str = "/host/dev";
const STATE_DIR: &str = "/run/serialfleet";
const TLS_DIR: &str = "/etc/serialfleet/tls";
const TOKEN_DIR: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const ADMIN: &str = "admin";

pub(super) fn daemon_set(parent: &Parent, config: &Config) -> Value {
    let fleet = &parent.name;
    let update = match parent.wish.spec.bridge.update_strategy.unwrap_or_default() {
        UpdateStrategy::RollingUpdate => {
            json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}})
        }
        UpdateStrategy::OnDelete => json!({"type": "OnDelete"}),
    };
    json!({
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {
            "name": names::bridge(fleet),
            "namespace": names::SYSTEM_NAMESPACE,
            "labels": fleet_labels(fleet),
        },
        "spec": {
            "selector": {"matchLabels": pod_labels(fleet)},
            "updateStrategy": update,
            "template": {
                "metadata": {"labels": pod_labels(fleet)},
                "spec": pod(parent, config),
            },
        },
    })
}

fn pod(parent: &Parent, config: &Config) -> Value {
    let bridge = &parent.wish.spec.bridge;
    let mut node_selector: Map<String, Value> =
        bridge.node_selector.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
    node_selector.insert("kubernetes.io/os".to_owned(), json!("linux"));
    let mut pod = json!({
        "serviceAccountName": SERVICE_ACCOUNT,
        // A token that lives an hour, in place of the one that every container of the pod would get.
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        // In a user namespace no kernel event arrives and no device opens.
        "hostUsers": true,
        "nodeSelector": node_selector,
        "terminationGracePeriodSeconds": 15,
        "containers": [container(parent, config)],
        "volumes": volumes(&parent.name),
    });
    // Refused ones run in the pod network: fewer privileges than asked for, never more.
    if parent.host_network() && config.allow_host_network {
        pod["hostNetwork"] = json!(true);
    }
    if !config.bridge_priority_class.is_empty() {
        pod["priorityClassName"] = json!(config.bridge_priority_class);
    }
    let tolerations = tolerations(bridge);
    if !tolerations.is_empty() {
        pod["tolerations"] = Value::Array(tolerations);
    }
    let mut secrets: Vec<&str> =
        bridge.image_pull_secrets.iter().map(|it| it.name.as_str()).filter(|name| !name.is_empty()).collect();
    secrets.sort_unstable();
    secrets.dedup();
    if !secrets.is_empty() {
        pod["imagePullSecrets"] = secrets.into_iter().map(|name| json!({"name": name})).collect();
    }
    pod
}

fn container(parent: &Parent, config: &Config) -> Value {
    let admin = parent.admin_port();
    let field =
        |name: &str, path: &str| json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}});
    let text = |name: &str, value: &str| json!({"name": name, "value": value});
    let probe = |path: &str| json!({"path": path, "port": ADMIN});
    let mut container = json!({
        "name": "bridge",
        "image": config.bridge_image,
        "command": [PROGRAM],
        "args": ["run", "--fleet", parent.name],
        "env": [
            field("POD_UID", "metadata.uid"),
            field("SERIALFLEET_NODE", "spec.nodeName"),
            field("SERIALFLEET_BIND", "status.podIPs"),
            text("SERIALFLEET_ADMIN_PORT", &admin.to_string()),
            text("SERIALFLEET_SYSFS_ROOT", "/sys"),
            text("SERIALFLEET_DEV_ROOT", DEV_ROOT),
            text("SERIALFLEET_STATE_DIR", STATE_DIR),
            text("SERIALFLEET_TLS_DIR", TLS_DIR),
        ],
        "ports": [{"name": ADMIN, "containerPort": admin, "protocol": "TCP"}],
        "startupProbe": {"httpGet": probe("/livez"), "periodSeconds": 1, "failureThreshold": 60},
        "livenessProbe": {"httpGet": probe("/livez"), "periodSeconds": 10, "timeoutSeconds": 5},
        "readinessProbe": {"httpGet": probe("/readyz"), "periodSeconds": 2, "timeoutSeconds": 2},
        "resources": resources(&parent.wish.spec.bridge),
        // No runAsUser: with one, the kubelet makes the token readable to that user only, and the worker, which has
        // given up uid 0, could not read it any more.
        "securityContext": {"privileged": true, "readOnlyRootFilesystem": true},
        "volumeMounts": [
            {"name": "dev", "mountPath": DEV_ROOT, "readOnly": true, "mountPropagation": "HostToContainer"},
            {"name": "state", "mountPath": STATE_DIR},
            {"name": "tls", "mountPath": TLS_DIR, "readOnly": true},
            {"name": "token", "mountPath": TOKEN_DIR, "readOnly": true},
        ],
    });
    if let Some(policy) = config.bridge_pull_policy {
        container["imagePullPolicy"] = json!(policy.as_str());
    }
    container
}

fn volumes(fleet: &str) -> Value {
    json!([
        {"name": "dev", "hostPath": {"path": "/dev", "type": "Directory"}},
        // In memory: nothing is ever written to flash.
        {"name": "state", "emptyDir": {"medium": "Memory", "sizeLimit": "4Mi"}},
        {"name": "tls", "secret": {"secretName": names::tls_secret(fleet), "optional": true}},
        {"name": "token", "projected": {"sources": [
            {"serviceAccountToken": {"path": "token", "expirationSeconds": 3600}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [
                {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}},
            ]}},
        ]}},
    ])
}

fn tolerations(bridge: &BridgeSpec) -> Vec<Value> {
    if bridge.tolerate_all_taints.unwrap_or(true) {
        return vec![json!({"operator": "Exists"})];
    }
    let mut tolerations: Vec<Value> = bridge.tolerations.iter().map(toleration).collect();
    // The list is replaced whole: its order alone must not restart every bridge.
    tolerations.sort_by_cached_key(Value::to_string);
    tolerations.dedup();
    tolerations
}

fn toleration(toleration: &Toleration) -> Value {
    let mut out = Map::new();
    let mut put = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            out.insert(key.to_owned(), value);
        }
    };
    put("key", toleration.key.as_ref().filter(|key| !key.is_empty()).map(|key| json!(key)));
    put("operator", toleration.operator.map(|operator| json!(operator)));
    put("value", toleration.value.as_ref().filter(|value| !value.is_empty()).map(|value| json!(value)));
    put("effect", toleration.effect.map(|effect| json!(effect)));
    put("tolerationSeconds", toleration.toleration_seconds.map(|seconds| json!(seconds)));
    Value::Object(out)
}

fn resources(bridge: &BridgeSpec) -> Value {
    let (asked, most) = (&bridge.resources.requests, &bridge.resources.limits);
    let built_in = |text: &str| Quantity(text.to_owned());
    // A default that contradicts what the user said yields: a request above its limit is refused.
    let memory = most.memory.clone().unwrap_or_else(|| {
        asked
            .memory
            .iter()
            .cloned()
            .chain([built_in("64Mi")])
            .max_by_key(amount)
            .unwrap_or_else(|| built_in("64Mi"))
    });
    let below = |limit: Option<&Quantity>, text: &str| {
        limit
            .into_iter()
            .cloned()
            .chain([built_in(text)])
            .min_by_key(amount)
            .unwrap_or_else(|| built_in(text))
    };
    let limits = ResourceAmounts { cpu: most.cpu.clone(), memory: Some(memory) };
    let requests = ResourceAmounts {
        cpu: Some(asked.cpu.clone().unwrap_or_else(|| below(limits.cpu.as_ref(), "10m"))),
        memory: Some(asked.memory.clone().unwrap_or_else(|| below(limits.memory.as_ref(), "16Mi"))),
    };
    json!({"requests": amounts(&requests), "limits": amounts(&limits)})
}

fn amounts(amounts: &ResourceAmounts) -> Value {
    [("cpu", &amounts.cpu), ("memory", &amounts.memory)]
        .into_iter()
        .filter_map(|(name, quantity)| Some((name.to_owned(), json!(canonical(quantity.as_ref()?)))))
        .collect::<Map<_, _>>()
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bridge(json: Value) -> BridgeSpec {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn resources_are_canonical_and_a_default_never_contradicts_what_was_said() {
        for (said, out) in [
            (json!({}), json!({"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"memory": "64Mi"}})),
            (
                json!({"requests": {"cpu": "0.5", "memory": "0.125Gi"}}),
                json!({"requests": {"cpu": "500m", "memory": "128Mi"}, "limits": {"memory": "128Mi"}}),
            ),
            (
                json!({"limits": {"cpu": "5m", "memory": "65536Ki"}}),
                json!({"requests": {"cpu": "5m", "memory": "16Mi"}, "limits": {"cpu": "5m", "memory": "64Mi"}}),
            ),
            (
                json!({"requests": {"cpu": 1}, "limits": {"cpu": "1000m"}}),
                json!({"requests": {"cpu": "1", "memory": "16Mi"}, "limits": {"cpu": "1", "memory": "64Mi"}}),
            ),
        ] {
            assert_eq!(resources(&bridge(json!({"resources": said}))), out);
        }
    }

    #[test]
    fn every_taint_is_tolerated_unless_the_user_lists_some() {
        let listed =
            json!([{"key": "b", "operator": "Equal", "value": ""}, {"key": "a", "effect": "NoSchedule"}]);
        assert_eq!(tolerations(&bridge(json!({"tolerations": listed}))), [json!({"operator": "Exists"})]);
        assert_eq!(
            tolerations(&bridge(json!({"tolerateAllTaints": false, "tolerations": listed}))),
            [json!({"effect": "NoSchedule", "key": "a"}), json!({"key": "b", "operator": "Equal"})]
        );
        assert!(tolerations(&bridge(json!({"tolerateAllTaints": false}))).is_empty());
    }
}
