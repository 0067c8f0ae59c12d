//! What a node knows of its pods, as data.
//!
//! Owner: the pod's task and its containers' tasks write it, the reporter and the scenario read it. It decides
//! nothing.

use std::net::IpAddr;
use std::path::PathBuf;

use k8s_openapi::jiff::Timestamp;

/// A pod on its node.
#[derive(Clone, Debug, Default)]
pub struct PodView {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Which of those that had this name.
    pub uid: String,
    /// Empty until its network is there.
    pub addresses: Vec<IpAddr>,
    /// Its network namespace, for [`crate::network::enter`].
    pub network: Option<PathBuf>,
    /// All init containers have done their work.
    pub initialized: bool,
    /// Nothing of it runs any more, nor will.
    pub finished: bool,
    /// The init containers.
    pub init_containers: Vec<ContainerView>,
    /// The containers.
    pub containers: Vec<ContainerView>,
}

/// A container of a pod.
#[derive(Clone, Debug)]
pub struct ContainerView {
    /// Its name in the pod.
    pub name: String,
    /// As the pod's spec calls it.
    pub image: String,
    /// What it does.
    pub state: State,
    /// How it ended the time before.
    pub last: Option<Ended>,
    /// How often it was started again.
    pub restarts: i32,
    /// By its probe.
    pub ready: bool,
    /// By its startup probe.
    pub started: bool,
    /// While it runs.
    pub pid: Option<i32>,
    /// What it said in its present or last life. Earlier ones are beside it, by number.
    pub log: PathBuf,
}

/// What a container does.
#[derive(Clone, Debug)]
pub enum State {
    /// Not yet, or not again yet.
    Waiting {
        /// One word.
        reason: &'static str,
        /// A sentence.
        message: String,
    },
    /// Since then.
    Running(Timestamp),
    /// No more.
    Ended(Ended),
}

/// How a container ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// 128 and the signal, if it was one.
    pub code: i32,
    /// One word.
    pub reason: &'static str,
    /// A sentence, if there is more to say.
    pub message: String,
    /// When that life began.
    pub started: Timestamp,
    /// When it ended.
    pub finished: Timestamp,
}

impl PodView {
    /// All containers are, and it could not be otherwise.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.initialized && self.containers.iter().all(|container| container.ready)
    }

    /// A container by its name.
    #[must_use]
    pub fn container(&self, name: &str) -> Option<&ContainerView> {
        self.init_containers.iter().chain(&self.containers).find(|container| container.name == name)
    }

    pub(super) fn container_mut(&mut self, name: &str) -> Option<&mut ContainerView> {
        self.init_containers.iter_mut().chain(&mut self.containers).find(|container| container.name == name)
    }
}

impl ContainerView {
    /// Whether it has ever run.
    pub(super) fn has_run(&self) -> bool {
        !matches!(self.state, State::Waiting { .. }) || self.last.is_some()
    }
}
