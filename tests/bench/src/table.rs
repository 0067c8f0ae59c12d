//! The figures: medians over the rounds, ratios of the same round, one Markdown table.
//!
//! Owner: the plan fills it. Pure.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use crate::figures::{median, shown};
use crate::peer::Peer;

/// One measure of all peers.
struct Row {
    name: &'static str,
    unit: &'static str,
    /// By peer and round.
    values: BTreeMap<(Peer, usize), f64>,
}

/// All of them, in the order in which they were first recorded.
#[derive(Default)]
pub(crate) struct Table {
    rows: Vec<Row>,
    notes: Vec<String>,
}

impl Table {
    /// One figure of one round.
    pub(crate) fn record(
        &mut self,
        name: &'static str,
        unit: &'static str,
        peer: Peer,
        round: usize,
        value: f64,
    ) {
        let at = self.rows.iter().position(|row| row.name == name).unwrap_or_else(|| {
            self.rows.push(Row { name, unit, values: BTreeMap::new() });
            self.rows.len() - 1
        });
        if let Some(row) = self.rows.get_mut(at) {
            row.values.insert((peer, round), value);
        }
    }

    /// A line below the table.
    pub(crate) fn note(&mut self, text: String) {
        if !self.notes.contains(&text) {
            self.notes.push(text);
        }
    }
}

impl Row {
    fn of(&self, peer: Peer) -> Vec<f64> {
        self.values.iter().filter(|((known, _), _)| *known == peer).map(|(_, value)| *value).collect()
    }

    /// The bridge's figure over another's, paired by round.
    fn ratio(&self, to: Peer) -> Option<f64> {
        let pairs = self.values.iter().filter(|((peer, _), _)| *peer == Peer::Bridge);
        let ratios = pairs.filter_map(|((_, round), ours)| Some(ours / self.values.get(&(to, *round))?));
        median(ratios.collect())
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = "| measure | unit |".to_owned();
        for peer in Peer::ALL {
            write!(line, " {} |", peer.name())?;
        }
        writeln!(f, "{line} bridge / copier | bridge / ser2net default |")?;
        writeln!(f, "|---|---|{}", "--:|".repeat(Peer::ALL.len() + 2))?;
        for row in &self.rows {
            write!(f, "| {} | {} |", row.name, row.unit)?;
            for peer in Peer::ALL {
                write!(f, " {} |", shown(median(row.of(peer))))?;
            }
            writeln!(f, " {} | {} |", shown(row.ratio(Peer::Copier)), shown(row.ratio(Peer::Ser2net)))?;
        }
        writeln!(f)?;
        self.notes.iter().try_for_each(|note| writeln!(f, "- {note}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_ratios_and_gaps_are_shown() {
        let mut table = Table::default();
        for (round, (ours, theirs)) in [(10.0, 20.0), (30.0, 30.0), (90.0, 60.0)].into_iter().enumerate() {
            table.record("speed", "MB/s", Peer::Bridge, round, ours);
            table.record("speed", "MB/s", Peer::Copier, round, theirs);
        }
        table.record("speed", "MB/s", Peer::Ser2net, 1, 3.0);
        let text = table.to_string();
        assert!(text.contains("| speed | MB/s | 30.0 | 30.0 | 3.00 | - | - | - | 1.00 | 10.0 |"), "{text}");
    }
}
