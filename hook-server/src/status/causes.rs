//! What is wrong with the fleet, as facts with a sentence each: what needs a person, what is merely odd, what is still
//! under way. [`super::conditions`] makes conditions of them.

use std::collections::BTreeSet;

use serde_json::Value;
use serialfleet_api::{fleet::UpdateStrategy, names};

use crate::{
    config::Config,
    observed::{Consent, Observed},
    outcome::{Outcome, list},
    request::{DaemonSet, SyncRequest},
    services::Obstacle,
};

/// One cause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// One CamelCase word.
    pub reason: &'static str,
    /// A sentence with the next step.
    pub message: String,
}

/// Reason of Reconciling while a Service has other ports than desired: always the first one, as the next sync looks
/// for it there.
const STARTING: &str = "BridgesStarting";
const OUTDATED: &str = "ChildrenOutdated";

/// What is wrong.
#[derive(Clone, Debug, Default)]
pub struct Causes {
    /// Needs a person, most urgent first.
    pub stalled: Vec<Cause>,
    /// Still under way.
    pub reconciling: Vec<Cause>,
    /// Works, but.
    pub degraded: Vec<Cause>,
    /// Why no bridge runs as it should, if so.
    pub bridges: Option<Cause>,
    /// Whether something desired is not observed: a further sync has to look again.
    pub unobserved: bool,
}

impl Cause {
    /// Whether this follows from the spec as somebody wrote it, not from what happened since.
    pub(super) fn is_chosen(&self) -> bool {
        matches!(self.reason, HOST_NETWORK | POLICY_ONLY)
    }
}

const HOST_NETWORK: &str = "HostNetwork";
const POLICY_ONLY: &str = "PolicyOnly";

pub(super) fn cause(reason: &'static str, message: String) -> Cause {
    Cause { reason, message }
}

