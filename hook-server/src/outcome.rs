//! What became of each wanted Service: who has its endpoint, and what to tell about it. Uses [`crate::arbitrate`];
//! writes no status and no children.

mod deliberation;

use std::borrow::Cow;

use serialfleet_api::{names, node::PortState};

pub use deliberation::{Deliberation, Source, deliberate, is_allowed};

use self::deliberation::hold;
use crate::{
    arbitrate::{Claim, Hold, Verdict},
    observed::{Family, Kind, Observed, Pod},
    request::Port,
    services::{Obstacle, Wanted},
};

/// A device's state as the fleet sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// As a bridge says.
    Port(PortState),
    /// Nobody gets the endpoint until a person decides.
    Conflict,
}

impl State {
    /// The word in the status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Port(state) => state.as_str(),
            Self::Conflict => CONFLICT,
        }
    }

    /// Whether a client has something to talk to: Serving or Held.
    pub fn is_bound(self) -> bool {
        matches!(self, Self::Port(PortState::Serving | PortState::Held))
    }

    /// The lower, the sooner a person wants to know.
    pub fn health(self) -> u8 {
        match self {
            Self::Conflict => 0,
            Self::Port(PortState::Failed) => 1,
            Self::Port(PortState::Denied) => 2,
            Self::Port(PortState::Busy) => 3,
            Self::Port(PortState::Ambiguous) => 4,
            Self::Port(PortState::Suspended) => 5,
            Self::Port(PortState::Absent) => 6,
            Self::Port(PortState::Held) => 7,
            Self::Port(PortState::Serving) => 8,
        }
    }
}

/// The state, and the reason of the warning beside Serving.
pub const CONFLICT: &str = "Conflict";

/// What became of a wanted Service.
#[derive(Clone, Debug)]
pub struct Outcome<'a> {
    /// The Service.
    pub wanted: Wanted<'a>,
    /// The pod behind its one endpoint.
    pub endpoint: Option<Pod<'a>>,
    /// The device's state.
    pub state: State,
    /// One CamelCase word, or empty.
    pub reason: Cow<'a, str>,
    /// The node that this is about, or empty.
    pub node: &'a str,
    /// The tty there, or empty.
    pub tty: &'a str,
    /// A sentence with the next step, or empty.
    pub message: Cow<'a, str>,
    /// Other nodes serve such a device as well.
    pub contested: bool,
}

/// Decides about one Service.
pub fn outcome<'a>(wanted: Wanted<'a>, observed: &Observed<'a>, fleet: &str) -> Outcome<'a> {
    let Deliberation { seen, claims, verdict, .. } = deliberate(&wanted, observed);
    let mut outcome = Outcome {
        endpoint: None,
        state: State::Port(PortState::Absent),
        reason: Cow::default(),
        node: "",
        tty: "",
        message: Cow::default(),
        contested: false,
        wanted,
    };
    match verdict {
        Verdict::Bound { node, hold, rivals } => {
            let port = seen.iter().find(|(seen, _)| *seen == node).map(|(_, port)| *port);
            outcome.bind(node, hold, port);
            outcome.endpoint = observed.reports.get(node).and_then(|it| it.pod.clone());
            outcome.contest(&rivals);
        }
        Verdict::HeldByNone => {
            outcome.state = State::Port(PortState::Held);
            outcome.message =
                "It was unplugged from a node that did not have the endpoint; plug it in again.".into();
        }
        Verdict::Conflict { incumbent, claimants } => {
            outcome.conflict(incumbent, &claimants, &claims, observed);
        }
        Verdict::Unclaimed => outcome.unclaimed(&seen, observed, fleet),
    }
    outcome.obstructed(observed);
    outcome
}

/// How much a state of a node without claim says; the lower, the more.
fn informative(port: &Port) -> u8 {
    match port.state.as_str() {
        "Denied" => 1,
        "Busy" => 2,
        "Ambiguous" => 3,
        "Suspended" => 4,
        "Absent" if !port.reason.is_empty() => 5,
        "Absent" => 6,
        // Failed, and what only a later version knows.
        _ => 0,
    }
}

