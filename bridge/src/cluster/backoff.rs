//! How long to wait before the next attempt. Pure: the caller brings the dice and keeps the time.

use std::time::Duration;

/// Exponential back-off with jitter: each delay lies between half of the step and the step; steps double up to a
/// cap. The jitter keeps thousands of bridges from coming back in one moment when the API server does.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    cap: Duration,
    step: Duration,
}

impl Backoff {
    /// Starts at `first`, ends at `cap`.
    pub fn new(first: Duration, cap: Duration) -> Self {
        Self { first, cap, step: first }
    }

    /// The delay before the next attempt.
    pub fn delay(&mut self, dice: u64) -> Duration {
        let step = self.step;
        self.step = step.saturating_mul(2).min(self.cap);
        jittered(step / 2, step / 2, dice)
    }

    /// Things went well: the next delay is a first one again.
    pub fn reset(&mut self) {
        self.step = self.first;
    }
}

/// `least` plus a random part of `spread`.
pub fn jittered(least: Duration, spread: Duration, dice: u64) -> Duration {
    let part = f64::from(u32::try_from(dice % 1024).unwrap_or(0)) / 1024.0;
    least + spread.mul_f64(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_cap_and_never_vanish() {
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(15));
        let mut step = Duration::from_millis(500);
        for dice in 0..20_u64 {
            let delay = backoff.delay(dice.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            assert!(delay >= step / 2 && delay <= step, "{delay:?} of {step:?}");
            step = (step * 2).min(Duration::from_secs(15));
        }
        backoff.reset();
        assert!(backoff.delay(1023) <= Duration::from_millis(500));
    }
}
