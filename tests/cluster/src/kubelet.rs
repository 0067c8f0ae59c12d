//! A kubelet whose pods are processes: it runs what the API server has bound to its node, and reports on it.
//!
//! Owner: [`crate::node::Node`] runs it as a task; dropping that ends every container at once, without a report, as
//! when the power goes. It must not know the product: pods, volumes, probes and privileges are Kubernetes' own.
//!
//! Not as in a real one: no cgroups and so no limits, no seccomp, one PID namespace for all, no service links, no
//! sidecars, no `subPath`, no CSI; `/usr` and `/lib` are this machine's, read-only. A privileged container has all
//! capabilities, but devices only by its volumes.

mod container;
mod environment;
pub(crate) mod launcher;
mod pod;
mod privileges;
mod probe;
mod status;
pub mod view;
mod volumes;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write;
use std::path::{Component, Path, PathBuf};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use self::pod::{Places, Wanted};
use self::view::PodView;
use crate::image::Images;
use crate::network::NodeNetwork;

/// The node as its pods see it.
pub(crate) struct Machine {
    pub(crate) name: String,
    pub(crate) network: Arc<NodeNetwork>,
    pub(crate) client: Client,
    pub(crate) images: Images,
    pub(crate) directory: PathBuf,
    pub(crate) logs: PathBuf,
    /// What stands in for the node's `/dev` and `/sys`.
    pub(crate) dev: PathBuf,
    pub(crate) sysfs: PathBuf,
    /// Address and port of the Service `kubernetes`.
    pub(crate) api_service: (String, String),
    /// While it is true nothing is said to the API server, and nothing is heard.
    pub(crate) silence: watch::Receiver<bool>,
    pub(crate) log: Log,
    pub(crate) pods: Mutex<BTreeMap<String, watch::Receiver<PodView>>>,
}

impl Machine {
    /// Where something of the node's file system is on this machine.
    pub(crate) fn host_path(&self, path: &Path) -> PathBuf {
        for (root, stand_in) in [("/dev", &self.dev), ("/sys", &self.sysfs)] {
            if let Ok(below) = path.strip_prefix(root) {
                return stand_in.join(normal(below));
            }
        }
        self.directory.join("files").join(normal(path))
    }

    /// What `status.hostIPs` lists.
    fn addresses(&self) -> Vec<String> {
        self.network.addresses().iter().map(ToString::to_string).collect()
    }
}

/// Follows the API server until it is dropped.
pub(crate) async fn run(machine: Arc<Machine>) {
    let api = Api::<Pod>::all(machine.client.clone());
    let config = watcher::Config::default().fields(&format!("spec.nodeName={}", machine.name));
    let mut events = pin!(watcher(api, config));
    let mut silence = machine.silence.clone();
    let mut kubelet = Kubelet { machine, wanted: BTreeMap::new(), tasks: JoinSet::new() };
    // What a new list has named so far.
    let mut listed = BTreeSet::new();
    loop {
        let silent = *silence.borrow_and_update();
        tokio::select! {
            event = events.next(), if !silent => match event {
                Some(Ok(Event::Init)) => listed.clear(),
                Some(Ok(Event::InitApply(pod))) => {
                    listed.extend(pod.metadata.uid.clone());
                    kubelet.hear(pod);
                }
                Some(Ok(Event::Apply(pod))) => kubelet.hear(pod),
                Some(Ok(Event::InitDone)) => kubelet.keep_only(&listed),
                Some(Ok(Event::Delete(pod))) => kubelet.forget(&pod),
                Some(Err(error)) => {
                    kubelet.machine.log.line(&format!("watching pods: {error}"));
                    sleep(WATCH_AGAIN).await;
                }
                None => return,
            },
            Ok(()) = silence.changed() => {}
            Some(ended) = kubelet.tasks.join_next() => kubelet.bury(ended),
        }
    }
}

struct Kubelet {
    machine: Arc<Machine>,
    wanted: BTreeMap<String, watch::Sender<Wanted>>,
    tasks: JoinSet<String>,
}

impl Kubelet {
    fn hear(&mut self, pod: Pod) {
        let Some(uid) = pod.metadata.uid.clone() else { return };
        if let Some(wanted) = self.wanted.get(&uid) {
            wanted.send_replace(Wanted::Present(Arc::new(pod)));
            return;
        }
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        if matches!(phase, Some("Succeeded" | "Failed")) && pod.metadata.deletion_timestamp.is_none() {
            return;
        }
        let metadata = &pod.metadata;
        let name =
            [&metadata.namespace, &metadata.name].map(|it| it.as_deref().unwrap_or_default()).join("_");
        let directory = self.machine.directory.join("pods").join(format!("{name}_{uid}"));
        // Short, but not the same for two of one name.
        let logs = format!("{name}_{}", uid.get(..8).unwrap_or(&uid));
        let logs = self.machine.logs.join(logs);
        let view = pod::first_view(&pod, &logs);
        let pod = Arc::new(pod);
        let (views, view) = watch::channel(view);
        let (wanted, news) = watch::channel(Wanted::Present(Arc::clone(&pod)));
        self.machine.pods.lock().expect("no panic while it is held").insert(uid.clone(), view);
        self.wanted.insert(uid.clone(), wanted);
        let machine = Arc::clone(&self.machine);
        self.tasks.spawn(async move {
            pod::run(machine, pod, news, Arc::new(views), Places { directory, logs }).await;
            uid
        });
    }

    fn forget(&self, pod: &Pod) {
        if let Some(wanted) = pod.metadata.uid.as_ref().and_then(|uid| self.wanted.get(uid)) {
            wanted.send_replace(Wanted::Gone);
        }
    }

    fn keep_only(&self, listed: &BTreeSet<String>) {
        for (_, wanted) in self.wanted.iter().filter(|(uid, _)| !listed.contains(*uid)) {
            wanted.send_replace(Wanted::Gone);
        }
    }

    fn bury(&mut self, ended: Result<String, tokio::task::JoinError>) {
        match ended {
            Ok(uid) => {
                self.wanted.remove(&uid);
                self.machine.pods.lock().expect("no panic while it is held").remove(&uid);
            }
            Err(error) => self.machine.log.line(&format!("a pod's task: {error}")),
        }
    }
}

/// What a kubelet says to who runs the lab.
#[derive(Debug)]
pub(crate) struct Log(Mutex<File>);

impl Log {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = File::options().create(true).append(true).open(path);
        Ok(Self(Mutex::new(file.with_context(|| path.display().to_string())?)))
    }

    pub(crate) fn line(&self, text: &str) {
        let mut file = self.0.lock().expect("no panic while it is held");
        // A full disk is no reason to stop.
        writeln!(file, "{} {text}", Timestamp::now()).ok();
    }
}

/// No way out of the directory that it is joined to.
fn normal(path: &Path) -> PathBuf {
    path.components().filter(|part| matches!(part, Component::Normal(_))).collect()
}

/// Between two attempts to reach an API server that is away.
const WATCH_AGAIN: Duration = Duration::from_millis(500);
