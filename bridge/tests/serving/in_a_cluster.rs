//! The program as in a pod: its fleet from an API server, its SerialNode to it, and neither needed for the bytes.

use std::{
    io::{BufRead, BufReader},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    process::{Child, Stdio},
};

use serde_json::{Value, json};
use serialfleet_api::ports::pod_ports;
use serialfleet_sim::Host;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{
    binary::program,
    rig::{Client, LIMIT, own_address, stick},
};
use crate::fake_api::FakeApi;

fn fleet(line: &Value) -> Value {
    json!({
        "apiVersion": "serialfleet.io/v1alpha1", "kind": "SerialFleet", "metadata": {"name": "home"},
        "spec": {"devices": [{"name": "zigbee", "match": {"usb": "10c4:ea60"}, "line": line}]},
    })
}

struct Pod {
    child: Child,
}

impl Pod {
    /// Starts the bridge and waits until it listens.
    fn start(host: &Host, address: IpAddr, state: &Path, kubeconfig: &Path) -> Self {
        let mut child = program()
            .args(["run", "--fleet", "home", "--node", "wyse-1", "--admin-port", "9640"])
            .args(["--bind", &address.to_string()])
            .arg("--sysfs-root")
            .arg(host.sysfs_root())
            .arg("--dev-root")
            .arg(host.dev_root())
            .arg("--state-dir")
            .arg(state)
            .env("KUBECONFIG", kubeconfig)
            .env("POD_UID", "pod-1")
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let pod = Self { child };
        let mut said = Vec::new();
        while !said.last().is_some_and(|line: &String| line.contains("listening")) {
            said.push(log.next().unwrap_or_else(|| panic!("it ended: {said:#?}")).unwrap());
        }
        // Nobody else reads it: a full pipe would stop the bridge.
        std::thread::spawn(move || log.for_each(drop));
        pod
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// An API server on a thread of its own, until it is dropped.
struct ApiServer {
    stop: CancellationToken,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl ApiServer {
    fn start(api: &FakeApi, kubeconfig: &Path) -> Self {
        let stop = CancellationToken::new();
        let (stopped, api) = (stop.clone(), api.clone());
        let (tell, address) = std::sync::mpsc::sync_channel(1);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
                tell.send(listener.local_addr().unwrap()).unwrap();
                stopped.run_until_cancelled(api.serve(listener)).await
            });
        });
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": format!("http://{}", address.recv().unwrap())}}],
            "users": [{"name": "test", "user": {}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        });
        std::fs::write(kubeconfig, config.to_string()).unwrap();
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.stop.cancel();
        self.thread.take().map(std::thread::JoinHandle::join);
    }
}

#[test]
fn the_fleet_comes_from_the_api_server_and_bytes_flow_without_it() {
    let directory = tempfile::tempdir().unwrap();
    let (state, kubeconfig) = (directory.path().join("state"), directory.path().join("kubeconfig"));
    let host = Host::new().unwrap();
    let stick = host.plug(stick("A1B2C3")).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let api = FakeApi::new();
    let server = ApiServer::start(&api, &kubeconfig);
    let address = own_address();
    let port = SocketAddr::new(address, pod_ports(["zigbee"])["zigbee"]);

    api.put("serialfleets", &fleet(&json!({})));
    let pod = Pod::start(&host, address, &state, &kubeconfig);
    let mut client = Client::to(port);
    client.echo(b"served");
    runtime.block_on(api.wait_until(|api| {
        api.object("serialnodes", "home.wyse-1").is_some_and(|node| {
            node["podUID"] == "pod-1"
                && node["ports"][0]["state"] == "Serving"
                && node["devices"][0]["tty"] == "ttyUSB0"
        })
    }));

    // An edit reaches the line in place. (Not 9600: that is what a simulated stick starts with.)
    api.put("serialfleets", &fleet(&json!({"baudRate": 19_200})));
    stick.wait_line(0, LIMIT, |line| line.baud == 19_200).unwrap();
    client.echo(b"still connected");

    // Without the API server ports go on, and a bridge that starts anew does so with the fleet kept last.
    drop(server);
    client.echo(b"nobody above");
    drop(pod);
    let _pod = Pod::start(&host, address, &state, &kubeconfig);
    Client::to(port).echo(b"from the cache");
    assert_eq!(stick.line(0).unwrap().baud, 19_200);
}
