//! One running CompositeController (`parentController` in `pkg/controller/composite/controller.go`): its informers, its
//! queue and its workers. Owns their tasks and awaits them. What one sync does is in [`crate::sync`], what an event
//! means in [`crate::watches`], which objects are related in [`crate::customize`].

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde_json::Value;
use tokio::{sync::mpsc, task::JoinSet, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::{
    api::Api,
    apply_server_side::Memory,
    args::ApplyStrategy,
    cache::Change,
    children::{Method, Methods},
    customize::Customized,
    discovery::{Discovery, Resource},
    events::Recorder,
    informers::{Informer, Informers},
    object::{self, Object, StringMap},
    parent::Finalizer,
    queue::Queue,
    selector::Selector,
    spec::Spec,
    sync::Stop,
    webhook::{Connections, Unusable, Webhook},
};

/// What all controllers of a process share.
pub struct World {
    /// Throttled requests.
    pub api: Api,
    /// Kinds.
    pub discovery: Discovery,
    /// Watches.
    pub informers: Informers,
    /// Events.
    pub recorder: Recorder,
    /// Connections to hooks.
    pub connections: Connections,
    /// Syncs at once for each controller.
    pub workers: usize,
    /// How often every parent is synced.
    pub flush_interval: Duration,
    /// How children are written.
    pub strategy: ApplyStrategy,
    /// Field manager of server-side apply.
    pub field_manager: String,
    /// What server-side apply wrote; outlives a controller that starts anew.
    pub applied: Mutex<Memory>,
}

/// A CompositeController at work.
pub struct Controller {
    pub(crate) world: Arc<World>,
    pub(crate) object: Object,
    pub(crate) spec: Spec,
    pub(crate) resource: Resource,
    pub(crate) parents: Informer,
    pub(crate) children: Vec<Informer>,
    pub(crate) namespaces: Informer,
    pub(crate) methods: Methods,
    pub(crate) finalizer: Finalizer,
    pub(crate) sync_hook: Option<Webhook>,
    pub(crate) finalize_hook: Option<Webhook>,
    pub(crate) customize_hook: Option<Webhook>,
    pub(crate) customized: Mutex<Customized>,
    pub(crate) related: tokio::sync::Mutex<BTreeMap<(String, String), Informer>>,
    pub(crate) queue: Queue,
    selector: Selector,
    tasks: Mutex<JoinSet<()>>,
    stop: CancellationToken,
}

impl Controller {
    /// Prepares a CompositeController; nothing runs yet but the watches.
    ///
    /// # Errors
    /// If its kinds are not there or its hooks cannot be called.
    pub fn new(world: Arc<World>, object: Object) -> Result<Self, Unusable> {
        let wrong = Unusable::Wrong;
        let spec = Spec::read(&object).map_err(wrong)?;
        let parent = &spec.parent_resource;
        let resource = world.discovery.resource(&parent.api_version, &parent.resource).map_err(wrong)?;
        let (methods, kinds) = children_of(&world.discovery, &spec).map_err(wrong)?;
        let hooks = spec.hooks.clone().ok_or_else(|| wrong("no hooks defined".to_owned()))?;
        let name = object::name(&object).to_owned();
        let hook = |hook: &Option<_>, kind| Webhook::new(hook.as_ref(), kind, &name, &world.connections);
        let (sync_hook, finalize_hook) = (hook(&hooks.sync, "sync")?, hook(&hooks.finalize, "finalize")?);
        let customize_hook = hook(&hooks.customize, "customize")?;
        let selector = parent.label_selector.clone().unwrap_or_default().compile().map_err(wrong)?;
        let namespaces = world.discovery.resource("v1", "namespaces").map_err(wrong)?;
        let finalizer = Finalizer {
            name: format!("metacontroller.io/compositecontroller-{name}"),
            enabled: hooks.finalize.is_some(),
        };
        Ok(Self {
            parents: world.informers.get(&resource),
            children: kinds.iter().map(|kind| world.informers.get(kind)).collect(),
            namespaces: world.informers.get(&namespaces),
            world,
            object,
            spec,
            resource,
            methods,
            finalizer,
            sync_hook,
            finalize_hook,
            customize_hook,
            customized: Mutex::default(),
            related: tokio::sync::Mutex::default(),
            queue: Queue::default(),
            selector,
            tasks: Mutex::default(),
            stop: CancellationToken::new(),
        })
    }

    /// Starts it: events from now on, syncs as soon as parents and children are known.
    pub async fn start(self: &Arc<Self>) {
        self.world.recorder.normal(&self.object, "Starting", format!("Starting controller: {}", self.name()));
        let (known, changes) = self.parents.subscribe().await;
        known.iter().for_each(|parent| self.enqueue(parent));
        self.watch(changes, Source::Parents);
        for informer in &self.children {
            // What is known already counts as unchanged, and unchanged children are no reason for a sync.
            let (_, changes) = informer.subscribe().await;
            self.watch(changes, Source::Children);
        }
        let controller = self.clone();
        self.spawn(async move { controller.resync().await });
        let controller = self.clone();
        self.spawn(async move { controller.work().await });
    }

    /// Ends it, and waits until it has ended.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.queue.close();
        let mut tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        while tasks.join_next().await.is_some() {}
        self.world.recorder.normal(&self.object, "Stopping", format!("Stopping controller: {}", self.name()));
        self.related.lock().await.clear();
    }

    /// Name of the CompositeController.
    pub fn name(&self) -> &str {
        object::name(&self.object)
    }

    /// Whether a parent is served by this controller at all.
    pub(crate) fn serves(&self, parent: &Value) -> bool {
        self.finalizer.is_on(parent) || self.selects(&object::labels(parent))
    }

    /// Whether the controller's selector wants a parent with these labels.
    pub(crate) fn selects(&self, labels: &StringMap) -> bool {
        self.selector.matches(labels)
    }

    /// Asks for a sync of a parent.
    pub(crate) fn enqueue(&self, parent: &Value) {
        if self.serves(parent) {
            self.queue.add(&object::key(parent));
        }
    }

    /// Takes in changes until the controller ends.
    pub(crate) fn watch(self: &Arc<Self>, mut changes: mpsc::Receiver<Change>, source: Source) {
        let controller = self.clone();
        self.spawn(async move {
            while let Some(change) = changes.recv().await {
                match source {
                    Source::Parents => controller.parent_changed(&change),
                    Source::Children => controller.child_changed(&change),
                    Source::Related => controller.related_changed(&change).await,
                }
            }
        });
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        // A worker may still ask for a related kind while the controller ends.
        if !stop.is_cancelled() {
            tasks.spawn(async move {
                stop.run_until_cancelled_owned(task).await;
            });
        }
    }

    async fn resync(&self) {
        let wanted =
            self.spec.resync_period_seconds.map(|seconds| u64::try_from(seconds).unwrap_or_default().max(1));
        let period =
            wanted.map_or(self.world.flush_interval, Duration::from_secs).min(self.world.flush_interval);
        let mut ticks = tokio::time::interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        ticks.tick().await;
        loop {
            ticks.tick().await;
            let parents: Vec<_> = self.parents.cache().iter().cloned().collect();
            parents.iter().for_each(|parent| self.enqueue(parent));
        }
    }

    async fn work(self: Arc<Self>) {
        self.parents.synced().await;
        for informer in &self.children {
            informer.synced().await;
        }
        let mut workers = JoinSet::new();
        for _ in 0..self.world.workers {
            let controller = self.clone();
            workers.spawn(async move {
                while let Some(key) = controller.queue.next().await {
                    controller.work_on(&key).await;
                    controller.queue.done(&key);
                }
            });
        }
        while workers.join_next().await.is_some() {}
    }

    async fn work_on(self: &Arc<Self>, key: &str) {
        let Some(parent) = self.parents.cache().get(key) else { return self.queue.forget(key) };
        match self.sync(parent.clone()).await {
            Ok(()) => self.queue.forget(key),
            Err(Stop::TooManyRequests(seconds)) => {
                tracing::info!(key, seconds, "the hook asks to come back later");
                self.queue.add_after(key, Duration::from_secs(u64::try_from(seconds).unwrap_or_default()));
            }
            Err(Stop::NotSynced) => self.queue.add_failed(key),
            Err(Stop::Failed(problem)) => {
                self.world.recorder.warning(&parent, "SyncError", format!("Sync error: {problem}"));
                self.queue.add_failed(key);
            }
        }
    }
}

/// Where a change comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Parents,
    Children,
    Related,
}

fn children_of(discovery: &Discovery, spec: &Spec) -> Result<(Methods, Vec<Resource>), String> {
    let mut methods = Methods::new();
    let mut kinds = Vec::new();
    for child in &spec.child_resources {
        let resource = discovery.resource(&child.api_version, &child.resource)?;
        let method =
            Method::read(child.update_strategy.as_ref().map_or("", |strategy| strategy.method.as_str()))?;
        methods.insert((resource.group.clone(), resource.kind.clone()), method);
        kinds.push(resource);
    }
    Ok((methods, kinds))
}
