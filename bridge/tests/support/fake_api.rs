//! An API server in memory, spoken to without a socket (or with one): list and watch with bookmarks, resource versions and
//! expiry, get, server-side apply, delete with preconditions. Breaks on demand and counts. Only what a bridge
//! uses, and only as a bridge can see it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::{
    collections::{BTreeMap, HashMap},
    convert::Infallible,
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Json, Router,
    body::Body,
    extract::{Path, Query, State},
    http::{Request, StatusCode},
    response::{IntoResponse, Response},
    routing::get,
};
use futures_util::stream;
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use tower::ServiceExt;

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Verb {
    List,
    Watch,
    Get,
    Patch,
    Delete,
}

/// How a request fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nobody listens.
    Refuse,
    /// Somebody listens and never answers.
    Hang,
    /// A refusal with this code.
    Status(u16),
}

#[derive(Default)]
struct Inner {
    objects: BTreeMap<(String, String), Value>,
    version: u64,
    uids: u64,
    /// Version, resource, type, object.
    log: Vec<(u64, String, &'static str, Value)>,
    /// Versions up to this are no longer kept.
    expired: u64,
    /// Watches of an earlier generation end.
    generation: u64,
    faults: BTreeMap<Verb, Fault>,
    calls: BTreeMap<Verb, usize>,
    applied_as: Vec<HashMap<String, String>>,
}

/// The server; clones are the same one.
#[derive(Clone)]
pub(crate) struct FakeApi {
    inner: Arc<Mutex<Inner>>,
    changes: watch::Sender<u64>,
}

impl FakeApi {
    pub(crate) fn new() -> Self {
        let inner = Inner { version: 100, ..Inner::default() };
        Self { inner: Arc::new(Mutex::new(inner)), changes: watch::Sender::new(0) }
    }

    /// A client of this server.
    pub(crate) fn client(&self) -> kube::Client {
        let fake = self.clone();
        let service = tower::service_fn(move |request: Request<kube::client::Body>| {
            let fake = fake.clone();
            async move { fake.answer(request.map(Body::new)).await }
        });
        kube::Client::new(service, "serialfleet-system")
    }

    /// The same over a socket, without faults and counts.
    pub(crate) async fn serve(self, listener: tokio::net::TcpListener) {
        axum::serve(listener, self.router()).await.unwrap();
    }

    /// Fails every request of these kinds from now on.
    pub(crate) fn fail(&self, verbs: &[Verb], fault: Fault) {
        self.change(|inner| inner.faults.extend(verbs.iter().map(|verb| (*verb, fault))));
    }

    /// Fails everything, and ends the watches.
    pub(crate) fn go_away(&self, fault: Fault) {
        self.fail(&[Verb::List, Verb::Watch, Verb::Get, Verb::Patch, Verb::Delete], fault);
        self.break_watches();
    }

    /// Fails nothing any more.
    pub(crate) fn come_back(&self) {
        self.change(|inner| inner.faults.clear());
    }

    /// Ends every watch.
    pub(crate) fn break_watches(&self) {
        self.change(|inner| inner.generation += 1);
    }

    /// Forgets what happened until now: watches get 410.
    pub(crate) fn expire(&self) {
        self.change(|inner| {
            inner.version += 10;
            inner.expired = inner.version;
        });
    }

    /// Restores a backup: versions start again far below those that clients know.
    pub(crate) fn restore_backup(&self) {
        self.change(|inner| {
            inner.version = 1;
            inner.log.clear();
            inner.generation += 1;
        });
    }

    /// Creates or replaces an object, as a user would.
    pub(crate) fn put(&self, resource: &str, object: &Value) -> Value {
        let mut stored = Value::Null;
        self.change(|inner| stored = inner.store(resource, object.clone()));
        stored
    }

    /// Deletes an object, as a user would.
    pub(crate) fn remove(&self, resource: &str, name: &str) {
        self.change(|inner| inner.delete(resource, name));
    }

    pub(crate) fn object(&self, resource: &str, name: &str) -> Option<Value> {
        self.inner.lock().unwrap().objects.get(&(resource.to_owned(), name.to_owned())).cloned()
    }

