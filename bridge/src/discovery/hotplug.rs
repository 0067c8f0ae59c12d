//! When to scan again: kernel uevents, changes in the device directory, and a slow timer.
//!
//! Owner: the control thread, inside a tokio runtime with I/O and time. All of it is hints: an event says that
//! something may have changed, never what. Lost, foreign and late events are harmless, and without any the timer
//! remains.

mod nodes;
mod pace;
mod uevents;

use std::{
    collections::hash_map::RandomState,
    future,
    hash::{BuildHasher, Hasher},
    path::Path,
    time::Duration,
};

use tokio::time::{Instant, sleep_until};
use tracing::warn;

use self::{nodes::Nodes, pace::Pace, uevents::Uevents};

/// How much hurry a hint asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Hint {
    /// Something beside the ttys: it can wait for the end of the burst.
    Lazy,
    /// A tty came, went or changed.
    Urgent,
}

/// Says when it is time to scan again.
#[derive(Debug)]
pub struct Hotplug {
    uevents: Option<Uevents>,
    nodes: Option<Nodes>,
    pace: Pace,
    timer: Instant,
}

impl Hotplug {
    /// Starts to listen. Scan after this, not before, or what changes in between waits for the timer. What cannot be
    /// listened to is said once and done without.
    pub fn new(dev_root: &Path) -> Self {
        let uevents = Uevents::listen()
            .inspect_err(
                |error| warn!(%error, "no kernel events: plugged devices are found by other means, later"),
            )
            .ok();
        let nodes = Nodes::watch(dev_root)
            .inspect_err(
                |error| warn!(%error, directory = %dev_root.display(), "device directory cannot be watched"),
            )
            .ok();
        Self { uevents, nodes, pace: Pace::default(), timer: Instant::now() + timer_period() }
    }

    /// Returns when it is time to scan again: at once at the first event of a burst, then at most every 20 ms, once
    /// more after the burst, and after 45 s without any. Dropping the future loses nothing.
    pub async fn changed(&mut self) {
        loop {
            let due = self.pace.due().map_or(self.timer, |due| self.timer.min(Instant::from_std(due)));
            let hint = tokio::select! {
                hint = hint_or_end(&mut self.uevents) => hint,
                hint = hint_or_end(&mut self.nodes) => hint,
                () = sleep_until(due) => {
                    let now = Instant::now();
                    self.pace.scanned(now.into_std());
                    self.timer = now + timer_period();
                    return;
                }
            };
            self.pace.hint(hint, Instant::now().into_std());
        }
    }
}

/// Something that gives hints until it breaks.
trait Source {
    /// The next hint; `None`: there will be none any more.
    async fn hint(&mut self) -> Option<Hint>;
}

/// The next hint; a source that has ended is said once, and then waits for ever.
async fn hint_or_end(source: &mut Option<impl Source>) -> Hint {
    if let Some(open) = source {
        if let Some(hint) = open.hint().await {
            return hint;
        }
        *source = None;
        warn!("a source of hot-plug events has ended: devices are found by the others, or by the timer");
        return Hint::Urgent;
    }
    future::pending().await
}

/// 45 s, 10 % more or less, so that bridges on many nodes do not work in step.
fn timer_period() -> Duration {
    let random = RandomState::new().build_hasher().finish();
    Duration::from_millis(40_500 + random % 9_000)
}
