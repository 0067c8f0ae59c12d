//! One sync of one parent (`syncParentObject` in `pkg/controller/composite/controller.go`), step by step: finalizer,
//! children, related objects, hook, resync, writes to the children, status.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use serialfleet_hook::merge;

use crate::{
    api::Refusal,
    claim::{self, Claim, claim},
    controller::Controller,
    informers::Informer,
    object::{self, Object},
    parent,
    request::{Groups, sync_body},
    response::{self, SyncResponse},
    selector::Selector,
    webhook::{Failure, Webhook},
    writes,
};

/// Why a sync stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// A hook asks to come back after so many seconds.
    TooManyRequests(i64),
    /// A related kind is not known yet.
    NotSynced,
    /// Anything else, for people.
    Failed(String),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::TooManyRequests(seconds) => Self::TooManyRequests(seconds),
            Failure::Failed(problem) => Self::Failed(problem),
        }
    }
}

impl Stop {
    fn within(self, what: &str) -> Self {
        match self {
            Self::Failed(problem) => Self::Failed(format!("{what}: {problem}")),
            other => other,
        }
    }

    fn refused(what: &str, refusal: &Refusal) -> Self {
        Self::Failed(format!("{what}: {refusal}"))
    }
}

impl Controller {
    /// Syncs a parent.
    ///
    /// # Errors
    /// If it stopped before its end, or if a child could not be written.
    pub(crate) async fn sync(self: &Arc<Self>, parent: Object) -> Result<(), Stop> {
        if !self.serves(&parent) {
            return Ok(());
        }
        let mut parent = self.sync_finalizer(parent).await?;
        // The finalizer may have been the only reason.
        if !self.serves(&parent) {
            return Ok(());
        }
        let observed = self.claim_children(&parent).await?;
        let related = self.related_to(&parent).await?;
        let answer = self.call(&parent, &observed, &related).await?;
        let mut desired = Vec::new();
        for mut child in answer.children {
            if object::namespace(&child).is_empty() {
                set_namespace(&mut child, object::namespace(&parent));
            }
            desired.push(child);
        }
        if let Ok(delay) = Duration::try_from_secs_f64(answer.resync_after_seconds)
            && !delay.is_zero()
        {
            self.queue.add_after(&object::key(&parent), delay);
        }
        if answer.finalized {
            parent = self.set_finalizer(&parent, false, "can't remove finalizer for").await?;
        }
        let desired = self.label_children(&parent, desired)?;
        let mut problem = None;
        if self.finalizer.manages_children(&parent) {
            let errors = writes::manage(&self.world, &self.methods, &parent, &observed, &desired).await;
            problem = crate::children::aggregate(&errors);
        }
        self.write_status(&parent, &answer.status).await?;
        match problem {
            Some(problem) => {
                let what = format!("can't reconcile children for {}", object::describe(&parent));
                Err(Stop::Failed(problem).within(&what))
            }
            None => Ok(()),
        }
    }

    async fn sync_finalizer(&self, parent: Object) -> Result<Object, Stop> {
        match self.finalizer.change(&parent) {
            Some(on) => self.set_finalizer(&parent, on, "can't sync finalizer for").await,
            None => Ok(parent),
        }
    }

    async fn set_finalizer(&self, parent: &Value, on: bool, what: &str) -> Result<Object, Stop> {
        let change = |current: &mut Value| self.finalizer.set(current, on);
        let result = self.world.api.change(&self.resource, parent, None, change).await;
        result
            .map(Arc::new)
            .map_err(|refusal| Stop::refused(&format!("{what} {}", object::describe(parent)), &refusal))
    }

    /// The children of a parent. Adopts and releases; an adopted child is then still as it was before.
    async fn claim_children(&self, parent: &Value) -> Result<Groups, Stop> {
        let selector = self.child_selector(parent).map_err(Stop::Failed)?;
        let mut groups = Groups::default();
        let mut adoptable = None;
        for informer in &self.children {
            groups.declare(informer.resource().gvk());
            let mut errors = Vec::new();
            for (child, claim) in self.candidates(informer, parent, &selector) {
                let result = match claim {
                    Claim::Keep => Ok(true),
                    Claim::Ignore => Ok(false),
                    Claim::Release => self.release(informer, parent, &child).await,
                    Claim::Adopt => self.adopt(informer, parent, &child, &mut adoptable).await,
                };
                match result {
                    Ok(true) => groups.insert(child),
                    Ok(false) => {}
                    Err(problem) => errors.push(problem),
                }
            }
            if let Some(problem) = crate::children::aggregate(&errors) {
                return Err(Stop::Failed(format!(
                    "can't claim {} children: {problem}",
                    informer.resource().kind
                )));
            }
        }
        Ok(groups)
    }

    fn candidates(&self, informer: &Informer, parent: &Value, selector: &Selector) -> Vec<(Object, Claim)> {
        let home = self.resource.namespaced.then(|| object::namespace(parent));
        let cache = informer.cache();
        let objects = cache.iter().filter(|it| home.is_none_or(|home| object::namespace(it) == home));
        let claims = objects.map(|it| (it.clone(), claim(it, parent, selector)));
        claims.filter(|(_, claim)| *claim != Claim::Ignore).collect()
    }

    async fn release(&self, informer: &Informer, parent: &Value, child: &Value) -> Result<bool, String> {
        let change = |current: &mut Value| {
            claim::release(current, object::uid(parent));
            true
        };
        match self.world.api.change(informer.resource(), child, None, change).await {
            Err(refusal) if !(refusal.is_not_found() || refusal.code == 410) => Err(refusal.to_string()),
            _ => Ok(false),
        }
    }

