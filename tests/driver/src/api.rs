//! Requests to the API server, one by one, as Metacontroller's dynamic client makes them: throttled, with its user
//! agent (which names the field manager of its writes), objects as JSON. Decides nothing.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http_body_util::BodyExt;
use hyper::{Method, Request, StatusCode, header};
use kube::client::Body;
use serde_json::Value;
use serialfleet_hook::merge::to_vec;
use tokio::time::{Instant, sleep};

use crate::{discovery::Resource, limits::TokenBucket, object};

const USER_AGENT: &str = "metacontroller/v0.0.0 (linux/amd64) kubernetes/$Format";
const JSON: &str = "application/json";

/// What the API server did not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status; 0 if there was no answer.
    pub code: u16,
    /// As in `NotFound`.
    pub reason: String,
    /// For people.
    pub message: String,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl Refusal {
    /// The object is gone, or was replaced by another one of its name.
    pub fn not_found(resource: &Resource, name: &str) -> Self {
        let kind = if resource.group.is_empty() {
            resource.plural.clone()
        } else {
            format!("{}.{}", resource.plural, resource.group)
        };
        Self { code: 404, reason: "NotFound".to_owned(), message: format!("{kind} {name:?} not found") }
    }

    /// Whether there is no such object.
    pub fn is_not_found(&self) -> bool {
        self.reason == "NotFound" || (self.code == 404 && self.reason.is_empty())
    }

    /// Whether the object has changed since it was read.
    pub fn is_conflict(&self) -> bool {
        self.reason == "Conflict" || (self.code == 409 && self.reason.is_empty())
    }

    /// Whether somebody else has the name.
    pub fn is_already_exists(&self) -> bool {
        self.reason == "AlreadyExists"
    }

    fn transport(error: &dyn std::error::Error) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(error) = source {
            message = format!("{message}: {error}");
            source = error.source();
        }
        Self { code: 0, reason: String::new(), message }
    }

    fn read(code: StatusCode, body: &[u8]) -> Self {
        let status: Value = serde_json::from_slice(body).unwrap_or_default();
        let text = |field: &str| status.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
        let message = text("message");
        Self {
            code: code.as_u16(),
            reason: text("reason"),
            message: if message.is_empty() { format!("the server answered {code}") } else { message },
        }
    }
}

/// How an object is patched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patch<'a> {
    /// RFC 6902.
    Json,
    /// Kubernetes' own merge, for events.
    StrategicMerge,
    /// Server-side apply, forced, by this field manager.
    Apply {
        /// Field manager.
        manager: &'a str,
        /// Whether nothing is stored.
        dry_run: bool,
    },
}

/// A throttled client.
#[derive(Clone)]
pub struct Api {
    client: kube::Client,
    bucket: Arc<Mutex<TokenBucket>>,
}

impl Api {
    /// At most `qps` requests a second, `burst` at once. Clones share the limit.
    pub fn new(client: kube::Client, qps: f64, burst: u32) -> Self {
        Self { client, bucket: Arc::new(Mutex::new(TokenBucket::new(qps, burst))) }
    }

    /// The client itself, for watches, which are not throttled.
    pub fn client(&self) -> kube::Client {
        self.client.clone()
    }

    /// Reads any path.
    ///
    /// # Errors
    /// If the server does not answer with success.
    pub async fn read(&self, path: &str, accept: &str) -> Result<Value, Refusal> {
        self.send(Method::GET, path, accept, JSON, Vec::new()).await
    }

    /// Reads an object.
    ///
    /// # Errors
    /// If there is none, or the server does not answer with success.
    pub async fn get(&self, resource: &Resource, namespace: &str, name: &str) -> Result<Value, Refusal> {
        self.read(&resource.path(namespace, Some(name), None), JSON).await
    }

    /// Creates an object.
    ///
    /// # Errors
    /// If the server does not.
    pub async fn create(&self, resource: &Resource, object: &Value) -> Result<Value, Refusal> {
        let path = resource.path(object::namespace(object), None, None);
        self.send(Method::POST, &path, JSON, JSON, to_vec(object)).await
    }

