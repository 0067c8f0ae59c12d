//! Looks at answers after they are sent, on a thread of its own: counts what Metacontroller will do with them, and warns
//! where it does the same again and again. Never in the way of an answer: it rests nineteen times as long as it worked,
//! and of what comes in meanwhile it looks at each fleet's last answer only.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread::{Builder, JoinHandle},
    time::{Duration, Instant},
};

use crate::{
    journal::{Job, Journal},
    metrics::Metrics,
    predict::{Prediction, predict},
};

/// The same write this many times in a row is a hot loop. Once more may be a cache that lags behind.
pub const HOT: u32 = 3;
/// Rest after work, as a multiple of it, and at most.
const REST: u32 = 19;
const LONGEST_REST: Duration = Duration::from_secs(5);

/// The thread. Ends when dropped.
#[derive(Debug)]
pub struct Foresight {
    journal: Journal,
    thread: Option<JoinHandle<()>>,
}

impl Foresight {
    /// Begins to look at what the journal is told.
    ///
    /// # Errors
    /// If there is no thread to be had.
    pub fn start(journal: Journal, metrics: Arc<Metrics>) -> io::Result<Self> {
        let watched = journal.clone();
        let thread = Builder::new().name("foresight".to_owned()).spawn(move || {
            while let Some(job) = watched.wait() {
                let start = Instant::now();
                look(&job, &watched, &metrics);
                watched.rest(start.elapsed().saturating_mul(REST).min(LONGEST_REST));
            }
        })?;
        Ok(Self { journal, thread: Some(thread) })
    }
}

impl Drop for Foresight {
    fn drop(&mut self) {
        self.journal.close();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("bug: the thread that looks at answers panicked");
        }
    }
}

/// Looks at one answer.
pub fn look(job: &Job, journal: &Journal, metrics: &Metrics) {
    match catch_unwind(AssertUnwindSafe(|| predict(&job.request, &job.answer))) {
        Ok(Ok(prediction)) => note(&prediction, job, journal, metrics),
        // It was answered, so the request is one; what a prediction stumbles over concerns nobody else.
        Ok(Err(error)) => tracing::debug!(fleet = job.fleet, "no prediction: {error}"),
        Err(_) => tracing::error!(fleet = job.fleet, "bug: the prediction panicked"),
    }
}

fn note(prediction: &Prediction, job: &Job, journal: &Journal, metrics: &Metrics) {
    let writes: Vec<_> = prediction.writes().collect();
    let again = journal.predicted(job, prediction.summary(), writes);
    let hot = again.iter().filter(|(count, _)| *count >= HOT).max_by_key(|(count, _)| *count);
    metrics.predicted(prediction, hot.is_some());
    if !prediction.is_at_rest() {
        tracing::info!(
            fleet = job.fleet,
            children_changed = prediction.written(),
            status_changed = !prediction.status.is_empty(),
            changes = prediction.summary(),
            "predicted"
        );
    }
    // Said at once, and then ever more rarely.
    if let Some((count, write)) = hot.filter(|(count, _)| *count == HOT || count.is_power_of_two()) {
        tracing::warn!(
            fleet = job.fleet,
            calls = count,
            "hot loop: written again and again: {write}. Somebody changes it back, or Kubernetes stores something else \
             or refuses it: see /debug, or serialfleet-hook diff"
        );
    }
}
