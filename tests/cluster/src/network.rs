//! The lab's network: a bridge in the machine room, nodes plugged into it, pods behind their nodes.
//!
//! Owner: the scenario makes one [`Network`]; nodes and pods hold their part of it and take it away when they are
//! dropped. Nothing here knows of Kubernetes. Addresses are lists, one for each family that [`Families`] has.
//!
//! A pod has a single address in each family and no neighbour but its node, over a veth of its own: all that it sends goes through
//! the node's kernel, where kube-proxy's rules are, also when the answer comes from the very same pod.

use std::fs::{self, File};
use std::io::Write;
use std::net::{IpAddr, SocketAddr, TcpStream};
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

use crate::families::{Families, gateway, shared_prefix, whole_prefix};

/// The machine room's bridge, in the network namespace of the scenario.
#[derive(Clone, Debug)]
pub struct Network {
    families: Families,
    counters: Arc<Counters>,
}

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
    pub fn new(families: Families) -> Result<Self> {
        // Named network namespaces are mount points in there: private, so that names cannot clash with others'.
        fs::create_dir_all(NAMESPACES)?;
        mount("lab", NAMESPACES, "tmpfs", MountFlags::empty(), None).context("a tmpfs for names")?;
        set_up(None, families, Role::Router)?;
        let mut batch = vec![
            "link set lo up".to_owned(),
            // Without spanning tree a new port forwards at once; without snooping, IPv6 neighbours find each other at once.
            // Otherwise the bridge takes the hardware address of one of its ports, another one with each that comes.
            format!(
                "link add {BRIDGE} address {} type bridge stp_state 0 forward_delay 0 mcast_snooping 0",
                hardware(0)
            ),
        ];
        batch.extend(families.room().into_iter().map(|room| shared_address(room, BRIDGE)));
        batch.push(format!("link set {BRIDGE} up"));
        batch.extend(routes(families, None));
        ip(None, &batch)?;
        let addresses = std::array::from_fn(|_| AtomicU8::new(2));
        Ok(Self { families, counters: Arc::new(Counters { plugs: AtomicU32::new(1), addresses }) })
    }

    /// Plugs a node in, with the addresses that [`Families::node`] says.
    ///
    /// # Errors
    /// If the kernel or `ip` refuses.
    pub fn node(&self, index: u8) -> Result<NodeNetwork> {
        ensure!((1..=NODES).contains(&index), "node {index}: nodes are numbered from 1 to {NODES}");
        let plug = self.counters.plugs.fetch_add(1, Ordering::Relaxed);
        let namespace = Namespace::new(&format!("node-{index}-{plug}"))?;
        set_up(Some(namespace.path()), self.families, Role::Router)?;
        let addresses = self.families.node(index);
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
        let mut batch = vec!["link set lo up".to_owned()];
        batch.extend(addresses.iter().map(|address| shared_address(*address, "eth0")));
        batch.push("link set eth0 up".to_owned());
        batch.extend(self.families.room().into_iter().map(|room| format!("route add default via {room}")));
        batch.extend(routes(self.families, Some(index)));
        ip(Some(&namespace.name), &batch)?;
        let (families, counters) = (self.families, Arc::clone(&self.counters));
        Ok(NodeNetwork { index, families, addresses, namespace, port, counters })
    }
}

/// A node's network namespace. Dropping it pulls the plug.
#[derive(Debug)]
pub struct NodeNetwork {
    index: u8,
    families: Families,
    addresses: Vec<IpAddr>,
    namespace: Namespace,
    port: String,
    counters: Arc<Counters>,
}

impl NodeNetwork {
    /// The node's own addresses.
    #[must_use]
    pub fn addresses(&self) -> Vec<IpAddr> {
        self.addresses.clone()
    }

    /// The families that it has.
    #[must_use]
    pub fn families(&self) -> Families {
        self.families
    }

    /// Where its pods are.
    #[must_use]
    pub fn pod_networks(&self) -> Vec<String> {
        self.families.pods_of(self.index)
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
    addresses: Vec<IpAddr>,
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
        let addresses = node.families.pod(node.index, number);
        let namespace = Namespace::new(&format!("{}-pod-{number}", node.namespace.name))?;
        set_up(Some(namespace.path()), node.families, Role::Host)?;
        let port = format!("pod{number}");
        let mut nodes = vec![
            format!("link add {port} type veth peer name eth0 netns {}", namespace.name),
            format!("link set {port} up"),
        ];
        let mut pods = vec!["link set lo up".to_owned(), "link set eth0 up".to_owned()];
        for (address, from) in addresses.iter().zip(&node.addresses) {
            let (gateway, at_once) = (gateway(*address), at_once(*address));
            let whole = whole_prefix(*address);
            nodes.extend([
                format!("addr add {gateway}/{whole} dev {port} scope link{at_once}"),
                format!("route add {address}/{whole} dev {port} src {from}"),
            ]);
            pods.extend([
                format!("addr add {address}/{whole} dev eth0{at_once}"),
                format!("route add {gateway}/{whole} dev eth0 scope link"),
                format!("route add default via {gateway} dev eth0"),
            ]);
        }
        ip(Some(&node.namespace.name), &nodes)?;
        ip(Some(&namespace.name), &pods)?;
        Ok(Self { node: Arc::clone(node), addresses, namespace, port })
    }

    /// The pod's addresses, the first family first.
    #[must_use]
    pub fn addresses(&self) -> Vec<IpAddr> {
        self.addresses.clone()
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
fn routes(families: Families, own: Option<u8>) -> impl Iterator<Item = String> {
    (1..=NODES).filter(move |index| Some(*index) != own).flat_map(move |index| {
        let ways = families.pods_of(index).into_iter().zip(families.node(index));
        ways.map(|(pods, node)| format!("route add {pods} via {node}"))
    })
}

/// In the network that machine room and nodes share.
fn shared_address(address: IpAddr, device: &str) -> String {
    format!("addr add {address}/{} dev {device}{}", shared_prefix(address), at_once(address))
}

/// An IPv6 address may be used a second later, when nobody has objected; here nobody will.
fn at_once(address: IpAddr) -> &'static str {
    if address.is_ipv6() { " nodad" } else { "" }
}

/// Of the node's end of its cable; 0 is the machine room's.
fn hardware(index: u8) -> String {
    format!("02:00:00:00:00:{index:02x}")
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Router,
    Host,
}

/// Before there is any address.
fn set_up(namespace: Option<&Path>, families: Families, role: Role) -> Result<()> {
    let router = [
        ("ipv4/ip_forward", "1"),
        // Answers through a ClusterIP come back another way than the kernel expects them.
        ("ipv4/conf/all/rp_filter", "0"),
        ("ipv4/conf/default/rp_filter", "0"),
        ("ipv6/conf/all/forwarding", "1"),
    ];
    // What these are at first is the machine's choice.
    let host = [("ipv6/conf/all/disable_ipv6", "0"), ("ipv6/conf/default/disable_ipv6", "0")];
    let settings = host.iter().chain(router.iter().filter(|_| role == Role::Router));
    let set = || -> Result<()> {
        for (name, value) in settings.filter(|(name, _)| families.has_ipv6() || !name.starts_with("ipv6")) {
            fs::write(Path::new("/proc/sys/net").join(name), value).with_context(|| (*name).to_owned())?;
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
