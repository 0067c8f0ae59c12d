//! One pod on its node: network, volumes, containers, and what the API server hears of it.
//!
//! Owner: the kubelet starts one task per pod. Two things go on side by side: the pod's life, which needs no API
//! server once it has begun, and what is said and heard about it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::{DeleteParams, Preconditions};
use tokio::sync::watch;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{Instant, sleep, timeout};

use super::Machine;
use super::container::{Job, Restart, Stop, stopped};
use super::status::{PATIENCE, Reporter};
use super::view::{ContainerView, Ended, PodView, State};
use super::volumes::Volumes;
use crate::network::PodNetwork;

/// What the API server says of a pod.
#[derive(Clone, Debug)]
pub(super) enum Wanted {
    Present(Arc<Pod>),
    /// The object is no more, without having been asked for.
    Gone,
}

/// Where a pod's things are on this machine.
#[derive(Clone, Debug)]
pub(super) struct Places {
    pub(super) directory: PathBuf,
    pub(super) logs: PathBuf,
}

/// The pod before anything of it runs.
pub(super) fn first_view(pod: &Pod, logs: &Path) -> PodView {
    let spec = pod.spec.as_ref();
    let status = pod.status.as_ref();
    let known = |statuses: Option<&Vec<ContainerStatus>>, name: &str| {
        statuses.into_iter().flatten().find(|status| status.name == name).cloned()
    };
    let view = |container: &Container, status: Option<ContainerStatus>| {
        let ran = status.as_ref().is_some_and(has_run);
        let now = Timestamp::now();
        // It ran before the node was started again; how it ended nobody saw.
        let last = ran.then(|| Ended {
            code: 255,
            reason: "Unknown",
            message: String::new(),
            started: now,
            finished: now,
        });
        ContainerView {
            name: container.name.clone(),
            image: container.image.clone().unwrap_or_default(),
            state: State::Waiting { reason: "ContainerCreating", message: String::new() },
            last,
            restarts: status.map_or(0, |status| status.restart_count) + i32::from(ran),
            ready: false,
            started: false,
            pid: None,
            log: logs.join(format!("{}.0.log", container.name)),
        }
    };
    let metadata = pod.metadata.clone();
    PodView {
        namespace: metadata.namespace.unwrap_or_default(),
        name: metadata.name.unwrap_or_default(),
        uid: metadata.uid.unwrap_or_default(),
        init_containers: spec
            .into_iter()
            .flat_map(|spec| spec.init_containers.iter().flatten())
            .map(|it| view(it, known(status.and_then(|it| it.init_container_statuses.as_ref()), &it.name)))
            .collect(),
        containers: spec
            .into_iter()
            .flat_map(|spec| &spec.containers)
            .map(|it| view(it, known(status.and_then(|it| it.container_statuses.as_ref()), &it.name)))
            .collect(),
        ..PodView::default()
    }
}

/// Until nothing is left of it, neither here nor at the API server.
pub(super) async fn run(
    machine: Arc<Machine>,
    pod: Arc<Pod>,
    mut wanted: watch::Receiver<Wanted>,
    views: Arc<watch::Sender<PodView>>,
    places: Places,
) {
    let mut reporter = Reporter::new(machine.client.clone(), &pod, machine.addresses());
    let (stop, stopping) = watch::channel(Stop::None);
    let mut seen = views.subscribe();
    seen.mark_changed();
    wanted.mark_changed();
    let mut silence = machine.silence.clone();
    let mut life = JoinSet::new();
    life.spawn(live(Arc::clone(&machine), Arc::clone(&pod), Arc::clone(&views), places, stopping));
    let (mut deleting, mut gone, mut overdue) = (false, false, false);
    loop {
        tokio::select! {
            Some(_) = life.join_next() => views.send_modify(|view| view.finished = true),
            Ok(()) = seen.changed() => {}
            Ok(()) = silence.changed() => {}
            Ok(()) = wanted.changed() => {
                let news = wanted.borrow_and_update().clone();
                let grace = match &news {
                    Wanted::Gone => Some(AFTER_GONE),
                    Wanted::Present(pod) => grace(pod),
                };
                if let Some(grace) = grace {
                    let deadline = Instant::now() + grace;
                    stop.send_modify(|stop| *stop = Some(stop.map_or(deadline, |stop| stop.min(deadline))));
                }
                match news {
                    Wanted::Gone => gone = true,
                    Wanted::Present(pod) => {
                        deleting |= grace.is_some();
                        if reporter.contradicted_by(&pod) {
                            machine.log.line(&format!("{}: contradicted, reporting again", pod_name(&pod)));
                        }
                    }
                }
            }
            () = sleep(TRY_AGAIN), if overdue => {}
        }
        let view = seen.borrow_and_update().clone();
        if gone && view.finished {
            return;
        }
        if gone || *silence.borrow_and_update() {
            continue;
        }
        let said = async {
            reporter.report(&view).await?;
            if deleting && view.finished { delete(&machine, &view).await.map(|()| true) } else { Ok(false) }
        };
        match said.await {
            Ok(true) => return,
            Ok(false) => overdue = false,
            Err(error) => {
                machine.log.line(&format!("{}: {error:#}", view.name));
                overdue = true;
            }
        }
    }
}

