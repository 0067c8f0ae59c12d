//! The lab's nodes: that what runs there is what a real node would make of a pod.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{Node as NodeObject, Pod, Service};
use kube::{Api, Client};
use serialfleet_cluster::capability;
use serialfleet_cluster::control_plane::{ControlPlane, Options};
use serialfleet_cluster::credentials::User;
use serialfleet_cluster::families::Families;
use serialfleet_cluster::harness::say;
use serialfleet_cluster::image::{Image, Images};
use serialfleet_cluster::kubectl::Kubectl;
use serialfleet_cluster::network::Network;
use serialfleet_cluster::node::{Node, NodeOptions};
use serialfleet_cluster::wait;
use serialfleet_sim::spec::{Scene, StickSpec};

/// A restricted pod gets ready, is reached through its Service, comes back when it is killed, and goes when it is
/// deleted.
pub(crate) async fn are_processes(directory: PathBuf) -> Result<()> {
    let mut ground = Ground::new(&directory, 2).await?;
    let start = Instant::now();
    ground.kubectl.apply(WEB).await?;
    let pod = ground.ready("web").await?;
    say(&format!("the pod is ready {} ms after it was applied", start.elapsed().as_millis()));
    ensure!(pod.spec.context("a spec")?.node_name.as_deref() == Some("node-1"), "as its node selector says");

    let service = ground.service("web").await?;
    let (client, hairpin) = (ground.nodes[1].client()?, ground.nodes[0].pods());
    wait::until("the Service answers on both nodes", PATIENCE, async || {
        get(client.connect(service)?, "/livez")?;
        get(ground.nodes[0].connect(service)?, "/livez").map(Some)
    })
    .await?;
    let own = hairpin.first().and_then(|view| view.network.clone()).context("the pod's network")?;
    let through = serialfleet_cluster::network::connect(&own, service, Duration::from_secs(5))?;
    get(through, "/livez").context("from the pod to itself")?;
    say("its Service answers from its node, from another node, and to the pod itself");

    let start = Instant::now();
    ground.nodes[0].kill_container("web", "hook")?;
    wait::until("the container was restarted", PATIENCE, async || {
        let pod = ground.pods.get("web").await?;
        let statuses = pod.status.clone().and_then(|status| status.container_statuses).unwrap_or_default();
        let status = statuses.first().context("a container status")?;
        let last = status.last_state.as_ref().and_then(|last| last.terminated.as_ref());
        Ok((status.restart_count == 1 && last.is_some_and(|last| last.exit_code == 137) && is_ready(&pod))
            .then_some(()))
    })
    .await?;
    say(&format!("killed: ready again after {} ms", start.elapsed().as_millis()));

    // Nobody needs an API server for what runs already.
    ground.control_plane.stop_api_server().await?;
    let start = Instant::now();
    ground.nodes[0].kill_container("web", "hook")?;
    wait::until("it answers again without an API server", PATIENCE, async || {
        get(client.connect(service)?, "/livez").map(Some)
    })
    .await?;
    say(&format!("killed without an API server: answers again after {} ms", start.elapsed().as_millis()));
    ground.control_plane.start_api_server().await?;
    let start = Instant::now();
    wait::until("the API server hears of it", PATIENCE, async || {
        let pod = ground.pods.get("web").await?;
        let statuses = pod.status.clone().and_then(|status| status.container_statuses).unwrap_or_default();
        Ok((statuses.iter().all(|status| status.restart_count == 2) && is_ready(&pod)).then_some(()))
    })
    .await?;
    say(&format!("told {} ms after the API server was ready", start.elapsed().as_millis()));

    let start = Instant::now();
    ground.kubectl.run(&["delete", "pod", "web", "--wait=false"]).await?.success()?;
    wait::until("the pod is gone", PATIENCE, async || {
        Ok(ground.pods.get_opt("web").await?.is_none().then_some(()))
    })
    .await?;
    say(&format!("deleted: gone after {} ms", start.elapsed().as_millis()));
    wait::until("nothing of it is left on the node", PATIENCE, async || {
        Ok(ground.nodes[0].pods().is_empty().then_some(()))
    })
    .await?;

    // Another name: a scheduler that has not yet watched again since the restart takes a second pod for the first one,
    // on another node, and ends.
    let unknown = WEB.replace("image: serialfleet", "image: elsewhere.example/nothing:v1");
    ground.kubectl.apply(&unknown.replace("name: web", "name: elsewhere")).await?;
    wait::until("an unknown image is told", PATIENCE, async || {
        let waiting = ground.waiting("elsewhere").await?;
        Ok(waiting.filter(|waiting| waiting.starts_with("ErrImagePull")).map(drop))
    })
    .await?;
    ground.control_plane.check()
}

