//! Whether what is written to the device moves.
//!
//! At rest nothing is looked at: one look five seconds after a write, and one every five seconds for as long as
//! bytes wait. Owned by the port's task; judges figures, and asks no device itself.

use std::time::Duration;

use tokio::time::Instant;

/// Bytes that have not moved for this long are stuck.
const STALL: Duration = Duration::from_secs(5);

/// What became of the bytes for a device.
#[derive(Default)]
pub(super) struct Output {
    /// Bytes that the kernel has taken, ever.
    written: u64,
    /// How many of them had left the kernel when that was last known.
    left: u64,
    /// Since when the kernel has taken nothing.
    blocked: Option<Instant>,
    look_at: Option<Instant>,
    stalled: bool,
}

impl Output {
    /// The kernel took `bytes`, which does not say that they move.
    pub(super) fn wrote(&mut self, bytes: usize) {
        if self.look_at.is_none() {
            // While nobody looked, everything written before has left the kernel.
            self.look_at = Some(Instant::now() + STALL);
            self.left = self.written;
        }
        self.written += bytes as u64;
    }

    /// The kernel takes nothing now.
    pub(super) fn blocked(&mut self) {
        if self.blocked.is_none() {
            let now = Instant::now();
            self.blocked = Some(now);
            if self.look_at.replace(now + STALL).is_none() {
                self.left = self.written;
            }
        }
    }

    /// After it took nothing the kernel took bytes again, or there are none any more.
    pub(super) fn unblocked(&mut self) {
        self.blocked = None;
        self.stalled = false;
    }

    pub(super) fn is_stalled(&self) -> bool {
        self.stalled
    }

    /// When [`Self::look`] is due.
    pub(super) fn look_at(&self) -> Option<Instant> {
        self.look_at
    }

    /// The kernel holds `queued` bytes. (A driver that cannot tell, as a PTY's, says 0.)
    pub(super) fn look(&mut self, now: Instant, queued: u32) {
        if queued == 0 && self.blocked.is_none() {
            self.look_at = None;
            self.stalled = false;
            return;
        }
        let left = self.written.saturating_sub(queued.into());
        let refused = queued == 0 && self.blocked.is_some_and(|since| now >= since + STALL);
        self.stalled = refused || left <= self.left;
        self.left = left;
        self.look_at = Some(now + STALL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(output: &Output) -> Instant {
        output.look_at().unwrap()
    }

    #[test]
    fn what_arrives_needs_one_look() {
        let mut output = Output::default();
        assert_eq!(output.look_at(), None);
        output.wrote(100);
        output.wrote(100);
        output.look(due(&output), 0);
        assert!(!output.is_stalled());
        assert_eq!(output.look_at(), None);
    }

    /// CTS is not wired: the kernel takes bytes, and keeps them.
    #[test]
    fn what_stays_in_the_kernel_is_stuck_although_it_takes_more() {
        let mut output = Output::default();
        output.wrote(1000);
        output.look(due(&output), 0);
        output.wrote(10);
        let first = due(&output);
        output.wrote(10);
        output.look(first, 20);
        assert!(output.is_stalled());
        output.wrote(10);
        output.look(due(&output), 30);
        assert!(output.is_stalled());
        output.look(due(&output), 29);
        assert!(!output.is_stalled(), "one byte has left");
        output.look(due(&output), 29);
        assert!(output.is_stalled());
        output.look(due(&output), 0);
        assert!(!output.is_stalled());
        assert_eq!(output.look_at(), None);
    }

    /// 300 baud: 30 bytes each second out of a queue that is always full.
    #[test]
    fn what_is_slow_is_not_stuck() {
        let mut output = Output::default();
        output.wrote(4000);
        for _ in 0..10 {
            output.look(due(&output), 3850);
            assert!(!output.is_stalled());
            output.wrote(150);
        }
    }

    /// The kernel says that it holds nothing (a PTY) and yet takes nothing.
    #[test]
    fn a_device_that_takes_nothing_is_stalled_until_it_does() {
        let mut output = Output::default();
        output.wrote(4000);
        output.blocked();
        output.look(due(&output), 0);
        assert!(output.is_stalled());
        output.unblocked();
        assert!(!output.is_stalled());
        output.look(due(&output), 0);
        assert_eq!(output.look_at(), None);
    }

    /// More bytes move than the kernel's queue holds, with a pause each time it is full.
    #[test]
    fn a_queue_that_is_full_at_each_look_is_not_stuck() {
        let mut output = Output::default();
        for _ in 0..10 {
            output.wrote(4000);
            output.blocked();
            output.look(due(&output), 3000);
            assert!(!output.is_stalled());
            output.unblocked();
        }
    }
}
