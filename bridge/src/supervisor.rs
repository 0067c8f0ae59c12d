//! Joins fleet and scan: decides which tty each port has, has it opened, and publishes what came of it.
//!
//! Level-triggered: every event (an edit, a uevent, a port that lost its tty, an opening that ended, a retry) leads
//! to the same pass over sysfs and all devices, so no event can be missed or must be told apart. Runs on the control
//! thread; must not touch a byte that is forwarded, nor open anything itself.

mod edits;
mod opening;
mod reconcile;
mod slot;
mod view;

use std::{
    collections::BTreeMap,
    net::IpAddr,
    path::PathBuf,
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

use serialfleet_api::{node::PortState, resolve::Line};
use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

pub use self::{
    opening::Failure,
    view::{PeerView, PortView},
};
use self::{opening::Opening, slot::Slot};
use crate::{
    closer::Closer,
    data::DataThread,
    discovery::{
        hotplug::Hotplug,
        sysfs::{DeviceKey, Scan, SerialTty},
    },
    fleet_source::FleetState,
    metrics::Metrics,
    opener::Opener,
    port::Command,
    report::NodeReport,
    tls::{self, Tls},
    tty::{AdoptError, InForce, Tty},
};

/// How long SIGTERM leaves to deliver what was read.
pub const GRACE: Duration = Duration::from_secs(5);
/// How long after the first plan a device that takes its time to open may keep the bridge from being ready.
const FIRST_PLAN: Duration = Duration::from_secs(1);

/// What the process was started with.
#[derive(Clone, Debug)]
pub struct Config {
    /// This node's name.
    pub node: String,
    /// Where sysfs is mounted.
    pub sysfs_root: PathBuf,
    /// Where the device nodes are.
    pub dev_root: PathBuf,
    /// Addresses to listen on.
    pub bind: Vec<IpAddr>,
    /// Whether this is a pod: ports are pod ports unless the fleet asks for the host's network.
    pub in_cluster: bool,
    /// Certificates of the devices that ask for TLS.
    pub tls: tls::Options,
}

/// Ttys that are open now, by port, for the line-error counters.
pub type OpenTtys = Arc<Mutex<BTreeMap<String, Weak<Tty>>>>;

/// What others may watch.
#[derive(Clone)]
pub struct Outlook {
    /// For the SerialNode.
    pub report: watch::Receiver<NodeReport>,
    /// For `/ports`.
    pub ports: watch::Receiver<Vec<PortView>>,
    /// True once the first plan is applied.
    pub ready: watch::Receiver<bool>,
    /// For the line-error counters.
    pub ttys: OpenTtys,
}

/// Owns every port.
pub struct Supervisor {
    config: Config,
    opening: Opening,
    data: DataThread,
    metrics: Metrics,
    fleet: watch::Receiver<FleetState>,
    changed: Arc<Notify>,
    tls: Tls,

    scan: Scan,
    slots: BTreeMap<String, Slot>,
    /// Devices that the contract refuses, with the reason.
    refused: BTreeMap<String, String>,
    /// When the bridge is ready at the latest, from the first plan on.
    ready_by: Option<Instant>,
    /// The last scan may be out of date.
    stale: bool,
    work: JoinSet<Done>,
    states: BTreeMap<String, PortState>,
    reported: bool,

    report: watch::Sender<NodeReport>,
    ports: watch::Sender<Vec<PortView>>,
    ready: watch::Sender<bool>,
    ttys: OpenTtys,
}

/// Work that ran beside the supervisor.
enum Done {
    Opened { port: String, tty: Box<SerialTty>, line: Line, result: Result<(Arc<Tty>, InForce), Failure> },
    Configured { port: String, key: DeviceKey, result: Result<InForce, AdoptError> },
}

impl Supervisor {
    /// Nothing is opened before [`Self::run`].
    pub fn new(
        config: Config,
        opener: Opener,
        closer: Closer,
        data: DataThread,
        metrics: Metrics,
        fleet: watch::Receiver<FleetState>,
    ) -> (Self, Outlook) {
        let (report, report_rx) = watch::channel(NodeReport::default());
        let (ports, ports_rx) = watch::channel(Vec::new());
        let (ready, ready_rx) = watch::channel(false);
        let ttys = OpenTtys::default();
        let outlook =
            Outlook { report: report_rx, ports: ports_rx, ready: ready_rx, ttys: Arc::clone(&ttys) };
        let changed = Arc::new(Notify::new());
        let released = Arc::clone(&changed);
        let supervisor = Self {
            opening: Opening { opener, closer, dev_root: config.dev_root.clone(), released },
            tls: Tls::new(config.tls.clone()),
            config,
            data,
            metrics,
            fleet,
            changed,
            scan: Scan::default(),
            slots: BTreeMap::new(),
            refused: BTreeMap::new(),
            ready_by: None,
            stale: true,
            work: JoinSet::new(),
            states: BTreeMap::new(),
            reported: false,
            report,
            ports,
            ready,
            ttys,
        };
        (supervisor, outlook)
    }

    /// Runs until `shutdown`, then drains every port.
    pub async fn run(mut self, mut hotplug: Hotplug, shutdown: CancellationToken) {
        self.adopt_fleet().await;
        loop {
            tokio::select! {
                // The kernel may keep a scan waiting for as long as a device holds its lock.
                () = self.reconcile() => {}
                () = shutdown.cancelled() => break,
            }
            self.publish();
            let deadline = self
                .slots
                .values()
                .filter_map(|slot| slot.deadline(self.config.in_cluster))
                .chain(self.ready_by.filter(|_| !*self.ready.borrow()))
                .min();
            let changed = Arc::clone(&self.changed);
            tokio::select! {
                () = shutdown.cancelled() => break,
                changed = self.fleet.changed() => match changed {
                    Ok(()) => self.adopt_fleet().await,
                    // The source ends only with the process.
                    Err(_) => shutdown.cancelled().await,
                },
                () = hotplug.changed() => {
                    self.stale = true;
                    self.retry_all();
                }
                () = changed.notified() => {}
                () = self.tls.changed() => self.adopt_certificates().await,
                Some(done) = self.work.join_next() => match done {
                    Ok(done) => self.finish(done).await,
                    Err(error) if error.is_cancelled() => {}
                    Err(error) => {
                        tracing::error!(%error, "an opening failed");
                        self.forget_finished();
                    }
                },
                () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => self.stale = true,
            }
        }
        self.ready.send_replace(false);
        let deadline = Instant::now() + GRACE;
        let drained = async {
            for slot in self.slots.values() {
                slot.tell(Command::Drain(deadline)).await;
            }
            for slot in self.slots.values_mut() {
                // The port drops its end when it has ended.
                while slot.link.changed().await.is_ok() {}
            }
        };
        if tokio::time::timeout_at(deadline + Duration::from_secs(1), drained).await.is_err() {
            tracing::warn!("a port did not deliver everything in time");
        }
    }
}
