//! Watches of the API server, shared by all who ask for the same kind (`pkg/dynamic/informer`): a cache, and a bounded
//! queue of changes for each subscriber. A watch ends when its last [`Informer`] is dropped. Decides nothing.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, Weak},
};

use futures_util::{StreamExt, pin_mut};
use kube::{
    api::ApiResource,
    core::ObjectMeta,
    runtime::{WatchStreamExt, watcher},
};
use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::Value;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    cache::{Cache, Change, Seen},
    discovery::Resource,
    object::Object,
};

/// How many changes a subscriber may be behind before the watch waits for it.
const BEHIND: usize = 1024;

/// A subscription to a kind.
#[derive(Clone)]
pub struct Informer(Arc<Shared>);

struct Shared {
    watch: Arc<Watch>,
    _stop: DropGuard,
}

struct Watch {
    resource: Resource,
    cache: RwLock<Cache>,
    synced: watch::Sender<bool>,
    subscribers: tokio::sync::Mutex<Vec<mpsc::Sender<Change>>>,
}

impl Informer {
    /// The kind.
    pub fn resource(&self) -> &Resource {
        &self.0.watch.resource
    }

    /// The objects as last seen. Not to be held over an await.
    pub fn cache(&self) -> RwLockReadGuard<'_, Cache> {
        self.0.watch.cache.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a first list is complete.
    pub fn is_synced(&self) -> bool {
        *self.0.watch.synced.borrow()
    }

    /// Waits for that.
    pub async fn synced(&self) {
        // It cannot fail while self, which owns the sender, is borrowed.
        let _synced = self.0.watch.synced.subscribe().wait_for(|synced| *synced).await.is_ok();
    }

    /// Everything that is known now, and every change from now on.
    pub async fn subscribe(&self) -> (Vec<Object>, mpsc::Receiver<Change>) {
        let (sender, receiver) = mpsc::channel(BEHIND);
        let mut subscribers = self.0.watch.subscribers.lock().await;
        let known = self.cache().iter().cloned().collect();
        subscribers.push(sender);
        (known, receiver)
    }
}

/// The informers that are in use.
pub struct Informers {
    client: kube::Client,
    shared: Mutex<HashMap<(String, String), Weak<Shared>>>,
    tasks: Mutex<JoinSet<()>>,
}

impl Informers {
    /// Without any yet.
    pub fn new(client: kube::Client) -> Self {
        Self { client, shared: Mutex::default(), tasks: Mutex::default() }
    }

    /// The informer of a kind, started if nobody uses it yet.
    pub fn get(&self, resource: &Resource) -> Informer {
        let key = (resource.api_version(), resource.plural.clone());
        let mut shared = lock(&self.shared);
        if let Some(shared) = shared.get(&key).and_then(Weak::upgrade) {
            return Informer(shared);
        }
        let stop = CancellationToken::new();
        let watch = Arc::new(Watch {
            resource: resource.clone(),
            cache: RwLock::default(),
            synced: watch::Sender::new(false),
            subscribers: tokio::sync::Mutex::default(),
        });
        let mut tasks = lock(&self.tasks);
        while tasks.try_join_next().is_some() {}
        let running = run(self.client.clone(), watch.clone());
        let stopped = stop.clone();
        tasks.spawn(async move {
            stopped.run_until_cancelled(running).await;
        });
        let informer = Arc::new(Shared { watch, _stop: stop.drop_guard() });
        shared.insert(key, Arc::downgrade(&informer));
        Informer(informer)
    }

    /// Ends all watches.
    pub async fn end(&self) {
        let mut tasks = std::mem::take(&mut *lock(&self.tasks));
        tasks.shutdown().await;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lists and watches for ever, with the back-off of client-go's reflector after errors.
async fn run(client: kube::Client, watch: Arc<Watch>) {
    let resource = &watch.resource;
    let kind = ApiResource {
        group: resource.group.clone(),
        version: resource.version.clone(),
        api_version: resource.api_version(),
        kind: resource.kind.clone(),
        plural: resource.plural.clone(),
    };
    let api: kube::Api<Raw> = kube::Api::all_with(client, &kind);
    let events = watcher(api, watcher::Config::default()).default_backoff();
    pin_mut!(events);
    while let Some(event) = events.next().await {
        let whole = |raw: Raw| Arc::new(raw.whole(resource));
        let seen = match event {
            Ok(watcher::Event::Apply(raw)) => Seen::Applied(whole(raw)),
            Ok(watcher::Event::Delete(raw)) => Seen::Gone(whole(raw)),
            Ok(watcher::Event::Init) => Seen::ListBegins,
            Ok(watcher::Event::InitApply(raw)) => Seen::Listed(whole(raw)),
            Ok(watcher::Event::InitDone) => Seen::ListEnds,
            Err(error) => {
                tracing::warn!(kind = resource.kind, %error, "watch failed, trying again");
                continue;
            }
        };
        let complete = seen == Seen::ListEnds;
        let mut subscribers = watch.subscribers.lock().await;
        let changes = watch.cache.write().unwrap_or_else(PoisonError::into_inner).take(seen);
        if complete {
            watch.synced.send_replace(true);
        }
        for change in changes {
            let mut gone = Vec::new();
            for (index, subscriber) in subscribers.iter().enumerate() {
                if subscriber.send(change.clone()).await.is_err() {
                    gone.push(index);
                }
            }
            for index in gone.into_iter().rev() {
                subscribers.swap_remove(index);
            }
        }
    }
}

/// An object as the server sent it, with its metadata read for the watch.
#[derive(Clone, Debug)]
struct Raw {
    value: Value,
    meta: ObjectMeta,
}

impl Raw {
    /// Items of lists do not say what they are; client-go adds it.
    fn whole(mut self, resource: &Resource) -> Value {
        if let Value::Object(object) = &mut self.value {
            object.entry("apiVersion").or_insert_with(|| resource.api_version().into());
            object.entry("kind").or_insert_with(|| resource.kind.clone().into());
        }
        self.value
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let meta = value.get("metadata").unwrap_or(&Value::Null);
        let text = |field: &str| meta.get(field).and_then(Value::as_str).map(str::to_owned);
        if !value.is_object() {
            return Err(D::Error::custom("an object was expected"));
        }
        let annotations = meta.get("annotations").and_then(|it| serde_json::from_value(it.clone()).ok());
        let meta = ObjectMeta {
            name: text("name"),
            namespace: text("namespace"),
            resource_version: text("resourceVersion"),
            annotations,
            ..ObjectMeta::default()
        };
        Ok(Self { value, meta })
    }
}

impl kube::Resource for Raw {
    type DynamicType = ApiResource;
    type Scope = kube::core::DynamicResourceScope;

    fn kind(kind: &ApiResource) -> std::borrow::Cow<'_, str> {
        kind.kind.as_str().into()
    }

    fn group(kind: &ApiResource) -> std::borrow::Cow<'_, str> {
        kind.group.as_str().into()
    }

    fn version(kind: &ApiResource) -> std::borrow::Cow<'_, str> {
        kind.version.as_str().into()
    }

    fn plural(kind: &ApiResource) -> std::borrow::Cow<'_, str> {
        kind.plural.as_str().into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.meta
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.meta
    }
}
