//! Requests as Metacontroller sends them for a fleet that has settled: what the hook server answered is observed, and
//! it answers the same again.
//!
//! Owner: the plan. Asks a hook server, so that children are those of this version; everything else is [`crate::fleet`]'s.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value, json};

use crate::exchange::Line;
use crate::fleet::{self, FLEET, Phase, Size, TIME};
use crate::stored::{Strategy, group, key, stored};

/// What a fleet's next request is made of.
struct Observed {
    size: Size,
    strategy: Strategy,
    phase: Phase,
    children: Value,
    status: Value,
}

/// The body for a fleet that has settled.
pub(crate) fn settled(size: Size, strategy: Strategy, hook: SocketAddr) -> Result<Vec<u8>> {
    let mut line = Line::connect(hook)?;
    let mut observed =
        Observed { size, strategy, phase: Phase::Before, children: no_children(), status: Value::Null };
    for phase in [Phase::Before, Phase::Settled] {
        observed.phase = phase;
        observed.settle(&mut line).with_context(|| format!("{FLEET} with {}", size.name()))?;
    }
    Ok(observed.body())
}

impl Observed {
    fn settle(&mut self, line: &mut Line) -> Result<()> {
        let mut answer = Value::Null;
        for _ in 0..TURNS {
            let next = ask(line, &self.body())?;
            if next == answer {
                let waits = &answer["resyncAfterSeconds"];
                ensure!(waits.is_null(), "it asks for another look: {}", answer["status"]["conditions"]);
                return Ok(());
            }
            self.children = no_children();
            for child in next["children"].as_array().context("no children")? {
                self.children[group(child)][key(child)] = stored(self.size, self.strategy, child);
            }
            self.status = next["status"].clone();
            self.status["observedGeneration"] = json!(1);
            for condition in self.status["conditions"].as_array_mut().into_iter().flatten() {
                condition["lastTransitionTime"] = json!(TIME);
            }
            answer = next;
        }
        bail!("it does not settle: {}", answer["status"]["conditions"])
    }

    /// Fields in Metacontroller's order.
    fn body(&self) -> Vec<u8> {
        let related = json!({
            "EndpointSlice.discovery.k8s.io/v1": self.size.anchor_slices(),
            "Namespace.v1": {fleet::SERVICES: fleet::namespace()},
            "SerialNode.serialfleet.io/v1alpha1": self.size.serial_nodes(self.phase),
            "Service.v1": {},
        });
        let (controller, parent) = (controller(), self.size.parent(&self.status));
        let children = &self.children;
        format!(
            r#"{{"controller":{controller},"parent":{parent},"children":{children},"related":{related},"finalizing":false}}"#
        )
        .into_bytes()
    }
}

fn no_children() -> Value {
    let groups = [
        "DaemonSet.apps/v1",
        "EndpointSlice.discovery.k8s.io/v1",
        "NetworkPolicy.networking.k8s.io/v1",
        "Service.v1",
    ];
    Value::Object(groups.iter().map(|group| ((*group).to_owned(), json!({}))).collect::<Map<_, _>>())
}

fn ask(line: &mut Line, body: &[u8]) -> Result<Value> {
    let answer = line.post(body)?;
    Ok(serde_json::from_slice(&answer)?)
}

fn controller() -> Value {
    let hook = |hook: &str| {
        json!({"version": "v2", "webhook": {
            "etag": {"cacheCleanupSeconds": 600, "cacheTimeoutSeconds": 3600, "enabled": true},
            "responseUnMarshallMode": "strict",
            "timeout": "10s",
            "url": format!("http://serialfleet-hook.serialfleet-system.svc:8080/{hook}?rev={}", crate::exchange::REVISION),
        }})
    };
    let child = |api_version: &str, resource: &str, stored: bool| {
        let strategy = if stored {
            json!({"method": "InPlace", "statusChecks": {}})
        } else {
            json!({"method": "InPlace"})
        };
        json!({"apiVersion": api_version, "resource": resource, "updateStrategy": strategy})
    };
    let spec = |stored: bool| {
        json!({
            "parentResource": {"apiVersion": "serialfleet.io/v1alpha1", "ignoreStatusChanges": true, "resource": "serialfleets"},
            "childResources": [
                child("apps/v1", "daemonsets", stored),
                child("v1", "services", stored),
                child("discovery.k8s.io/v1", "endpointslices", stored),
                child("networking.k8s.io/v1", "networkpolicies", stored),
            ],
            "hooks": {"customize": hook("customize"), "sync": hook("sync")},
            "generateSelector": true,
        })
    };
    let name = "serialfleet";
    let said = json!({"apiVersion": "metacontroller.k8s.io/v1alpha1", "kind": "CompositeController",
        "metadata": {"annotations": {}, "name": name}, "spec": spec(false)});
    let mut controller = said.clone();
    controller["metadata"] = fleet::metadata("", name, "controller");
    controller["metadata"]["generation"] = json!(1);
    controller["metadata"]["annotations"] =
        json!({"kubectl.kubernetes.io/last-applied-configuration": format!("{said}\n")});
    let managed = crate::managed_fields::managed_fields(&controller, crate::managed_fields::By::KUBECTL);
    controller["metadata"]["managedFields"] = json!([managed]);
    controller["spec"] = spec(true);
    controller["status"] = json!({});
    controller
}

/// More than any fleet needs.
const TURNS: usize = 8;
