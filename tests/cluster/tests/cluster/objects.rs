//! Single objects, whole: which of them a fleet has, and whether one is still what it was.
//!
//! Owner: scenarios. It reads and waits; it writes nothing.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use serialfleet_cluster::wait;

use super::{
    lab::{Lab, PATIENCE},
    state::condition,
};

/// Every kind of child.
const CHILDREN: &str = "daemonsets,services,endpointslices,networkpolicies";

/// A fleet's children by namespace, kind and name: the uid, and the addresses that must not change.
pub(crate) type Children = BTreeMap<String, (String, Vec<String>)>;

/// Objects of others, as they were.
pub(crate) struct Untouched(Vec<Value>);

impl Lab {
    /// Waits for a condition of a fleet, and returns its message.
    pub(crate) async fn fleet_says(
        &self,
        fleet: &str,
        kind: &str,
        status: &str,
        reason: &str,
    ) -> Result<String> {
        self.fleet_says_of(fleet, kind, status, reason, "").await
    }

    /// The same, with these words in the message.
    pub(crate) async fn fleet_says_of(
        &self,
        fleet: &str,
        kind: &str,
        status: &str,
        reason: &str,
        words: &str,
    ) -> Result<String> {
        let mut last = Value::Null;
        wait::until(&format!("{kind} of {fleet} is {status}: {reason} {words}"), PATIENCE, async || {
            last = self.fleet(fleet).await?;
            let condition = condition(&last, kind);
            let message = condition["message"].as_str().unwrap_or_default().to_owned();
            let met = condition["status"] == status && condition["reason"] == reason;
            Ok((met && message.contains(words)).then_some(message))
        })
        .await
        .with_context(|| format!("its status: {}", last["status"]))
    }

    /// What `kubectl get` finds, with everything that the API server stores.
    pub(crate) async fn objects(&self, arguments: &[&str]) -> Result<Vec<Value>> {
        let get = [&["get", "-o", "json", "--show-managed-fields"], arguments].concat();
        let mut found: Value = serde_json::from_str(&self.kubectl().run(&get).await?.success()?)?;
        Ok(match found["items"].take() {
            Value::Array(items) => items,
            _ => vec![found],
        })
    }

    /// The one object of that kind and name.
    pub(crate) async fn object(&self, namespace: &str, resource: &str) -> Result<Value> {
        self.objects(&["-n", namespace, resource]).await?.pop().context("an object")
    }

    /// What the fleet controls.
    pub(crate) async fn children(&self, fleet: &str) -> Result<Children> {
        let label = format!("serialfleet.io/fleet={fleet}");
        let found = self.objects(&["-A", CHILDREN, "-l", &label]).await?;
        // The anchor's slices carry its labels, too.
        let ours = found
            .into_iter()
            .filter(|object| object["metadata"]["ownerReferences"][0]["kind"] == "SerialFleet");
        Ok(ours
            .map(|object| {
                let uid = object["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
                let addresses = object["spec"]["clusterIPs"].as_array().cloned().unwrap_or_default();
                let addresses = addresses.iter().filter_map(Value::as_str).map(str::to_owned).collect();
                let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
                (format!("{namespace} {}", title(&object)), (uid, addresses))
            })
            .collect())
    }

    /// Remembers objects of others: pairs of namespace and resource.
    pub(crate) async fn untouched(&self, objects: &[(&str, String)]) -> Result<Untouched> {
        let mut found = Vec::new();
        for (namespace, resource) in objects {
            found.push(self.object(namespace, resource).await?);
        }
        Ok(Untouched(found))
    }
}

impl Untouched {
    /// That not one byte of them has changed.
    pub(crate) async fn holds(&self, lab: &Lab, after: &str) -> Result<()> {
        for before in &self.0 {
            let namespace = before["metadata"]["namespace"].as_str().unwrap_or_default();
            let now = lab.object(namespace, &title(before)).await.with_context(|| after.to_owned())?;
            ensure!(&now == before, "after {after}, {} was\n{before}\nand is\n{now}", title(before));
        }
        Ok(())
    }
}

/// As kubectl takes it.
fn title(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    format!("{}/{}", text(&object["kind"]).to_lowercase(), text(&object["metadata"]["name"]))
}
