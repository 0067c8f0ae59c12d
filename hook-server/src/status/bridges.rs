//! What is wrong with the bridges as a whole: their DaemonSet not looked at, its pods refused, a roll that waits, nodes
//! away.

use serialfleet_api::{fleet::UpdateStrategy, names};

use super::causes::{Causes, Recent, cause};
use crate::{
    observed::Observed,
    outcome::list,
    request::{DaemonSet, SyncRequest},
};

/// How long no pod may have started before Pod Security is blamed, in seconds. A DaemonSet looks like that in the
/// moment after its pods were made, too.
const STARTING_SECONDS: u64 = 10;
/// How long bridges may take to become ready while the fleet changes, in seconds: an image may have to come first.
const READY_SECONDS: u64 = 30;

const STARTING: &str = "BridgesStarting";
const POD_SECURITY: &str = "PodSecurity";
const NODES_UNAVAILABLE: &str = "NodesUnavailable";
const ROLL_UNDER_WAY: &str = "RollUnderWay";

impl Causes {
    pub(super) fn bridges(&mut self, request: &SyncRequest, observed: &Observed<'_>, recent: &Recent<'_>) {
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
        if status.desired_number_scheduled == 0 {
            self.stalled.push(cause("NoNodes", no_nodes(request)));
        } else if status.current_number_scheduled == 0 {
            self.unobserved = true;
            self.reconciling.push(cause(STARTING, "No bridge pod has started yet.".to_owned()));
            if recent.lasts("Reconciling", "True", STARTING_SECONDS, POD_SECURITY) {
                self.stalled.push(cause(
                    POD_SECURITY,
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
            self.roll(request, observed, set, recent);
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

    fn roll(&mut self, request: &SyncRequest, observed: &Observed<'_>, set: &DaemonSet, recent: &Recent<'_>) {
        let status = &set.status;
        let desired = status.desired_number_scheduled;
        let waiting: Vec<&str> = observed.unready_nodes.iter().copied().collect();
        let on_delete = request.parent.wish.spec.bridge.update_strategy == Some(UpdateStrategy::OnDelete);
        if status.updated_number_scheduled < desired && !on_delete {
            let place = if waiting.is_empty() {
                String::new()
            } else {
                format!(" It waits for {}: if that lasts, look at that node.", list(&waiting))
            };
            self.reconciling.push(cause(
                ROLL_UNDER_WAY,
                format!(
                    "{} of {desired} bridges are of the present version.{place}",
                    status.updated_number_scheduled
                ),
            ));
        } else if status.number_available < desired {
            let place = if waiting.is_empty() { String::new() } else { format!(" ({})", list(&waiting)) };
            // Where it was said before, nothing is starting: an edit meanwhile changes nothing about that node.
            let known = recent.was("Degraded", "True", NODES_UNAVAILABLE);
            let rolled = recent.was("Reconciling", "True", ROLL_UNDER_WAY);
            if rolled {
                // The last pod of a roll has its own time.
                recent.wait(READY_SECONDS);
            }
            let starting = || {
                recent.is_under_way()
                    && !recent.lasts("Reconciling", "True", READY_SECONDS, NODES_UNAVAILABLE)
            };
            if !known && (rolled || starting()) {
                let ready = status.number_available;
                self.unobserved = true;
                self.reconciling
                    .push(cause(STARTING, format!("{ready} of {desired} bridges are ready{place}.")));
                return;
            }
            self.degraded.push(cause(
                NODES_UNAVAILABLE,
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
    let selector = &request.parent.wish.spec.bridge.node_selector;
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
