//! What fails without anybody's doing: bridges and nodes.

use std::{path::PathBuf, time::Instant};

use anyhow::{Context, Result, ensure};
use serialfleet_cluster::{harness::say, wait};

use super::{
    apply_to_bytes::{FLEET, zigbee},
    lab::{Lab, PATIENCE, Strategy, since},
    state::condition,
    traffic::Traffic,
};

pub(crate) async fn of_a_bridge(directory: PathBuf) -> Result<()> {
    let lab = Lab::start(&directory, 2, Strategy::DynamicApply).await?;
    let _stick = lab.node(2).host().plug(zigbee())?;
    lab.kubectl().apply(FLEET).await?;
    lab.endpoint_on("zigbee", "node-2").await?;
    let service = lab.service("zigbee").await?;
    let traffic = Traffic::start(lab.node(1).client()?, service).await?;

    // Killed: the same pod starts it again.
    let pod = lab.bridge_on("home", "node-2").await?.metadata.name.context("a name")?;
    let start = Instant::now();
    lab.node(2).kill_container(&pod, "bridge")?;
    traffic.goes_on().await?;
    say(&format!("bridge killed: served again after {} ms", since(start)));
    ensure!(lab.bridge_on("home", "node-2").await?.metadata.name.as_deref() == Some(&pod), "the same pod");
    lab.fleet_is_ready("home").await?;

    // Its pod deleted: another one.
    let start = Instant::now();
    let deleted = lab.kubectl().run(&["-n", "serialfleet-system", "delete", "pod", &pod]).await?.success()?;
    ensure!(deleted.contains(&pod), "{deleted}");
    wait::until("another pod serves", PATIENCE, async || {
        let bridge = lab.bridge_on("home", "node-2").await?;
        Ok((bridge.metadata.name.as_deref() != Some(&pod)).then_some(()))
    })
    .await?;
    traffic.goes_on().await?;
    say(&format!("bridge pod deleted: served again after {} ms, grace included", since(start)));
    lab.endpoint_on("zigbee", "node-2").await?;
    ensure!(lab.service("zigbee").await? == service, "the address never changes");
    lab.fleet_is_ready("home").await
}

pub(crate) async fn of_a_node(directory: PathBuf) -> Result<()> {
    let mut lab = Lab::start(&directory, 3, Strategy::DynamicApply).await?;
    let _stick = lab.node(2).host().plug(zigbee())?;
    lab.kubectl().apply(FLEET).await?;
    lab.endpoint_on("zigbee", "node-2").await?;
    lab.fleet_is_ready("home").await?;
    let service = lab.service("zigbee").await?;

    // Silent: nobody can tell it from a dead one. Nothing is lost but the endpoint.
    let start = Instant::now();
    lab.nodes[1].silence();
    lab.no_endpoint("zigbee").await?;
    say(&format!("node silent: slice empty after {} ms", since(start)));
    let status = lab.device_is("home", "zigbee", "Absent").await?;
    say(&format!("node silent: the status says {status}"));
    ensure!(lab.service("zigbee").await? == service, "the Service stays");
    let start = Instant::now();
    lab.nodes[1].speak();
    lab.endpoint_on("zigbee", "node-2").await?;
    say(&format!("node speaks again: slice back after {} ms", since(start)));
    let traffic = Traffic::start(lab.node(1).client()?, service).await?;

    // Without power, for good. The stick is carried over when that is known: before, two would claim to have it.
    let start = Instant::now();
    lab.nodes[1].power_off().await?;
    lab.no_endpoint("zigbee").await?;
    say(&format!("node off: slice empty after {} ms", since(start)));
    let start = Instant::now();
    let _moved = lab.node(3).host().plug(zigbee())?;
    lab.endpoint_on("zigbee", "node-3").await?;
    say(&format!("stick carried over: slice follows after {} ms", since(start)));
    lab.kubectl().run(&["delete", "node", "node-2"]).await?.success()?;
    wait::until("the SerialNode goes with its Node", PATIENCE, async || {
        Ok(lab
            .serialfleet_io("SerialNode", "serialnodes")
            .get_opt("home.node-2")
            .await?
            .is_none()
            .then_some(()))
    })
    .await?;
    traffic.goes_on().await?;
    ensure!(lab.service("zigbee").await? == service, "the address never changes");
    lab.fleet_is_ready("home").await?;
    let fleet = lab.fleet("home").await?;
    ensure!(condition(&fleet, "Stalled")["status"] == "False", "{}", fleet["status"]);
    Ok(())
}
