//! What the figures say of the goals. The numbers stand in the project's design; they are not moved here.
//!
//! Owner: the plan prints it. Pure.

use std::fmt;

use crate::figures::shown;
use crate::fleet::SIZES;
use crate::peer::Peer;
use crate::table::{Case, Table};

/// Throughput over that of the best other hook, changed answers.
const LEAD: f64 = 4.0;
/// p99 on one connection in milliseconds, by size.
const P99: [f64; 3] = [0.5, 2.0, 6.0];
/// An unchanged request against a changed one: "several times".
const UNCHANGED: f64 = 3.0;
/// MiB.
const IDLE: f64 = 8.0;
/// A second load as heavy as the first may add that much.
const GROWTH: f64 = 1.1;
/// Milliseconds.
const COLD_START: f64 = 50.0;
/// MB.
const BINARY: f64 = 6.0;

pub(crate) const COLD: &str = "cold start to the first answer";
pub(crate) const MEMORY_IDLE: &str = "memory (Pss) idle";
pub(crate) const MEMORY_AFTER: &str = "memory (Pss) after load";
pub(crate) const PEAK: &str = "memory, most resident under load";
pub(crate) const PEAK_AGAIN: &str = "memory, most resident after as much again";
pub(crate) const FILE: &str = "program file";

/// One goal.
pub(crate) struct Verdict {
    text: String,
    met: bool,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "- {}: {}", if self.met { "met" } else { "MISSED" }, self.text)
    }
}

/// What can be said with what was measured.
pub(crate) fn verdicts(table: &Table) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    for (size, p99_goal) in SIZES.into_iter().zip(P99) {
        let of_size =
            |changed: bool| table.cases().filter(move |it| it.size == size && it.changed == changed);
        let least = |ratio: &dyn Fn(Case) -> Option<f64>| {
            let ratios = of_size(true).filter_map(|case| Some((ratio(case)?, case)));
            ratios.min_by(|a, b| a.0.total_cmp(&b.0))
        };
        if let Some((lead, case)) = least(&|case| table.lead(case, &Peer::OTHERS)) {
            let named = least(&|case| table.lead(case, &Peer::NAMED)).map(|it| it.0);
            let saving = least(&|case| table.saving(case, &Peer::OTHERS)).map(|it| it.0);
            let text = format!(
                "at least {LEAD} x the best other, changed: least {} ({}); of those with one process {}; in CPU per call {}",
                shown(Some(lead)),
                case.name(),
                shown(named),
                shown(saving)
            );
            verdicts.push(Verdict { text, met: lead >= LEAD });
        }
        let alone = Case { size, changed: true, keep: true, connections: 1 };
        if let Some(p99) = table.figure(alone, Peer::Hook, |it| it.p99) {
            let text = format!("p99 under {p99_goal} ms ({}): {} ms", alone.name(), shown(Some(p99)));
            verdicts.push(Verdict { text, met: p99 < p99_goal });
        }
        let gain = |case: Case| {
            let changed = table.figure(Case { changed: true, ..case }, Peer::Hook, |it| it.rate)?;
            Some((table.figure(case, Peer::Hook, |it| it.rate)? / changed, case))
        };
        let gain = of_size(false).filter(|it| it.keep).filter_map(gain).min_by(|a, b| a.0.total_cmp(&b.0));
        if let Some((gain, case)) = gain {
            let text = format!(
                "unchanged several times faster than changed: least {} x ({})",
                shown(Some(gain)),
                case.name()
            );
            verdicts.push(Verdict { text, met: gain >= UNCHANGED });
        }
    }
    let mut below = |name: &str, unit: &str, goal: f64| {
        if let Some(value) = table.alone(name, Peer::Hook) {
            let text = format!("{name} under {goal} {unit}: {} {unit}", shown(Some(value)));
            verdicts.push(Verdict { text, met: value < goal });
        }
    };
    below(MEMORY_IDLE, "MiB", IDLE);
    below(COLD, "ms", COLD_START);
    below(FILE, "MB", BINARY);
    if let (Some(first), Some(again)) = (table.alone(PEAK, Peer::Hook), table.alone(PEAK_AGAIN, Peer::Hook)) {
        let text = format!(
            "memory bounded under load: {} MiB, after as much again {} MiB",
            shown(Some(first)),
            shown(Some(again))
        );
        verdicts.push(Verdict { text, met: again <= first * GROWTH });
    }
    verdicts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::tests::figures;

    #[test]
    fn the_worst_case_of_a_size_decides_and_what_was_not_measured_is_not_judged() {
        let mut table = Table::default();
        let case = Case { size: SIZES[0], changed: true, keep: true, connections: 1 };
        let many = Case { connections: 8, ..case };
        for (case, ours, go) in [(case, 500.0, 100.0), (many, 390.0, 100.0)] {
            table.load(case, Peer::Hook, 0, figures(ours, 0.4));
            table.load(case, Peer::Go, 0, figures(go, 9.0));
        }
        table.load(Case { changed: false, ..case }, Peer::Hook, 0, figures(2000.0, 0.1));
        table.single(FILE, "MB", Peer::Hook, 0, 7.0);
        let said: Vec<String> = verdicts(&table).iter().map(Verdict::to_string).collect();
        let start = |text: &str| said.iter().any(|line| line.starts_with(text));
        assert_eq!(said.len(), 4, "{said:?}");
        assert!(start("- MISSED: at least 4 x the best other, changed: least 3.90 (4 devices"), "{said:?}");
        assert!(start("- met: p99 under 0.5 ms") && start("- met: unchanged several times"), "{said:?}");
        assert!(start("- MISSED: program file under 6 MB: 7.00 MB"), "{said:?}");
    }
}
