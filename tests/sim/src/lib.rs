//! Simulated serial hardware: what stands in for USB sticks, sysfs and kernel uevents where there is no hardware.
//!
//! Owner: the tests of every crate and the demo. It depends on nothing of ours, so that a mistake in the product
//! cannot hide in its own test bench, and it never ships.
//!
//! A [`Host`] owns a sysfs root and a device root; a [`Stick`] is plugged into it and behaves as the kernel's
//! drivers do: names and numbers, order of events, hang-up, lost queues, a fresh termios after a replug. What a PTY
//! cannot show (modem lines, break, line errors, pacing, a close that blocks) is not imitated.
#![allow(
    clippy::expect_used,
    reason = "test support: a broken bench must stop the test at once, with a sentence"
)]

pub mod host;
pub mod journal;
mod layout;
pub mod namespace;
mod netlink;
mod number;
mod opens;
mod pty;
pub mod reply;
pub mod spec;
pub mod stick;
mod sysfs;
pub mod trees;
pub mod uevent;
pub mod walk;

pub use host::Host;
pub use journal::{Event, Record};
pub use reply::Mode;
pub use spec::{Scene, StickSpec};
pub use stick::Stick;
