//! A node's kube-proxy, in the node's network namespace.
//!
//! Owner: the node, while it is on.

use std::fs;
use std::path::Path;

use anyhow::Result;
use serde_json::json;
use tokio::process::Command;

use crate::capability;
use crate::kubelet::Machine;
use crate::process::Process;

/// Starts it; rules appear a moment later.
pub(super) fn start(machine: &Machine, kubeconfig: &Path) -> Result<Process> {
    let addresses: Vec<String> = machine.network.addresses().iter().map(ToString::to_string).collect();
    let config = json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "hostnameOverride": machine.name,
        "clusterCIDR": machine.network.families().pods(),
        "nodeIPOverride": addresses,
        "bindAddress": addresses.first(),
        "clientConnection": {"kubeconfig": kubeconfig},
        // Connection tracking belongs to the machine, not to a network namespace.
        "conntrack": {"maxPerCore": 0, "min": 0},
        "nftables": {"minSyncPeriod": "100ms"},
    });
    let file = machine.directory.join("kube-proxy.yaml");
    fs::write(&file, config.to_string())?;
    let mut command = Command::new("nsenter");
    command
        .arg(format!("--net={}", machine.network.namespace().display()))
        .arg(capability::control_plane_program("kube-proxy"))
        .arg(format!("--config={}", file.display()));
    Process::start("kube-proxy", command, &machine.logs.join("kube-proxy.log"))
}
