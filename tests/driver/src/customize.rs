//! Related objects (`pkg/controller/common/customize/manager.go`): asks the customize hook once per UID and generation
//! of a parent, watches the kinds that it names, and picks the objects. The rules themselves are in [`crate::rules`].

use std::{
    sync::{Arc, MutexGuard, PoisonError},
    time::Duration,
};

use serde_json::Value;
use tokio::time::Instant;

use crate::{
    controller::{Controller, Source},
    discovery::Resource,
    informers::Informer,
    object::{self, Object},
    request::{Groups, customize_body},
    response,
    rules::{Rule, Scope, Selection},
    sync::Stop,
    timed::Timed,
};

/// Answers of the customize hook by UID and generation.
pub(crate) struct Customized(Timed<(String, i64), Arc<Vec<Rule>>>);

impl Default for Customized {
    fn default() -> Self {
        Self(Timed::new(Some(Duration::from_secs(20 * 60))))
    }
}

impl Controller {
    /// The objects that are related to a parent.
    ///
    /// # Errors
    /// If the hook does not say, if a kind is not there or not known yet, or if a rule is wrong.
    pub(crate) async fn related_to(self: &Arc<Self>, parent: &Value) -> Result<Groups, Stop> {
        let mut groups = Groups::default();
        for rule in self.rules(parent).await?.iter() {
            let resource =
                self.world.discovery.resource(&rule.api_version, &rule.resource).map_err(Stop::Failed)?;
            let informer = self.related_informer(&resource).await;
            if !informer.is_synced() {
                return Err(Stop::NotSynced);
            }
            let selection = rule.selection(self.scope(parent, &resource)).map_err(Stop::Failed)?;
            self.namespaces_known(&selection)?;
            groups.declare(resource.gvk());
            let selected: Vec<Object> =
                informer.cache().iter().filter(|it| self.is_selected(&selection, it)).cloned().collect();
            selected.into_iter().for_each(|object| groups.insert(object));
        }
        Ok(groups)
    }

    /// Whether one of these states of an object is related to a parent.
    pub(crate) async fn is_related(&self, parent: &Value, states: &[&Object]) -> bool {
        let Ok(rules) = self.rules(parent).await else { return false };
        rules.iter().any(|rule| {
            self.is_related_by(rule, parent, states).unwrap_or_else(|problem| {
                tracing::error!(parent = object::key(parent), ?problem, "a related rule cannot be used");
                false
            })
        })
    }

    fn is_related_by(&self, rule: &Rule, parent: &Value, states: &[&Object]) -> Result<bool, Stop> {
        let resource =
            self.world.discovery.resource(&rule.api_version, &rule.resource).map_err(Stop::Failed)?;
        let of_kind =
            |it: &&&Object| object::api_version(it) == rule.api_version && object::kind(it) == resource.kind;
        let states: Vec<_> = states.iter().filter(of_kind).collect();
        if states.is_empty() {
            return Ok(false);
        }
        let selection = rule.selection(self.scope(parent, &resource)).map_err(Stop::Failed)?;
        self.namespaces_known(&selection)?;
        Ok(states.iter().any(|it| self.is_selected(&selection, it)))
    }

    async fn rules(&self, parent: &Value) -> Result<Arc<Vec<Rule>>, Stop> {
        let Some(hook) = &self.customize_hook else { return Ok(Arc::default()) };
        let key = (object::uid(parent).to_owned(), object::generation(parent));
        if let Some(rules) = self.customized().0.get(&key, Instant::now()) {
            return Ok(rules);
        }
        let answer = hook.call(customize_body(&self.object, parent), parent).await?;
        let rules = Arc::new(response::customize(&answer, hook.reading()).map_err(Stop::Failed)?);
        self.customized().0.set(key, rules.clone(), Instant::now());
        Ok(rules)
    }

    /// The informer of a related kind, whose events count from its first use on.
    async fn related_informer(self: &Arc<Self>, resource: &Resource) -> Informer {
        let key = (resource.api_version(), resource.plural.clone());
        let mut related = self.related.lock().await;
        if let Some(informer) = related.get(&key) {
            return informer.clone();
        }
        let informer = self.world.informers.get(resource);
        let (_, changes) = informer.subscribe().await;
        self.watch(changes, Source::Related);
        related.insert(key, informer.clone());
        informer
    }

    fn scope<'a>(&self, parent: &'a Value, resource: &Resource) -> Scope<'a> {
        Scope {
            version: self.customize_hook.as_ref().map(|hook| hook.version()).unwrap_or_default(),
            parent_namespace: self.resource.namespaced.then(|| object::namespace(parent)),
            namespaced: resource.namespaced,
        }
    }

    fn namespaces_known(&self, selection: &Selection) -> Result<(), Stop> {
        if selection.wants_namespaces() && !self.namespaces.is_synced() {
            Err(Stop::NotSynced)
        } else {
            Ok(())
        }
    }

    fn is_selected(&self, selection: &Selection, candidate: &Value) -> bool {
        selection.matches(candidate, |namespace| self.namespaces.cache().labels(namespace))
    }

    fn customized(&self) -> MutexGuard<'_, Customized> {
        self.customized.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