    /// How often this was asked for, failures included.
    pub(crate) fn calls(&self, verb: Verb) -> usize {
        self.inner.lock().unwrap().calls.get(&verb).copied().unwrap_or(0)
    }

    /// Query parameters of each apply.
    pub(crate) fn applied_as(&self) -> Vec<HashMap<String, String>> {
        self.inner.lock().unwrap().applied_as.clone()
    }

    /// Waits until it holds.
    pub(crate) async fn wait_until(&self, mut holds: impl FnMut(&Self) -> bool) {
        let mut changes = self.changes.subscribe();
        tokio::time::timeout(Duration::from_secs(3600), async {
            while !holds(self) {
                changes.changed().await.unwrap();
            }
        })
        .await
        .expect("it did not come to hold within an hour");
    }

    fn change(&self, change: impl FnOnce(&mut Inner)) {
        change(&mut self.inner.lock().unwrap());
        self.changes.send_modify(|count| *count += 1);
    }

    async fn answer(self, request: Request<Body>) -> Result<Response, io::Error> {
        let verb = verb(&request);
        self.change(|inner| *inner.calls.entry(verb).or_default() += 1);
        let fault = self.inner.lock().unwrap().faults.get(&verb).copied();
        match fault {
            None => Ok(self.router().oneshot(request).await.unwrap_or_else(|never| match never {})),
            Some(Fault::Refuse) => Err(io::ErrorKind::ConnectionRefused.into()),
            Some(Fault::Hang) => std::future::pending().await,
            Some(Fault::Status(code)) => Ok(refusal(code, "because the test says so")),
        }
    }

    fn router(&self) -> Router {
        Router::new()
            .route("/apis/serialfleet.io/v1alpha1/{resource}", get(list_or_watch))
            .route("/apis/serialfleet.io/v1alpha1/{resource}/{name}", get(read).patch(apply).delete(delete))
            .with_state(self.clone())
    }
}

impl Inner {
    fn store(&mut self, resource: &str, mut object: Value) -> Value {
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        let key = (resource.to_owned(), name);
        let known = self.objects.get(&key);
        let uid = known.map_or_else(
            || {
                self.uids += 1;
                json!(format!("uid-{}", self.uids))
            },
            |known| known["metadata"]["uid"].clone(),
        );
        object["metadata"]["uid"] = uid;
        if let Some(known) = known {
            object["metadata"]["resourceVersion"] = known["metadata"]["resourceVersion"].clone();
            if *known == object {
                return object;
            }
        }
        let event = if known.is_some() { "MODIFIED" } else { "ADDED" };
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.log.push((self.version, resource.to_owned(), event, object.clone()));
        self.objects.insert(key, object.clone());
        object
    }

    fn delete(&mut self, resource: &str, name: &str) {
        if let Some(mut object) = self.objects.remove(&(resource.to_owned(), name.to_owned())) {
            self.version += 1;
            object["metadata"]["resourceVersion"] = json!(self.version.to_string());
            self.log.push((self.version, resource.to_owned(), "DELETED", object));
        }
    }
}

fn verb(request: &Request<Body>) -> Verb {
    let has_name = request.uri().path().matches('/').count() > 4;
    match request.method().as_str() {
        "PATCH" => Verb::Patch,
        "DELETE" => Verb::Delete,
        _ if has_name => Verb::Get,
        _ if request.uri().query().is_some_and(|query| query.contains("watch=true")) => Verb::Watch,
        _ => Verb::List,
    }
}

fn refusal(code: u16, message: &str) -> Response {
    let reason = match code {
        404 => "NotFound",
        409 => "Conflict",
        _ => "Other",
    };
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": message,
        "reason": reason});
    (StatusCode::from_u16(code).unwrap(), Json(status)).into_response()
}

