//! Who gets a device's one endpoint. Pure: claims and memory in, one verdict out; at most one endpoint by type.
//!
//! Two radios behind one name are worse than none: where the claims do not say which of two devices is meant, nobody
//! gets the endpoint, unless one of them has it already.

/// What a bridge says it does with the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hold {
    /// It has the device open and listens.
    Serving,
    /// Its device was unplugged; it keeps the clients for a while.
    Held,
}

/// A live claim: that node's bridge is ready, and says so itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Claim<'a> {
    /// The node.
    pub node: &'a str,
    /// What its bridge does.
    pub hold: Hold,
}

/// What is known about the bridge of the node that had the endpoint last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bridge {
    /// Ready and believed.
    Live,
    /// Not ready, but its SerialNode is there: it may come back with the device.
    Silent,
    /// Neither: the node is gone.
    Gone,
}

/// What earlier syncs left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory<'a> {
    /// The node in the slice.
    pub present: Option<&'a str>,
    /// Whether the device's state was Conflict.
    pub conflict: bool,
    /// The node that the status named then.
    pub conflict_node: Option<&'a str>,
}

impl<'a> Memory<'a> {
    /// The node that keeps the endpoint where claims alone do not decide.
    pub fn incumbent(&self) -> Option<&'a str> {
        self.present.or(if self.conflict { self.conflict_node } else { None })
    }
}

/// What is decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// Nobody claims the device.
    Unclaimed,
    /// This node has the endpoint; `rivals` serve such a device as well.
    Bound {
        /// The node.
        node: &'a str,
        /// What its bridge does.
        hold: Hold,
        /// Other nodes that say Serving.
        rivals: Vec<&'a str>,
    },
    /// Several keep clients of an unplugged device, and none of them had the endpoint.
    HeldByNone,
    /// Nobody gets the endpoint until a person says which device is meant.
    Conflict {
        /// Kept as the incumbent.
        incumbent: &'a str,
        /// The nodes that claim, the incumbent aside.
        claimants: Vec<&'a str>,
    },
}

impl Verdict<'_> {
    /// The rule that was applied, as a sentence.
    pub fn rule(&self, claims: &[Claim<'_>]) -> String {
        match self {
            Self::Unclaimed => {
                "No ready bridge says Serving or Held, so nobody gets the endpoint.".to_owned()
            }
            Self::Bound { node, .. } if claims.len() == 1 => {
                format!("{node} alone claims the device, so it gets the endpoint.")
            }
            Self::Bound { node, hold: Hold::Held, .. } => {
                format!(
                    "All only keep clients of an unplugged device; {node} had the endpoint, so it keeps it."
                )
            }
            Self::Bound { node, rivals, .. } if rivals.is_empty() => format!(
                "{node} alone says Serving and the others only keep clients: the device is there now, so {node} gets \
                 the endpoint."
            ),
            Self::Bound { node, .. } => format!(
                "Several say Serving and {node} has the endpoint already, so it keeps it; the others get no clients."
            ),
            Self::HeldByNone => {
                "Several keep clients of an unplugged device and none of them had the endpoint, so \
                                 nobody gets it."
                    .to_owned()
            }
            Self::Conflict { incumbent, .. } if claims.len() == 1 => format!(
                "One claims it, but it was in conflict with {incumbent}, whose bridge is only away: waiting is not \
                 deciding, so nobody gets the endpoint."
            ),
            Self::Conflict { .. } => {
                "Several say Serving and none of them has the endpoint: two devices with one \
                                      name are worse than none, so nobody gets it."
                    .to_owned()
            }
        }
    }
}

/// Decides. The order of the claims does not matter.
pub fn arbitrate<'a>(
    claims: &[Claim<'a>],
    memory: Memory<'a>,
    bridge: impl Fn(&str) -> Bridge,
) -> Verdict<'a> {
    let nodes = |hold| {
        let mut nodes: Vec<&'a str> = claims.iter().filter(|it| it.hold == hold).map(|it| it.node).collect();
        nodes.sort_unstable();
        nodes.dedup();
        nodes
    };
    let (serving, held) = (nodes(Hold::Serving), nodes(Hold::Held));
    let bound = |node, hold| Verdict::Bound { node, hold, rivals: Vec::new() };

    if let (1, Some(claim)) = (claims.len(), claims.first()) {
        // The other one of the two that were in conflict is only away for a moment: waiting is not deciding.
        return match memory.incumbent().filter(|it| memory.conflict && *it != claim.node) {
            Some(incumbent) if bridge(incumbent) == Bridge::Silent => {
                Verdict::Conflict { incumbent, claimants: vec![claim.node] }
            }
            _ => bound(claim.node, claim.hold),
        };
    }
    match (serving.as_slice(), held.as_slice()) {
        ([], []) => Verdict::Unclaimed,
        ([], held) => match memory.incumbent().and_then(|it| held.iter().find(|node| **node == it)) {
            Some(node) => bound(node, Hold::Held),
            None => Verdict::HeldByNone,
        },
        // The stick moved: the others only keep clients until they hear of it.
        ([node], _) => bound(node, Hold::Serving),
        ([first, ..], _) => match memory.present.filter(|present| serving.contains(present)) {
            Some(node) => Verdict::Bound {
                node,
                hold: Hold::Serving,
                rivals: serving.iter().copied().filter(|it| *it != node).collect(),
            },
            None => {
                let incumbent = memory.incumbent().unwrap_or(first);
                let claimants = serving.iter().copied().filter(|it| *it != incumbent).collect();
                Verdict::Conflict { incumbent, claimants }
            }
        },
    }
}

#[cfg(test)]
mod tests;
