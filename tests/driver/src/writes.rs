//! Carries out what is to be written to children (`ManageChildren` in `pkg/controller/common/manage_children.go`):
//! deletions first, kind by kind, then creations and updates. An error stops nothing else; objects that are gone,
//! changed or there already are no errors. What is written is decided in [`crate::children`] and
//! [`crate::apply_server_side`].

use std::sync::{MutexGuard, PoisonError};

use serde_json::Value;
use serialfleet_hook::merge::to_vec;

use crate::{
    api::{Patch, Refusal},
    apply_server_side::{self as server_side, Memory, Plan},
    args::ApplyStrategy,
    children::{Method, Methods, Verb, Write, desired_write, undesired},
    controller::World,
    discovery::Resource,
    object,
    request::Groups,
};

/// Makes the children what they are to be; what went wrong.
pub(crate) async fn manage(
    world: &World,
    methods: &Methods,
    parent: &Value,
    observed: &Groups,
    desired: &Groups,
) -> Vec<String> {
    let mut errors = Vec::new();
    for (kind, objects) in observed.iter() {
        let resource = match world.discovery.kind(&kind.api_version(), &kind.kind) {
            Ok(resource) => resource,
            Err(problem) => {
                errors.push(problem);
                continue;
            }
        };
        let of_kind: Groups = objects.values().cloned().collect();
        for write in undesired(&of_kind, desired) {
            errors.extend(delete_undesired(world, &resource, write).await);
        }
    }
    for (kind, objects) in desired.iter() {
        let resource = match world.discovery.kind(&kind.api_version(), &kind.kind) {
            Ok(resource) => resource,
            Err(problem) => {
                errors.push(problem);
                continue;
            }
        };
        let method =
            methods.get(&(resource.group.clone(), resource.kind.clone())).copied().unwrap_or_default();
        for (key, child) in objects {
            let observed = observed.get(kind, key).map(AsRef::as_ref);
            let applying = Applying { world, resource: &resource, method, parent, observed, desired: child };
            let result = match world.strategy {
                ApplyStrategy::Dynamic => applying.dynamic().await,
                ApplyStrategy::ServerSide => applying.server_side().await,
            };
            errors.extend(result.err());
        }
    }
    errors
}

async fn delete_undesired(world: &World, resource: &Resource, write: Write) -> Option<String> {
    let Verb::Delete { uid } = &write.verb else { return None };
    tracing::info!(kind = resource.kind, namespace = write.namespace, name = write.name, "Deleting child");
    match world.api.delete(resource, &write.namespace, &write.name, uid).await {
        Ok(_) => {
            let key = format!("{}/{}/{}/{}", resource.group, resource.kind, write.namespace, write.name);
            memory(world).forget(&key);
            None
        }
        Err(refusal) if refusal.is_not_found() => None,
        Err(refusal) => {
            let child = object::join(&write.namespace, &write.name);
            Some(format!("can't delete {} {child}: {refusal}", resource.kind))
        }
    }
}

fn memory(world: &World) -> MutexGuard<'_, Memory> {
    world.applied.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One desired child and what there is of it.
struct Applying<'a> {
    world: &'a World,
    resource: &'a Resource,
    method: Method,
    parent: &'a Value,
    observed: Option<&'a Value>,
    desired: &'a Value,
}

