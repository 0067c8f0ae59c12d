//! Desired children against observed ones: what is missing, what keeps an old value, and why, as far as that can be
//! seen. A refusal by the API server itself never reaches the hook, so what only time can tell waits for it: as long
//! as Metacontroller may need at its slowest.

use std::collections::BTreeMap;

use serialfleet_api::{fleet::ServiceType, names};

use super::causes::{Cause, Causes, Recent, cause};
use crate::{
    children::{Children, load_balancer_class, node_port},
    observed::{Family, Key, Kind, Observed},
    outcome::{Outcome, list},
    request::{Service, SyncRequest},
};

/// Patience with changes, and with objects that are yet to be made, in seconds; on top of a quarter of a second for
/// each child, as Metacontroller makes five calls a second unless told otherwise.
const CHANGE_SECONDS: u64 = 10;
const CREATE_SECONDS: u64 = 30;

const NAME_TAKEN: &str = "NameTaken";
const MISSING: &str = "ChildrenMissing";
const OUTDATED: &str = "ChildrenOutdated";
const STALE_PORT: &str = "StalePort";
const IMMUTABLE: &str = "Immutable";
const NODE_PORT_TAKEN: &str = "NodePortTaken";
const REFUSED: &str = "ChildrenRefused";

impl Causes {
    /// What has one of our names and is somebody else's. Services of devices are told with their devices.
    pub(super) fn strangers(
        &mut self,
        request: &SyncRequest,
        observed: &Observed<'_>,
        outcomes: &[Outcome<'_>],
    ) {
        let fleet = &request.parent.name;
        let (bridge, anchor) = (names::bridge(fleet), names::anchor(fleet));
        let own = [(Kind::DaemonSet, &bridge), (Kind::Service, &anchor), (Kind::NetworkPolicy, &bridge)];
        let foreign =
            |kind, namespace: &str, name: &str| observed.strangers.is_foreign(kind, (namespace, name));
        let taken: Vec<String> = own
            .into_iter()
            .filter(|(kind, name)| foreign(*kind, names::SYSTEM_NAMESPACE, name.as_str()))
            .map(|(kind, name)| title(kind, (names::SYSTEM_NAMESPACE, name)))
            .collect();
        if !taken.is_empty() {
            let message = format!(
                "Somebody else's objects have the names that this fleet needs: {}. Delete them, or give the fleet \
                 another name.",
                list(&taken)
            );
            self.stalled.push(cause(NAME_TAKEN, message));
        }
        let mut slices = Vec::new();
        for wanted in outcomes.iter().map(|it| &it.wanted) {
            for namespace in &wanted.namespaces {
                let names = observed.families.iter().map(|family: &Family| family.slice(&wanted.name));
                let taken = names.filter(|name| foreign(Kind::EndpointSlice, namespace, name));
                slices.extend(taken.map(|name| format!("{namespace}/{name}")));
            }
        }
        if !slices.is_empty() {
            let message =
                format!("These EndpointSlices are somebody else's: {}. Delete them.", list(&slices));
            self.stalled.push(cause(NAME_TAKEN, message));
        }
        self.unobserved |= !taken.is_empty() || !slices.is_empty();
    }

    /// What is desired and not observed.
    pub(super) fn objects(
        &mut self,
        request: &SyncRequest,
        observed: &Observed<'_>,
        children: &Children<'_>,
        recent: &Recent<'_>,
    ) {
        let slowest = u64::try_from(children.len() / 4).unwrap_or(u64::MAX);
        let waited =
            |seconds: u64, reason| recent.lasts("Applied", "False", seconds.saturating_add(slowest), reason);
        self.outdated(request, observed, children, &|reason| waited(CHANGE_SECONDS, reason));
        let (mut missing, mut leaving, mut leftovers) = (Vec::new(), Vec::new(), Vec::new());
        children.each_key(|kind, key| {
            if is_there(observed, kind, key) {
                return;
            }
            if observed.leaving.contains(&(kind, key)) {
                leaving.push(title(kind, key));
            } else if observed.strangers.is_leftover(kind, key) {
                leftovers.push(title(kind, key));
            } else {
                missing.push(title(kind, key));
            }
        });
        let fleet = &request.parent.name;
        if !leftovers.is_empty() {
            self.unapplied(cause(MISSING, format!("In the way of this fleet: {}.", list(&leftovers))));
            if waited(CHANGE_SECONDS, NAME_TAKEN) {
                let uid = request.parent.metadata.uid.as_deref().unwrap_or_default();
                let message = format!(
                    "Left from an earlier fleet of this name, or robbed of the label controller-uid: {}. Delete what is \
                     left: kubectl delete daemonset,service,endpointslice,networkpolicy -A -l '{}={fleet},\
                     controller-uid!={uid}'. It comes back at once, Services with new addresses.",
                    list(&leftovers),
                    names::LABEL_FLEET,
                );
                self.stalled.push(cause(NAME_TAKEN, message));
            }
        }
        if !leaving.is_empty() {
            let message = format!(
                "Being deleted, and made again once gone: {}. If this lasts, its finalizers in kubectl get -o yaml say \
                 who holds it.",
                list(&leaving)
            );
            self.unapplied(cause(MISSING, message));
        }
        if !missing.is_empty() {
            let message = format!(
                "Not there yet: {}. If this lasts, kubectl describe serialfleet {fleet} shows what Kubernetes says.",
                list(&missing)
            );
            self.unapplied(cause(MISSING, message));
            if waited(CREATE_SECONDS, REFUSED) {
                let message = format!(
                    "Kubernetes does not take {}: kubectl describe serialfleet {fleet} shows why, such as a quota, a \
                     policy, or a nodePort that somebody has.",
                    list(&missing)
                );
                self.stalled.push(cause(REFUSED, message));
            }
        }
    }

    fn unapplied(&mut self, cause: Cause) {
        self.unobserved = true;
        self.reconciling.push(cause.clone());
        self.unapplied.push(cause);
    }

    /// Services that keep a value which the fleet does not want any more. Seen for longer than Metacontroller needs,
    /// it is no delay: the API server refuses the change, each time anew.
    fn outdated(
        &mut self,
        request: &SyncRequest,
        observed: &Observed<'_>,
        children: &Children<'_>,
        waited: &dyn Fn(&'static str) -> bool,
    ) {
        let mut desired: BTreeMap<Key<'_>, Desired<'_>> =
            children.device_services().map(|(key, outcome)| (key, Desired::of(outcome))).collect();
        let anchor = names::anchor(&request.parent.name);
        let port = i64::from(request.parent.admin_port());
        desired.insert(
            (names::SYSTEM_NAMESPACE, &anchor),
            Desired { type_: CLUSTER_IP, port, node_port: None, class: None },
        );
        let mut keep: BTreeMap<Field, Vec<String>> = BTreeMap::new();
        let (mut outdated, mut taken) = (Vec::new(), Vec::new());
        for (key, wanted) in &desired {
            let there = observed.services.get(key);
            let fields = there.map_or_else(Vec::new, |there| wanted.differences(there));
            let holder = wanted
                .node_port
                .filter(|_| there.is_none() || fields.contains(&Field::NodePort))
                .and_then(|number| Some((number, holder(number, observed, &desired)?)));
            if let Some((number, holder)) = holder {
                taken.push(format!("{} wants {number}, which {} has", title_of(*key), title_of(holder)));
            }
            for field in &fields {
                if *field != Field::NodePort || holder.is_none() {
                    keep.entry(*field).or_default().push(title_of(*key));
                }
            }
            if !fields.is_empty() {
                let words: Vec<&str> = fields.iter().map(|it| it.word()).collect();
                outdated.push(format!("{} ({})", title_of(*key), words.join(", ")));
            }
        }
        if !outdated.is_empty() {
            let message =
                format!("These Services have yet to get what the fleet wants: {}.", list(&outdated));
            self.unapplied(cause(OUTDATED, message));
        }
        if !taken.is_empty() {
            let message = format!(
                "A nodePort can be one Service's only: {}. Choose another number, or free that one.",
                list(&taken)
            );
            self.stalled.push(cause(NODE_PORT_TAKEN, message));
        }
        for (field, services) in &keep {
            let (reason, message) = field.refusal(&list(services), &request.parent.name);
            if *field == Field::Class || waited(reason) {
                self.stalled.push(cause(reason, message));
            }
        }
    }
}

/// What the fleet wants of a Service, as far as the API server may refuse to change it.
struct Desired<'a> {
    type_: &'a str,
    port: i64,
    node_port: Option<i32>,
    class: Option<&'a str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Field {
    Port,
    Class,
    NodePort,
    Type,
}

impl<'a> Desired<'a> {
    fn of(outcome: &'a Outcome<'_>) -> Self {
        let device = outcome.wanted.device;
        Self {
            type_: match device.service.type_ {
                ServiceType::ClusterIP => CLUSTER_IP,
                ServiceType::NodePort => "NodePort",
                ServiceType::LoadBalancer => "LoadBalancer",
            },
            port: device.port.into(),
            node_port: node_port(&outcome.wanted),
            class: load_balancer_class(&outcome.wanted),
        }
    }

