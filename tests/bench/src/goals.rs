//! What the figures say of the goals. The numbers stand in the project's design; they are not moved here.
//!
//! Owner: the plan prints it. Pure.

use std::fmt;

use crate::figures::shown;
use crate::flood::Direction;
use crate::measures::{Measure, PORTS, WRITE};
use crate::peer::Peer;
use crate::round_trip::Exchange;
use crate::system_calls;
use crate::table::{Spread, Table};

/// What is compared with the goal.
enum Of {
    /// The bridge's figure over another's.
    Ratio(Peer),
    /// The bridge's figure less another's.
    Difference(Peer),
    /// The bridge's figure, in this unit.
    Own(&'static str),
}

enum Goal {
    AtLeast(f64),
    AtMost(f64),
}

/// One goal and what was measured.
pub(crate) struct Verdict {
    text: String,
    met: bool,
    /// The goal lies between the quartiles: another run may say otherwise.
    close: bool,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.met { "met" } else { "MISSED" };
        let doubt = if self.close { " (within the spread)" } else { "" };
        write!(f, "- {word}{doubt}: {}", self.text)
    }
}

/// What can be said with what was measured.
pub(crate) fn verdicts(table: &Table) -> Vec<Verdict> {
    use Goal::{AtLeast, AtMost};
    use Of::{Difference, Own, Ratio};

    let mut goals = Vec::new();
    for direction in Direction::ALL {
        let name = Measure::Flood(direction, WRITE).name();
        goals.push((name.clone(), Ratio(Peer::Copier), AtLeast(0.95)));
        goals.push((name.clone(), Ratio(Peer::Ser2net), AtLeast(3.0)));
        goals.push((format!("{name}, CPU"), Ratio(Peer::Copier), AtMost(1.2)));
    }
    for direction in [Direction::FromTty, Direction::ToTty] {
        let name = format!("{}, {} for 4 KiB", direction.name(), system_calls::NAME);
        goals.push((name, Difference(Peer::Copier), AtMost(1.0)));
    }
    for exchange in Exchange::ALL {
        goals.push((format!("{} p50", exchange.name()), Ratio(Peer::Copier), AtMost(1.05)));
        goals.push((format!("{} p99", exchange.name()), Ratio(Peer::Copier), AtMost(1.25)));
    }
    goals.push((format!("{} p50", Exchange::Ping.name()), Own("us"), AtMost(400.0)));
    goals.push((format!("{} p50", Exchange::Modbus.name()), Own("us"), AtMost(500.0)));
    for direction in Direction::ALL {
        let name = Measure::Many(direction).name();
        goals.push((name.clone(), Ratio(Peer::Copier), AtLeast(0.95)));
        goals.push((format!("{name}, CPU"), Ratio(Peer::Copier), AtMost(1.2)));
        goals.push((format!("{name}, slowest / mean"), Own(""), AtLeast(0.5)));
    }
    for (ports, most) in [(1, 5.0), (PORTS, 14.0)] {
        for when in ["idle", "after load"] {
            goals.push((format!("{}, {when}", Measure::Memory(ports).name()), Own("MiB"), AtMost(most)));
        }
    }
    goals.push((format!("{}, failed of 1,000", Measure::Connects.name()), Own(""), AtMost(0.0)));
    goals.push(("plug to bytes p99".to_owned(), Own("ms"), AtMost(300.0)));
    goals.into_iter().filter_map(|(name, of, goal)| judge(table, &name, &of, &goal)).collect()
}

fn judge(table: &Table, name: &str, of: &Of, goal: &Goal) -> Option<Verdict> {
    let (measured, unit) = match of {
        Of::Ratio(peer) => (table.ratio(name, *peer)?, format!(" x the {}", peer.name())),
        Of::Difference(peer) => (table.difference(name, *peer)?, format!(" more than the {}", peer.name())),
        Of::Own("") => (table.own(name)?, String::new()),
        Of::Own(unit) => (table.own(name)?, format!(" {unit}")),
    };
    let Spread { median, low, high } = measured;
    let (word, goal, met) = match goal {
        Goal::AtLeast(goal) => ("at least", *goal, median >= *goal),
        Goal::AtMost(goal) => ("at most", *goal, median <= *goal),
    };
    Some(Verdict {
        text: format!("{name}: {measured}{unit}; {word} {}", shown(Some(goal))),
        met,
        close: low < goal && goal < high,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_is_met_by_the_median_and_the_spread_is_said() {
        let mut table = Table::default();
        let name = Measure::Flood(Direction::ToTty, WRITE).name();
        for (round, ours) in [90.0, 97.0, 99.0, 100.0].into_iter().enumerate() {
            table.record(name.clone(), "MB/s", Peer::Bridge, round, ours);
            table.record(name.clone(), "MB/s", Peer::Copier, round, 100.0);
            table.record(name.clone(), "MB/s", Peer::Ser2net, round, 50.0);
        }
        let said: Vec<String> = verdicts(&table).iter().map(Verdict::to_string).collect();
        let expected = [
            "- met: TCP to tty: 0.98 (0.97 to 0.99) x the C copier; at least 0.95",
            "- MISSED: TCP to tty: 1.96 (1.94 to 1.98) x the ser2net default; at least 3.00",
        ];
        assert_eq!(said, expected);
    }
}