/// What is plugged in while a privileged pod runs is a character device in it.
pub(crate) async fn see_sticks(directory: PathBuf) -> Result<()> {
    let mut ground = Ground::new(&directory, 1).await?;
    ground.kubectl.apply(PROBER).await?;
    let pod = ground.ready("prober").await?;
    let log = |container: &str| -> Result<String> {
        let pods = ground.nodes[0].pods();
        let view = pods.iter().find_map(|view| view.container(container)).context("the container")?;
        Ok(std::fs::read_to_string(&view.log)?)
    };
    wait::until("the container without privileges has looked around", PATIENCE, async || {
        Ok(log("plain")?.contains("done").then_some(()))
    })
    .await?;
    let said = log("plain")?;
    for line in
        ["uid=1000 gid=3000 groups=3000,2000", "CapEff:\t0000000000000000", "NoNewPrivs:\t1", "token of 1000"]
    {
        ensure!(said.contains(line), "{line:?} is not in:\n{said}");
    }
    let start = Instant::now();
    let stick = ground.nodes[0].host().plug(StickSpec::new(Scene::Ftdi))?;
    stick.wait_received(0, PATIENCE, b"hello from the pod")?;
    say(&format!("written to {} ms after it was plugged in", start.elapsed().as_millis()));
    wait::until("the shell has said all", PATIENCE, async || {
        Ok(log("shell")?.contains("done").then_some(()))
    })
    .await?;
    let said = log("shell")?;
    let address = pod.status.and_then(|status| status.pod_ip).context("an address")?;
    for line in [
        format!("node node-1 address {address} token 1 of default ca 1"),
        "class ttyUSB0".to_owned(),
        "root is read-only, memory is not".to_owned(),
        "sysctl of prober".to_owned(),
    ] {
        ensure!(said.contains(&line), "{line:?} is not in:\n{said}");
    }
    stick.unplug()?;
    wait::until("it sees it go", PATIENCE, async || Ok(log("shell")?.contains("gone").then_some(()))).await?;
    ground.control_plane.check()
}