    fn differences(&self, there: &Service) -> Vec<Field> {
        let spec = &there.spec;
        let type_ = if spec.type_.is_empty() { CLUSTER_IP } else { &spec.type_ };
        let mut fields = Vec::new();
        if spec.ports.is_empty() {
            return fields;
        }
        let port = spec.ports.iter().find(|it| i64::from(it.port) == self.port);
        if port.is_none() {
            fields.push(Field::Port);
        }
        if type_ != self.type_ {
            fields.push(Field::Type);
        } else if self.class.is_some() && self.class != spec.load_balancer_class.as_deref() {
            // One that the fleet does not name may be the cluster's own choice.
            fields.push(Field::Class);
        }
        if let (Some(number), Some(port)) = (self.node_port, port)
            && port.node_port != number
        {
            fields.push(Field::NodePort);
        }
        fields
    }
}

const CLUSTER_IP: &str = "ClusterIP";

impl Field {
    fn word(self) -> &'static str {
        match self {
            Self::Port => "port",
            Self::Class => "loadBalancerClass",
            Self::NodePort => "nodePort",
            Self::Type => "type",
        }
    }

    /// Reason and sentence where the API server refuses the change.
    fn refusal(self, services: &str, fleet: &str) -> (&'static str, String) {
        match self {
            Self::Port => (
                STALE_PORT,
                format!(
                    "These Services keep an old port, as after a change of Metacontroller's apply strategy: {services}. \
                     Delete them; they come back at once, with new addresses."
                ),
            ),
            Self::Class => (
                IMMUTABLE,
                format!(
                    "Kubernetes never changes the load balancer class of a Service: {services}. Delete them, they come \
                     back at once with new addresses; or take the edit of service.loadBalancerClass back."
                ),
            ),
            Self::NodePort => (
                NODE_PORT_TAKEN,
                format!(
                    "These Services do not get their nodePort, as it is another Service's or outside the cluster's \
                     range: {services}. See kubectl get services -A and kubectl describe serialfleet {fleet}; choose \
                     another number."
                ),
            ),
            Self::Type => (
                REFUSED,
                format!(
                    "Kubernetes does not change the type of these Services: {services}. kubectl describe serialfleet \
                     {fleet} shows why, such as a quota or a policy."
                ),
            ),
        }
    }
}

