//! How often to scan while events come: at once for the first, seldom enough not to drown, once more at the end.
//!
//! Owner: [`super::Hotplug`]. Pure: time is an argument.

use std::time::{Duration, Instant};

use super::Hint;

/// Least time between two scans.
const SPACING: Duration = Duration::from_millis(20);
/// So long after its last event a burst is over. Loading a driver's module takes less, nearly always.
const QUIET: Duration = Duration::from_millis(500);
/// A burst that does not end (a device that resets for ever) is scanned in between, so often.
const LONGEST: Duration = Duration::from_secs(2);

/// What is due.
#[derive(Debug, Default)]
pub(super) struct Pace {
    last: Option<Instant>,
    urgent: Option<Instant>,
    end_of_burst: Option<Instant>,
    first_of_burst: Option<Instant>,
}

impl Pace {
    /// When to scan; `None`: nothing happened.
    pub(super) fn due(&self) -> Option<Instant> {
        [self.urgent, self.end_of_burst].into_iter().flatten().min()
    }

    /// Something may have changed.
    pub(super) fn hint(&mut self, hint: Hint, now: Instant) {
        if hint == Hint::Urgent && self.urgent.is_none() {
            self.urgent = Some(self.last.map_or(now, |last| now.max(last + SPACING)));
        }
        let first = *self.first_of_burst.get_or_insert(now);
        self.end_of_burst = Some((now + QUIET).min(first + LONGEST));
    }

    /// A scan begins now: it sees all that has happened.
    pub(super) fn scanned(&mut self, now: Instant) {
        self.last = Some(now);
        self.urgent = None;
        if self.end_of_burst.is_some_and(|end| end <= now) {
            self.end_of_burst = None;
            self.first_of_burst = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    /// The times of scans, in milliseconds, for hints at the given times.
    fn scans(hints: &[(u64, Hint)], until: u64) -> Vec<u64> {
        let start = Instant::now();
        let mut pace = Pace::default();
        let mut hints = hints.iter().copied().peekable();
        let mut scans = Vec::new();
        for now in 0..until {
            while let Some((_, hint)) = hints.next_if(|(at, _)| *at <= now) {
                pace.hint(hint, start + ms(now));
            }
            if pace.due().is_some_and(|due| due <= start + ms(now)) {
                pace.scanned(start + ms(now));
                scans.push(now);
            }
        }
        scans
    }

    #[test]
    fn the_first_event_is_answered_at_once_and_a_burst_once_more_after_its_end() {
        assert_eq!(scans(&[(100, Hint::Urgent)], 3000), [100, 600]);
    }

    #[test]
    fn events_of_a_burst_are_gathered() {
        let burst = [(0, Hint::Urgent), (1, Hint::Urgent), (8, Hint::Urgent), (50, Hint::Urgent)];
        assert_eq!(scans(&burst, 3000), [0, 20, 50, 550]);
        let storm: Vec<_> = (0..1000).map(|at| (at, Hint::Urgent)).collect();
        assert_eq!(scans(&storm, 3000).len(), 52);
    }

    #[test]
    fn what_is_no_tty_waits_for_the_end_of_the_burst() {
        assert_eq!(scans(&[(0, Hint::Lazy), (30, Hint::Lazy)], 3000), [530]);
        assert_eq!(scans(&[(0, Hint::Lazy), (30, Hint::Urgent)], 3000), [30, 530]);
    }

    #[test]
    fn a_burst_without_end_is_scanned_in_between() {
        let endless: Vec<_> = (0..60).map(|n| (n * 100, Hint::Lazy)).collect();
        assert_eq!(scans(&endless, 6000), [2000, 4100]);
    }

    #[test]
    fn silence_is_no_reason_to_scan() {
        assert_eq!(scans(&[], 3000), [0_u64; 0]);
    }
}
