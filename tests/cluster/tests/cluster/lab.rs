//! A cluster with SerialFleet in it, installed as the install page says, and what scenarios ask it.
//!
//! Owner: each scenario its own. It applies what is shipped, unchanged: names that the manifests use are answered by
//! the lab's DNS, images are mapped to the programs of this build. It must not write what a user would not.

use std::{
    env,
    net::{IpAddr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::{Api, Client};
use serialfleet_cluster::{
    audit::{Audit, Mark, Write},
    capability,
    control_plane::{ControlPlane, Options},
    credentials::User,
    dns::Dns,
    families::Families,
    harness::say,
    image::{Image, Images},
    kubectl::Kubectl,
    network::Network,
    node::{Client as NodeClient, Node, NodeOptions},
    wait,
};

/// Where everything of ours but the devices' Services lives.
pub(crate) const SYSTEM: &str = "serialfleet-system";

/// Where the devices' Services live in these scenarios.
pub(crate) const HOME: &str = "iot-system";

/// How long anything may take: a state that comes later is one that does not come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// How Metacontroller writes children.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Strategy {
    DynamicApply,
    ServerSideApply,
}

impl Strategy {
    fn flag(self) -> &'static str {
        match self {
            Self::DynamicApply => "dynamic-apply",
            Self::ServerSideApply => "server-side-apply",
        }
    }
}

pub(crate) struct Lab {
    pub(crate) control_plane: ControlPlane,
    pub(crate) client: Client,
    /// `node-1` has no sticks: hook servers and Metacontroller may run there, and nobody takes it down.
    pub(crate) nodes: Vec<Node>,
    pub(crate) directory: PathBuf,
    _dns: Dns,
    _network: Network,
}

impl Lab {
    /// With so many nodes, Metacontroller and SerialFleet running, and the namespace [`HOME`] that allows Services.
    pub(crate) async fn start(directory: &Path, nodes: u8, strategy: Strategy) -> Result<Self> {
        Self::start_with(directory, nodes, strategy, Options::default()).await
    }

    pub(crate) async fn start_with(
        directory: &Path,
        nodes: u8,
        strategy: Strategy,
        options: Options,
    ) -> Result<Self> {
        let lab = Self::empty(directory, nodes, options).await?;
        lab.install_metacontroller(strategy).await?;
        lab.install().await?;
        Ok(lab)
    }

    /// The cluster alone.
    pub(crate) async fn empty(directory: &Path, nodes: u8, options: Options) -> Result<Self> {
        let families = options.families;
        let network = Network::new(families)?;
        let control_plane = ControlPlane::start_with(directory, options).await?;
        let client = control_plane.client(&User::Admin)?;
        let dns = Dns::start(client.clone(), SocketAddr::new(families.first_room(), 53)).await?;
        resolve_as_pods_do(directory, families).await?;
        let mut booted = Vec::new();
        for index in 1..=nodes {
            let options = NodeOptions { images: images(), ..NodeOptions::default() };
            booted.push(Node::boot(&control_plane, &network, index, options).await?);
        }
        Ok(Self {
            control_plane,
            client,
            nodes: booted,
            directory: directory.to_owned(),
            _dns: dns,
            _network: network,
        })
    }

    /// As its own install page says, with the flags that ours recommends.
    pub(crate) async fn install_metacontroller(&self, strategy: Strategy) -> Result<()> {
        let kubectl = self.kubectl();
        let definitions = match env::var_os("METACONTROLLER_CRDS").filter(|_| real_metacontroller().is_some())
        {
            Some(path) => std::fs::read_to_string(&path)
                .with_context(|| format!("METACONTROLLER_CRDS={}", path.display()))?,
            None => include_str!("../../manifests/composite-controller-crd.yaml").to_owned(),
        };
        // Too large for the annotation of a client-side apply.
        kubectl.run_with_input(&["apply", "--server-side", "-f", "-"], &definitions).await?.success()?;
        kubectl.run(&["wait", "--for=condition=Established", "crd", "--all"]).await?.success()?;
        let manifest = include_str!("../../manifests/metacontroller.yaml");
        let flag = format!("--apply-strategy={}", strategy.flag());
        ensure!(manifest.contains("--apply-strategy=dynamic-apply"), "the manifest names a strategy");
        kubectl.apply(&manifest.replace("--apply-strategy=dynamic-apply", &flag)).await?;
        Ok(())
    }

    /// SerialFleet, as shipped.
    pub(crate) async fn install(&self) -> Result<()> {
        self.kubectl().apply_kustomize(&shipped()).await?;
        self.kubectl()
            .apply(&format!(
                "{{apiVersion: v1, kind: Namespace, metadata: {{name: {HOME}, labels: {{serialfleet.io/services: allowed}}}}}}"
            ))
            .await?;
        self.hooks_are_ready().await?;
        self.metacontroller_is_ready().await
    }

    pub(crate) fn kubectl(&self) -> Kubectl {
        self.control_plane.kubectl()
    }

    /// Metacontroller with another strategy: its pod is replaced.
    pub(crate) async fn switch(&self, strategy: Strategy) -> Result<()> {
        self.install_metacontroller(strategy).await?;
        let status =
            ["-n", "metacontroller", "rollout", "status", "statefulset/metacontroller", "--timeout=60s"];
        self.kubectl().run(&status).await?.success()?;
        Ok(())
    }