/// Who has a port on every node and will keep it. One of ours that is about to leave it is in the way for a moment only.
fn holder<'a>(
    number: i32,
    observed: &Observed<'a>,
    desired: &BTreeMap<Key<'_>, Desired<'_>>,
) -> Option<Key<'a>> {
    let has = |service: &Service| service.spec.ports.iter().any(|it| it.node_port == number);
    let keeps = |key: &Key<'_>| desired.get(key).is_some_and(|it| it.node_port.is_none_or(|it| it == number));
    let own = || observed.services.iter().find(|(key, service)| has(service) && keeps(key));
    observed.strangers.has_node_port(number).or_else(|| own().map(|(key, _)| *key))
}

fn is_there(observed: &Observed<'_>, kind: Kind, key: Key<'_>) -> bool {
    match kind {
        Kind::DaemonSet => observed.daemon_set.is_some(),
        Kind::NetworkPolicy => observed.policy.is_some(),
        Kind::Service => observed.services.contains_key(&key),
        Kind::EndpointSlice => observed.slices.contains_key(&key),
    }
}

fn title(kind: Kind, key: Key<'_>) -> String {
    format!("{} {}", kind.as_str(), title_of(key))
}

fn title_of((namespace, name): Key<'_>) -> String {
    format!("{namespace}/{name}")
}
