//! Taking it away again, in whatever order people do it: nothing hangs and nothing stays.

use std::{path::PathBuf, time::Instant};

use anyhow::{Result, ensure};
use serialfleet_cluster::{harness::say, wait};

use super::{
    apply_to_bytes::{FLEET, zigbee},
    foreign::in_the_way_of_barn,
    lab::{HOME, Lab, PATIENCE, SYSTEM, Strategy, shipped, since},
};

/// Everything that a fleet could leave behind.
const KINDS: &str = "services,endpointslices,daemonsets,pods,networkpolicies,controllerrevisions";

pub(crate) async fn leaves_nothing(directory: PathBuf) -> Result<()> {
    let lab = Lab::start(&directory, 2, Strategy::DynamicApply).await?;
    let _stick = lab.node(2).host().plug(zigbee())?;

    // The fleet, and another one that has nothing, as all its names are taken.
    fleet_serves(&lab).await?;
    let theirs = in_the_way_of_barn(&lab).await?;
    let start = Instant::now();
    lab.kubectl().run(&["delete", "serialfleet", "home", "barn"]).await?.success()?;
    say(&format!("kubectl delete returned after {} ms", since(start)));
    nothing_is_left_of_the_fleet(&lab).await?;
    let nodes = lab.kubectl().run(&["get", "serialnodes", "-o", "name"]).await?.success()?;
    ensure!(nodes.is_empty(), "reports are left: {nodes}");
    theirs.holds(&lab, "the deletion of a fleet of these names").await?;
    say(&format!("fleet deleted: nothing left after {} ms", since(start)));

    // Everything at once, while a fleet lives.
    fleet_serves(&lab).await?;
    everything_is_deleted(&lab, "with a living fleet").await?;

    // And without Metacontroller, which somebody removed first.
    lab.install().await?;
    fleet_serves(&lab).await?;
    lab.kubectl().run(&["delete", "namespace", "metacontroller"]).await?.success()?;
    everything_is_deleted(&lab, "with Metacontroller gone").await
}

async fn fleet_serves(lab: &Lab) -> Result<()> {
    lab.kubectl().apply(FLEET).await?;
    lab.endpoint_on("zigbee", "node-2").await?;
    lab.fleet_is_ready("home").await
}

async fn everything_is_deleted(lab: &Lab, how: &str) -> Result<()> {
    let start = Instant::now();
    let path = shipped();
    let path = path.to_str().unwrap_or_default();
    lab.kubectl().run(&["delete", "-k", path]).await?.success()?;
    say(&format!("kubectl delete -k returned after {} ms", since(start)));
    nothing_is_left_of_the_fleet(lab).await?;
    let kinds = "namespaces,crds,clusterroles,clusterrolebindings,validatingadmissionpolicies,validatingadmissionpolicybindings";
    let left = lab.kubectl().run(&["get", kinds, "-o", "name"]).await?.success()?;
    let ours: Vec<&str> =
        left.lines().filter(|line| line.contains("serialfleet") || line.contains("serialnode")).collect();
    ensure!(ours.is_empty(), "left behind: {ours:?}");
    say(&format!("everything deleted {how}: nothing left after {} ms", since(start)));
    Ok(())
}

async fn nothing_is_left_of_the_fleet(lab: &Lab) -> Result<()> {
    let mut left = String::new();
    wait::until("nothing of the fleet is left", PATIENCE, async || {
        let before = std::mem::take(&mut left);
        for namespace in [SYSTEM, HOME] {
            let get = ["-n", namespace, "get", KINDS, "-l", "serialfleet.io/fleet", "-o", "name"];
            left.push_str(&lab.kubectl().run(&get).await?.success()?);
        }
        if left != before {
            say(&format!("left: {}", left.split_whitespace().collect::<Vec<_>>().join(" ")));
        }
        Ok(left.is_empty().then_some(()))
    })
    .await
    .map_err(|error| error.context(left.clone()))
}
