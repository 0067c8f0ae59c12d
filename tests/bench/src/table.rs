//! The figures: medians over the rounds, ratios of the same round, one Markdown table.
//!
//! Owner: the plan fills it. Pure.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use crate::figures::{median, quantile, shown};
use crate::peer::Peer;

/// One measure of all peers.
struct Row {
    name: String,
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

/// A median over the rounds, and the quartiles around it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_unstable_by(f64::total_cmp);
        let (low, high) = (quantile(&values, 0.25), quantile(&values, 0.75));
        Some(Self { median: median(values)?, low, high })
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [median, low, high] = [self.median, self.low, self.high].map(|value| shown(Some(value)));
        if low == high { f.write_str(&median) } else { write!(f, "{median} ({low} to {high})") }
    }
}

impl Table {
    /// One figure of one round.
    pub(crate) fn record(&mut self, name: String, unit: &'static str, peer: Peer, round: usize, value: f64) {
        match self.rows.iter_mut().find(|row| row.name == name) {
            Some(row) => drop(row.values.insert((peer, round), value)),
            None => self.rows.push(Row { name, unit, values: BTreeMap::from([((peer, round), value)]) }),
        }
    }

    /// A line below the table.
    pub(crate) fn note(&mut self, text: String) {
        if !self.notes.contains(&text) {
            self.notes.push(text);
        }
    }

    /// The bridge's figure.
    pub(crate) fn own(&self, name: &str) -> Option<Spread> {
        Spread::of(self.row(name)?.of(Peer::Bridge))
    }

    /// The bridge's figure over another's, paired by round.
    pub(crate) fn ratio(&self, name: &str, to: Peer) -> Option<Spread> {
        self.row(name)?.paired(to, |ours, other| ours / other)
    }

    /// The bridge's figure less another's, paired by round.
    pub(crate) fn difference(&self, name: &str, to: Peer) -> Option<Spread> {
        self.row(name)?.paired(to, |ours, other| ours - other)
    }

    fn row(&self, name: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.name == name)
    }
}

impl Row {
    fn of(&self, peer: Peer) -> Vec<f64> {
        self.values.iter().filter(|((known, _), _)| *known == peer).map(|(_, value)| *value).collect()
    }

    fn paired(&self, to: Peer, compare: fn(f64, f64) -> f64) -> Option<Spread> {
        let ours = self.values.iter().filter(|((peer, _), _)| *peer == Peer::Bridge);
        let pairs =
            ours.filter_map(|((_, round), ours)| Some(compare(*ours, *self.values.get(&(to, *round))?)));
        Spread::of(pairs.filter(|value| value.is_finite()).collect())
    }

    fn ratio_shown(&self, to: Peer) -> String {
        self.paired(to, |ours, other| ours / other).map_or_else(|| "-".to_owned(), |ratio| ratio.to_string())
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = "| measure | unit |".to_owned();
        for peer in Peer::ALL {
            write!(line, " {} |", peer.name())?;
        }
        writeln!(f, "{line} bridge / C copier | bridge / ser2net default |")?;
        writeln!(f, "|---|---|{}", "--:|".repeat(Peer::ALL.len() + 2))?;
        for row in &self.rows {
            write!(f, "| {} | {} |", row.name, row.unit)?;
            for peer in Peer::ALL {
                write!(f, " {} |", shown(median(row.of(peer))))?;
            }
            writeln!(f, " {} | {} |", row.ratio_shown(Peer::Copier), row.ratio_shown(Peer::Ser2net))?;
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
            table.record("speed".to_owned(), "MB/s", Peer::Bridge, round, ours);
            table.record("speed".to_owned(), "MB/s", Peer::Copier, round, theirs);
        }
        table.record("speed".to_owned(), "MB/s", Peer::Ser2net, 1, 3.0);
        let text = table.to_string();
        let row = "| speed | MB/s | 30.0 | 30.0 | 3.00 | - | - | - | 1.00 (1.00 to 1.50) | 10.0 |";
        assert!(text.contains(row), "{text}");
    }
}
