//! Starts and stops a controller for each CompositeController (`pkg/controller/composite/metacontroller.go`): anew when
//! its spec changes, and only then. Owns the controllers and awaits their end.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde_json::Value;
use tokio::{sync::mpsc, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    cache::Change,
    controller::{Controller, World},
    controller_json,
    discovery::Resource,
    informers::Informer,
    object::{self, Object},
    queue::Queue,
    spec::Spec,
    webhook::Unusable,
};

/// Runs all controllers until the token is cancelled.
pub async fn run(world: Arc<World>, discovery_interval: Duration, stop: CancellationToken) {
    let kind = Resource::known(
        "metacontroller.k8s.io/v1alpha1",
        "CompositeController",
        "compositecontrollers",
        false,
    );
    let informer = world.informers.get(&kind);
    let queue = Arc::new(Queue::default());
    let mut tasks = JoinSet::new();
    let (shared, stopped) = (world.clone(), stop.clone());
    tasks.spawn(async move {
        stopped.run_until_cancelled_owned(look_around(&shared, discovery_interval)).await;
    });
    let (_, changes) = informer.subscribe().await;
    let (names, stopped) = (queue.clone(), stop.clone());
    tasks.spawn(async move {
        stopped.run_until_cancelled_owned(enqueue(changes, &names)).await;
    });
    let mut manager = Manager { world: world.clone(), informer, running: BTreeMap::new() };
    stop.run_until_cancelled(manager.work(&queue)).await;
    manager.end().await;
    while tasks.join_next().await.is_some() {}
    world.informers.end().await;
}

async fn look_around(world: &World, interval: Duration) {
    let mut ticks = tokio::time::interval(interval);
    loop {
        ticks.tick().await;
        world.discovery.refresh(&world.api).await;
    }
}

async fn enqueue(mut changes: mpsc::Receiver<Change>, names: &Queue) {
    while let Some(change) = changes.recv().await {
        match change {
            Change::Added(object) | Change::Updated(_, object) | Change::Deleted(object) => {
                names.add(object::name(&object));
            }
        }
    }
}

struct Manager {
    world: Arc<World>,
    informer: Informer,
    running: BTreeMap<String, Arc<Controller>>,
}

impl Manager {
    async fn work(&mut self, queue: &Queue) {
        self.world.discovery.ready().await;
        while let Some(name) = queue.next().await {
            match self.reconcile(&name).await {
                Ok(()) => queue.forget(&name),
                Err(problem) => {
                    tracing::error!(name, problem, "Reconciler error");
                    queue.add_failed(&name);
                }
            }
            queue.done(&name);
        }
    }

    async fn end(self) {
        for controller in self.running.into_values() {
            controller.stop().await;
        }
    }

    async fn reconcile(&mut self, name: &str) -> Result<(), String> {
        let Some(object) = self.informer.cache().get(name) else {
            self.stop(name, None).await;
            return Ok(());
        };
        let spec = Spec::read(&object)?;
        if !self.has_status(&spec).await? {
            // Looked at again only when the CompositeController changes.
            let problem =
                format!("[{name}] Sync error - ignoring, CRD does not have subresource 'Status' enabled");
            self.world.recorder.warning(&object, "SyncError", problem);
            return Ok(());
        }
        if let Some(running) = self.running.get(name)
            && controller_json::spec(&running.object) == controller_json::spec(&object)
        {
            return Ok(());
        }
        self.stop(name, Some(&object)).await;
        match Controller::new(self.world.clone(), object.clone()) {
            Ok(controller) => {
                let controller = Arc::new(controller);
                controller.start().await;
                self.world.recorder.normal(&object, "Started", format!("Started controller: {name}"));
                self.running.insert(name.to_owned(), controller);
                Ok(())
            }
            Err(Unusable::Wrong(problem)) => {
                let message = format!("Cannot create new controller: {problem}");
                self.world.recorder.warning(&object, "CreateError", message);
                Err(problem)
            }
            Err(Unusable::Panics) => {
                Err("panic: etag.cacheTimeoutSeconds without etag.cacheCleanupSeconds [recovered]".to_owned())
            }
        }
    }

    async fn stop(&mut self, name: &str, object: Option<&Object>) {
        if let Some(running) = self.running.remove(name) {
            running.stop().await;
            let about = object.unwrap_or(&running.object);
            self.world.recorder.normal(about, "Stopped", format!("Stopped controller: {name}"));
        }
    }

    /// Whether the definition of the parents has a status of its own.
    async fn has_status(&self, spec: &Spec) -> Result<bool, String> {
        let definitions = Resource::known(
            "apiextensions.k8s.io/v1",
            "CustomResourceDefinition",
            "customresourcedefinitions",
            false,
        );
        let (group, version) = object::group_version(&spec.parent_resource.api_version);
        let name = format!("{}.{group}", spec.parent_resource.resource);
        let definition =
            self.world.api.get(&definitions, "", &name).await.map_err(|refusal| refusal.to_string())?;
        let versions = definition.pointer("/spec/versions").and_then(Value::as_array);
        Ok(versions.into_iter().flatten().any(|it| {
            it.get("name").and_then(Value::as_str) == Some(version)
                && it.pointer("/subresources/status").is_some()
        }))
    }
}
