//! A node: a network namespace with a kubelet, a kube-proxy, and sockets for sticks.
//!
//! Owner: the scenario. Dropping a node is pulling its plug. It must not know the product.

mod proxy;
mod registration;

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::Taint;
use kube::Client as ApiClient;
use rustix::mount::{MountPropagationFlags, mount_bind, mount_change};
use rustix::process::{Pid, Signal, kill_process_group};
use serialfleet_sim::Host;
use tokio::sync::watch;
use tokio::task::{JoinSet, spawn_blocking};

use crate::control_plane::ControlPlane;
use crate::credentials::User;
use crate::image::Images;
use crate::kubelet::view::PodView;
use crate::kubelet::{self, Log, Machine};
use crate::network::{self, Network, NodeNetwork, PodNetwork};
use crate::process::Process;
use crate::wait;

/// What may differ between nodes.
#[derive(Clone, Debug, Default)]
pub struct NodeOptions {
    /// What its pods may run.
    pub images: Images,
    /// Beside those that every node has.
    pub labels: BTreeMap<String, String>,
    /// From the beginning.
    pub taints: Vec<Taint>,
}

/// A node, on or off.
pub struct Node {
    name: String,
    index: u8,
    options: NodeOptions,
    directory: PathBuf,
    logs: PathBuf,
    host: Host,
    client: ApiClient,
    admin: ApiClient,
    proxy_kubeconfig: PathBuf,
    api_service: (String, String),
    silence: watch::Sender<bool>,
    network: Network,
    /// `None` while the power is off.
    power: Option<Power>,
}

/// What is there only while the node is on.
struct Power {
    /// The kubelet and what reports on the node; first to go.
    _tasks: JoinSet<()>,
    _proxy: Process,
    machine: Arc<Machine>,
}

impl Node {
    /// `node-INDEX`, from 1: registered, ready, and running whatever the control plane binds to it.
    ///
    /// # Errors
    /// If the machine or the API server refuses something.
    pub async fn boot(
        control_plane: &ControlPlane,
        network: &Network,
        index: u8,
        options: NodeOptions,
    ) -> Result<Self> {
        let name = format!("node-{index}");
        let directory = control_plane.directory().join(&name);
        let logs = control_plane.directory().join("logs").join(&name);
        let (dev, sysfs) = (directory.join("dev"), directory.join("sys"));
        for directory in [&dev, &logs] {
            fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
        }
        // Shared, so that containers hear of a stick that is bind-mounted there later.
        mount_bind(&dev, &dev).context("the node's /dev")?;
        mount_change(&dev, MountPropagationFlags::SHARED).context("sharing the node's /dev")?;
        let host = Host::at(&sysfs, &dev)?.with_bind_mounts();
        let admin = control_plane.client(&User::Admin)?;
        let mut node = Self {
            client: control_plane.client(&User::Node(index))?,
            api_service: registration::api_service(&admin).await?,
            admin,
            proxy_kubeconfig: control_plane.kubeconfig(&User::KubeProxy),
            silence: watch::channel(false).0,
            network: network.clone(),
            name,
            index,
            options,
            directory,
            logs,
            host,
            power: None,
        };
        node.power_on().await?;
        Ok(node)
    }

    /// As the cluster calls it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its sockets: what is plugged in here, its pods see.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Where a pod's `hostPath` is on this machine, for files that are to be there.
    ///
    /// # Errors
    /// If the node is off.
    pub fn host_path(&self, path: impl Into<PathBuf>) -> Result<PathBuf> {
        Ok(self.on()?.machine.host_path(&path.into()))
    }

    /// The node's own addresses.
    ///
    /// # Errors
    /// If the node is off.
    pub fn addresses(&self) -> Result<Vec<IpAddr>> {
        Ok(self.on()?.machine.network.addresses())
    }

    /// Connects from the node itself. Blocks, for 10 s at most.
    ///
    /// # Errors
    /// As connecting from there ends, or if the node is off.
    pub fn connect(&self, to: SocketAddr) -> Result<TcpStream> {
        network::connect(self.on()?.machine.network.namespace(), to, CONNECT_LIMIT)
    }

    /// A place like a pod's on this node, to connect from.
    ///
    /// # Errors
    /// If the node is off, or has no more addresses.
    pub fn client(&self) -> Result<Client> {
        Ok(Client { network: PodNetwork::new(&self.on()?.machine.network)? })
    }

    /// Its pods, as it knows them: those that are going away, too.
    #[must_use]
    pub fn pods(&self) -> Vec<PodView> {
        let Some(power) = &self.power else { return Vec::new() };
        let pods = power.machine.pods.lock().expect("no panic while it is held");
        pods.values().map(|view| view.borrow().clone()).collect()
    }

