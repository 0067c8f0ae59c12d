//! What `/metrics` tells: how often each hook was called with which outcome, how long it took, how large it was. No
//! label ever holds a name of a fleet, a device or a node.

use std::{fmt, time::Duration};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        counter::Counter,
        family::Family,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

/// A hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// `/sync`.
    Sync,
    /// `/customize`.
    Customize,
}

impl Hook {
    /// Its name in paths and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::Customize => "customize",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

/// The metrics of one hook.
#[derive(Debug)]
struct Calls {
    total: Family<Reason, Counter>,
    seconds: Histogram,
    bytes: Histogram,
}

impl Calls {
    fn new(registry: &mut Registry, hook: Hook) -> Self {
        let calls = Self {
            total: Family::default(),
            seconds: Histogram::new(exponential_buckets(0.000_1, 2.5, 12)),
            bytes: Histogram::new(exponential_buckets(1024.0, 4.0, 9)),
        };
        let name = |rest: &str| format!("serialfleet_{}_{rest}", hook.as_str());
        registry.register(name("calls"), "Calls of this hook, by outcome", calls.total.clone());
        registry.register(name("seconds"), "Time from a whole request to its answer", calls.seconds.clone());
        registry.register(name("request_bytes"), "Size of requests", calls.bytes.clone());
        calls
    }
}

/// All metrics of the hook server.
pub struct Metrics {
    registry: Registry,
    sync: Calls,
    customize: Calls,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::default();
        let sync = Calls::new(&mut registry, Hook::Sync);
        let customize = Calls::new(&mut registry, Hook::Customize);
        Self { registry, sync, customize }
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    fn of(&self, hook: Hook) -> &Calls {
        match hook {
            Hook::Sync => &self.sync,
            Hook::Customize => &self.customize,
        }
    }

    /// Counts a call by its outcome.
    pub fn called(&self, hook: Hook, reason: &'static str) {
        self.of(hook).total.get_or_create(&Reason { reason }).inc();
    }

    /// Notes what an answered call took.
    pub fn took(&self, hook: Hook, time: Duration, bytes: usize) {
        let calls = self.of(hook);
        calls.seconds.observe(time.as_secs_f64());
        #[allow(clippy::cast_precision_loss, reason = "bodies are far below 2^52 bytes")]
        calls.bytes.observe(bytes as f64);
    }

    /// OpenMetrics text.
    ///
    /// # Errors
    /// If formatting fails, which a `String` never does.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}
