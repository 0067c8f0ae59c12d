//! The table of who gets the endpoint, and what holds for all tables.

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
