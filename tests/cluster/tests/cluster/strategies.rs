//! Metacontroller's apply strategy is changed and changed back, and hook servers are restarted meanwhile: no child and no
//! address is lost. What cannot be applied after such a change is named, and what is said helps.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use serialfleet_cluster::{harness::say, wait};

use super::{
    apply_to_bytes::{FLEET, zigbee},
    lab::{HOME, Lab, PATIENCE, SYSTEM, Strategy, connect, since},
    settle::settle,
};

pub(crate) async fn may_be_changed(directory: PathBuf) -> Result<()> {
    let lab = Lab::start(&directory, 2, Strategy::DynamicApply).await?;
    let _stick = lab.node(2).host().plug(zigbee())?;
    lab.kubectl().apply(FLEET).await?;
    lab.endpoint_on("zigbee", "node-2").await?;
    lab.fleet_is_ready("home").await?;
    let before = lab.children("home").await?;

    lab.switch(Strategy::ServerSideApply).await?;
    restart_hooks(&lab).await?;
    settle(&lab, QUIET).await?;
    ensure!(lab.children("home").await? == before, "the same children after the change of strategy");
    // The other strategy has left its mark on the old port, so this one cannot take it away.
    let start = Instant::now();
    lab.kubectl().apply(&with_port(6700)).await?;
    let message = lab.fleet_says_of("home", "Stalled", "True", "StalePort", "iot-system/zigbee").await?;
    say(&format!("after {} ms: {message}", since(start)));
    // What is connected stays so, and new clients still come in by the old port.
    let client = lab.node(1).client()?;
    drop(connect(&client, lab.service("zigbee").await?).await?);
    lab.kubectl().run(&["-n", HOME, "delete", "service", "zigbee"]).await?.success()?;
    port_is(&lab, 6700).await?;
    lab.fleet_says("home", "Stalled", "False", "AsExpected").await?;
    lab.fleet_is_ready("home").await?;
    drop(connect(&client, lab.service("zigbee").await?).await?);
    let before = lab.children("home").await?;

    // Back again: the same, and this strategy changes ports in place.
    lab.switch(Strategy::DynamicApply).await?;
    settle(&lab, QUIET).await?;
    ensure!(lab.children("home").await? == before, "the same children after the change back");
    lab.kubectl().apply(&with_port(6638)).await?;
    port_is(&lab, 6638).await?;
    settle(&lab, QUIET).await?;
    ensure!(lab.children("home").await? == before, "the same children after an edit");
    lab.fleet_is_ready("home").await?;
    drop(connect(&client, lab.service("zigbee").await?).await?);
    Ok(())
}

fn with_port(port: u16) -> String {
    FLEET.replace("name: zigbee,", &format!("name: zigbee, port: {port},"))
}

async fn port_is(lab: &Lab, port: u16) -> Result<()> {
    wait::until(&format!("zigbee is served at port {port}"), PATIENCE, async || {
        Ok((lab.service("zigbee").await?.port() == port).then_some(()))
    })
    .await
}

async fn restart_hooks(lab: &Lab) -> Result<()> {
    let start = Instant::now();
    let restart = ["-n", SYSTEM, "rollout", "restart", "deployment/serialfleet-hook"];
    lab.kubectl().run(&restart).await?.success()?;
    lab.hooks_are_ready().await?;
    say(&format!("other hook servers after {} ms", since(start)));
    Ok(())
}

const QUIET: Duration = Duration::from_secs(2);
