//! When to write. Pure: time is an argument, measured by a clock that nobody sets.

use std::{collections::BTreeMap, time::Duration};

use serialfleet_api::node::Warning;

use super::PortReport;

/// Writes that may follow each other at once.
const BURST: u32 = 5;
/// After a burst, one write per this.
const INTERVAL: Duration = Duration::from_secs(2);
/// How long a warning must stand before it is shown, or be over before it is no longer shown.
pub const STANDING: Duration = Duration::from_secs(5);

/// A bucket of writes: full at first, refilled by one each interval. Whoever finds it empty comes back later with
/// what is true then, so the last state is always written.
#[derive(Clone, Debug)]
pub struct Pace {
    left: u32,
    /// When the bucket was last refilled.
    refilled: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { left: BURST, refilled: Duration::ZERO }
    }
}

impl Pace {
    /// Takes one write.
    ///
    /// # Errors
    /// The time at which there is one, if there is none now.
    pub fn take(&mut self, now: Duration) -> Result<(), Duration> {
        while self.left < BURST && now >= self.refilled + INTERVAL {
            self.left += 1;
            self.refilled += INTERVAL;
        }
        if self.left == BURST {
            self.refilled = now;
        }
        if self.left == 0 {
            return Err(self.refilled + INTERVAL);
        }
        self.left -= 1;
        Ok(())
    }
}

/// Which warnings stand long enough to be shown. A warning that flickers causes no writes.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    warnings: BTreeMap<(String, String, String), Stand>,
}

#[derive(Clone, Copy, Debug)]
struct Stand {
    is_there: bool,
    /// When it came or went.
    since: Duration,
    is_shown: bool,
}

impl Standing {
    /// Takes notice of what the ports warn of now.
    pub fn observe(&mut self, ports: &[PortReport], now: Duration) {
        self.settle(now);
        let mut over: Vec<_> = self.warnings.keys().cloned().collect();
        for port in ports {
            for warning in &port.warnings {
                let key = (port.name.clone(), warning.reason.clone(), warning.message.clone());
                over.retain(|other| *other != key);
                let stand = self.warnings.entry(key).or_insert(Stand {
                    is_there: false,
                    since: now,
                    is_shown: false,
                });
                if !stand.is_there {
                    *stand = Stand { is_there: true, since: now, ..*stand };
                }
            }
        }
        for key in over {
            if let Some(stand) = self.warnings.get_mut(&key).filter(|stand| stand.is_there) {
                *stand = Stand { is_there: false, since: now, ..*stand };
            }
        }
        self.warnings.retain(|_, stand| stand.is_there || stand.is_shown);
    }

    /// Lets time pass.
    pub fn settle(&mut self, now: Duration) {
        for stand in self.warnings.values_mut() {
            if now >= stand.since + STANDING {
                stand.is_shown = stand.is_there;
            }
        }
        self.warnings.retain(|_, stand| stand.is_there || stand.is_shown);
    }

    /// When [`Self::settle`] will change something, if nothing else happens.
    pub fn next_change(&self) -> Option<Duration> {
        let unsettled = self.warnings.values().filter(|stand| stand.is_there != stand.is_shown);
        unsettled.map(|stand| stand.since + STANDING).min()
    }

    /// The warnings of a port that are shown, sorted.
    pub fn shown(&self, port: &str) -> Vec<Warning> {
        let of_port = self.warnings.iter().filter(|((name, ..), stand)| name == port && stand.is_shown);
        of_port
            .map(|((_, reason, message), _)| Warning { reason: reason.clone(), message: message.clone() })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn port(warnings: &[&str]) -> Vec<PortReport> {
        let warnings =
            warnings.iter().map(|reason| Warning { reason: (*reason).into(), message: "m".into() });
        vec![PortReport { name: "zigbee".into(), warnings: warnings.collect(), ..PortReport::default() }]
    }

    #[test]
    fn five_at_once_then_one_in_two_seconds() {
        let mut pace = Pace::default();
        let start = seconds(100);
        for _ in 0..5 {
            assert_eq!(pace.take(start), Ok(()));
        }
        assert_eq!(pace.take(start), Err(seconds(102)));
        assert_eq!(pace.take(seconds(102)), Ok(()));
        assert_eq!(pace.take(seconds(103)), Err(seconds(104)));
        assert_eq!(pace.take(seconds(104)), Ok(()));
        for _ in 0..5 {
            assert_eq!(pace.take(seconds(200)), Ok(()), "a quiet time fills the bucket");
        }
        assert_eq!(pace.take(seconds(200)), Err(seconds(202)));
    }

    #[test]
    fn a_warning_is_shown_once_it_stands() {
        let mut standing = Standing::default();
        standing.observe(&port(&["Ambiguous"]), seconds(10));
        assert!(standing.shown("zigbee").is_empty());
        assert_eq!(standing.next_change(), Some(seconds(15)));
        standing.settle(seconds(15));
        assert_eq!(standing.shown("zigbee").len(), 1);
        assert_eq!(standing.next_change(), None);
        standing.observe(&port(&[]), seconds(20));
        assert_eq!(standing.shown("zigbee").len(), 1, "it may come back at once");
        standing.settle(seconds(25));
        assert!(standing.shown("zigbee").is_empty());
        assert_eq!(standing.next_change(), None);
    }

    #[test]
    fn a_flickering_warning_changes_nothing() {
        let mut standing = Standing::default();
        for second in 0..60 {
            standing.observe(&port(if second % 4 < 2 { &["Contended"] } else { &[] }), seconds(second));
            assert!(standing.shown("zigbee").is_empty());
        }
        assert!(standing.warnings.len() <= 1);
    }
}
