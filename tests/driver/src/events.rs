//! Events that tell people what went wrong, thinned out as client-go's recorder does: the same text again counts up
//! the first event, and one object gets a burst and then one every few minutes. Writing them never holds a sync up.

use std::{collections::HashMap, time::SystemTime};

use serde_json::{Value, json};
use tokio::{sync::mpsc, time::Instant};

use crate::{
    api::{Api, Patch},
    discovery::Resource,
    limits::TokenBucket,
    object::{self, Object},
};

/// How many events may wait to be written; what comes on top is lost, as there.
const WAITING: usize = 1000;

/// Takes events.
#[derive(Clone)]
pub struct Recorder(mpsc::Sender<Event>);

/// Something that people should know about an object.
#[derive(Clone, Debug)]
pub struct Event {
    about: Object,
    warning: bool,
    reason: &'static str,
    message: String,
}

impl Recorder {
    /// A recorder, and where its events come out.
    pub fn new() -> (Self, mpsc::Receiver<Event>) {
        let (sender, receiver) = mpsc::channel(WAITING);
        (Self(sender), receiver)
    }

    /// Something normal.
    pub fn normal(&self, about: &Object, reason: &'static str, message: String) {
        self.record(Event { about: about.clone(), warning: false, reason, message });
    }

    /// Something wrong.
    pub fn warning(&self, about: &Object, reason: &'static str, message: String) {
        self.record(Event { about: about.clone(), warning: true, reason, message });
    }

    fn record(&self, event: Event) {
        tracing::info!(
            object = object::describe(&event.about),
            reason = event.reason,
            message = event.message,
            "event"
        );
        if self.0.try_send(event).is_err() {
            tracing::warn!("an event is lost: too many wait to be written");
        }
    }
}

/// Writes events until nobody records any more.
pub async fn write(api: Api, mut events: mpsc::Receiver<Event>, qps: f64, burst: u32) {
    let resource = Resource::known("v1", "Event", "events", true);
    let mut thinner = Thinner::new(qps, burst);
    while let Some(event) = events.recv().await {
        let result = match thinner.thin(&event, Instant::now(), SystemTime::now()) {
            Step::Drop => continue,
            Step::Create(body) => api.create(&resource, &body).await,
            Step::Patch { namespace, name, patch, body } => {
                let patch = serialfleet_hook::merge::to_vec(&patch);
                match api.patch(&resource, &namespace, &name, Patch::StrategicMerge, patch).await {
                    Err(refusal) if refusal.is_not_found() => api.create(&resource, &body).await,
                    result => result,
                }
            }
        };
        if let Err(refusal) = result {
            tracing::warn!(%refusal, "an event could not be written");
        }
    }
}

/// What becomes of an event.
#[derive(Debug, PartialEq)]
enum Step {
    Drop,
    Create(Value),
    Patch { namespace: String, name: String, patch: Value, body: Value },
}

struct Thinner {
    qps: f64,
    burst: u32,
    objects: HashMap<String, TokenBucket>,
    written: HashMap<(String, String), (String, u64, String)>,
}

impl Thinner {
    fn new(qps: f64, burst: u32) -> Self {
        Self { qps, burst, objects: HashMap::new(), written: HashMap::new() }
    }

    fn thin(&mut self, event: &Event, now: Instant, clock: SystemTime) -> Step {
        let about = &event.about;
        let uid = format!("{}/{}", object::kind(about), object::uid(about));
        let bucket =
            self.objects.entry(uid.clone()).or_insert_with(|| TokenBucket::new(self.qps, self.burst));
        if !bucket.take(now) {
            return Step::Drop;
        }
        let time = humantime::format_rfc3339_seconds(clock).to_string();
        let nanos = clock.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos();
        let fresh = (format!("{}.{nanos:x}", object::name(about)), 0, time.clone());
        let (name, count, first) =
            self.written.entry((uid, format!("{} {}", event.reason, event.message))).or_insert(fresh);
        *count += 1;
        let namespace = match object::namespace(about) {
            "" => "default",
            namespace => namespace,
        };
        let body = json!({
            "apiVersion": "v1", "kind": "Event",
            "metadata": {"name": name, "namespace": namespace},
            "involvedObject": {
                "kind": object::kind(about), "namespace": object::namespace(about), "name": object::name(about),
                "uid": object::uid(about), "apiVersion": object::api_version(about),
                "resourceVersion": object::resource_version(about),
            },
            "reason": event.reason, "message": event.message,
            "source": {"component": "metacontroller"}, "reportingComponent": "metacontroller", "reportingInstance": "",
            "firstTimestamp": first, "lastTimestamp": time, "count": count,
            "type": if event.warning { "Warning" } else { "Normal" },
        });
        if *count == 1 {
            return Step::Create(body);
        }
        let patch = json!({"count": count, "lastTimestamp": time, "message": event.message});
        Step::Patch { namespace: namespace.to_owned(), name: name.clone(), patch, body }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use super::*;

    #[test]
    fn the_same_again_counts_up_and_too_much_is_dropped() {
        let about = Arc::new(json!({"kind": "SerialFleet", "metadata": {"name": "home", "uid": "u"}}));
        let event = |message: &str| Event {
            about: about.clone(),
            warning: true,
            reason: "SyncError",
            message: message.to_owned(),
        };
        let (now, clock) = (Instant::now(), SystemTime::UNIX_EPOCH + Duration::from_secs(60));
        let mut thinner = Thinner::new(1.0 / 300.0, 3);
        let Step::Create(first) = thinner.thin(&event("a"), now, clock) else { panic!("created") };
        assert_eq!((&first["metadata"]["namespace"], &first["count"]), (&json!("default"), &json!(1)));
        let Step::Patch { patch, name, .. } = thinner.thin(&event("a"), now, clock) else {
            panic!("patched")
        };
        assert_eq!(
            (&patch["count"], name.as_str()),
            (&json!(2), first["metadata"]["name"].as_str().unwrap())
        );
        assert!(matches!(thinner.thin(&event("b"), now, clock), Step::Create(_)));
        assert_eq!(thinner.thin(&event("c"), now, clock), Step::Drop);
        assert!(matches!(thinner.thin(&event("c"), now + Duration::from_secs(301), clock), Step::Create(_)));
    }
}
