//! What the API server says about a fleet: its status, its children, its bridges.
//!
//! Owner: scenarios. It reads and waits; it writes nothing.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::{
    apps::v1::DaemonSet,
    core::v1::{Pod, Service},
    discovery::v1::EndpointSlice,
};
use kube::{
    Api,
    api::ListParams,
    core::{ApiResource, DynamicObject},
};
use serde_json::Value;
use serialfleet_cluster::wait;

use super::lab::{HOME, Lab, PATIENCE, SYSTEM};

impl Lab {
    /// A SerialFleet as the API server has it.
    pub(crate) async fn fleet(&self, name: &str) -> Result<Value> {
        self.cluster_object("SerialFleet", "serialfleets", name).await
    }

    /// A SerialNode as the API server has it.
    pub(crate) async fn serial_node(&self, name: &str) -> Result<Value> {
        self.cluster_object("SerialNode", "serialnodes", name).await
    }

    async fn cluster_object(&self, kind: &str, plural: &str, name: &str) -> Result<Value> {
        Ok(serde_json::to_value(self.serialfleet_io(kind, plural).get(name).await?)?)
    }

    /// All objects of one of our kinds.
    pub(crate) fn serialfleet_io(&self, kind: &str, plural: &str) -> Api<DynamicObject> {
        let resource = ApiResource {
            group: "serialfleet.io".to_owned(),
            version: "v1alpha1".to_owned(),
            api_version: "serialfleet.io/v1alpha1".to_owned(),
            kind: kind.to_owned(),
            plural: plural.to_owned(),
        };
        Api::all_with(self.client.clone(), &resource)
    }

    /// What the fleet's status says about a device; `null` while it says nothing.
    pub(crate) async fn device(&self, fleet: &str, device: &str) -> Result<Value> {
        let fleet = self.fleet(fleet).await?;
        let devices = fleet["status"]["devices"].as_array().cloned().unwrap_or_default();
        Ok(devices.into_iter().find(|entry| entry["name"] == device).unwrap_or_default())
    }

    /// Waits for a device's state, and returns what the status says then.
    pub(crate) async fn device_is(&self, fleet: &str, device: &str, state: &str) -> Result<Value> {
        let mut last = Value::Null;
        wait::until(&format!("device {device} of {fleet} is {state}"), PATIENCE, async || {
            last = self.device(fleet, device).await?;
            Ok((last["state"] == state).then(|| last.clone()))
        })
        .await
        .with_context(|| format!("its status: {last}"))
    }

    /// Waits until `kubectl wait --for=condition=Ready` would return.
    pub(crate) async fn fleet_is_ready(&self, name: &str) -> Result<()> {
        let mut last = Value::Null;
        wait::until(&format!("fleet {name} is Ready"), PATIENCE, async || {
            last = self.fleet(name).await?;
            Ok((condition(&last, "Ready")["status"] == "True").then_some(()))
        })
        .await
        .with_context(|| format!("its status: {}", last["status"]))
    }

    /// The one endpoint that the slices of a Service name, and its node.
    pub(crate) async fn endpoint(&self, service: &str) -> Result<Option<(String, SocketAddr)>> {
        let slices: Api<EndpointSlice> = Api::namespaced(self.client.clone(), HOME);
        let label = ListParams::default().labels(&format!("kubernetes.io/service-name={service}"));
        let mut found = Vec::new();
        for slice in slices.list(&label).await? {
            let port = slice.ports.iter().flatten().find_map(|port| port.port);
            for endpoint in slice.endpoints {
                let address: IpAddr = endpoint.addresses.first().context("an address")?.parse()?;
                let port = u16::try_from(port.context("a port")?)?;
                found.push((endpoint.node_name.unwrap_or_default(), SocketAddr::new(address, port)));
            }
        }
        ensure!(found.len() <= 1, "at most one endpoint: {found:?}");
        Ok(found.pop())
    }

    /// Waits until the Service's endpoint is on this node.
    pub(crate) async fn endpoint_on(&self, service: &str, node: &str) -> Result<SocketAddr> {
        wait::until(&format!("{service} has its endpoint on {node}"), PATIENCE, async || {
            Ok(self.endpoint(service).await?.filter(|(on, _)| on == node).map(|(_, address)| address))
        })
        .await
    }

    /// Waits until the Service has no endpoint.
    pub(crate) async fn no_endpoint(&self, service: &str) -> Result<()> {
        wait::until(&format!("{service} has no endpoint"), PATIENCE, async || {
            Ok(self.endpoint(service).await?.is_none().then_some(()))
        })
        .await
    }

    /// The address that never changes.
    pub(crate) async fn service(&self, name: &str) -> Result<SocketAddr> {
        let services: Api<Service> = Api::namespaced(self.client.clone(), HOME);
        let spec = services.get(name).await?.spec.context("a spec")?;
        let address = spec.cluster_ip.context("a ClusterIP")?.parse()?;
        let port = spec.ports.unwrap_or_default().first().context("a port")?.port;
        Ok(SocketAddr::new(address, u16::try_from(port)?))
    }

    /// The bridge pods of a fleet, by node.
    pub(crate) async fn bridges(&self, fleet: &str) -> Result<Vec<Pod>> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), SYSTEM);
        let label = format!("serialfleet.io/fleet={fleet},app.kubernetes.io/component=bridge");
        Ok(pods.list(&ListParams::default().labels(&label)).await?.items)
    }

    /// The fleet's bridge pod on a node.
    pub(crate) async fn bridge_on(&self, fleet: &str, node: &str) -> Result<Pod> {
        let on_node = |pod: &Pod| pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) == Some(node);
        let bridges = self.bridges(fleet).await?;
        bridges.into_iter().find(on_node).with_context(|| format!("no bridge of {fleet} on {node}"))
    }

    pub(crate) async fn daemon_set(&self, fleet: &str) -> Result<DaemonSet> {
        Ok(Api::namespaced(self.client.clone(), SYSTEM).get(&format!("{fleet}-bridge")).await?)
    }
}

/// One of a fleet's conditions; `null` where it has none such.
pub(crate) fn condition(fleet: &Value, kind: &str) -> Value {
    let conditions = fleet["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions.into_iter().find(|condition| condition["type"] == kind).unwrap_or_default()
}
