//! A pod's status as its node reports it.
//!
//! Owner: the pod's task. What the pod does is [`PodView`]'s; only how that is said to the API server is decided here.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::time::{Duration, timeout};

use super::view::{ContainerView, Ended, PodView, State};

/// Says how a pod is, when that is news.
#[derive(Debug)]
pub(super) struct Reporter {
    api: Api<Pod>,
    host_addresses: Vec<String>,
    start: Timestamp,
    /// Each condition's status, and since when.
    conditions: BTreeMap<&'static str, (bool, Timestamp)>,
    /// What the API server has confirmed last.
    said: Option<Value>,
}

impl Reporter {
    pub(super) fn new(client: Client, pod: &Pod, host_addresses: Vec<String>) -> Self {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let status = pod.status.as_ref();
        let start = status.and_then(|status| status.start_time.as_ref());
        let conditions = status.into_iter().flat_map(|status| status.conditions.iter().flatten());
        let conditions = conditions
            .filter_map(|condition| {
                let name = CONDITIONS.into_iter().find(|name| *name == condition.type_)?;
                Some((name, (condition.status == "True", condition.last_transition_time.as_ref()?.0)))
            })
            .collect();
        Self {
            api: Api::namespaced(client, namespace),
            host_addresses,
            start: start.map_or_else(Timestamp::now, |start| start.0),
            conditions,
            said: None,
        }
    }

    /// Sends what has changed since the last time; everything, if that did not get through.
    ///
    /// # Errors
    /// If the API server does not take it.
    pub(super) async fn report(&mut self, view: &PodView) -> Result<()> {
        let status = self.status(view);
        if self.said.as_ref() == Some(&status) {
            return Ok(());
        }
        // The uid: a report must not go to a new pod of the same name.
        let patch = json!({"metadata": {"uid": view.uid}, "status": status});
        let patch = Patch::Strategic(&patch);
        let parameters = PatchParams::default();
        timeout(PATIENCE, self.api.patch_status(&view.name, &parameters, &patch))
            .await
            .context("no answer")?
            .context("reporting the status")?;
        self.said = Some(status);
        Ok(())
    }

    /// Somebody else has said something else: the next report is sent even if nothing changed here.
    pub(super) fn contradicted_by(&mut self, pod: &Pod) -> bool {
        let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
        let theirs =
            conditions.filter(|condition| condition.type_ == READY).map(|it| it.status == "True").next();
        let ours = self.conditions.get(READY).map(|(status, _)| *status);
        let contradicted = self.said.is_some() && theirs.is_some() && theirs != ours;
        if contradicted {
            self.said = None;
        }
        contradicted
    }

    fn status(&mut self, view: &PodView) -> Value {
        let unready: Vec<&str> =
            view.containers.iter().filter(|it| !it.ready).map(|it| it.name.as_str()).collect();
        let ready = view.is_ready();
        let mut conditions = Vec::new();
        for name in CONDITIONS {
            let status = match name {
                "PodScheduled" => true,
                "Initialized" => view.initialized,
                _ => ready,
            };
            let since = self.conditions.entry(name).or_insert_with(|| (status, Timestamp::now()));
            if since.0 != status {
                *since = (status, Timestamp::now());
            }
            let mut condition = json!({
                "type": name,
                "status": if status { "True" } else { "False" },
                "lastTransitionTime": Time(since.1),
                // Whoever contradicted us may have left these.
                "reason": null,
                "message": null,
            });
            if !status && name != "Initialized" {
                condition["reason"] = json!("ContainersNotReady");
                condition["message"] =
                    json!(format!("containers with unready status: [{}]", unready.join(" ")));
            }
            conditions.push(condition);
        }
        // Merged by address otherwise, and an old one would stay.
        let replaced = |key: &str, addresses: Vec<String>| {
            let entries = addresses.into_iter().map(|address| json!({key: address}));
            [json!({"$patch": "replace"})].into_iter().chain(entries).collect::<Vec<_>>()
        };
        let addresses: Vec<String> = view.addresses.iter().map(ToString::to_string).collect();
        json!({
            "phase": phase(view),
            "startTime": Time(self.start),
            "conditions": conditions,
            "hostIP": self.host_addresses.first(),
            "hostIPs": replaced("ip", self.host_addresses.clone()),
            "podIP": addresses.first(),
            "podIPs": replaced("ip", addresses),
            "initContainerStatuses": view.init_containers.iter().map(container).collect::<Vec<_>>(),
            "containerStatuses": view.containers.iter().map(container).collect::<Vec<_>>(),
        })
    }
}

fn phase(view: &PodView) -> &'static str {
    let failed = |container: &ContainerView| matches!(&container.state, State::Ended(end) if end.code != 0);
    if view.finished {
        let all = || view.init_containers.iter().chain(&view.containers);
        return if all().any(failed) || !view.initialized { "Failed" } else { "Succeeded" };
    }
    if view.initialized && view.containers.iter().any(ContainerView::has_run) { "Running" } else { "Pending" }
}

fn container(view: &ContainerView) -> Value {
    let state = match &view.state {
        State::Waiting { reason, message } if message.is_empty() => json!({"waiting": {"reason": reason}}),
        State::Waiting { reason, message } => json!({"waiting": {"reason": reason, "message": message}}),
        State::Running(since) => json!({"running": {"startedAt": Time(*since)}}),
        State::Ended(end) => json!({"terminated": ended(end)}),
    };
    let mut status = json!({
        "name": view.name,
        "image": view.image,
        "imageID": view.image,
        "ready": view.ready,
        "started": view.started,
        "restartCount": view.restarts,
        "state": state,
        "lastState": view.last.as_ref().map_or_else(|| json!({}), |last| json!({"terminated": ended(last)})),
    });
    if let Some(pid) = view.pid {
        status["containerID"] = json!(format!("process://{pid}"));
    }
    status
}

fn ended(end: &Ended) -> Value {
    json!({
        "exitCode": end.code,
        "reason": end.reason,
        "message": end.message,
        "startedAt": Time(end.started),
        "finishedAt": Time(end.finished),
    })
}

const READY: &str = "Ready";
const CONDITIONS: [&str; 4] = ["PodScheduled", "Initialized", "ContainersReady", READY];

/// How long an API server may take to answer before it counts as gone.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
