//! A node: a recorded sysfs tree whose ttys lead to PTYs, and a bridge on it that runs as in a pod.

use std::{
    fs::{self, File},
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU8, Ordering},
    thread::JoinHandle,
};

use prometheus_client::metrics::counter::Counter;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serialfleet_api::node::SerialNode;
use serialfleet_bridge::{
    closer::Closer,
    data::DataThread,
    discovery::hotplug::Hotplug,
    fleet_source::FleetState,
    metrics::Metrics,
    opener::Opener,
    report::{self, NodeIdentity, Target},
    supervisor::{Config, Supervisor},
};
use serialfleet_sim::{
    trees::{self, Tree},
    walk,
};
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;

pub(crate) struct Node {
    pub(crate) name: &'static str,
    pub(crate) pod_ip: IpAddr,
    pub(crate) fleet: watch::Sender<FleetState>,
    tree: Tree,
    report: PathBuf,
    shutdown: CancellationToken,
    control: Option<JoinHandle<()>>,
}

impl Node {
    /// Boots with the recording `tree` plugged in, and with hardware behind the ttys of these USB ids.
    pub(crate) fn boot<const N: usize>(
        name: &'static str,
        tree: &str,
        ids: [&str; N],
    ) -> (Self, [Device; N]) {
        static NEXT: AtomicU8 = AtomicU8::new(1);
        let [_, _, high, low] = std::process::id().to_be_bytes();
        let pod_ip = Ipv4Addr::new(127, high.max(1), low, NEXT.fetch_add(1, Ordering::Relaxed)).into();
        let tree = trees::unpack(tree).unwrap();
        let devices = ids.map(|ids| {
            let (vendor, product) = ids.split_once(':').unwrap();
            let ttys = walk::ports(&tree.sysfs_root()).unwrap();
            let tty = ttys.iter().find(|tty| {
                tty.vendor_id.as_deref() == Some(vendor) && tty.product_id.as_deref() == Some(product)
            });
            attach(&tree, &tty.unwrap().tty)
        });
        let report = tree.path().join("serial-node.json");
        let (fleet, fleet_rx) = watch::channel(FleetState::default());
        let shutdown = CancellationToken::new();
        let config = Config {
            node: name.into(),
            sysfs_root: tree.sysfs_root(),
            dev_root: tree.dev_root(),
            bind: vec![pod_ip],
            in_cluster: true,
        };
        let identity = NodeIdentity {
            fleet: "home".into(),
            node: name.into(),
            node_uid: Some(format!("{name}-uid")),
            pod_uid: pod_uid(name),
        };
        let target = Target::File(report.clone());
        let stop = shutdown.clone();
        let control = std::thread::spawn(move || {
            let opener = Opener::start(config.dev_root.clone()).unwrap();
            let (data, _) = DataThread::start(usize::MAX).unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let hotplug = Hotplug::new(&config.dev_root);
                let (supervisor, outlook) = Supervisor::new(
                    config,
                    opener,
                    Closer::default(),
                    data,
                    Metrics::default(),
                    fleet_rx.clone(),
                );
                let mut reporter = JoinSet::new();
                reporter.spawn(report::run(
                    target,
                    identity,
                    outlook.report,
                    fleet_rx,
                    Counter::default(),
                    stop.clone(),
                ));
                supervisor.run(hotplug, stop).await;
                reporter.join_all().await;
            });
        });
        (Self { name, pod_ip, fleet, tree, report, shutdown, control: Some(control) }, devices)
    }

    /// Plugs a device in again that was unplugged.
    pub(crate) fn replug(&self, tty: &str) -> Device {
        attach(&self.tree, tty)
    }

    /// The report as it was written last.
    pub(crate) fn serial_node(&self) -> Option<SerialNode> {
        serde_json::from_slice(&fs::read(&self.report).ok()?).ok()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.shutdown.cancel();
        if let Some(control) = self.control.take()
            && control.join().is_err()
            && !std::thread::panicking()
        {
            panic!("the bridge of {} failed", self.name);
        }
    }
}

pub(crate) fn pod_uid(node: &str) -> String {
    format!("pod-of-{node}")
}

/// Puts hardware behind a tty of the recording: a PTY whose number and node the tty takes over.
fn attach(tree: &Tree, tty: &str) -> Device {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let slave = PathBuf::from(ptsname(&master, Vec::new()).unwrap().into_string().unwrap());
    let number = rustix::fs::stat(&slave).unwrap().st_rdev;
    let class = tree.sysfs_root().join("class/tty").join(tty);
    let hidden = tree.path().join(format!("unplugged-{tty}"));
    if hidden.is_symlink() {
        fs::rename(&hidden, &class).unwrap();
    }
    let directory = fs::canonicalize(&class).unwrap();
    let text = format!("{}:{}\n", rustix::fs::major(number), rustix::fs::minor(number));
    fs::write(directory.join("dev"), text).unwrap();
    let node = tree.dev_root().join(tty);
    if node.is_symlink() {
        fs::remove_file(&node).unwrap();
    }
    std::os::unix::fs::symlink(&slave, &node).unwrap();
    Device { tty: tty.to_owned(), master, class, hidden, node, usb: usb_device(&directory) }
}

/// The far end of a tty.
pub(crate) struct Device {
    tty: String,
    master: OwnedFd,
    class: PathBuf,
    hidden: PathBuf,
    node: PathBuf,
    usb: PathBuf,
}

impl Device {
    /// The device says something.
    pub(crate) fn say(&self, bytes: &[u8]) {
        self.file().write_all(bytes).unwrap();
    }

    /// Waits until the device has heard exactly this.
    pub(crate) fn hear(&self, bytes: &[u8]) {
        let mut heard = vec![0; bytes.len()];
        self.file().read_exact(&mut heard).unwrap();
        assert_eq!(heard, bytes);
    }

    fn file(&self) -> File {
        self.master.try_clone().unwrap().into()
    }

    /// In the kernel's order: hang-up, then class link and node are gone. The next plug has another USB address.
    /// Returns the tty's name.
    pub(crate) fn unplug(self) -> String {
        drop(self.master);
        fs::rename(&self.class, &self.hidden).unwrap();
        fs::remove_file(&self.node).unwrap();
        let address: u32 = fs::read_to_string(self.usb.join("devnum")).unwrap().trim().parse().unwrap();
        fs::write(self.usb.join("devnum"), format!("{}\n", address + 1)).unwrap();
        self.tty
    }
}

fn usb_device(directory: &Path) -> PathBuf {
    directory.ancestors().find(|parent| parent.join("idVendor").exists()).unwrap().to_owned()
}
