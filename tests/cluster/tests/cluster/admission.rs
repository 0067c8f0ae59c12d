//! A bridge may write its own report and no other: what a stolen token is worth.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use serialfleet_cluster::harness::say;

use super::{
    apply_to_bytes::{FLEET, zigbee},
    lab::{Lab, SYSTEM, Strategy},
};

pub(crate) async fn a_bridge_writes_its_own_report_only(directory: PathBuf) -> Result<()> {
    let lab = Lab::start(&directory, 2, Strategy::DynamicApply).await?;
    let _stick = lab.node(2).host().plug(zigbee())?;
    lab.kubectl().apply(FLEET).await?;
    lab.device_is("home", "zigbee", "Serving").await?;

    let pod = lab.bridge_on("home", "node-2").await?.metadata;
    let (name, uid) = (pod.name.context("a name")?, pod.uid.context("a uid")?);
    let bound = [
        "-n",
        SYSTEM,
        "create",
        "token",
        "serialfleet-bridge",
        "--bound-object-kind=Pod",
        &format!("--bound-object-name={name}"),
        &format!("--bound-object-uid={uid}"),
    ];
    let token = lab.kubectl().run(&bound).await?.success()?.trim().to_owned();
    let unbound = lab.kubectl().run(&bound[..5]).await?.success()?.trim().to_owned();

    let mut own = lab.serial_node("home.node-2").await?;
    let metadata = own["metadata"].as_object_mut().context("metadata")?;
    metadata.retain(|key, _| matches!(key.as_str(), "name" | "labels" | "ownerReferences"));
    let elsewhere = {
        let mut elsewhere = own.clone();
        let node = lab
            .kubectl()
            .run(&["get", "node", "node-1", "-o", "jsonpath={.metadata.uid}"])
            .await?
            .success()?;
        elsewhere["metadata"]["name"] = json!("home.node-1");
        elsewhere["nodeName"] = json!("node-1");
        elsewhere["metadata"]["ownerReferences"][0]["name"] = json!("node-1");
        elsewhere["metadata"]["ownerReferences"][0]["uid"] = json!(node);
        elsewhere
    };
    let with = |path: &str, value: Value| {
        let mut changed = own.clone();
        *changed.pointer_mut(path).unwrap_or(&mut Value::Null) = value;
        changed
    };
    let mut another_fleet = with("/metadata/name", json!("other.node-2"));
    another_fleet["fleet"] = json!("other");
    another_fleet["metadata"]["labels"]["serialfleet.io/fleet"] = json!("other");
    let mut finalizer = own.clone();
    finalizer["metadata"]["finalizers"] = json!(["example.com/never"]);
    let mut controller = own.clone();
    controller["metadata"]["ownerReferences"][0]["controller"] = json!(true);

    let write = async |token: &str, object: &Value| {
        let arguments = [
            "--token",
            token,
            "apply",
            "--server-side",
            "--field-manager=serialfleet-bridge",
            "--force-conflicts",
            "--dry-run=server",
            "-f",
            "-",
        ];
        lab.kubectl().run_with_input(&arguments, &object.to_string()).await
    };
    write(&token, &own).await?.success().context("its own report")?;
    let refusals = [
        ("another node's", &token, &elsewhere),
        ("another fleet's", &token, &another_fleet),
        ("another pod's", &token, &with("/podUID", json!("00000000-0000-4000-8000-000000000000"))),
        ("another node's name inside", &token, &with("/nodeName", json!("node-1"))),
        ("another owner", &token, &with("/metadata/ownerReferences/0/name", json!("node-1"))),
        ("no owner", &token, &with("/metadata/ownerReferences", json!([]))),
        ("an owner that it keeps from being deleted", &token, &controller),
        ("a finalizer", &token, &finalizer),
        ("with a token of no pod", &unbound, &own),
    ];
    for (what, token, object) in refusals {
        let output = write(token, object).await?;
        ensure!(!output.ok, "{what}: allowed");
        ensure!(output.stderr.contains("ValidatingAdmissionPolicy"), "{what}: {}", output.stderr);
        say(&format!("{what}: {}", output.stderr.trim()));
    }
    // Deleting is writing.
    lab.kubectl().apply(&elsewhere.to_string()).await?;
    let delete = lab
        .kubectl()
        .run(&["--token", &token, "delete", "serialnode", "home.node-1", "--dry-run=server"])
        .await?;
    ensure!(!delete.ok && delete.stderr.contains("ValidatingAdmissionPolicy"), "{delete:?}");
    Ok(())
}
