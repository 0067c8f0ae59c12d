//! The Node object: made at boot, kept alive while the kubelet is not silent.
//!
//! Owner: the node, while it is on. What a kubelet may not say about itself, an administrator says.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::NodeOptions;
use crate::kubelet::Machine;

/// Address and port of the Service `kubernetes`, which the API server has made.
pub(super) async fn api_service(client: &Client) -> Result<(String, String)> {
    let service = Api::<Service>::namespaced(client.clone(), "default").get("kubernetes").await;
    let spec = service.context("the Service kubernetes")?.spec.unwrap_or_default();
    let port = spec.ports.unwrap_or_default().first().map_or(443, |port| port.port);
    Ok((spec.cluster_ip.unwrap_or_default(), port.to_string()))
}

/// Makes the object, or takes over the one from before the last reboot.
pub(super) async fn register(machine: &Machine, admin: &Client, options: &NodeOptions) -> Result<()> {
    let name = machine.name.as_str();
    let taints: Vec<Value> = options.taints.iter().map(|taint| json!(taint)).collect();
    let networks = machine.network.pod_networks();
    let node = json!({
        "metadata": {
            "name": name,
            "labels": {
                "kubernetes.io/os": "linux",
                "kubernetes.io/arch": "amd64",
                "kubernetes.io/hostname": name,
            },
        },
        "spec": {"podCIDR": networks.first(), "podCIDRs": networks, "taints": taints},
        "status": status(machine, Timestamp::now()),
    });
    let nodes = Api::<Node>::all(machine.client.clone());
    match nodes.create(&PostParams::default(), &serde_json::from_value(node)?).await {
        Err(kube::Error::Api(status)) if status.code == 409 => say_ready(&nodes, machine).await?,
        result => drop(result.with_context(|| format!("registering {name}"))?),
    }
    if !options.labels.is_empty() {
        let labels = json!({"metadata": {"labels": options.labels}});
        let nodes = Api::<Node>::all(admin.clone());
        nodes.patch(name, &PatchParams::default(), &Patch::Merge(labels)).await.context("labels")?;
    }
    renew(machine).await
}

/// Until it is dropped. A Node that was deleted stays so until the next boot, as with a kubelet.
pub(super) async fn heartbeat(machine: Arc<Machine>) {
    let nodes = Api::<Node>::all(machine.client.clone());
    let mut silence = machine.silence.clone();
    loop {
        let silent = *silence.borrow_and_update();
        if !silent {
            let beat = async {
                renew(&machine).await?;
                if nodes.get(&machine.name).await?.status.is_some_and(|status| is_ready(&status)) {
                    return Ok(());
                }
                say_ready(&nodes, &machine).await
            };
            if let Err(error) = beat.await {
                machine.log.line(&format!("heartbeat: {error:#}"));
            }
        }
        tokio::select! {
            () = sleep(INTERVAL) => {}
            Ok(()) = silence.changed() => {}
        }
    }
}

/// Says that the node is well: at boot, and when the control plane has given it up meanwhile.
async fn say_ready(nodes: &Api<Node>, machine: &Machine) -> Result<()> {
    let patch = json!({"status": status(machine, Timestamp::now())});
    nodes
        .patch_status(&machine.name, &PatchParams::default(), &Patch::Strategic(patch))
        .await
        .context("the node's status")?;
    Ok(())
}

async fn renew(machine: &Machine) -> Result<()> {
    let leases = Api::<Lease>::namespaced(machine.client.clone(), "kube-node-lease");
    let lease = json!({
        "metadata": {"name": machine.name},
        "spec": {
            "holderIdentity": machine.name,
            "leaseDurationSeconds": 40,
            "renewTime": MicroTime(Timestamp::now()),
        },
    });
    let parameters = PatchParams::default();
    match leases.patch(&machine.name, &parameters, &Patch::Merge(&lease)).await {
        Err(kube::Error::Api(status)) if status.code == 404 => {
            drop(
                leases
                    .create(&PostParams::default(), &serde_json::from_value(lease)?)
                    .await
                    .context("lease")?,
            );
        }
        result => drop(result.context("lease")?),
    }
    Ok(())
}

fn is_ready(status: &k8s_openapi::api::core::v1::NodeStatus) -> bool {
    let mut conditions = status.conditions.iter().flatten();
    conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn status(machine: &Machine, now: Timestamp) -> Value {
    let now = Time(now);
    let condition = |kind: &str, status: &str, reason: &str| {
        json!({
            "type": kind,
            "status": status,
            "reason": reason,
            "message": "",
            "lastHeartbeatTime": now,
            "lastTransitionTime": now,
        })
    };
    let addresses = machine.network.addresses();
    let addresses = addresses.iter().map(|address| json!({"type": "InternalIP", "address": address}));
    let amounts = json!({"cpu": "4", "memory": "8Gi", "ephemeral-storage": "100Gi", "pods": "110"});
    json!({
        "capacity": amounts,
        "allocatable": amounts,
        "addresses":
            addresses.chain([json!({"type": "Hostname", "address": machine.name})]).collect::<Vec<_>>(),
        "conditions": [
            condition("MemoryPressure", "False", "KubeletHasSufficientMemory"),
            condition("DiskPressure", "False", "KubeletHasNoDiskPressure"),
            condition("PIDPressure", "False", "KubeletHasSufficientPID"),
            condition("Ready", "True", "KubeletReady"),
        ],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
        "nodeInfo": {
            "machineID": machine.name,
            "systemUUID": machine.name,
            "bootID": Timestamp::now().to_string(),
            "kernelVersion": "0.0.0",
            "osImage": "cluster lab",
            "containerRuntimeVersion": "process://1.0.0",
            "kubeletVersion": "v1.36.3",
            "kubeProxyVersion": "",
            "operatingSystem": "linux",
            "architecture": "amd64",
        },
    })
}

/// A kubelet renews its lease every 10 s; the control plane gives it 40 of them.
const INTERVAL: Duration = Duration::from_secs(5);