/// From its network to the end of its last container.
async fn live(
    machine: Arc<Machine>,
    pod: Arc<Pod>,
    views: Arc<watch::Sender<PodView>>,
    places: Places,
    mut stop: watch::Receiver<Stop>,
) {
    let volumes = Arc::new(Volumes::new(&machine, &pod, places.directory.join("volumes")));
    let prepared = async {
        let network = loop {
            match network(&machine, &pod).await {
                Ok(network) => break network,
                Err(error) => hindered(&machine, &views, &error).await,
            }
        };
        let (addresses, path) = match &network {
            Some(network) => (network.addresses(), network.namespace().to_owned()),
            None => (machine.network.addresses(), machine.network.namespace().to_owned()),
        };
        views.send_modify(|view| (view.addresses, view.network) = (addresses, Some(path.clone())));
        let view = views.borrow().clone();
        while let Err(error) = volumes.prepare(&view).await {
            hindered(&machine, &views, &error).await;
        }
        (network, path)
    };
    // Held until the containers are gone.
    let (_network, path) = tokio::select! {
        prepared = prepared => prepared,
        () = stopped(&mut stop) => return,
    };
    let job = |container: &Container, restart| Job {
        machine: Arc::clone(&machine),
        pod: Arc::clone(&pod),
        container: container.clone(),
        volumes: Arc::clone(&volumes),
        views: Arc::clone(&views),
        network: path.clone(),
        places: places.clone(),
        stop: stop.clone(),
        restart,
    };
    let Some(spec) = pod.spec.as_ref() else { return };
    let restart = match spec.restart_policy.as_deref() {
        Some("Never") => Restart::Never,
        Some("OnFailure") => Restart::OnFailure,
        _ => Restart::Always,
    };
    let restart_init = if restart == Restart::Never { Restart::Never } else { Restart::OnFailure };
    for container in spec.init_containers.iter().flatten() {
        if !job(container, restart_init).run().await {
            return;
        }
    }
    views.send_modify(|view| view.initialized = true);
    let mut containers = JoinSet::new();
    for container in &spec.containers {
        containers.spawn(job(container, restart).run());
    }
    let ended = async { while containers.join_next().await.is_some() {} };
    tokio::select! {
        () = ended => {}
        () = keep_current(&machine, &volumes, &views) => {}
    }
}

fn has_run(status: &ContainerStatus) -> bool {
    let state = status.state.as_ref();
    status.restart_count > 0
        || state.is_some_and(|state| state.running.is_some() || state.terminated.is_some())
}

/// `None`: the pod has its node's.
async fn network(machine: &Machine, pod: &Pod) -> Result<Option<PodNetwork>> {
    if pod.spec.as_ref().and_then(|spec| spec.host_network) == Some(true) {
        return Ok(None);
    }
    let node = Arc::clone(&machine.network);
    spawn_blocking(move || PodNetwork::new(&node)).await?.map(Some)
}

/// Says what keeps the pod from starting; returns when it is time to try again.
async fn hindered(machine: &Machine, views: &watch::Sender<PodView>, error: &anyhow::Error) {
    views.send_modify(|view| {
        let message = format!("{error:#}");
        machine.log.line(&format!("{}: {message}", view.name));
        for container in &mut view.containers {
            container.state = State::Waiting { reason: "ContainerCreating", message: message.clone() };
        }
    });
    sleep(TRY_AGAIN).await;
}

/// Tokens are renewed, and what has changed at the API server appears in the volumes.
async fn keep_current(machine: &Machine, volumes: &Volumes, views: &watch::Sender<PodView>) {
    loop {
        sleep(REFRESH).await;
        if *machine.silence.borrow() {
            continue;
        }
        let view = views.borrow().clone();
        if let Err(error) = volumes.prepare(&view).await {
            machine.log.line(&format!("{}: {error:#}", view.name));
        }
    }
}

/// The last word on a pod; the API server waits for it.
async fn delete(machine: &Machine, view: &PodView) -> Result<()> {
    let api = Api::<Pod>::namespaced(machine.client.clone(), &view.namespace);
    let parameters = DeleteParams {
        grace_period_seconds: Some(0),
        preconditions: Some(Preconditions { uid: Some(view.uid.clone()), resource_version: None }),
        ..DeleteParams::default()
    };
    match timeout(PATIENCE, api.delete(&view.name, &parameters)).await.context("no answer")? {
        // 409: another pod has the name by now.
        Err(kube::Error::Api(status)) if [404, 409].contains(&status.code) => Ok(()),
        result => result.map(drop).context("deleting the pod"),
    }
}

/// How long a pod that is to go may still take; `None`: it is to stay.
fn grace(pod: &Pod) -> Option<Duration> {
    pod.metadata.deletion_timestamp.as_ref()?;
    let seconds = pod.metadata.deletion_grace_period_seconds.unwrap_or_default();
    Some(Duration::from_secs(u64::try_from(seconds).unwrap_or_default()))
}

fn pod_name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}

/// A pod whose object was removed by force gets this, as from a kubelet.
const AFTER_GONE: Duration = Duration::from_secs(2);

/// Between two attempts at something that failed.
const TRY_AGAIN: Duration = Duration::from_millis(500);

/// How old a ConfigMap's or Secret's files may be. A kubelet takes up to a minute or so.
const REFRESH: Duration = Duration::from_secs(5);