    pub(crate) fn audit(&self) -> Audit {
        self.control_plane.audit()
    }

    /// By its number, from 1.
    pub(crate) fn node(&self, number: usize) -> &Node {
        &self.nodes[number - 1]
    }

    pub(crate) async fn hooks_are_ready(&self) -> Result<()> {
        let hooks: Api<Deployment> = Api::namespaced(self.client.clone(), SYSTEM);
        wait::until("both hook servers are ready, none of an old revision is left", PATIENCE, async || {
            let hook = hooks.get("serialfleet-hook").await?;
            let status = hook.status.unwrap_or_default();
            Ok((status.observed_generation == hook.metadata.generation
                && status.updated_replicas == Some(2)
                && status.ready_replicas == Some(2)
                && status.replicas == Some(2))
            .then_some(()))
        })
        .await
    }

    /// The pod that is there now: what its StatefulSet counts may be the one before.
    pub(crate) async fn metacontroller_is_ready(&self) -> Result<()> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), "metacontroller");
        wait::until("Metacontroller is ready", PATIENCE, async || {
            let pod = pods.get("metacontroller-0").await?;
            let mut conditions = pod.status.unwrap_or_default().conditions.into_iter().flatten();
            let ready = conditions.any(|it| it.type_ == "Ready" && it.status == "True");
            Ok((ready && pod.metadata.deletion_timestamp.is_none()).then_some(()))
        })
        .await
    }

    /// What a name stands for, as a pod asks.
    pub(crate) async fn resolve(&self, name: &str) -> Result<IpAddr> {
        let mut found = tokio::net::lookup_host((name, 0)).await.with_context(|| name.to_owned())?;
        Ok(found.next().context("an address")?.ip())
    }

    /// Says how much memory each program of ours takes: the proportional set size of its processes.
    pub(crate) fn memory(&self) -> Result<()> {
        for pod in self.nodes.iter().flat_map(Node::pods) {
            for (container, pid) in pod.containers.iter().filter_map(|it| Some((&it.name, it.pid?))) {
                let path = format!("/proc/{pid}/smaps_rollup");
                let text = std::fs::read_to_string(&path).context(path)?;
                let pss = text.lines().find_map(|line| line.strip_prefix("Pss:")).unwrap_or_default();
                say(&format!("memory of {} ({container}): {}", pod.name, pss.trim()));
            }
        }
        Ok(())
    }

    /// What was written since a mark, but for the cluster's own background.
    pub(crate) fn writes_since(&self, mark: Mark) -> Result<Vec<Write>> {
        let writes = self.audit().writes_since(mark)?;
        Ok(writes.into_iter().filter(|write| !write.is_background()).collect())
    }

    /// How often Metacontroller has called `/sync`, by its own count.
    pub(crate) async fn syncs(&self) -> Result<u64> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), "metacontroller");
        let pod = pods.get("metacontroller-0").await?;
        let address: IpAddr = pod.status.and_then(|status| status.pod_ip).context("an address")?.parse()?;
        let text = http_get(SocketAddr::new(address, 9999), "/metrics").await?;
        Ok(text
            .lines()
            .filter(|line| line.starts_with("metacontroller_sync_requests_total{"))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
            .sum())
    }
}

/// A client that goes on trying until it is connected: as real ones do.
pub(crate) async fn connect(client: &NodeClient, to: SocketAddr) -> Result<TcpStream> {
    let stream =
        wait::until(&format!("{to} accepts"), PATIENCE, async || client.connect(to).map(Some)).await?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// How long something took, in milliseconds.
pub(crate) fn since(start: Instant) -> u128 {
    start.elapsed().as_millis()
}

/// What is committed as `metacontroller/`.
pub(crate) fn shipped() -> PathBuf {
    root().join("metacontroller")
}

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The one somebody has, instead of the driver.
pub(crate) fn real_metacontroller() -> Option<PathBuf> {
    env::var_os("METACONTROLLER").filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// The one map from image to programs.
fn images() -> Images {
    let product = Image::new()
        .file("/serialfleet-bridge", capability::product_program("serialfleet-bridge"))
        .file("/serialfleet-hook", capability::product_program("serialfleet-hook"));
    let metacontroller =
        real_metacontroller().unwrap_or_else(|| capability::product_program("metacontroller-driver"));
    Images::new()
        .with("serialfleet", product)
        .with("metacontroller", Image::new().file("/metacontroller", metacontroller))
}

/// This mount namespace is the scenario's own.
async fn resolve_as_pods_do(directory: &Path, families: Families) -> Result<()> {
    let file = directory.join("resolv.conf");
    let room = families.first_room();
    let text = format!("nameserver {room}\nsearch svc.cluster.local cluster.local\noptions ndots:5\n");
    tokio::fs::write(&file, text).await?;
    let mount =
        tokio::process::Command::new("mount").arg("--bind").arg(&file).arg("/etc/resolv.conf").status();
    ensure!(mount.await?.success(), "mounting resolv.conf");
    Ok(())
}

async fn http_get(address: SocketAddr, path: &str) -> Result<String> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(address).await?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    Ok(text)
}
