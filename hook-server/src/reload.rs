//! Files that may change while the process runs: certificates and tokens, as mounted Secrets. Looks every few seconds,
//! because Kubernetes swaps a symbolic link on the way there, which a watch on the file itself never sees. A file that
//! has become unusable changes nothing: what was read before stays in force, and the log and a metric say so.

use std::{
    convert::Infallible,
    fmt,
    fs::Metadata,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{sync::watch, time};

use crate::metrics::Metrics;

/// How often files are looked at.
pub const EVERY: Duration = Duration::from_secs(5);

/// A file that cannot be used, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {why}", file.display())]
pub struct Broken {
    file: PathBuf,
    why: String,
}

impl Broken {
    /// This file, for this reason.
    pub fn new(file: &Path, why: impl fmt::Display) -> Self {
        Self { file: file.to_owned(), why: why.to_string() }
    }
}

/// What a file is recognised by; `None`: it is not there. Follows links.
type Stamp = Option<(u64, u64, i64, i64, u64)>;

fn stamps(files: &[PathBuf]) -> Vec<Stamp> {
    let stamp = |it: Metadata| (it.dev(), it.ino(), it.mtime(), it.mtime_nsec(), it.size());
    files.iter().map(|file| std::fs::metadata(file).ok().map(stamp)).collect()
}

/// One value made of some files.
#[derive(Debug)]
pub struct Reload<T> {
    what: &'static str,
    files: Vec<PathBuf>,
    load: fn(&[PathBuf]) -> Result<T, Broken>,
    seen: Vec<Stamp>,
    current: watch::Sender<T>,
}

impl<T> Reload<T> {
    /// Reads the files for the first time. `what` is the label of the metric.
    ///
    /// # Errors
    /// If they cannot be used: there is nothing yet to go on with.
    pub fn first(
        what: &'static str,
        files: Vec<PathBuf>,
        load: fn(&[PathBuf]) -> Result<T, Broken>,
    ) -> Result<Self, Broken> {
        // Looked at before they are read: a change in between is seen at the next look.
        let seen = stamps(&files);
        let current = watch::Sender::new(load(&files)?);
        Ok(Self { what, files, load, seen, current })
    }

    /// The value, now and after every change.
    pub fn subscribe(&self) -> watch::Receiver<T> {
        self.current.subscribe()
    }

    /// Keeps the value up to date, for as long as it is polled.
    pub async fn follow(mut self, every: Duration, metrics: Arc<Metrics>) -> Infallible {
        let mut ticks = time::interval(every);
        ticks.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
        let mut broken: Option<Broken> = None;
        loop {
            ticks.tick().await;
            let seen = stamps(&self.files);
            // What is broken is tried again even if it looks the same: two halves of a pair may have been written
            // within one tick of the file system's clock.
            if seen == self.seen && broken.is_none() {
                continue;
            }
            let changed = seen != self.seen;
            self.seen = seen;
            match (self.load)(&self.files) {
                Ok(value) => {
                    self.current.send_replace(value);
                    broken = None;
                    metrics.reloaded(self.what, true);
                    tracing::info!(what = self.what, "files have changed: read anew");
                }
                Err(error) => {
                    if changed || broken.as_ref() != Some(&error) {
                        metrics.reloaded(self.what, false);
                        tracing::error!(
                            what = self.what,
                            "files have changed and cannot be used, the earlier ones stay in force: {error}"
                        );
                    }
                    broken = Some(error);
                }
            }
        }
    }
}
