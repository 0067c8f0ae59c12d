//! The lab's network: a bridge in the machine room, nodes plugged into it, pods behind their nodes.
//!
//! Owner: the scenario makes one [`Network`]; nodes and pods hold their part of it and take it away when they are
//! dropped. Nothing here knows of Kubernetes. Every address family has its lists and its routes side by side, so a
//! second family is another entry, not another shape.
//!
//! A pod has a single address and no neighbour but its node, over a veth of its own: all that it sends goes through
//! the node's kernel, where kube-proxy's rules are, also when the answer comes from the very same pod.

use std::fs::{self, File};
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::mount::{MountFlags, mount};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// The machine room's bridge, in the network namespace of the scenario.
#[derive(Clone, Debug)]
pub struct Network(Arc<Counters>);

/// Nothing is called, or addressed, like something that was there before: a client that still has an old address must
/// not meet a stranger, and who still holds an old namespace must not be in the way of the new one.
#[derive(Debug)]
struct Counters {
    plugs: AtomicU32,
    /// By the node's number.
    addresses: [AtomicU8; NODES as usize + 1],
}

impl Network {
    /// Makes the bridge `lab0`. To be called once, in a network and mount namespace of the scenario's own.
    ///
    /// # Errors
    /// If the kernel or `ip` refuses.
    pub fn new() -> Result<Self> {
        // Named network namespaces are mount points in there: private, so that names cannot clash with others'.
        fs::create_dir_all(NAMESPACES)?;
        mount("lab", NAMESPACES, "tmpfs", MountFlags::empty(), None).context("a tmpfs for names")?;
        forward(None)?;
        let mut batch = vec![
            "link set lo up".to_owned(),
            // Without spanning tree a new port forwards at once.
            // Otherwise the bridge takes the hardware address of one of its ports, another one with each that comes.
            format!("link add {BRIDGE} address {} type bridge stp_state 0 forward_delay 0", hardware(0)),
            format!("addr add {ROOM}/24 dev {BRIDGE}"),
            format!("link set {BRIDGE} up"),
        ];
        batch.extend(routes(None));
        ip(None, &batch)?;
        let addresses = std::array::from_fn(|_| AtomicU8::new(2));
        Ok(Self(Arc::new(Counters { plugs: AtomicU32::new(1), addresses })))
    }

    /// Plugs a node in: 10.0.0.(10+index), pods in 10.244.index.0/24.
    ///
    /// # Errors
    /// If the kernel or `ip` refuses.
    pub fn node(&self, index: u8) -> Result<NodeNetwork> {
        ensure!((1..=NODES).contains(&index), "node {index}: nodes are numbered from 1 to {NODES}");
        let plug = self.0.plugs.fetch_add(1, Ordering::Relaxed);
        let namespace = Namespace::new(&format!("node-{index}-{plug}"))?;
        forward(Some(namespace.path()))?;
        let address = node_address(index);
        let port = format!("node{index}.{plug}");
        ip(
            None,
            &[
                // The same at each boot: others remember it.
                format!(
                    "link add {port} type veth peer name eth0 address {} netns {}",
                    hardware(index),
                    namespace.name
                ),
                format!("link set {port} master {BRIDGE} up"),
            ],
        )?;
        let mut batch = vec![
            "link set lo up".to_owned(),
            format!("addr add {address}/24 dev eth0"),
            "link set eth0 up".to_owned(),
            format!("route add default via {ROOM}"),
        ];
        batch.extend(routes(Some(index)));
        ip(Some(&namespace.name), &batch)?;
        Ok(NodeNetwork { index, address, namespace, port, counters: Arc::clone(&self.0) })
    }
}

/// A node's network namespace. Dropping it pulls the plug.
#[derive(Debug)]
pub struct NodeNetwork {
    index: u8,
    address: Ipv4Addr,
    namespace: Namespace,
    port: String,
    counters: Arc<Counters>,
}

impl NodeNetwork {
    /// The node's own addresses.
    #[must_use]
    pub fn addresses(&self) -> Vec<IpAddr> {
        vec![self.address.into()]
    }

    /// Where its pods are.
    #[must_use]
    pub fn pod_networks(&self) -> Vec<String> {
        vec![pod_network(self.index)]
    }

    /// For [`enter`] and `nsenter --net=`.
    #[must_use]
    pub fn namespace(&self) -> &Path {
        self.namespace.path()
    }

    /// Pulls the plug at once: the namespace and what is in it go when nobody holds this any more.
    pub fn unplug(&self) {
        // Not there any more: unplugged already.
        ip(None, &[format!("link del {}", self.port)]).ok();
    }
}

impl Drop for NodeNetwork {
    fn drop(&mut self) {
        // The namespace alone would do, but the kernel takes its time to clear one away.
        self.unplug();
    }
}

/// The network namespace of a pod, or of a client beside the pods.
#[derive(Debug)]
pub struct PodNetwork {
    node: Arc<NodeNetwork>,
    address: Ipv4Addr,
    namespace: Namespace,
    port: String,
}