    async fn adopt(
        &self,
        informer: &Informer,
        parent: &Value,
        child: &Value,
        adoptable: &mut Option<Result<(), String>>,
    ) -> Result<bool, String> {
        let allowed = match adoptable {
            Some(allowed) => allowed.clone(),
            None => adoptable.insert(self.may_adopt(parent).await).clone(),
        };
        let (kind, uid) = (&informer.resource().kind, object::uid(child));
        allowed.map_err(|problem| {
            format!(
                "can't adopt {kind} {}/{} ({uid}): {problem}",
                object::namespace(child),
                object::name(child)
            )
        })?;
        let change = |current: &mut Value| {
            claim::adopt(current, parent);
            true
        };
        match self.world.api.change(informer.resource(), child, None, change).await {
            Ok(_) => Ok(true),
            Err(refusal) if refusal.is_not_found() => Ok(false),
            Err(refusal) => Err(refusal.to_string()),
        }
    }

    /// Nobody is adopted by a parent that has gone since it was read. Asked once a sync.
    async fn may_adopt(&self, parent: &Value) -> Result<(), String> {
        let (namespace, name) = (object::namespace(parent), object::name(parent));
        let fresh = self.world.api.get(&self.resource, namespace, name).await;
        let fresh = fresh.map_err(|refusal| format!("can't recheck DeletionTimestamp: {refusal}"))?;
        let (kind, was, is) = (&self.resource.kind, object::uid(parent), object::uid(&fresh));
        if was != is {
            return Err(format!(
                "can't recheck DeletionTimestamp: original {kind} {namespace}/{name} is gone: got uid {is}, wanted {was}"
            ));
        }
        if object::deleting(&fresh) {
            return Err(format!("{namespace}/{name} has just been deleted"));
        }
        Ok(())
    }

    async fn call(&self, parent: &Value, observed: &Groups, related: &Groups) -> Result<SyncResponse, Stop> {
        let what = format!("sync hook failed for {}", object::describe(parent));
        let goes = object::deleting(parent) || !self.selects(&object::labels(parent));
        let (hook, kind, finalizing) = match (&self.finalize_hook, &self.sync_hook) {
            (Some(hook), _) if goes => (hook, "finalize", true),
            (_, Some(hook)) => (hook, "sync", false),
            _ => return Err(Stop::Failed(format!("sync hook not defined for {}", object::describe(parent)))),
        };
        let body = sync_body(hook.version(), &self.object, parent, observed, related, finalizing);
        let version = hook.version();
        let answer = answer(hook, body, parent).await;
        answer.map_err(|stop| stop.within(&format!("{what}: {kind} hook failed (version={version})")))
    }

    /// Desired children by kind and key, with the label of the generated selector. One that the selector would not
    /// select fails the sync.
    fn label_children(&self, parent: &Value, children: Vec<Value>) -> Result<Groups, Stop> {
        let selector = self.child_selector(parent).map_err(Stop::Failed)?;
        // Of two with one key the later wins before anything is checked.
        let children: Groups = children.into_iter().map(Arc::new).collect();
        let mut labelled = Groups::default();
        for child in children.iter().flat_map(|(_, objects)| objects.values()) {
            let mut child = child.as_ref().clone();
            if !are_texts(child.pointer("/metadata/labels")) {
                return Err(Stop::Failed(format!(
                    "invalid labels on desired child {}",
                    object::describe(&child)
                )));
            }
            if self.spec.generate_selector == Some(true) {
                merge::add_controller_uid(&mut child, object::uid(parent));
            }
            if !selector.matches(&object::labels(&child)) {
                let child = object::describe(&child);
                return Err(Stop::Failed(format!(
                    "labels on desired child {child} don't match parent selector"
                )));
            }
            labelled.insert(Arc::new(child));
        }
        Ok(labelled)
    }

    /// Writes the status of the live parent if it differs. A parent that is gone or was changed ends the sync as a
    /// success, and swallows what went wrong with its children.
    async fn write_status(
        &self,
        parent: &Value,
        answered: &serde_json::Map<String, Value>,
    ) -> Result<(), Stop> {
        let status = parent::status(parent, answered);
        let part = self.resource.has_status.then_some("status");
        let change = |current: &mut Value| parent::set_status(current, &status);
        match self.world.api.change(&self.resource, parent, part, change).await {
            Err(refusal) if !refusal.is_not_found() && !refusal.is_conflict() => {
                Err(Stop::refused(&format!("can't update status for {}", object::describe(parent)), &refusal))
            }
            _ => Ok(()),
        }
    }
}

async fn answer(hook: &Webhook, body: Vec<u8>, parent: &Value) -> Result<SyncResponse, Stop> {
    let answer = hook.call(body, parent).await?;
    response::sync(&answer, hook.reading()).map_err(Stop::Failed)
}

/// Whether desired labels are what they should be. Unlike observed ones, none may be null.
fn are_texts(labels: Option<&Value>) -> bool {
    labels.is_none_or(|labels| labels.as_object().is_some_and(|labels| labels.values().all(Value::is_string)))
}

/// A child without a namespace gets the parent's, which may be none at all.
fn set_namespace(child: &mut Value, namespace: &str) {
    if namespace.is_empty() {
        return;
    }
    if let Value::Object(child) = child
        && let Value::Object(metadata) = child.entry("metadata").or_insert_with(|| json!({}))
    {
        metadata.insert("namespace".to_owned(), namespace.into());
    }
}