async fn list_or_watch(
    State(fake): State<FakeApi>,
    Path(resource): Path<String>,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    let name = query["fieldSelector"].strip_prefix("metadata.name=").unwrap().to_owned();
    if query.contains_key("watch") {
        return watch_one(fake, resource, name, &query);
    }
    let inner = fake.inner.lock().unwrap();
    let items: Vec<_> = inner.objects.get(&(resource, name)).into_iter().collect();
    let metadata = json!({"resourceVersion": inner.version.to_string()});
    Json(json!({"apiVersion": "serialfleet.io/v1alpha1", "kind": "List", "metadata": metadata, "items": items}))
        .into_response()
}

fn watch_one(fake: FakeApi, resource: String, name: String, query: &HashMap<String, String>) -> Response {
    let from: u64 = query["resourceVersion"].parse().unwrap();
    let seconds = query.get("timeoutSeconds").map_or(290, |seconds| seconds.parse().unwrap());
    let end = Instant::now() + Duration::from_secs(seconds);
    let generation = fake.inner.lock().unwrap().generation;
    let changes = fake.changes.subscribe();
    let bookmark = Instant::now() + Duration::from_secs(60);
    let start = (fake, changes, from, bookmark, false);
    let events = stream::unfold(start, move |(fake, mut changes, from, bookmark, is_over)| {
        let (resource, name) = (resource.clone(), name.clone());
        async move {
            if is_over {
                return None;
            }
            loop {
                changes.mark_unchanged();
                {
                    let inner = fake.inner.lock().unwrap();
                    if inner.generation != generation {
                        return None;
                    }
                    if from < inner.expired {
                        let status =
                            json!({"kind": "Status", "code": 410, "message": "too old", "reason": "Expired"});
                        let line = line("ERROR", &status);
                        drop(inner);
                        return Some((line, (fake, changes, from, bookmark, true)));
                    }
                    let next = inner.log.iter().find(|(version, of, _, object)| {
                        *version > from && *of == resource && object["metadata"]["name"] == json!(name)
                    });
                    if let Some((version, _, event, object)) = next {
                        let (line, version) = (line(event, object), *version);
                        drop(inner);
                        return Some((line, (fake, changes, version, bookmark, false)));
                    }
                }
                tokio::select! {
                    changed = changes.changed() => changed.ok()?,
                    () = sleep_until(end) => return None,
                    () = sleep_until(bookmark) => {
                        let version = fake.inner.lock().unwrap().version.max(from);
                        let mark = json!({"apiVersion": "serialfleet.io/v1alpha1", "kind": "SerialFleet",
                            "metadata": {"resourceVersion": version.to_string()}});
                        let next = Instant::now() + Duration::from_secs(60);
                        return Some((line("BOOKMARK", &mark), (fake, changes, version, next, false)));
                    }
                }
            }
        }
    });
    Body::from_stream(events).into_response()
}

fn line(event: &str, object: &Value) -> Result<String, Infallible> {
    Ok(format!("{}\n", json!({"type": event, "object": object})))
}

async fn read(State(fake): State<FakeApi>, Path((resource, name)): Path<(String, String)>) -> Response {
    fake.object(&resource, &name)
        .map_or_else(|| refusal(404, "not found"), |object| Json(object).into_response())
}

/// One manager, always forced: what is applied is what stands there.
async fn apply(
    State(fake): State<FakeApi>,
    Path((resource, name)): Path<(String, String)>,
    Query(query): Query<HashMap<String, String>>,
    body: axum::body::Bytes,
) -> Response {
    let object: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(object["metadata"]["name"], json!(name));
    let stored = fake.put(&resource, &object);
    fake.change(|inner| inner.applied_as.push(query));
    Json(stored).into_response()
}

async fn delete(
    State(fake): State<FakeApi>,
    Path((resource, name)): Path<(String, String)>,
    body: axum::body::Bytes,
) -> Response {
    let options: Value = serde_json::from_slice(&body).unwrap_or_default();
    let Some(object) = fake.object(&resource, &name) else { return refusal(404, "not found") };
    let wanted = &options["preconditions"]["resourceVersion"];
    if !wanted.is_null() && *wanted != object["metadata"]["resourceVersion"] {
        return refusal(409, "precondition failed");
    }
    fake.remove(&resource, &name);
    Json(json!({"kind": "Status", "apiVersion": "v1", "status": "Success"})).into_response()
}
