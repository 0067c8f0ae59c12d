//! How fast: the token bucket of client-go's clients and queues, and the back-off of a key that keeps failing
//! (`workqueue.DefaultTypedControllerRateLimiter`). Pure; time is an argument.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;

/// Tokens come at a rate, up to a burst. Who finds none is told how long to wait.
#[derive(Debug)]
pub struct TokenBucket {
    rate: f64,
    burst: f64,
    tokens: f64,
    at: Option<Instant>,
}

impl TokenBucket {
    /// A full one. A rate of zero or less is no limit.
    pub fn new(rate: f64, burst: u32) -> Self {
        Self { rate, burst: f64::from(burst), tokens: f64::from(burst), at: None }
    }

    /// Takes one token, if need be one that comes later: the wait until then.
    pub fn reserve(&mut self, now: Instant) -> Duration {
        if self.rate <= 0.0 {
            return Duration::ZERO;
        }
        self.refill(now);
        self.tokens -= 1.0;
        if self.tokens >= 0.0 { Duration::ZERO } else { Duration::from_secs_f64(-self.tokens / self.rate) }
    }

    /// Takes one token if there is one.
    pub fn take(&mut self, now: Instant) -> bool {
        self.refill(now);
        let enough = self.tokens >= 1.0;
        if enough {
            self.tokens -= 1.0;
        }
        enough
    }

    fn refill(&mut self, now: Instant) {
        let since = self.at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        self.tokens = (self.tokens + since.as_secs_f64() * self.rate).min(self.burst);
        self.at = Some(now);
    }
}

/// 5 ms, doubled with every failure of the same key up to 1000 s, and ten failures a second over all keys.
#[derive(Debug)]
pub struct Backoff {
    failures: HashMap<String, u32>,
    overall: TokenBucket,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { failures: HashMap::new(), overall: TokenBucket::new(10.0, 100) }
    }
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(5);
    const LONGEST: Duration = Duration::from_secs(1000);

    /// Counts a failure: how long the key is to wait.
    pub fn failed(&mut self, key: &str, now: Instant) -> Duration {
        let failures = self.failures.entry(key.to_owned()).or_default();
        let own = 1_u32
            .checked_shl(*failures)
            .and_then(|factor| Self::FIRST.checked_mul(factor))
            .map_or(Self::LONGEST, |wait| wait.min(Self::LONGEST));
        *failures = failures.saturating_add(1);
        own.max(self.overall.reserve(now))
    }

    /// The key did well.
    pub fn forget(&mut self, key: &str) {
        self.failures.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_waits_twice_as_long_each_time_until_it_does_well() {
        let now = Instant::now();
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..20).map(|_| backoff.failed("a", now).as_millis()).collect();
        assert_eq!(waits[..5], [5, 10, 20, 40, 80]);
        assert_eq!(waits[17..], [655_360, 1_000_000, 1_000_000]);
        assert_eq!(backoff.failed("b", now).as_millis(), 5);
        backoff.forget("a");
        assert_eq!(backoff.failed("a", now).as_millis(), 5);
    }

    #[test]
    fn a_key_that_fails_for_ever_does_not_overflow() {
        let now = Instant::now();
        let mut backoff =
            Backoff { failures: HashMap::from([("a".to_owned(), u32::MAX)]), ..Backoff::default() };
        assert_eq!(backoff.failed("a", now).as_secs(), 1000);
    }

    #[test]
    fn a_bucket_gives_its_burst_at_once_and_then_its_rate() {
        let now = Instant::now();
        let mut bucket = TokenBucket::new(5.0, 2);
        let waits: Vec<_> = (0..4).map(|_| bucket.reserve(now).as_millis()).collect();
        assert_eq!(waits, [0, 0, 200, 400]);
        assert_eq!(bucket.reserve(now + Duration::from_secs(10)).as_millis(), 0);
        assert_eq!(TokenBucket::new(0.0, 0).reserve(now), Duration::ZERO);
    }
}
