//! The figures: medians over the rounds, ratios of the same round, one Markdown table.
//!
//! Owner: the plan fills it. Pure.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use crate::figures::{median, shown};
use crate::fleet::Size;
use crate::peer::Peer;

/// What is asked for at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Case {
    pub(crate) size: Size,
    /// Every answer differs from the last one.
    pub(crate) changed: bool,
    /// Calls share connections.
    pub(crate) keep: bool,
    pub(crate) connections: usize,
}

impl Case {
    pub(crate) fn name(self) -> String {
        let Self { size, changed, keep, connections } = self;
        let what = if changed { "changed" } else { "unchanged" };
        let keep = if keep { "keep-alive" } else { "a connection per call" };
        let connections =
            if connections == 1 { "1 connection".to_owned() } else { format!("{connections} connections") };
        format!("{}, {what}, {keep}, {connections}", size.name())
    }
}

/// What one peer did in one round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figures {
    /// Calls in a second.
    pub(crate) rate: f64,
    /// Milliseconds.
    pub(crate) p50: f64,
    /// Milliseconds.
    pub(crate) p99: f64,
    /// CPU milliseconds for a call.
    pub(crate) cpu: f64,
}

type Round = (Peer, usize);

/// All of them.
#[derive(Default)]
pub(crate) struct Table {
    cases: Vec<(Case, BTreeMap<Round, Figures>)>,
    singles: Vec<(&'static str, &'static str, BTreeMap<Round, f64>)>,
    notes: Vec<String>,
}

impl Table {
    /// What a load did in one round.
    pub(crate) fn load(&mut self, case: Case, peer: Peer, round: usize, figures: Figures) {
        match self.cases.iter_mut().find(|(known, _)| *known == case) {
            Some((_, values)) => drop(values.insert((peer, round), figures)),
            None => self.cases.push((case, BTreeMap::from([((peer, round), figures)]))),
        }
    }

    /// A figure that stands alone.
    pub(crate) fn single(
        &mut self,
        name: &'static str,
        unit: &'static str,
        peer: Peer,
        round: usize,
        value: f64,
    ) {
        match self.singles.iter_mut().find(|(known, ..)| *known == name) {
            Some((_, _, values)) => drop(values.insert((peer, round), value)),
            None => self.singles.push((name, unit, BTreeMap::from([((peer, round), value)]))),
        }
    }

    /// A line below the table.
    pub(crate) fn note(&mut self, text: String) {
        if !self.notes.contains(&text) {
            self.notes.push(text);
        }
    }

    /// The cases that were measured.
    pub(crate) fn cases(&self) -> impl Iterator<Item = Case> {
        self.cases.iter().map(|(case, _)| *case)
    }

    /// Median of one of a peer's figures in a case.
    pub(crate) fn figure(&self, case: Case, peer: Peer, figure: fn(&Figures) -> f64) -> Option<f64> {
        let (_, values) = self.cases.iter().find(|(known, _)| *known == case)?;
        median(of(values, peer).map(figure).collect())
    }

    /// Our throughput over that of the best of these, median of the ratios of each round.
    pub(crate) fn lead(&self, case: Case, others: &[Peer]) -> Option<f64> {
        self.ratio(case, others, |ours, best| ours.rate / best.rate, |it| it.rate)
    }

    /// CPU that a call costs the most frugal of these over what it costs us.
    pub(crate) fn saving(&self, case: Case, others: &[Peer]) -> Option<f64> {
        self.ratio(case, others, |ours, best| best.cpu / ours.cpu, |it| -it.cpu)
    }

    fn ratio(
        &self,
        case: Case,
        others: &[Peer],
        ratio: fn(&Figures, &Figures) -> f64,
        good: fn(&Figures) -> f64,
    ) -> Option<f64> {
        let (_, values) = self.cases.iter().find(|(known, _)| *known == case)?;
        let ours = values.iter().filter(|((peer, _), _)| *peer == Peer::Hook);
        let ratios = ours.filter_map(|((_, round), ours)| {
            let others = others.iter().filter_map(|peer| values.get(&(*peer, *round)));
            Some(ratio(ours, others.max_by(|a, b| good(a).total_cmp(&good(b)))?))
        });
        median(ratios.collect())
    }

    /// Median of a figure that stands alone.
    pub(crate) fn alone(&self, name: &str, peer: Peer) -> Option<f64> {
        let (_, _, values) = self.singles.iter().find(|(known, ..)| *known == name)?;
        median(of(values, peer).copied().collect())
    }

    fn cell(&self, case: Case, peer: Peer) -> String {
        let figure = |figure| self.figure(case, peer, figure);
        let Some(rate) = figure(|it| it.rate) else { return "-".to_owned() };
        let (p50, p99, cpu) = (figure(|it| it.p50), figure(|it| it.p99), figure(|it| it.cpu));
        format!("{}: {} / {}, {}", shown(Some(rate)), shown(p50), shown(p99), shown(cpu))
    }
}

fn of<T>(values: &BTreeMap<Round, T>, peer: Peer) -> impl Iterator<Item = &T> {
    values.iter().filter(move |((known, _), _)| *known == peer).map(|(_, value)| value)
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = "| calls/s: p50 / p99 ms, CPU ms per call |".to_owned();
        for peer in Peer::ALL {
            write!(line, " {} |", peer.name())?;
        }
        writeln!(f, "{line} ours / best other |")?;
        writeln!(f, "|---|{}", "--:|".repeat(Peer::ALL.len() + 1))?;
        for case in self.cases() {
            write!(f, "| {} |", case.name())?;
            for peer in Peer::ALL {
                write!(f, " {} |", self.cell(case, peer))?;
            }
            writeln!(f, " {} |", shown(self.lead(case, &Peer::OTHERS)))?;
        }
        for (name, unit, _) in &self.singles {
            write!(f, "| {name}, {unit} |")?;
            for peer in Peer::ALL {
                write!(f, " {} |", shown(self.alone(name, peer)))?;
            }
            writeln!(f, " |")?;
        }
        writeln!(f)?;
        self.notes.iter().try_for_each(|note| writeln!(f, "- {note}"))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn figures(rate: f64, p99: f64) -> Figures {
        Figures { rate, p50: 1.0, p99, cpu: 0.5 }
    }

    #[test]
    fn the_best_other_one_of_each_round_is_what_counts() {
        let case = Case { size: Size { devices: 4, nodes: 2 }, changed: true, keep: true, connections: 1 };
        let mut table = Table::default();
        for (round, (ours, go, fast)) in
            [(400.0, 100.0, 50.0), (400.0, 50.0, 200.0), (900.0, 30.0, 10.0)].into_iter().enumerate()
        {
            table.load(case, Peer::Hook, round, figures(ours, 2.0));
            table.load(case, Peer::Go, round, figures(go, 3.0));
            table.load(case, Peer::Fast, round, figures(fast, 3.0));
            table.load(case, Peer::Floor, round, figures(9999.0, 0.1));
        }
        table.single("cold start", "ms", Peer::Go, 0, 12.0);
        let text = table.to_string();
        let row = "| 4 devices, 2 nodes, changed, keep-alive, 1 connection | 400: 1.00 / 2.00, 0.50 | 50.0: 1.00 / 3.00, 0.50 | - | \
                   50.0: 1.00 / 3.00, 0.50 | - | 9999: 1.00 / 0.10, 0.50 | 4.00 |";
        assert!(text.contains(row), "{text}");
        assert!(text.contains("| cold start, ms | - | 12.0 | - | - | - | - | |"), "{text}");
    }
}