impl Causes {
    /// Compares what is desired with what is observed.
    pub fn new(
        request: &SyncRequest,
        observed: &Observed<'_>,
        outcomes: &[Outcome<'_>],
        children: &[Value],
        config: &Config,
    ) -> Self {
        let mut causes = Self::default();
        causes.names(request, observed, outcomes);
        causes.ports(request, observed, children);
        causes.missing(observed, children);
        causes.bridges(request, observed);
        causes.conflicts(outcomes);
        causes.drift(observed, children);
        causes.controller(request, observed);
        // Last: what somebody chose must not hide what happened.
        causes.network(request, config, outcomes);
        causes
    }

    fn network(&mut self, request: &SyncRequest, config: &Config, outcomes: &[Outcome<'_>]) {
        if request.parent.host_network() {
            if config.allow_host_network {
                self.degraded.push(cause(
                    HOST_NETWORK,
                    "Bridges listen on the nodes' own addresses, where no NetworkPolicy holds: keep allowFrom narrow."
                        .to_owned(),
                ));
            } else {
                self.stalled.push(cause(
                    "HostNetworkNotAllowed",
                    "spec.bridge.hostNetwork is not allowed here and bridges run in the pod network: start the hook \
                     server with --allow-host-network, or remove the field."
                        .to_owned(),
                ));
            }
        }
        let guarded: BTreeSet<&str> = outcomes
            .iter()
            .map(|it| it.wanted.device)
            .filter(|device| device.clients.allow_from.is_some() && device.clients.networks().is_none())
            .map(|device| device.name.as_str())
            .collect();
        if !guarded.is_empty() {
            self.degraded.push(cause(
                POLICY_ONLY,
                format!(
                    "Only NetworkPolicy guards {}, and only where the network plugin enforces it: write CIDRs in \
                     allowFrom to have the bridge check as well.",
                    list(&Vec::from_iter(guarded))
                ),
            ));
        }
    }

    fn names(&mut self, request: &SyncRequest, observed: &Observed<'_>, outcomes: &[Outcome<'_>]) {
        let namespace = request.parent.service_namespace();
        if !outcomes.is_empty() {
            match observed.consent {
                Consent::Given => {}
                Consent::Missing => {
                    self.unobserved = true;
                    self.stalled.push(cause(
                        "NamespaceMissing",
                        format!(
                            "Namespace {namespace} is missing: kubectl create namespace {namespace} && kubectl label \
                             namespace {namespace} {}={}",
                            names::LABEL_SERVICES,
                            names::SERVICES_ALLOWED
                        ),
                    ));
                }
                Consent::Withheld => {
                    self.unobserved = true;
                    self.stalled.push(cause(
                        "NamespaceNotAllowed",
                        format!(
                            "Namespace {namespace} does not allow Services of fleets: kubectl label namespace \
                             {namespace} {}={}",
                            names::LABEL_SERVICES,
                            names::SERVICES_ALLOWED
                        ),
                    ));
                }
            }
        }
        let taken = |test: &dyn Fn(&Obstacle) -> bool| -> Vec<&str> {
            let blocked = outcomes.iter().filter(|it| it.wanted.obstacle.as_ref().is_some_and(test));
            blocked.map(|it| it.wanted.name.as_str()).collect()
        };
        let foreign = taken(&|it| *it == Obstacle::NameTaken);
        if !foreign.is_empty() {
            self.unobserved = true;
            self.stalled.push(cause(
                "NameTaken",
                format!(
                    "Services of others have these names in namespace {namespace}: {}. Delete them, or rename the \
                     devices.",
                    list(&foreign)
                ),
            ));
        }
        let twice = taken(&|it| matches!(it, Obstacle::SameName(_)));
        if !twice.is_empty() {
            self.stalled.push(cause(
                "NameTaken",
                format!(
                    "Two devices of this fleet want the same Service: {}. Rename one of each two.",
                    list(&twice)
                ),
            ));
        }
    }

    /// Services whose ports are not as desired. Seen twice at one generation it is no delay any more: after a change
    /// of Metacontroller's apply strategy the old entry belongs to somebody else, and every update is refused.
    fn ports(&mut self, request: &SyncRequest, observed: &Observed<'_>, children: &[Value]) {
        let mut outdated = Vec::new();
        for (key, child) in services(children) {
            let Some(service) = observed.services.get(&key) else { continue };
            let port = &child["spec"]["ports"][0];
            let same = |it: &&crate::request::ServicePort| port["port"].as_i64() == Some(it.port.into());
            if !service.spec.ports.is_empty() && !service.spec.ports.iter().any(|it| same(&it)) {
                outdated.push(format!("{}/{}", key.0, key.1));
            }
        }
        if outdated.is_empty() {
            return;
        }
        self.unobserved = true;
        let again = was_reconciling(request, OUTDATED);
        self.reconciling.push(cause(
            OUTDATED,
            format!("These Services have yet to get their port: {}.", list(&outdated)),
        ));
        if again {
            self.stalled.push(cause(
                "StalePort",
                format!(
                    "These Services keep an old port, as after a change of Metacontroller's apply strategy: {}. Delete \
                     them; they come back at once, with new addresses.",
                    list(&outdated)
                ),
            ));
        }
    }

    fn missing(&mut self, observed: &Observed<'_>, children: &[Value]) {
        let missing: Vec<String> = children.iter().filter_map(|child| missing(observed, child)).collect();
        if missing.is_empty() {
            return;
        }
        self.unobserved = true;
        self.reconciling.push(cause(
            "ChildrenMissing",
            format!(
                "Not there yet: {}. If this lasts, something of the same name stands in the way: look at it with \
                 kubectl get -o yaml, and delete it if it is a leftover.",
                list(&missing)
            ),
        ));
    }

    fn bridges(&mut self, request: &SyncRequest, observed: &Observed<'_>) {
        let Some(set) = observed.daemon_set else {
            self.bridges =
                Some(cause("ChildrenMissing", "The bridges' DaemonSet is not there yet.".to_owned()));
            return;
        };
        let status = &set.status;
        let bridge = names::bridge(&request.parent.name);
        if status.observed_generation == 0 || status.observed_generation < set.metadata.generation {
            let cause = cause(
                "BridgesChanging",
                format!(
                    "Kubernetes has yet to look at DaemonSet {bridge}; if this lasts, is its controller up?"
                ),
            );
            self.reconciling.push(cause.clone());
            self.bridges = Some(cause);
            return;
        }
        let desired = status.desired_number_scheduled;
        if desired == 0 {
            self.stalled.push(cause("NoNodes", no_nodes(request)));
        } else if status.current_number_scheduled == 0 {
            self.unobserved = true;
            // Also how a DaemonSet looks in the moment after its pods were made: the second sight counts.
            let again = was_reconciling(request, STARTING)
                || request.parent.status.conditions.iter().any(|it| it.reason == "PodSecurity");
            if !again {
                self.reconciling.push(cause(STARTING, "No bridge pod has started yet.".to_owned()));
            } else {
                self.stalled.push(cause(
                    "PodSecurity",
                    format!(
                        "No bridge pod may start, probably because of Pod Security: kubectl label namespace {} \
                         pod-security.kubernetes.io/enforce=privileged --overwrite; the reason is in kubectl describe \
                         daemonset -n {} {bridge}",
                        names::SYSTEM_NAMESPACE,
                        names::SYSTEM_NAMESPACE
                    ),
                ));
            }
        } else {
            self.roll(request, observed, set);
        }
        if status.number_available == 0 {
            self.bridges = Some(cause(
                "NoBridge",
                format!(
                    "No bridge is ready: see kubectl get pods -n {} -l {}={}.",
                    names::SYSTEM_NAMESPACE,
                    names::LABEL_FLEET,
                    request.parent.name
                ),
            ));
        }
    }

    fn roll(&mut self, request: &SyncRequest, observed: &Observed<'_>, set: &DaemonSet) {
        let status = &set.status;
        let desired = status.desired_number_scheduled;
        let waiting: Vec<&str> = observed.unready_nodes.iter().copied().collect();
        let on_delete = request.parent.spec.bridge.update_strategy == Some(UpdateStrategy::OnDelete);
        if status.updated_number_scheduled < desired && !on_delete {
            let place = if waiting.is_empty() {
                String::new()
            } else {
                format!(" It waits for {}: if that lasts, look at that node.", list(&waiting))
            };
            self.reconciling.push(cause(
                "RollUnderWay",
                format!(
                    "{} of {desired} bridges are of the present version.{place}",
                    status.updated_number_scheduled
                ),
            ));
        } else if status.number_available < desired {
            let place = if waiting.is_empty() { String::new() } else { format!(" ({})", list(&waiting)) };
            self.degraded.push(cause(
                "NodesUnavailable",
                format!(
                    "{} of {desired} nodes have no ready bridge{place}: look at those nodes and at kubectl get pods -n \
                     {} -l {}={}.",
                    desired - status.number_available,
                    names::SYSTEM_NAMESPACE,
                    names::LABEL_FLEET,
                    request.parent.name
                ),
            ));
        }
    }
}

fn no_nodes(request: &SyncRequest) -> String {
    let selector = &request.parent.spec.bridge.node_selector;
    match selector.iter().next() {
        Some((key, value)) => {
            format!("No node matches spec.bridge.nodeSelector: kubectl label node NODE {key}={value}")
        }
        None => {
            "No node takes a bridge: the cluster has no Linux node whose taints spec.bridge tolerates; set \
                 tolerateAllTaints, or add a toleration."
                .to_owned()
        }
    }
}

/// Key and value of each desired Service.
pub(super) fn services(children: &[Value]) -> impl Iterator<Item = ((&str, &str), &Value)> {
    children.iter().filter(|child| child["kind"] == "Service").filter_map(|child| {
        let meta = &child["metadata"];
        Some(((meta["namespace"].as_str()?, meta["name"].as_str()?), child))
    })
}

fn missing(observed: &Observed<'_>, child: &Value) -> Option<String> {
    let (kind, meta) = (child["kind"].as_str()?, &child["metadata"]);
    let key = (meta["namespace"].as_str()?, meta["name"].as_str()?);
    let there = match kind {
        "DaemonSet" => observed.daemon_set.is_some(),
        "NetworkPolicy" => observed.policy,
        "Service" => observed.services.contains_key(&key),
        _ => observed.slices.contains_key(&key),
    };
    (!there).then(|| format!("{kind} {}/{}", key.0, key.1))
}

/// Whether the last status already said so of this generation.
fn was_reconciling(request: &SyncRequest, reason: &str) -> bool {
    let parent = &request.parent;
    parent.status.observed_generation == parent.metadata.generation
        && parent
            .status
            .conditions
            .iter()
            .any(|it| it.type_ == "Reconciling" && it.status == "True" && it.reason == reason)
}