/// A silent node and one without power look the same from outside, and come back in their own ways.
pub(crate) async fn on_a_node_without_power(directory: PathBuf) -> Result<()> {
    let mut ground = Ground::new(&directory, 2).await?;
    ground.kubectl.apply(WEB).await?;
    ground.ready("web").await?;
    let service = ground.service("web").await?;
    let client = ground.nodes[1].client()?;
    // Held over the power cut, as by a scenario that does not know better.
    let _beside = ground.nodes[0].client()?;
    let nodes = Api::<NodeObject>::all(ground.client.clone());
    let node_is = async |wanted: &str| {
        wait::until(&format!("node-1 is Ready={wanted}"), PATIENCE, async || {
            let status = nodes.get("node-1").await?.status.unwrap_or_default();
            let mut conditions = status.conditions.into_iter().flatten();
            Ok(conditions.any(|it| it.type_ == "Ready" && it.status == wanted).then_some(()))
        })
        .await
    };

    let start = Instant::now();
    ground.nodes[0].silence();
    node_is("Unknown").await?;
    say(&format!("silent: given up after {} ms", start.elapsed().as_millis()));
    get(ground.nodes[0].connect(pod_address(&ground, "web")?)?, "/livez")?;
    wait::until("its pod is not ready", PATIENCE, async || {
        Ok((!is_ready(&ground.pods.get("web").await?)).then_some(()))
    })
    .await?;
    let start = Instant::now();
    ground.nodes[0].speak();
    node_is("True").await?;
    ground.ready("web").await?;
    say(&format!("speaks: all ready after {} ms", start.elapsed().as_millis()));
    wait::until("the Service answers", PATIENCE, async || get(client.connect(service)?, "/livez").map(Some))
        .await?;

    let start = Instant::now();
    ground.nodes[0].power_off().await?;
    say(&format!("power off took {} ms", start.elapsed().as_millis()));
    ensure!(client.connect(service).is_err(), "nobody is there");
    node_is("Unknown").await?;
    say(&format!("off: given up after {} ms", start.elapsed().as_millis()));
    let start = Instant::now();
    ground.nodes[0].power_on().await?;
    say(&format!("power on took {} ms", start.elapsed().as_millis()));
    let pod = ground.ready("web").await?;
    let statuses = pod.status.and_then(|status| status.container_statuses).unwrap_or_default();
    ensure!(
        statuses.iter().all(|status| status.restart_count == 1),
        "the same pod, once restarted: {statuses:?}"
    );
    wait::until("the Service answers", PATIENCE, async || get(client.connect(service)?, "/livez").map(Some))
        .await?;
    say(&format!("on: served again after {} ms", start.elapsed().as_millis()));
    ground.control_plane.check()
}

/// Nodes and nothing on them.
struct Ground {
    nodes: Vec<Node>,
    kubectl: Kubectl,
    client: Client,
    pods: Api<Pod>,
    control_plane: ControlPlane,
    _network: Network,
}

impl Ground {
    async fn new(directory: &std::path::Path, nodes: u8) -> Result<Self> {
        let network = Network::new(Families::default())?;
        let control_plane = ControlPlane::start_with(directory, Options::default()).await?;
        say("the control plane is up");
        let client = control_plane.client(&User::Admin)?;
        let image = Image::new().file("/serialfleet-hook", capability::product_program("serialfleet-hook"));
        let images = Images::new().with("serialfleet", image).with("shell", Image::new());
        let mut booted = Vec::new();
        for index in 1..=nodes {
            let start = Instant::now();
            let options = NodeOptions { images: images.clone(), ..NodeOptions::default() };
            booted.push(Node::boot(&control_plane, &network, index, options).await?);
            say(&format!("node-{index} booted within {} ms", start.elapsed().as_millis()));
        }
        let accounts =
            Api::<k8s_openapi::api::core::v1::ServiceAccount>::namespaced(client.clone(), "default");
        wait::until("pods can be made", PATIENCE, async || Ok(accounts.get_opt("default").await?.map(drop)))
            .await?;
        Ok(Self {
            nodes: booted,
            kubectl: control_plane.kubectl(),
            pods: Api::namespaced(client.clone(), "default"),
            client,
            control_plane,
            _network: network,
        })
    }

    async fn ready(&self, name: &str) -> Result<Pod> {
        wait::until(&format!("pod {name} is ready"), PATIENCE, async || {
            Ok(self.pods.get_opt(name).await?.filter(is_ready))
        })
        .await
    }

    async fn service(&self, name: &str) -> Result<SocketAddr> {
        let services = Api::<Service>::namespaced(self.client.clone(), "default");
        let address =
            services.get(name).await?.spec.and_then(|spec| spec.cluster_ip).context("a ClusterIP")?;
        Ok(SocketAddr::new(address.parse()?, 80))
    }

