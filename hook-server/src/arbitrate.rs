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
mod tests {
    use proptest::prelude::*;

    use super::{
        Bridge::{Gone, Live, Silent},
        Hold::{Held, Serving},
        *,
    };

    fn claims<'a>(all: &[(&'a str, Hold)]) -> Vec<Claim<'a>> {
        all.iter().map(|(node, hold)| Claim { node, hold: *hold }).collect()
    }

    fn present(node: &str) -> Memory<'_> {
        Memory { present: Some(node), ..Memory::default() }
    }

    fn conflict(node: &str) -> Memory<'_> {
        Memory { present: None, conflict: true, conflict_node: Some(node) }
    }

    fn bound<'a>(node: &'a str, hold: Hold, rivals: &[&'a str]) -> Verdict<'a> {
        Verdict::Bound { node, hold, rivals: rivals.to_vec() }
    }

    /// One row: the sentence, claims, memory, the incumbent's bridge, verdict.
    type Row<'a> = (&'a str, &'a [(&'a str, Hold)], Memory<'a>, Bridge, Verdict<'a>);

    #[test]
    fn the_table() {
        let none = Memory::default();
        let torn = |incumbent, claimants: &[&'static str]| Verdict::Conflict {
            incumbent,
            claimants: claimants.to_vec(),
        };
        let rows: &[Row<'_>] = &[
            ("no claim: nobody", &[], none, Live, Verdict::Unclaimed),
            ("no claim although the slice names one: nobody", &[], present("a"), Silent, Verdict::Unclaimed),
            ("no claim after a conflict: nobody", &[], conflict("a"), Live, Verdict::Unclaimed),
            ("one serving: that one", &[("a", Serving)], none, Live, bound("a", Serving, &[])),
            ("one held: that one", &[("a", Held)], present("a"), Live, bound("a", Held, &[])),
            (
                "one, and the slice names another: that one",
                &[("b", Serving)],
                present("a"),
                Live,
                bound("b", Serving, &[]),
            ),
            (
                "one, and the one before is silent, no conflict: that one",
                &[("b", Serving)],
                present("a"),
                Silent,
                bound("b", Serving, &[]),
            ),
            (
                "two serving, one has the endpoint: it stays, the other is named",
                &[("a", Serving), ("b", Serving)],
                present("b"),
                Live,
                bound("b", Serving, &["a"]),
            ),
            (
                "two serving after a conflict, one has the endpoint: it stays",
                &[("a", Serving), ("b", Serving)],
                Memory { present: Some("a"), conflict: true, conflict_node: Some("b") },
                Live,
                bound("a", Serving, &["b"]),
            ),
            (
                "the one with the endpoint serves, another only holds: no rival",
                &[("a", Held), ("b", Serving)],
                present("b"),
                Live,
                bound("b", Serving, &[]),
            ),
            (
                "one serves, the one with the endpoint holds: the stick moved",
                &[("a", Held), ("b", Serving)],
                present("a"),
                Live,
                bound("b", Serving, &[]),
            ),
            (
                "one serves, two hold: the stick moved",
                &[("a", Held), ("b", Serving), ("c", Held)],
                none,
                Live,
                bound("b", Serving, &[]),
            ),
            (
                "two hold, one has the endpoint: it stays",
                &[("a", Held), ("b", Held)],
                present("b"),
                Live,
                bound("b", Held, &[]),
            ),
            (
                "two hold, one is the incumbent of a conflict: it gets it",
                &[("a", Held), ("b", Held)],
                conflict("a"),
                Live,
                bound("a", Held, &[]),
            ),
            (
                "two hold, a third has the endpoint: none",
                &[("a", Held), ("b", Held)],
                present("c"),
                Live,
                Verdict::HeldByNone,
            ),
            ("two hold, nobody had it: none", &[("a", Held), ("b", Held)], none, Live, Verdict::HeldByNone),
            (
                "one after a conflict, the incumbent is silent: none",
                &[("b", Serving)],
                conflict("a"),
                Silent,
                torn("a", &["b"]),
            ),
            (
                "one held after a conflict, the incumbent is silent: none",
                &[("b", Held)],
                conflict("a"),
                Silent,
                torn("a", &["b"]),
            ),
            (
                "one after a conflict, the incumbent is live and claims nothing: that one",
                &[("b", Serving)],
                conflict("a"),
                Live,
                bound("b", Serving, &[]),
            ),
            (
                "one after a conflict, the incumbent's node is gone: that one",
                &[("b", Serving)],
                conflict("a"),
                Gone,
                bound("b", Serving, &[]),
            ),
            (
                "the incumbent of a conflict alone: that one",
                &[("a", Serving)],
                conflict("a"),
                Live,
                bound("a", Serving, &[]),
            ),
            (
                "two serving, nobody had it: none, the first by name is remembered",
                &[("b", Serving), ("a", Serving)],
                none,
                Live,
                torn("a", &["b"]),
            ),
            (
                "two serving, a third has the endpoint: none, it is remembered",
                &[("a", Serving), ("b", Serving)],
                present("c"),
                Silent,
                torn("c", &["a", "b"]),
            ),
            (
                "two serving, the one with the endpoint holds: none",
                &[("a", Serving), ("b", Serving), ("c", Held)],
                present("c"),
                Live,
                torn("c", &["a", "b"]),
            ),
            (
                "a conflict goes on: none, and the memory stays",
                &[("a", Serving), ("b", Serving)],
                conflict("b"),
                Live,
                torn("b", &["a"]),
            ),
        ];
        for (sentence, given, memory, bridge, expected) in rows {
            let mut given = claims(given);
            for _ in 0..given.len().max(1) {
                assert_eq!(arbitrate(&given, *memory, |_| *bridge), *expected, "{sentence}");
                let step = given.len().min(1);
                given.rotate_left(step);
            }
        }
    }

    proptest! {
        #[test]
        fn whoever_gets_the_endpoint_claims_it_and_a_serving_one_is_never_passed_over_for_a_held_one(
            holds in proptest::collection::btree_map("[a-e]", prop_oneof![Just(Serving), Just(Held)], 0..5),
            present in proptest::option::of("[a-e]"), conflict: bool,
            conflict_node in proptest::option::of("[a-e]"),
            bridge in prop_oneof![Just(Live), Just(Silent), Just(Gone)],
        ) {
            let claims: Vec<_> = holds.iter().map(|(node, hold)| Claim { node, hold: *hold }).collect();
            let memory = Memory {
                present: present.as_deref(), conflict, conflict_node: conflict_node.as_deref(),
            };
            let serving = claims.iter().filter(|it| it.hold == Serving).count();
            match arbitrate(&claims, memory, |_| bridge) {
                Verdict::Unclaimed => prop_assert!(claims.is_empty()),
                Verdict::HeldByNone => prop_assert!(serving == 0 && claims.len() > 1),
                Verdict::Conflict { claimants, .. } => prop_assert!(!claimants.is_empty()),
                Verdict::Bound { node, hold, rivals } => {
                    prop_assert_eq!(holds.get(node), Some(&hold));
                    prop_assert!(hold == Serving || serving == 0);
                    prop_assert!(!rivals.contains(&node));
                    // A second one that serves is only tolerated beside the one that had the endpoint before.
                    prop_assert!(serving < 2 || memory.present == Some(node));
                }
            }
        }
    }
}
