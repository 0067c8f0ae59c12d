//! Somebody edits what belongs to a fleet: what the fleet names is put back, what it does not name stays and is told,
//! and nobody fights over either.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use serialfleet_cluster::{harness::say, wait};

use super::{
    apply_to_bytes::{FLEET, zigbee},
    lab::{HOME, Lab, PATIENCE, SYSTEM, Strategy, since},
    settle::settle,
};

pub(crate) async fn is_repaired_or_told(directory: PathBuf, strategy: Strategy) -> Result<()> {
    let lab = Lab::start(&directory, 2, strategy).await?;
    let _stick = lab.node(2).host().plug(zigbee())?;
    lab.kubectl().apply(FLEET).await?;
    lab.endpoint_on("zigbee", "node-2").await?;
    lab.fleet_is_ready("home").await?;

    is_repaired(&lab).await?;
    lab.fleet_is_ready("home").await?;
    lab.fleet_says("home", "Degraded", "False", "AsExpected").await?;
    settle(&lab, QUIET).await?;

    // What a fleet does not name, Metacontroller leaves alone: so it is said, until somebody takes it away.
    let service = json!({
        "metadata": {"labels": {"example.com/theirs": "yes"}},
        "spec": {"selector": {"app": "theirs"}, "ports": [{"name": "web", "port": 80}]},
    });
    patch(&lab, HOME, "service/zigbee", "strategic", &service).await?;
    let further = json!({
        "name": "theirs", "image": "serialfleet",
        "command": ["/serialfleet-hook", "serve", "--bridge-image=none", "--listen=[::]:9998"],
    });
    let set = json!({
        "metadata": {"labels": {"example.com/theirs": "yes"}},
        "spec": {"template": {"spec": {"containers": [
            {"name": "bridge", "env": [{"name": "THEIRS", "value": "yes"}]}, further,
        ]}}},
    });
    patch(&lab, SYSTEM, "daemonset/home-bridge", "strategic", &set).await?;
    // Metacontroller may see one of two kinds before the other.
    let service = "Service iot-system/zigbee has label example.com/theirs and a selector and a second port";
    lab.fleet_says_of("home", "Degraded", "True", "Drift", service).await?;
    let set = "DaemonSet serialfleet-system/home-bridge has label example.com/theirs and further containers and \
               environment THEIRS";
    let message = lab.fleet_says_of("home", "Degraded", "True", "Drift", set).await?;
    say(&message);
    ensure!(message.contains(service), "{service:?} in {message:?}");
    settle(&lab, QUIET).await?;
    lab.fleet_is_ready("home").await?;
    lab.endpoint_on("zigbee", "node-2").await?;

    let service = json!({
        "metadata": {"labels": {"example.com/theirs": null}},
        "spec": {"selector": null, "ports": [{"port": 80, "$patch": "delete"}]},
    });
    patch(&lab, HOME, "service/zigbee", "strategic", &service).await?;
    let set = json!({
        "metadata": {"labels": {"example.com/theirs": null}},
        "spec": {"template": {"spec": {"containers": [
            {"name": "bridge", "env": [{"name": "THEIRS", "$patch": "delete"}]},
            {"name": "theirs", "$patch": "delete"},
        ]}}},
    });
    patch(&lab, SYSTEM, "daemonset/home-bridge", "strategic", &set).await?;
    lab.fleet_says("home", "Degraded", "False", "AsExpected").await?;
    lab.fleet_is_ready("home").await?;
    settle(&lab, QUIET).await
}

/// Each edit is taken back, and so is a deletion.
async fn is_repaired(lab: &Lab) -> Result<()> {
    let edits = [
        (HOME, "service/zigbee", json!([{"op": "replace", "path": "/spec/ports/0/targetPort", "value": 1}])),
        (
            HOME,
            "endpointslice/zigbee-ipv4",
            json!([{"op": "replace", "path": "/endpoints/0/addresses/0", "value": "10.99.0.1"}]),
        ),
        // What was empty is not an empty list, but nobody may put anything there.
        (
            HOME,
            "endpointslice/zwave-ipv4",
            json!([{"op": "add", "path": "/endpoints", "value": [{"addresses": ["10.99.0.1"]}]}]),
        ),
        (
            SYSTEM,
            "networkpolicy/home-bridge",
            json!([{"op": "replace", "path": "/spec/ingress", "value": [{}]}]),
        ),
        (SYSTEM, "service/home-anchor", json!([{"op": "remove", "path": "/metadata/ownerReferences"}])),
        (
            SYSTEM,
            "daemonset/home-bridge",
            json!([{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "theirs"}]),
        ),
    ];
    for (namespace, resource, edit) in edits {
        let before = lab.object(namespace, resource).await?;
        let start = Instant::now();
        patch(lab, namespace, resource, "json", &edit).await?;
        let mut now = Value::Null;
        wait::until(&format!("{resource} is put back"), PATIENCE, async || {
            now = lab.object(namespace, resource).await?;
            Ok((wanted(&now) == wanted(&before)).then_some(()))
        })
        .await
        .with_context(|| format!("was {}, is {}", wanted(&before), wanted(&now)))?;
        say(&format!("{resource} put back within {} ms", since(start)));
    }
    let before = lab.children("home").await?;
    lab.kubectl()
        .run(&["-n", HOME, "delete", "service/zwave", "endpointslice/zwave-ipv4"])
        .await?
        .success()?;
    wait::until("what was deleted is back", PATIENCE, async || {
        Ok(lab.children("home").await?.keys().eq(before.keys()).then_some(()))
    })
    .await
}

/// What of an object a fleet says.
fn wanted(object: &Value) -> Value {
    let mut owners = object["metadata"]["ownerReferences"].clone();
    for owner in owners.as_array_mut().into_iter().flatten() {
        owner["uid"].take();
    }
    json!([owners, object["spec"], object["endpoints"]])
}

async fn patch(lab: &Lab, namespace: &str, resource: &str, kind: &str, patch: &Value) -> Result<()> {
    let (kind, patch) = (format!("--type={kind}"), patch.to_string());
    lab.kubectl().run(&["-n", namespace, "patch", resource, &kind, "-p", &patch]).await?.success()?;
    Ok(())
}

const QUIET: Duration = Duration::from_secs(2);