    async fn waiting(&self, name: &str) -> Result<Option<String>> {
        let status = self.pods.get(name).await?.status.unwrap_or_default();
        let mut states = status.container_statuses.into_iter().flatten().filter_map(|status| status.state);
        Ok(states.find_map(|state| state.waiting?.reason))
    }
}

fn pod_address(ground: &Ground, name: &str) -> Result<SocketAddr> {
    let pods = ground.nodes[0].pods();
    let view = pods.iter().find(|view| view.name == name).context("the pod")?;
    let address: IpAddr = *view.addresses.first().context("an address")?;
    Ok(SocketAddr::new(address, 8080))
}

fn is_ready(pod: &Pod) -> bool {
    let mut conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn get(mut stream: std::net::TcpStream, path: &str) -> Result<String> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    ensure!(text.starts_with("HTTP/1.") && text.contains(" 200 "), "{text}");
    Ok(text)
}

const PATIENCE: Duration = Duration::from_secs(60);

/// Our hook server, as an example of a program that needs no privilege at all.
const WEB: &str = r"
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: http}]
---
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  nodeSelector: {kubernetes.io/hostname: node-1}
  automountServiceAccountToken: false
  securityContext: {runAsNonRoot: true, runAsUser: 65532, runAsGroup: 65532}
  containers:
  - name: hook
    image: serialfleet
    command: [/serialfleet-hook, serve]
    args: [--bridge-image=serialfleet]
    ports: [{name: http, containerPort: 8080}]
    securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
    startupProbe: {httpGet: {path: /livez, port: http}, periodSeconds: 1, failureThreshold: 30}
    livenessProbe: {httpGet: {path: /livez, port: http}}
    readinessProbe: {httpGet: {path: /readyz, port: 8080}, periodSeconds: 1}
";

const PROBER: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: prober}
spec:
  terminationGracePeriodSeconds: 1
  securityContext: {fsGroup: 2000}
  containers:
  - name: plain
    image: shell
    command: [/bin/sh, -ec]
    args:
    - |
      id
      grep -E "CapEff|NoNewPrivs" /proc/self/status
      [ -s /var/run/secrets/kubernetes.io/serviceaccount/token ] && echo token of $(id -u)
      echo done
      sleep infinity
    securityContext: {runAsUser: 1000, runAsGroup: 3000, allowPrivilegeEscalation: false}
  - name: shell
    image: shell
    command: [/bin/sh, -ec]
    args:
    - |
      [ -s $ACCOUNT/token ] && token=1; grep -q BEGIN $ACCOUNT/ca.crt && ca=1
      echo "node $(NODE) address $(ADDRESSES) token $token of $(cat $ACCOUNT/namespace) ca $ca"
      touch /file 2>/dev/null || touch /memory/file && echo "root is read-only, memory is not"
      echo "sysctl of $(hostname)"
      until [ -c /host/dev/ttyUSB0 ]; do sleep 0.02; done
      stty -F /host/dev/ttyUSB0 raw -echo
      echo "hello from the pod" > /host/dev/ttyUSB0
      echo class $(ls /sys/class/tty)
      echo done
      while [ -e /host/dev/ttyUSB0 ]; do sleep 0.02; done
      echo gone
      sleep infinity
    env:
    - {name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
    - {name: ADDRESSES, valueFrom: {fieldRef: {fieldPath: status.podIPs}}}
    - {name: ACCOUNT, value: /var/run/secrets/kubernetes.io/serviceaccount}
    securityContext: {privileged: true, readOnlyRootFilesystem: true}
    volumeMounts:
    - {name: dev, mountPath: /host/dev, readOnly: true, mountPropagation: HostToContainer}
    - {name: memory, mountPath: /memory}
    - {name: absent, mountPath: /absent, readOnly: true}
  volumes:
  - {name: dev, hostPath: {path: /dev, type: Directory}}
  - {name: memory, emptyDir: {medium: Memory, sizeLimit: 4Mi}}
  - {name: absent, secret: {secretName: absent, optional: true}}
"#;
