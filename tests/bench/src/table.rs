//! The figures: medians over the rounds, ratios of the same round, one Markdown table.
//!
//! Owner: the plan fills it. Pure.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

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

/// The value below which the part `at` of the sorted samples lies.
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an index into samples that are in memory, and `at` is 0..1"
)]
pub(crate) fn quantile(sorted: &[f64], at: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get((last as f64 * at).round() as usize).copied().unwrap_or(f64::NAN)
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    if values.len() % 2 == 1 {
        return Some(upper);
    }
    Some(f64::midpoint(*values.get(middle.checked_sub(1)?)?, upper))
}

/// Three digits that count.
fn shown(value: Option<f64>) -> String {
    match value {
        None => "-".to_owned(),
        Some(value) if value.abs() >= 99.95 => format!("{value:.0}"),
        Some(value) if value.abs() >= 9.995 => format!("{value:.1}"),
        Some(value) => format!("{value:.2}"),
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

    #[test]
    fn quantiles_are_values_that_occurred() {
        let samples: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!((quantile(&samples, 0.5), quantile(&samples, 0.99)), (51.0, 99.0));
        assert!(quantile(&[], 0.5).is_nan());
        assert_eq!(median(vec![4.0, 1.0]), Some(2.5));
    }
}
