//! What stands between hook server and bridges in this test: the API server's objects and Metacontroller's calls,
//! as far as a walk needs them. The hook server itself is the real one, over HTTP.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant, SystemTime},
};

use axum::body::Body;
use http_body_util::BodyExt;
use hyper::Request;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use serialfleet_api::{fleet::SerialFleet, names, validate};
use serialfleet_bridge::fleet_source::{Fleet, FleetState, Origin};
use serialfleet_hook::{
    app::{Readiness, app},
    config::{Config, Limits},
    serve::{Timing, bind, serve},
};
use tokio_util::sync::CancellationToken;

use super::node::{Node, pod_uid};

const FLEET_UID: &str = "fleet-uid";
const LIMIT: Duration = Duration::from_secs(10);

pub(crate) struct Cluster {
    hook: SocketAddr,
    stop: CancellationToken,
    server: Option<JoinHandle<()>>,
    runtime: tokio::runtime::Runtime,
    /// The SerialFleet as stored.
    pub(crate) parent: Value,
    /// Children as stored, by group key, then namespace and name.
    pub(crate) children: BTreeMap<String, BTreeMap<String, Value>>,
}

impl Cluster {
    pub(crate) fn apply(fleet: &SerialFleet) -> Self {
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let (bound, address) = std::sync::mpsc::sync_channel(1);
        let server = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = bind((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
                bound.send(listener.local_addr().unwrap()).unwrap();
                let ready = Readiness::default();
                let limits = Limits { rev: Some("7".into()), ..Limits::default() };
                let app = app(
                    Config::with_image("example/serialfleet:test"),
                    limits,
                    SystemTime::now,
                    ready.clone(),
                );
                let timing = Timing {
                    next_request: LIMIT,
                    drain_delay: Duration::ZERO,
                    drain_limit: Duration::from_secs(1),
                    ..Timing::default()
                };
                serve(listener, app, ready, timing, stopped.cancelled_owned()).await;
            });
        });
        let mut parent = serde_json::to_value(fleet).unwrap();
        parent["metadata"]["uid"] = FLEET_UID.into();
        parent["metadata"]["generation"] = 1.into();
        Self {
            hook: address.recv().unwrap(),
            stop,
            server: Some(server),
            runtime: tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap(),
            parent,
            children: BTreeMap::new(),
        }
    }

    /// A hook call, as Metacontroller makes it.
    pub(crate) fn call(&self, hook: &str, body: &Value) -> Value {
        let (status, text) = self.runtime.block_on(async {
            let stream = tokio::net::TcpStream::connect(self.hook).await.unwrap();
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
            let request = Request::post(format!("/{hook}?rev=7"))
                .header("host", self.hook.to_string())
                .header("content-type", "application/json")
                .body(Body::from(body.to_string()))
                .unwrap();
            let answer = async move {
                let response = sender.send_request(request).await.unwrap();
                (response.status(), response.into_body().collect().await.unwrap().to_bytes())
            };
            tokio::join!(answer, connection).0
        });
        assert!(status.is_success(), "{status}: {}", String::from_utf8_lossy(&text));
        serde_json::from_slice(&text).unwrap()
    }

    /// One sync: what Metacontroller would send now, and its answer stored; the status goes to the bridges.
    pub(crate) fn sync(&mut self, nodes: &[&Node]) -> Value {
        let endpoints: Vec<Value> = nodes
            .iter()
            .map(|node| {
                json!({
                    "addresses": [node.pod_ip],
                    "conditions": {"ready": true, "serving": true, "terminating": false},
                    "nodeName": node.name,
                    "targetRef": {"kind": "Pod", "namespace": names::SYSTEM_NAMESPACE, "name": format!("home-bridge-{}", node.name), "uid": pod_uid(node.name)},
                })
            })
            .collect();
        let anchor = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": "home-anchor-x7k2p", "namespace": names::SYSTEM_NAMESPACE, "labels": {names::LABEL_SERVICE_NAME: "home-anchor"}},
            "endpoints": endpoints, "ports": [{"name": "admin", "port": 9640, "protocol": "TCP"}],
        });
        let reports: BTreeMap<String, Value> = nodes
            .iter()
            .filter_map(|node| {
                let report = node.serial_node()?;
                Some((names::serial_node("home", node.name), serde_json::to_value(report).unwrap()))
            })
            .collect();
        let request = json!({
            "controller": {},
            "parent": self.parent,
            "children": self.children,
            "related": {
                "SerialNode.serialfleet.io/v1alpha1": reports,
                "EndpointSlice.discovery.k8s.io/v1": {"serialfleet-system/home-anchor-x7k2p": anchor},
                "Namespace.v1": {},
                "Service.v1": {},
            },
            "finalizing": false,
        });
        let answer = self.call("sync", &request);
        self.store(&answer, nodes.len());
        self.tell(nodes);
        answer
    }

    /// As the API server would hold it, with what others fill in.
    fn store(&mut self, answer: &Value, nodes: usize) {
        let kinds = [
            "DaemonSet.apps/v1",
            "Service.v1",
            "EndpointSlice.discovery.k8s.io/v1",
            "NetworkPolicy.networking.k8s.io/v1",
        ];
        self.children = kinds.into_iter().map(|kind| (kind.to_owned(), BTreeMap::new())).collect();
        for child in answer["children"].as_array().unwrap() {
            let mut child = child.clone();
            let kind = child["kind"].as_str().unwrap().to_owned();
            let key = format!(
                "{}/{}",
                child["metadata"]["namespace"].as_str().unwrap(),
                child["metadata"]["name"].as_str().unwrap()
            );
            child["metadata"]["uid"] = format!("{kind}-{key}").into();
            child["metadata"]["generation"] = 1.into();
            child["metadata"]["labels"]["controller-uid"] = FLEET_UID.into();
            child["metadata"]["ownerReferences"] = json!([{"apiVersion": names::API_VERSION, "kind": "SerialFleet", "name": "home", "uid": FLEET_UID, "controller": true, "blockOwnerDeletion": true}]);
            if kind == "DaemonSet" {
                child["status"] = json!({"observedGeneration": 1, "desiredNumberScheduled": nodes, "currentNumberScheduled": nodes, "updatedNumberScheduled": nodes, "numberReady": nodes, "numberAvailable": nodes});
            }
            let group = kinds.into_iter().find(|group| group.starts_with(&kind)).unwrap();
            self.children.get_mut(group).unwrap().insert(key, child);
        }
        self.parent["status"] = answer["status"].clone();
    }

    /// The bridges' watch.
    fn tell(&self, nodes: &[&Node]) {
        let mut object = validate::validate(&self.parent).unwrap();
        object.status = serde_json::from_value(self.parent["status"].clone()).unwrap();
        let state = FleetState {
            fleet: Some(Arc::new(Fleet { object, refused: BTreeMap::new() })),
            origin: Origin::Api,
            ..FleetState::default()
        };
        for node in nodes {
            node.fleet.send_replace(state.clone());
        }
    }

    /// Syncs again and again, until the stored answer satisfies `wanted`. More calls than Metacontroller would make:
    /// the answer must not depend on how many there were.
    pub(crate) fn sync_until(&mut self, nodes: &[&Node], what: &str, wanted: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        while {
            let answer = self.sync(nodes);
            assert!(start.elapsed() < LIMIT, "{what} never happens: {:#}", answer["status"]);
            !wanted(self)
        } {}
    }

    /// The one endpoint of a device's Service, if it has one: node, and where to connect.
    pub(crate) fn endpoint(&self, service: &str) -> Option<(String, SocketAddr)> {
        let slices = &self.children["EndpointSlice.discovery.k8s.io/v1"];
        let slice = slices
            .values()
            .find(|slice| slice["metadata"]["labels"][names::LABEL_SERVICE_NAME] == service)?;
        let endpoint = slice["endpoints"].get(0)?;
        assert!(slice["endpoints"].get(1).is_none(), "two endpoints: {slice:#}");
        let address = endpoint["addresses"][0].as_str()?.parse().ok()?;
        let port = u16::try_from(slice["ports"][0]["port"].as_u64()?).ok()?;
        Some((endpoint["nodeName"].as_str()?.to_owned(), SocketAddr::new(address, port)))
    }

    pub(crate) fn device(&self, name: &str) -> &Value {
        let devices = self.parent["status"]["devices"].as_array().unwrap();
        devices.iter().find(|device| device["name"] == name).unwrap()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(server) = self.server.take()
            && server.join().is_err()
            && !std::thread::panicking()
        {
            panic!("the hook server failed");
        }
    }
}