impl<'a> Outcome<'a> {
    fn bind(&mut self, node: &'a str, hold: Hold, port: Option<&'a Port>) {
        self.state = State::Port(match hold {
            Hold::Serving => PortState::Serving,
            Hold::Held => PortState::Held,
        });
        self.node = node;
        let Some(port) = port else { return };
        self.tell(port);
        // What the bridge could not know when it complained that nobody published it.
        let warning = port.warnings.iter().find(|warning| warning.reason != "NotPublished");
        if let (true, true, Some(warning)) = (self.reason.is_empty(), self.message.is_empty(), warning) {
            self.reason = warning.reason.as_str().into();
            self.message = warning.message.as_str().into();
        }
    }

    /// What the bridge says, in its words.
    fn tell(&mut self, port: &'a Port) {
        self.tty = &port.tty;
        self.reason = port.reason.as_str().into();
        self.message = port.message.as_str().into();
    }

    fn contest(&mut self, rivals: &[&str]) {
        if rivals.is_empty() {
            return;
        }
        self.contested = true;
        self.reason = CONFLICT.into();
        self.message = format!(
            "Also on {}, which gets no clients: unplug one of them, or tell them apart by {}.",
            list(rivals),
            self.telling_fields()
        )
        .into();
    }

    fn conflict(
        &mut self,
        incumbent: &'a str,
        claimants: &[&str],
        claims: &[Claim<'_>],
        observed: &Observed<'_>,
    ) {
        self.state = State::Conflict;
        self.node = incumbent;
        let silent = observed.reports.get(incumbent).is_some_and(|it| it.pod.is_none());
        let fields = self.telling_fields();
        let message = if silent && claimants.len() == 1 {
            format!(
                "{} serves it, but {incumbent} did so as well and its bridge is not ready: nobody is served until \
                 that bridge is back. Tell the two apart by {fields}, or delete node {incumbent} if it is gone for good.",
                list(claimants)
            )
        } else {
            let mut nodes: Vec<&str> = claimants.to_vec();
            if claims.contains(&Claim { node: incumbent, hold: Hold::Serving }) {
                nodes.push(incumbent);
            }
            nodes.sort_unstable();
            format!(
                "{} each have one and nobody is served: unplug all but one, or tell them apart by {fields}.",
                list(&nodes)
            )
        };
        self.message = message.into();
    }

    /// The fields of `match` that are not used yet and would tell two of these devices apart.
    fn telling_fields(&self) -> String {
        let matcher = &self.wanted.device.matcher;
        let mut fields = Vec::new();
        let exact = matcher.serial_number.as_ref().is_some_and(|it| !it.ends_with('*'));
        if matcher.tty.is_none() && !exact {
            fields.push("match.serialNumber");
        }
        if matcher.tty.is_none() && matcher.usb_path.is_none() {
            fields.push("match.usbPath");
        }
        if matcher.nodes.len() != 1 {
            fields.push("match.nodes");
        }
        if fields.is_empty() { "another match".to_owned() } else { fields.join(" or ") }
    }

    fn unclaimed(&mut self, seen: &[(&'a str, &'a Port)], observed: &Observed<'a>, fleet: &str) {
        let best = seen.iter().min_by_key(|(node, port)| (informative(port), *node));
        match best.filter(|(_, port)| port.state != "Absent" || !port.reason.is_empty()) {
            Some((node, port)) => {
                let known = [
                    PortState::Absent,
                    PortState::Ambiguous,
                    PortState::Busy,
                    PortState::Denied,
                    PortState::Failed,
                    PortState::Suspended,
                ];
                self.node = node;
                self.tell(port);
                match known.into_iter().find(|state| state.as_str() == port.state) {
                    Some(state) => self.state = State::Port(state),
                    None => {
                        self.state = State::Port(PortState::Failed);
                        self.reason = "UnknownState".into();
                        self.message = format!(
                            "The bridge there says {}, which this hook server does not know: upgrade the hook server.",
                            port.state
                        )
                        .into();
                    }
                }
            }
            None => self.message = self.absent(observed, fleet).into(),
        }
    }

    fn absent(&self, observed: &Observed<'_>, fleet: &str) -> String {
        let device = self.wanted.device;
        let silent: Vec<&str> = observed
            .sightings(&device.name)
            .iter()
            .filter(|it| !it.believed && hold(&it.port.state).is_some())
            .map(|it| it.node)
            .filter(|node| self.wanted.node.is_none_or(|own| own == *node))
            .collect();
        if !silent.is_empty() {
            let nodes = list(&silent);
            return if silent.iter().all(|node| observed.ready_nodes.contains(node)) {
                format!(
                    "Last seen on {nodes}, whose new bridge has yet to report; if that lasts, see its log."
                )
            } else {
                format!("Last seen on {nodes}, whose bridge is not ready: look at that node.")
            };
        }
        if observed.ready_nodes.is_empty() {
            return format!(
                "No bridge is ready: see kubectl get pods -n {} -l {}={fleet}.",
                names::SYSTEM_NAMESPACE,
                names::LABEL_FLEET
            );
        }
        let mut expected: Vec<&str> = match self.wanted.node {
            Some(node) => vec![node],
            None => device.matcher.nodes.iter().map(String::as_str).collect(),
        };
        expected.sort_unstable();
        if !expected.is_empty() && !expected.iter().any(|node| observed.ready_nodes.contains(node)) {
            return format!(
                "No bridge is ready on {}: look at that node, or correct match.nodes.",
                list(&expected)
            );
        }
        let place = if expected.is_empty() { "any node".to_owned() } else { list(&expected) };
        format!(
            "No such device on {place}: plug it in, or compare its match with what kubectl get sn -o wide shows."
        )
    }

    /// A device whose Service or slices cannot be there is not served, whatever its bridge says.
    fn obstructed(&mut self, observed: &Observed<'_>) {
        let (message, reason) = match (&self.wanted.obstacle, self.wanted.namespaces.first()) {
            (Some(_), Some(_)) => return,
            (Some(obstacle), None) => (self.obstacle(obstacle), obstacle.reason()),
            (None, Some(_)) if observed.strangers.is_empty() => return,
            (None, Some(namespace)) => {
                let taken = |family: &Family| {
                    let name = family.slice(&self.wanted.name);
                    observed.strangers.is_foreign(Kind::EndpointSlice, (namespace, &name)).then_some(name)
                };
                let slices: Vec<String> = observed.families.iter().filter_map(taken).collect();
                if slices.is_empty() || slices.len() < observed.families.len() {
                    return;
                }
                let message =
                    format!("EndpointSlice {} belongs to somebody else: delete it.", slices.join(" and "));
                (message, Obstacle::NameTaken.reason())
            }
            (None, None) => return,
        };
        self.message = message.into();
        self.reason = reason.into();
        self.state = State::Port(PortState::Failed);
        self.endpoint = None;
        self.contested = false;
    }

    fn obstacle(&self, obstacle: &Obstacle) -> String {
        match obstacle {
            Obstacle::NameTaken => format!(
                "Service {} belongs to somebody else: delete it, or rename the device.",
                self.wanted.name
            ),
            Obstacle::SameName(other) => format!(
                "Service {} is that of device {other} already: rename one of the two.",
                self.wanted.name
            ),
            Obstacle::NamespaceMissing => "Its namespace is missing: see condition Stalled.".to_owned(),
            Obstacle::NamespaceNotAllowed => {
                "Its namespace is not allowed: see condition Stalled.".to_owned()
            }
        }
    }
}

/// At most eight, then how many more.
pub fn list<T: AsRef<str>>(items: &[T]) -> String {
    let shown: Vec<&str> = items.iter().take(8).map(AsRef::as_ref).collect();
    match items.len().saturating_sub(8) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
