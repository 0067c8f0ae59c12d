//! No hook server answers for a while, and a stick is moved meanwhile: nothing is lost, and the move is followed.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use kube::{Api, api::ListParams};
use serialfleet_cluster::{harness::say, wait};

use super::{
    apply_to_bytes::{FLEET, zigbee},
    lab::{Lab, PATIENCE, SYSTEM, Strategy, since},
    settle::{METACONTROLLER, settle},
};

pub(crate) async fn of_all_hook_servers(directory: PathBuf) -> Result<()> {
    let lab = Lab::start(&directory, 3, Strategy::DynamicApply).await?;
    let stick = lab.node(2).host().plug(zigbee())?;
    lab.kubectl().apply(FLEET).await?;
    lab.endpoint_on("zigbee", "node-2").await?;
    lab.fleet_is_ready("home").await?;
    let (service, before) = (lab.service("zigbee").await?, lab.children("home").await?);
    settle(&lab, Duration::from_secs(2)).await?;

    let away = Instant::now();
    scale(&lab, 0).await?;
    let pods: Api<k8s_openapi::api::core::v1::Pod> = Api::namespaced(lab.client.clone(), SYSTEM);
    let hooks = ListParams::default().labels("app.kubernetes.io/component=hook");
    wait::until("no hook server is left", PATIENCE, async || {
        Ok(pods.list(&hooks).await?.items.is_empty().then_some(()))
    })
    .await?;
    say(&format!("no hook server after {} ms", since(away)));

    let (mark, start) = (lab.audit().mark()?, Instant::now());
    drop(stick);
    let _moved = lab.node(3).host().plug(zigbee())?;
    wait::until("both bridges have reported the move", PATIENCE, async || {
        let [from, to] = ["home.node-2", "home.node-3"].map(|name| lab.serial_node(name));
        let (from, to) = (state_of_zigbee(&from.await?), state_of_zigbee(&to.await?));
        Ok((from != "Serving" && to == "Serving").then_some(()))
    })
    .await?;
    say(&format!("reported after {} ms", since(start)));
    // Calls that fail, several times over.
    wait::until("a few calls", PATIENCE, async || Ok((start.elapsed() > AWAY).then_some(()))).await?;
    let written = lab.writes_since(mark)?.into_iter().find(|write| write.user == METACONTROLLER);
    ensure!(written.is_none(), "written while no hook answers: {written:?}");
    ensure!(lab.children("home").await? == before, "every child is still there");

    scale(&lab, 2).await?;
    lab.hooks_are_ready().await?;
    let (away, start) = (away.elapsed(), Instant::now());
    lab.endpoint_on("zigbee", "node-3").await?;
    let took = start.elapsed();
    say(&format!("followed {took:.1?} after hook servers were back, which had been away for {away:.1?}"));
    // Metacontroller waits as long again as it has waited already: since its first call in vain, after they began to end.
    ensure!(took < away, "away for {away:?}, followed only {took:?} after that");
    ensure!(lab.service("zigbee").await? == service, "the address never changes");
    lab.device_is("home", "zigbee", "Serving").await?;
    settle(&lab, Duration::from_secs(2)).await?;
    ensure!(lab.children("home").await? == before, "the same children as before");
    Ok(())
}

async fn scale(lab: &Lab, replicas: u8) -> Result<()> {
    let replicas = format!("--replicas={replicas}");
    let scale = ["-n", SYSTEM, "scale", "deployment", "serialfleet-hook", &replicas];
    lab.kubectl().run(&scale).await?.success()?;
    Ok(())
}

fn state_of_zigbee(report: &serde_json::Value) -> String {
    let ports = report["ports"].as_array().cloned().unwrap_or_default();
    let port = ports.into_iter().find(|port| port["name"] == "zigbee").unwrap_or_default();
    port["state"].as_str().unwrap_or("Absent").to_owned()
}

const AWAY: Duration = Duration::from_secs(5);