    /// Kills a container's processes, of the pod with this name or else of one whose name begins so.
    ///
    /// # Errors
    /// If there is no such pod, or that container does not run.
    pub fn kill_container(&self, pod: &str, container: &str) -> Result<()> {
        let pods = self.pods();
        let exact = pods.iter().find(|view| view.name == pod);
        let view = exact.or_else(|| pods.iter().find(|view| view.name.starts_with(pod)));
        let view = view.with_context(|| format!("no pod {pod} on {}", self.name))?;
        let pid = view.container(container).and_then(|container| container.pid).and_then(Pid::from_raw);
        let pid = pid.with_context(|| format!("{}/{container} does not run", view.name))?;
        kill_process_group(pid, Signal::KILL).with_context(|| format!("killing {}/{container}", view.name))
    }

    /// From now on the kubelet neither says nor hears anything; its containers go on.
    pub fn silence(&self) {
        self.silence.send_replace(true);
    }

    /// The kubelet is back, and says what has changed.
    pub fn speak(&self) {
        self.silence.send_replace(false);
    }

    /// Everything on it ends this instant, nothing is reported, and its address does not answer any more. Sticks stay
    /// where they are.
    ///
    /// # Errors
    /// If something of it does not go.
    pub async fn power_off(&mut self) -> Result<()> {
        // What is noticed while everything ends must not be told.
        self.silence();
        for container in self.pods().iter().flat_map(|view| &view.containers) {
            if let Some(pid) = container.pid.and_then(Pid::from_raw) {
                kill_process_group(pid, Signal::KILL).ok();
            }
        }
        let Some(Power { _tasks: mut tasks, _proxy: proxy, machine }) = self.power.take() else {
            return Ok(());
        };
        machine.network.unplug();
        tasks.shutdown().await;
        drop(proxy);
        let remains = Arc::downgrade(&machine);
        drop(machine);
        wait::until(&format!("nothing of {} runs", self.name), OFF_LIMIT, async || {
            Ok((remains.strong_count() == 0).then_some(()))
        })
        .await
    }

    /// Boots it: the node registers again, and starts the pods that are bound to it anew.
    ///
    /// # Errors
    /// As [`Node::boot`].
    pub async fn power_on(&mut self) -> Result<()> {
        if self.power.is_some() {
            bail!("{} is on", self.name);
        }
        let network = self.plug_in().await?;
        self.speak();
        // A reboot leaves nothing of what was in pods.
        fs::remove_dir_all(self.directory.join("pods")).ok();
        let machine = Arc::new(Machine {
            name: self.name.clone(),
            network,
            client: self.client.clone(),
            images: self.options.images.clone(),
            directory: self.directory.clone(),
            logs: self.logs.clone(),
            dev: self.host.dev_root().to_owned(),
            sysfs: self.host.sysfs_root().to_owned(),
            api_service: self.api_service.clone(),
            silence: self.silence.subscribe(),
            log: Log::open(&self.logs.join("kubelet.log"))?,
            pods: Mutex::default(),
        });
        let proxy = proxy::start(&machine, &self.proxy_kubeconfig)?;
        registration::register(&machine, &self.admin, &self.options).await?;
        let mut tasks = JoinSet::new();
        tasks.spawn(registration::heartbeat(Arc::clone(&machine)));
        tasks.spawn(kubelet::run(Arc::clone(&machine)));
        self.power = Some(Power { _tasks: tasks, _proxy: proxy, machine });
        Ok(())
    }

    fn on(&self) -> Result<&Power> {
        self.power.as_ref().with_context(|| format!("{} is off", self.name))
    }

    async fn plug_in(&self) -> Result<Arc<NodeNetwork>> {
        let (network, index) = (self.network.clone(), self.index);
        Ok(Arc::new(spawn_blocking(move || network.node(index)).await??))
    }
}

/// A network namespace beside the node's pods, with nothing in it: for clients of the scenario's own.
#[derive(Debug)]
pub struct Client {
    network: PodNetwork,
}

impl Client {
    /// Connects from there. Blocks, for 10 s at most.
    ///
    /// # Errors
    /// As connecting from there ends.
    pub fn connect(&self, to: SocketAddr) -> Result<TcpStream> {
        network::connect(self.network.namespace(), to, CONNECT_LIMIT)
    }

    /// Its own addresses, as servers see them.
    #[must_use]
    pub fn addresses(&self) -> Vec<IpAddr> {
        self.network.addresses()
    }

    /// For [`network::enter`].
    #[must_use]
    pub fn namespace(&self) -> &std::path::Path {
        self.network.namespace()
    }
}

const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// Killing takes no time, clearing away namespaces some.
const OFF_LIMIT: Duration = Duration::from_secs(10);