impl Applying<'_> {
    async fn dynamic(&self) -> Result<(), String> {
        let Some(write) = desired_write(self.method, self.parent, self.observed, self.desired)? else {
            return Ok(());
        };
        tracing::info!(kind = self.resource.kind, namespace = write.namespace, name = write.name, verb = ?write.verb);
        let api = &self.world.api;
        let result = match &write.verb {
            Verb::Create => swallow(api.create(self.resource, &write.body).await, Refusal::is_already_exists),
            Verb::Update => {
                let result = api.update(self.resource, &write.body, None).await;
                swallow(result, |refusal| refusal.is_not_found() || refusal.is_conflict())
            }
            Verb::Delete { uid } => {
                let result = api.delete(self.resource, &write.namespace, &write.name, uid).await;
                swallow(result, Refusal::is_not_found)
            }
        };
        result.map_err(|refusal| refusal.to_string())
    }

    async fn server_side(&self) -> Result<(), String> {
        let desired = server_side::applied(self.parent, self.desired);
        let body = to_vec(&desired);
        let hash = server_side::hash(&body);
        let key = server_side::key(&self.resource.group, &self.resource.kind, &desired);
        let plan = memory(self.world).plan(&key, self.method, self.observed, hash);
        match (plan, self.observed) {
            (Plan::Nothing, _) => Ok(()),
            (Plan::Remember, Some(observed)) => {
                memory(self.world).store(key, hash, observed);
                Ok(())
            }
            (Plan::Recreate, Some(observed)) => self.recreate(observed, key, hash, body).await,
            (Plan::Apply { annotated: true }, _) if !self.remove_annotation().await? => Ok(()),
            _ => match self.patch(body, false).await {
                Ok(child) => {
                    memory(self.world).store(key, hash, &child);
                    Ok(())
                }
                Err(refusal) if refusal.is_conflict() => Ok(()),
                Err(refusal) => Err(refusal.to_string()),
            },
        }
    }

    /// False if the child is gone: nothing is applied then.
    async fn remove_annotation(&self) -> Result<bool, String> {
        let (namespace, name) = (object::namespace(self.desired), object::name(self.desired));
        let patch = server_side::annotation_removal();
        match self.world.api.patch(self.resource, namespace, name, Patch::Json, patch).await {
            Ok(_) => Ok(true),
            Err(refusal) if refusal.is_not_found() => Ok(false),
            Err(refusal) => Err(refusal.to_string()),
        }
    }

    async fn patch(&self, body: Vec<u8>, dry_run: bool) -> Result<Value, Refusal> {
        let (namespace, name) = (object::namespace(self.desired), object::name(self.desired));
        tracing::info!(kind = self.resource.kind, namespace, name, dry_run, "Applying");
        let patch = Patch::Apply { manager: &self.world.field_manager, dry_run };
        self.world.api.patch(self.resource, namespace, name, patch, body).await
    }

    /// Deletes a child that a dry run would change.
    async fn recreate(&self, observed: &Value, key: String, hash: u64, body: Vec<u8>) -> Result<(), String> {
        let tried = match self.patch(body, true).await {
            Ok(tried) => tried,
            Err(refusal) if matches!(refusal.code, 400 | 403) => {
                memory(self.world).store(key, hash, observed);
                return Ok(());
            }
            Err(refusal) => return Err(format!("dry run failed for server-side apply: {refusal}")),
        };
        let identity = |child: &Value| (object::generation(child), object::uid(child).to_owned());
        // A dry run that changes the spec raises the generation, too: such a child is retried for ever, as there.
        if identity(&tried) != identity(observed) {
            return Err("generation or UID changed during dry run for server-side apply".to_owned());
        }
        if server_side::comparable(&tried) == server_side::comparable(observed) {
            memory(self.world).store(key, hash, observed);
            return Ok(());
        }
        let (namespace, name, uid) =
            (object::namespace(observed), object::name(observed), object::uid(observed));
        let result = self.world.api.delete(self.resource, namespace, name, uid).await;
        swallow(result, Refusal::is_not_found).map_err(|refusal| refusal.to_string())?;
        memory(self.world).forget(&key);
        Ok(())
    }
}

fn swallow(result: Result<Value, Refusal>, harmless: impl Fn(&Refusal) -> bool) -> Result<(), Refusal> {
    match result {
        Err(refusal) if !harmless(&refusal) => Err(refusal),
        Err(refusal) => {
            tracing::info!(%refusal, "swallowed");
            Ok(())
        }
        Ok(_) => Ok(()),
    }
}
