//! The real hook server, as a child process, asked what Metacontroller would ask: the demo's fleet, its one node's
//! report, and what the API server would say about the rest.

use std::{net::SocketAddr, path::Path, process::ExitStatus, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value, json};
use serialfleet_api::{fleet::SerialFleet, names};
use tokio::time::{Instant, sleep};

use super::{address, http, program::Program};

/// The port that the hook server has in a cluster.
const PORT: u16 = 8080;
/// The revision that manifests put into flag and URL alike.
const REVISION: &str = "demo";
/// The pod that the bridge would be. The address is from the range for benchmarks: nobody's.
const POD_UID: &str = "5e71a1f1-ee70-4de0-8000-000000000001";
const POD_ADDRESS: &str = "198.18.0.1";
/// How long the server may take to start.
const PATIENCE: Duration = Duration::from_secs(8);
/// Between two tries.
const LOOK: Duration = Duration::from_millis(10);

/// A running hook server.
#[derive(Debug)]
pub(super) struct Hook {
    pub(super) program: Program,
    pub(super) address: SocketAddr,
}

/// What it answered.
#[derive(Debug)]
pub(super) struct Sync {
    pub(super) children: Vec<Value>,
    pub(super) status: Value,
}

impl Hook {
    pub(super) async fn start(programs: &Path, directory: &Path, address: std::net::IpAddr) -> Result<Self> {
        let address = address::free(address, PORT)?;
        let listen = address.to_string();
        let args = ["serve", "--listen", &listen, "--rev", REVISION, "--bridge-image", "serialfleet:demo"];
        let program = Program::start(
            programs,
            "serialfleet-hook",
            directory.join("hook.log"),
            args.into_iter().chain(["--drain-delay", "0s"]),
        )?;
        let mut hook = Self { program, address };
        hook.answers().await?;
        Ok(hook)
    }

    async fn answers(&mut self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match http::get(self.address, "/readyz").await {
                Ok(answer) if answer.status == 200 => return Ok(()),
                Err(error) if Instant::now() >= deadline => return Err(error),
                Ok(answer) if Instant::now() >= deadline => bail!("the hook server says: {}", answer.body),
                _ => {}
            }
            tokio::select! {
                error = self.program.unexpected_end() => return Err(error),
                () = sleep(LOOK) => {}
            }
        }
    }

    /// Where Metacontroller would post.
    pub(super) fn url(&self) -> String {
        format!("http://{}/sync?rev={REVISION}", self.address)
    }

    /// Syncs as often as it takes a cluster to settle: once with nothing there, once with what the first asked for.
    pub(super) async fn sync(&self, fleet: &SerialFleet, node: &Value) -> Result<Sync> {
        let related = related(fleet, node)?;
        let first = self.call(fleet, &json!({}), &related).await?;
        self.call(fleet, &observed(&first.children)?, &related).await
    }

    async fn call(&self, fleet: &SerialFleet, children: &Value, related: &Value) -> Result<Sync> {
        let mut parent = serde_json::to_value(fleet)?;
        parent["metadata"]["uid"] = json!("5e71a1f1-ee70-4de0-8000-000000000000");
        parent["metadata"]["generation"] = json!(1);
        let request =
            json!({"parent": parent, "children": children, "related": related, "finalizing": false});
        let path = format!("/sync?rev={REVISION}");
        let answer = http::post(self.address, &path, &request.to_string()).await?;
        ensure!(answer.status == 200, "the hook server answers {}: {}", answer.status, answer.body.trim());
        let mut answer: Value = serde_json::from_str(&answer.body).context("the hook server's answer")?;
        let children = answer["children"].as_array_mut().map(std::mem::take);
        Ok(Sync {
            children: children.context("an answer without children")?,
            status: answer["status"].take(),
        })
    }

    pub(super) async fn stop(self) -> Result<ExitStatus> {
        self.program.stop().await
    }
}

impl Sync {
    /// The children, as `kubectl get` names them.
    pub(super) fn names(&self) -> Vec<String> {
        let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
        self.children
            .iter()
            .map(|child| format!("{} {}", text(&child["kind"]), text(&child["metadata"]["name"])))
            .collect()
    }

    /// The nodes behind a device's Service, by its slices.
    pub(super) fn endpoints(&self, device: &str) -> Vec<&str> {
        let slices = self.children.iter().filter(|child| {
            child["kind"] == "EndpointSlice" && child["metadata"]["labels"][names::LABEL_DEVICE] == device
        });
        let endpoints = slices.filter_map(|slice| slice["endpoints"].as_array()).flatten();
        endpoints.filter_map(|endpoint| endpoint["nodeName"].as_str()).collect()
    }

    /// A condition's status and message.
    pub(super) fn condition(&self, kind: &str) -> (&str, &str) {
        let conditions = self.status["conditions"].as_array().into_iter().flatten();
        let found = conditions.into_iter().find(|condition| condition["type"] == kind);
        let text = |field: &str| found.and_then(|it| it[field].as_str()).unwrap_or_default();
        (text("status"), text("message"))
    }
}

/// What the customize hook would have asked for.
fn related(fleet: &SerialFleet, node: &Value) -> Result<Value> {
    let name = fleet.metadata.name.as_deref().context("a fleet has a name")?;
    let node_name = node["nodeName"].as_str().context("a SerialNode says its node")?;
    let mut node = node.clone();
    node["podUID"] = json!(POD_UID);
    let namespace = fleet.spec.service_namespace.as_deref().unwrap_or(names::SYSTEM_NAMESPACE);
    Ok(json!({
        "SerialNode.serialfleet.io/v1alpha1": {names::serial_node(name, node_name): node},
        "EndpointSlice.discovery.k8s.io/v1": {"anchor": {
            "metadata": {
                "name": "anchor",
                "namespace": names::SYSTEM_NAMESPACE,
                "labels": {(names::LABEL_SERVICE_NAME): names::anchor(name)},
            },
            "addressType": "IPv4",
            "endpoints": [{
                "addresses": [POD_ADDRESS],
                "conditions": {"ready": true},
                "nodeName": node_name,
                "targetRef": {"kind": "Pod", "name": format!("{}-x2x4x", names::bridge(name)), "uid": POD_UID},
            }],
        }},
        "Namespace.v1": {"namespace": {"metadata": {
            "name": namespace,
            "labels": {(names::LABEL_SERVICES): names::SERVICES_ALLOWED},
        }}},
    }))
}

/// The children as an API server would show them once everything runs on the one node.
fn observed(children: &[Value]) -> Result<Value> {
    let mut groups: Map<String, Value> = Map::new();
    for child in children {
        let field = |name: &str| child[name].as_str().with_context(|| format!("a child without {name}"));
        let (kind, version) = (field("kind")?, field("apiVersion")?);
        let mut child = child.clone();
        if kind == "DaemonSet" {
            child["metadata"]["generation"] = json!(1);
            child["status"] = json!({
                "observedGeneration": 1, "desiredNumberScheduled": 1, "currentNumberScheduled": 1,
                "updatedNumberScheduled": 1, "numberReady": 1, "numberAvailable": 1,
            });
        }
        let name = child["metadata"]["name"].as_str().context("a child without name")?.to_owned();
        let group = groups.entry(format!("{kind}.{version}")).or_insert_with(|| json!({}));
        group[name] = child;
    }
    Ok(Value::Object(groups))
}