impl PodNetwork {
    /// A new one with the node's next free address.
    ///
    /// # Errors
    /// If the kernel or `ip` refuses.
    pub fn new(node: &Arc<NodeNetwork>) -> Result<Self> {
        let next = node.counters.addresses.get(usize::from(node.index)).context("a node's number")?;
        let number = next.fetch_add(1, Ordering::Relaxed);
        ensure!((2..255).contains(&number), "the pod addresses of node {} are used up", node.index);
        let address = Ipv4Addr::new(10, 244, node.index, number);
        let namespace = Namespace::new(&format!("{}-pod-{number}", node.namespace.name))?;
        let port = format!("pod{number}");
        ip(
            Some(&node.namespace.name),
            &[
                format!("link add {port} type veth peer name eth0 netns {}", namespace.name),
                format!("addr add {GATEWAY}/32 dev {port} scope link"),
                format!("link set {port} up"),
                format!("route add {address}/32 dev {port} src {}", node.address),
            ],
        )?;
        ip(
            Some(&namespace.name),
            &[
                "link set lo up".to_owned(),
                format!("addr add {address}/32 dev eth0"),
                "link set eth0 up".to_owned(),
                format!("route add {GATEWAY}/32 dev eth0 scope link"),
                format!("route add default via {GATEWAY} dev eth0"),
            ],
        )?;
        Ok(Self { node: Arc::clone(node), address, namespace, port })
    }

    /// The pod's addresses, the first family first.
    #[must_use]
    pub fn addresses(&self) -> Vec<IpAddr> {
        vec![self.address.into()]
    }

    /// For [`enter`] and `nsenter --net=`.
    #[must_use]
    pub fn namespace(&self) -> &Path {
        self.namespace.path()
    }
}

impl Drop for PodNetwork {
    fn drop(&mut self) {
        ip(Some(&self.node.namespace.name), &[format!("link del {}", self.port)]).ok();
    }
}

/// Runs something inside a network namespace, on a thread of its own. Sockets made there stay there.
///
/// # Errors
/// If the namespace is gone.
pub fn enter<T: Send>(namespace: &Path, inside: impl FnOnce() -> T + Send) -> Result<T> {
    let file = File::open(namespace).with_context(|| namespace.display().to_string())?;
    thread::scope(|scope| {
        let thread = scope.spawn(move || -> Result<T> {
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
                .context("entering a network namespace")?;
            Ok(inside())
        });
        thread.join().unwrap_or_else(|_| bail!("the thread inside {} panicked", namespace.display()))
    })
}

/// Connects from inside a network namespace. Blocks, at most for `limit`.
///
/// # Errors
/// As connecting from there ends: refused, unreachable, timed out.
pub fn connect(namespace: &Path, to: SocketAddr, limit: Duration) -> Result<TcpStream> {
    enter(namespace, || TcpStream::connect_timeout(&to, limit))?
        .with_context(|| format!("connecting to {to}"))
}

/// A named network namespace.
#[derive(Debug)]
struct Namespace {
    name: String,
    path: PathBuf,
}

impl Namespace {
    fn new(name: &str) -> Result<Self> {
        run(Command::new("ip").args(["netns", "add", name]), "")?;
        Ok(Self { name: name.to_owned(), path: Path::new(NAMESPACES).join(name) })
    }

    fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        run(Command::new("ip").args(["netns", "del", &self.name]), "").ok();
    }
}

/// Routes to the pods of all nodes that there could be, but those of `own`: no node has to be told of another.
fn routes(own: Option<u8>) -> impl Iterator<Item = String> {
    (1..=NODES)
        .filter(move |index| Some(*index) != own)
        .map(|index| format!("route add {} via {}", pod_network(index), node_address(index)))
}

fn node_address(index: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, 10 + index)
}

/// Of the node's end of its cable; 0 is the machine room's.
fn hardware(index: u8) -> String {
    format!("02:00:00:00:00:{index:02x}")
}

fn pod_network(index: u8) -> String {
    format!("10.244.{index}.0/24")
}

fn forward(namespace: Option<&Path>) -> Result<()> {
    let set = || -> Result<()> {
        for (name, value) in [
            ("ipv4/ip_forward", "1"),
            // Answers through a ClusterIP come back another way than the kernel expects them.
            ("ipv4/conf/all/rp_filter", "0"),
            ("ipv4/conf/default/rp_filter", "0"),
        ] {
            fs::write(Path::new("/proc/sys/net").join(name), value).with_context(|| name.to_owned())?;
        }
        Ok(())
    };
    match namespace {
        Some(namespace) => enter(namespace, set)?,
        None => set(),
    }
}

/// Several `ip` commands at once, in the order given, in a named namespace.
fn ip(namespace: Option<&str>, batch: &[String]) -> Result<()> {
    let mut command = Command::new("ip");
    if let Some(namespace) = namespace {
        command.args(["-n", namespace]);
    }
    run(command.args(["-batch", "-"]), &batch.join("\n"))
}

fn run(command: &mut Command, input: &str) -> Result<()> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("ip (package iproute2)")?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

const BRIDGE: &str = "lab0";

/// Where `ip netns` keeps names.
const NAMESPACES: &str = "/run/netns";

/// How many nodes the lab has addresses for.
const NODES: u8 = 20;

/// What every pod calls its node: no address of the node's own, so nothing can be confused by it being on each veth.
const GATEWAY: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);

/// The machine room's own address: API server and DNS.
pub const ROOM: Ipv4Addr = crate::control_plane::ADDRESS;