    /// Replaces an object, or one of its subresources.
    ///
    /// # Errors
    /// If the server does not.
    pub async fn update(
        &self,
        resource: &Resource,
        object: &Value,
        part: Option<&str>,
    ) -> Result<Value, Refusal> {
        let path = resource.path(object::namespace(object), Some(object::name(object)), part);
        self.send(Method::PUT, &path, JSON, JSON, to_vec(object)).await
    }

    /// Deletes an object in the background if it is still the one with this UID.
    ///
    /// # Errors
    /// If the server does not.
    pub async fn delete(
        &self,
        resource: &Resource,
        namespace: &str,
        name: &str,
        uid: &str,
    ) -> Result<Value, Refusal> {
        let options = serde_json::json!({
            "kind": "DeleteOptions", "apiVersion": "v1",
            "preconditions": {"uid": uid}, "propagationPolicy": "Background",
        });
        let path = resource.path(namespace, Some(name), None);
        self.send(Method::DELETE, &path, JSON, JSON, to_vec(&options)).await
    }

    /// Patches an object.
    ///
    /// # Errors
    /// If the server does not.
    pub async fn patch(
        &self,
        resource: &Resource,
        namespace: &str,
        name: &str,
        patch: Patch<'_>,
        body: Vec<u8>,
    ) -> Result<Value, Refusal> {
        let path = resource.path(namespace, Some(name), None);
        let (path, kind) = match patch {
            Patch::Json => (path, "application/json-patch+json"),
            Patch::StrategicMerge => (path, "application/strategic-merge-patch+json"),
            Patch::Apply { manager, dry_run } => {
                let dry_run = if dry_run { "dryRun=All&" } else { "" };
                (format!("{path}?{dry_run}fieldManager={manager}&force=true"), "application/apply-patch+yaml")
            }
        };
        self.send(Method::PATCH, &path, JSON, kind, body).await
    }

    /// Reads, changes and writes an object until nobody interferes (`AtomicUpdate`): `change` says whether there is
    /// anything to write. An object that was replaced by another of its name is not found.
    ///
    /// # Errors
    /// If it is gone, if somebody interfered five times, or if the server refuses.
    pub async fn change(
        &self,
        resource: &Resource,
        original: &Value,
        part: Option<&str>,
        change: impl Fn(&mut Value) -> bool,
    ) -> Result<Value, Refusal> {
        // retry.DefaultBackoff, without its jitter.
        let mut pause = Duration::from_millis(10);
        for attempt in 1.. {
            let mut current = self.get(resource, object::namespace(original), object::name(original)).await?;
            if object::uid(&current) != object::uid(original) {
                return Err(Refusal::not_found(resource, object::name(original)));
            }
            if !change(&mut current) {
                return Ok(current);
            }
            match self.update(resource, &current, part).await {
                Err(refusal) if refusal.is_conflict() && attempt < 4 => {}
                result => return result,
            }
            sleep(pause).await;
            pause *= 5;
        }
        unreachable!("the fourth attempt returns")
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        accept: &str,
        kind: &str,
        body: Vec<u8>,
    ) -> Result<Value, Refusal> {
        let wait = self.bucket.lock().unwrap_or_else(PoisonError::into_inner).reserve(Instant::now());
        if !wait.is_zero() {
            sleep(wait).await;
        }
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::USER_AGENT, USER_AGENT)
            .header(header::ACCEPT, accept)
            .header(header::CONTENT_TYPE, kind)
            .body(Body::from(body))
            .map_err(|error| Refusal::transport(&error))?;
        let response = self.client.send(request).await.map_err(|error| Refusal::transport(&error))?;
        let code = response.status();
        let body =
            response.into_body().collect().await.map_err(|error| Refusal::transport(&error))?.to_bytes();
        if !code.is_success() {
            return Err(Refusal::read(code, &body));
        }
        serde_json::from_slice(&body).map_err(|error| Refusal::transport(&error))
    }
}
