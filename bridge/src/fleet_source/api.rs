//! The fleet from the API server: list and watch of one object by name.
//!
//! Lenient: a device that this version does not understand is refused alone. Every failure is waited out; the
//! fleet in force stays. After a failure the object is listed again instead of resuming the watch: an API server
//! whose data was restored from a backup would keep a resumed watch silent for ever.

use std::{
    hash::{BuildHasher, RandomState},
    path::PathBuf,
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use futures_util::{Stream, StreamExt};
use kube::{
    Api, Client,
    core::DynamicObject,
    runtime::watcher::{self, Event},
};
use prometheus_client::metrics::counter::Counter;
use serde_json::{Value, json};
use serialfleet_api::{
    names,
    validate::{Violation, read_lenient},
};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{FleetState, Origin, cache::Cache, publish};
use crate::cluster::{backoff::Backoff, dice, explain, fleets};

/// How long the API server may take to answer before the kept fleet is used.
const CACHE_AFTER: Duration = Duration::from_secs(2);
/// How long a list may take.
const LIST_TIMEOUT: Duration = Duration::from_secs(30);
/// First and longest delay between attempts.
const DELAYS: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// A watch that lasted this long was a good one: the next failure is a first one.
const GOOD: Duration = Duration::from_secs(60);

type Events = Pin<Box<dyn Stream<Item = watcher::Result<Event<DynamicObject>>> + Send>>;

/// Publishes each change of the fleet, its status included, until told to end. `api_errors` counts failed calls.
pub async fn follow_api(
    client: Client,
    fleet: String,
    state_dir: Option<PathBuf>,
    tx: watch::Sender<FleetState>,
    api_errors: Counter,
    shutdown: CancellationToken,
) {
    let follower = Follower {
        api: fleets(&client),
        cache: state_dir.map(|directory| Cache::new(&directory, &fleet)),
        name: fleet,
        state: FleetState::default(),
        tx,
        api_errors,
        complaint: None,
        digests: RandomState::new(),
        in_force: None,
    };
    // Nothing in there is half done at an await: it may end anywhere.
    let _ended = shutdown.run_until_cancelled(follower.follow()).await;
}

struct Follower {
    api: Api<DynamicObject>,
    name: String,
    cache: Option<Cache>,
    state: FleetState,
    tx: watch::Sender<FleetState>,
    api_errors: Counter,
    /// The last failure that was logged, until things go well again.
    complaint: Option<String>,
    digests: RandomState,
    /// Digest of what [`Self::read`] read last.
    in_force: Option<u64>,
}

/// Where the conversation with the API server stands.
enum Talk {
    /// Listing until the deadline; whether the object was in it.
    Listing(Events, Instant, bool),
    /// Watching since.
    Watching(Events, Instant),
    /// Silent until.
    Waiting(Instant),
}

impl Follower {
    async fn follow(mut self) {
        let use_cache_at = Instant::now() + CACHE_AFTER;
        let mut cache_is_due = true;
        let mut backoff = Backoff::new(DELAYS.0, DELAYS.1);
        let mut talk = self.list();
        loop {
            let deadline = match &talk {
                Talk::Listing(_, deadline, _) | Talk::Waiting(deadline) => Some(*deadline),
                Talk::Watching(..) => None,
            };
            let has_fleet = self.state.origin != Origin::None || self.state.gone;
            let event = tokio::select! {
                biased;
                event = next(&mut talk) => Some(event),
                () = sleep_until(use_cache_at), if cache_is_due && !has_fleet => {
                    cache_is_due = false;
                    self.use_cache();
                    continue;
                }
                () = sleep_until(deadline.unwrap_or(use_cache_at)), if deadline.is_some() => None,
            };
            if matches!(&talk, Talk::Watching(_, since) if since.elapsed() >= GOOD) {
                backoff.reset();
            }
            talk = match event {
                Some(Some(Ok(event))) => self.heard(event, talk),
                Some(Some(Err(error))) if is_expiry(&error) => {
                    tracing::debug!(fleet = self.name, %error, "the watch expired");
                    Talk::Waiting(Instant::now() + backoff.delay(dice()))
                }
                Some(Some(Err(error))) => self.failed(complaint(&error), &mut backoff),
                Some(None) => self.failed("the watch ended".to_owned(), &mut backoff),
                None if matches!(talk, Talk::Waiting(_)) => self.list(),
                None => {
                    self.failed("the API server does not answer within 30 seconds".to_owned(), &mut backoff)
                }
            };
        }
    }

    fn list(&self) -> Talk {
        let config = watcher::Config::default().fields(&format!("metadata.name={}", self.name));
        let events = watcher::watcher(self.api.clone(), config).boxed();
        Talk::Listing(events, Instant::now() + LIST_TIMEOUT, false)
    }

    fn heard(&mut self, event: Event<DynamicObject>, talk: Talk) -> Talk {
        match (event, talk) {
            (Event::InitApply(object), Talk::Listing(events, deadline, _)) => {
                self.is_there(&object);
                Talk::Listing(events, deadline, true)
            }
            (Event::InitDone, Talk::Listing(events, _, seen)) => {
                if !seen {
                    self.is_gone();
                }
                if self.complaint.take().is_some() {
                    tracing::info!(fleet = self.name, "the API server answers again");
                }
                Talk::Watching(events, Instant::now())
            }
            (Event::Apply(object) | Event::InitApply(object), talk) => {
                self.is_there(&object);
                talk
            }
            (Event::Delete(_), talk) => {
                self.is_gone();
                talk
            }
            (Event::Init | Event::InitDone, talk) => talk,
        }
    }

    /// Says so once for each kind of failure: an outage must not fill a disk with its log.
    fn failed(&mut self, text: String, backoff: &mut Backoff) -> Talk {
        self.api_errors.inc();
        if self.complaint.as_ref() == Some(&text) {
            tracing::debug!(fleet = self.name, "{text}");
        } else {
            tracing::warn!(
                fleet = self.name,
                "cannot follow the fleet: {text}; ports go on with what is known"
            );
            self.complaint = Some(text);
        }
        Talk::Waiting(Instant::now() + backoff.delay(dice()))
    }

    fn use_cache(&mut self) {
        let Some(object) = self.cache.as_ref().and_then(Cache::load) else { return };
        match self.read(&object) {
            Ok(()) => {
                tracing::warn!(
                    fleet = self.name,
                    "the API server has not answered; starting with the fleet kept last"
                );
                self.state.origin = Origin::Cache;
                publish(&self.tx, &self.state);
            }
            Err(problem) => tracing::warn!(fleet = self.name, "the fleet kept last is unusable: {problem}"),
        }
    }

    fn is_there(&mut self, object: &DynamicObject) {
        let known = content(object);
        self.state.gone = object.metadata.deletion_timestamp.is_some();
        match self.read(&known) {
            Ok(()) => {
                self.state.origin = Origin::Api;
                if self.state.problem.take().is_some() {
                    tracing::info!(fleet = self.name, "the fleet is good again");
                }
                if !self.state.gone {
                    self.keep(&known);
                }
            }
            Err(problem) => {
                if self.state.problem.as_ref() != Some(&problem) {
                    tracing::warn!(fleet = self.name, "{problem}; the last good fleet stays in force");
                }
                self.state.problem = Some(problem);
            }
        }
        // A status that this version cannot read must not cost the fleet.
        let status = object.data.get("status").and_then(|status| serde_json::from_value(status.clone()).ok());
        if let Some(fleet) = self.state.fleet.as_mut().filter(|fleet| fleet.object.status != status) {
            Arc::make_mut(fleet).object.status = status;
        }
        publish(&self.tx, &self.state);
    }

    /// Puts a fleet in force, unless it is in force already: each status update comes by here, and reading takes
    /// a thousand times as long as comparing.
    fn read(&mut self, object: &Value) -> Result<(), String> {
        let digest = self.digests.hash_one(object.to_string());
        if self.in_force == Some(digest) {
            return Ok(());
        }
        let spec = &object["spec"];
        if !spec.is_object() || !spec.get("devices").is_none_or(Value::is_array) {
            return Err("spec.devices is no list".to_owned());
        }
        let read = read_lenient(object).map_err(|violations| sentence(&violations))?;
        self.state.fleet = Some(Arc::new(read.into()));
        self.in_force = Some(digest);
        Ok(())
    }

    fn is_gone(&mut self) {
        if !self.state.gone {
            tracing::warn!(fleet = self.name, "there is no such fleet in the cluster (any more)");
        }
        self.state.gone = true;
        if let Some(Err(error)) = self.cache.as_mut().map(Cache::remove) {
            tracing::warn!(%error, "cannot remove the fleet kept last");
        }
        publish(&self.tx, &self.state);
    }

    fn keep(&mut self, object: &Value) {
        if let Some(Err(error)) = self.cache.as_mut().map(|cache| cache.store(object)) {
            tracing::warn!(%error, "cannot keep the fleet for the next start");
        }
    }
}

/// The next event; never, while waiting.
async fn next(talk: &mut Talk) -> Option<watcher::Result<Event<DynamicObject>>> {
    match talk {
        Talk::Listing(events, ..) | Talk::Watching(events, _) => events.next().await,
        Talk::Waiting(_) => std::future::pending().await,
    }
}

/// What of an object is read and kept: nothing that changes by itself.
fn content(object: &DynamicObject) -> Value {
    let metadata = &object.metadata;
    json!({
        "apiVersion": names::API_VERSION,
        "kind": "SerialFleet",
        "metadata": {"name": metadata.name, "uid": metadata.uid, "generation": metadata.generation},
        "spec": object.data.get("spec").cloned().unwrap_or_else(|| json!({})),
    })
}

/// An old resource version is no failure: the watch starts anew.
fn is_expiry(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::WatchError(status) => status.code == 410,
        watcher::Error::WatchStartFailed(kube::Error::Api(status)) => status.code == 410,
        _ => false,
    }
}

fn complaint(error: &watcher::Error) -> String {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => explain(error),
        watcher::Error::WatchError(status) => explain(&kube::Error::Api(status.clone())),
        watcher::Error::NoResourceVersion => error.to_string(),
    }
}

fn sentence(violations: &[Violation]) -> String {
    let mut text = violations.iter().take(3).map(Violation::to_string).collect::<Vec<_>>().join("; ");
    if violations.len() > 3 {
        text.push_str("; and more");
    }
    text
}
