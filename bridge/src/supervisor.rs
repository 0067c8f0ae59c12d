//! Joins fleet and scan: decides which tty each port has, has it opened, and publishes what came of it.
//!
//! Level-triggered: every event (an edit, a uevent, a port that lost its tty, an opening that ended, a retry) leads
//! to the same pass over sysfs and all devices, so no event can be missed or must be told apart. Runs on the control
//! thread; must not touch a byte that is forwarded, nor open anything itself.

mod edits;
mod opening;
mod slot;
mod view;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use serialfleet_api::{
    node::PortState,
    resolve::{Line, ResolvedDevice},
};
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
use self::{
    opening::{Opening, failure_of},
    slot::{InProgress, Open, Slot},
};
use crate::{
    closer::Closer,
    data::DataThread,
    discovery::{
        hotplug::Hotplug,
        sysfs::{self, DeviceKey, Scan, SerialTty},
    },
    fleet_source::FleetState,
    matching::{self, Verdict},
    metrics::Metrics,
    opener::Opener,
    port::{Command, EndReason},
    report::{NodeReport, published},
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

    /// One pass: scan, match, and make each port's tty the one that it should be.
    async fn reconcile(&mut self) {
        for slot in self.slots.values_mut() {
            if slot.open.as_ref().is_some_and(|open| open.tty.strong_count() == 0) {
                // The port noticed first that the tty is gone.
                slot.hung_up();
                self.stale = true;
            }
        }
        if std::mem::take(&mut self.stale) {
            self.scan().await;
        }
        let devices: Vec<ResolvedDevice> = self.slots.values().map(|slot| slot.device.clone()).collect();
        let open = self
            .slots
            .iter()
            .filter_map(|(name, slot)| Some((name.clone(), slot.open.as_ref()?.key.clone())))
            .collect();
        let mut verdicts = matching::assign(&devices, &self.config.node, &self.scan, &open);
        let present: BTreeSet<&DeviceKey> = self.scan.ttys.iter().map(|tty| &tty.key).collect();
        let mut ended = Vec::new();
        for (name, slot) in &mut self.slots {
            if slot.has_ended() {
                ended.push(name.clone());
                continue;
            }
            if let Some(verdict) = verdicts.remove(name) {
                slot.verdict = verdict;
            }
            let wanted = match slot.verdict {
                Verdict::Bound { tty, .. } if slot.may_open() => self.scan.ttys.get(tty),
                _ => None,
            };
            if let Some(open) = &slot.open
                && wanted.is_none_or(|tty| tty.key != open.key)
            {
                let reason = match wanted {
                    _ if !present.contains(&open.key) => None,
                    Some(_) => Some(EndReason::DeviceChanged),
                    None => Some(EndReason::Reconfigured),
                };
                slot.detach(reason).await;
            }
            if slot.opening.as_ref().is_some_and(|opening| !wanted.is_some_and(|tty| opening.is_of(tty))) {
                // What is being opened is gone or not ours any more.
                slot.opening = None;
            }
            if let Some(open) = slot.open.as_mut().filter(|open| !open.configuring)
                && open.asked != slot.device.line
                && let Some(tty) = open.tty.upgrade()
            {
                let (port, key, line) = (name.clone(), open.key.clone(), slot.device.line.clone());
                open.asked = line.clone();
                open.configuring = true;
                self.work.spawn_blocking(move || {
                    let result = tty.configure(&line);
                    Done::Configured { port, key, result }
                });
            }
            match wanted {
                Some(tty) if slot.open.is_none() => {
                    if slot.failed.as_ref().is_some_and(|failed| failed.key != tty.key) {
                        slot.failed = None;
                    }
                    let waits = slot.failed.as_ref().is_some_and(|failed| failed.retry_at > Instant::now());
                    if slot.opening.is_none() && !waits {
                        let opening = self.opening.clone();
                        let (port, tty, line) = (name.clone(), tty.clone(), slot.device.line.clone());
                        let (key, number) = (tty.key.clone(), tty.device_number);
                        let task = self.work.spawn(async move {
                            let result = opening.open(tty.name.clone(), number, line.clone()).await;
                            Done::Opened { port, tty: Box::new(tty), line, result }
                        });
                        slot.opening = Some(InProgress { key, number, task });
                    }
                }
                Some(_) => slot.failed = None,
                None => {
                    slot.failed = None;
                    if !slot.may_open() {
                        slot.detach(Some(EndReason::Reconfigured)).await;
                    }
                }
            }
        }
        for name in ended {
            // A port's task ends by itself only by a bug: start it anew.
            if let Some(slot) = self.slots.remove(&name) {
                self.start_port(slot.device, slot.settings).await;
                self.changed.notify_one();
            }
        }
        if let Some(fleet) = &self.fleet.borrow().fleet {
            for (name, slot) in &mut self.slots {
                if let Some(open) = &mut slot.open {
                    open.published |= published(fleet.object.status.as_ref(), name, &self.config.node);
                }
            }
        }
        if self.ready_by.is_some_and(|by| self.work.is_empty() || Instant::now() >= by) {
            self.ready.send_if_modified(|ready| !std::mem::replace(ready, true));
        }
    }

    /// Looks at sysfs, on a thread where the kernel may make it wait.
    async fn scan(&mut self) {
        self.metrics.scans.inc();
        let root = self.config.sysfs_root.clone();
        let scanned = tokio::task::spawn_blocking(move || sysfs::scan(&root)).await;
        match scanned.map_err(std::io::Error::other).flatten() {
            Ok(scan) => self.scan = scan,
            Err(error) => {
                let root = self.config.sysfs_root.display();
                tracing::warn!(%root, %error, "sysfs cannot be read; the last scan stays in force");
            }
        }
    }

    async fn finish(&mut self, done: Done) {
        match done {
            Done::Opened { port, tty, line, result } => {
                // Whatever this opening was for is over: a tty that it brought is closed by being dropped.
                let Some(slot) = self.slots.get_mut(&port) else { return };
                if !slot.opening.as_ref().is_some_and(|opening| opening.is_of(&tty)) {
                    return;
                }
                slot.opening = None;
                let (opened, in_force) = match result {
                    Ok(opened) => opened,
                    Err(failure) => return slot.fail(tty.key, &tty.name, failure),
                };
                let open = Open::new(&tty, Arc::downgrade(&opened), in_force, line);
                self.metrics.opened(&port);
                tracing::info!(
                    port,
                    tty = open.name,
                    identity = %open.identity,
                    baud = open.in_force.baud_rate,
                    format = %open.in_force.format,
                    low_latency = open.in_force.low_latency,
                    "tty opened"
                );
                remember(&self.ttys, &port, &opened);
                let same_device = slot.last.as_ref() == Some(&open.identity);
                slot.failed = None;
                slot.open = Some(open);
                slot.tell(Command::Attach { tty: opened, same_device }).await;
            }
            Done::Configured { port, key, result } => {
                let Some(slot) = self.slots.get_mut(&port) else { return };
                let Some(open) = slot.open.as_mut().filter(|open| open.key == key) else { return };
                open.configuring = false;
                match result {
                    Ok(in_force) => open.in_force = in_force,
                    Err(AdoptError::Gone) => {}
                    Err(error) => {
                        let name = open.name.clone();
                        slot.detach(Some(EndReason::Reconfigured)).await;
                        slot.fail(key, &name, failure_of(&name, &error));
                    }
                }
            }
        }
    }

    /// After work that ended without a result, by a bug: whatever is not under way any more may be tried again.
    fn forget_finished(&mut self) {
        for slot in self.slots.values_mut() {
            if slot.opening.as_ref().is_some_and(|opening| opening.task.is_finished()) {
                slot.opening = None;
            }
        }
    }

    /// Something was plugged in or out: what failed before may work now.
    fn retry_all(&mut self) {
        for slot in self.slots.values_mut() {
            if let Some(failed) = slot.failed.as_mut().filter(|failed| failed.hopeful) {
                failed.retry_at = Instant::now();
            }
        }
    }
}

fn remember(ttys: &OpenTtys, port: &str, tty: &Arc<Tty>) {
    ttys.lock().unwrap_or_else(PoisonError::into_inner).insert(port.to_owned(), Arc::downgrade(tty));
}
