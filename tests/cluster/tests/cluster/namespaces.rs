//! The namespace of the devices' Services: missing, without its owner's consent, changed while somebody is served.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serialfleet_cluster::{harness::say, wait};

use super::{
    apply_to_bytes::{FLEET, zigbee},
    lab::{HOME, Lab, PATIENCE, Strategy, since},
    settle::settle,
};

pub(crate) async fn are_asked_for_and_followed(directory: PathBuf) -> Result<()> {
    let lab = Lab::start(&directory, 2, Strategy::DynamicApply).await?;
    let _stick = lab.node(2).host().plug(zigbee())?;
    let fleet = |namespace: &str| FLEET.replace(HOME, namespace);

    // Not there: the fleet says what to type, and what it says helps.
    lab.kubectl().apply(&fleet("cellar")).await?;
    let message = lab.fleet_says("home", "Stalled", "True", "NamespaceMissing").await?;
    say(&message);
    let device = lab.device_is("home", "zigbee", "Failed").await?;
    ensure!(device["reason"] == "NamespaceMissing", "{device}");
    settle(&lab, QUIET).await?;
    let [create, label] = commands(&message)?;
    typed(&lab, create).await?;
    let message = lab.fleet_says("home", "Stalled", "True", "NamespaceNotAllowed").await?;
    say(&message);
    ensure!(message.contains(label), "{label:?} in {message:?}");
    let start = Instant::now();
    typed(&lab, label).await?;
    served_in(&lab, "cellar").await?;
    say(&format!("served {} ms after consent", since(start)));
    lab.fleet_is_ready("home").await?;

    // Elsewhere, while it is served. What works stays until the other place can be had.
    let in_cellar = lab.children("home").await?;
    typed(&lab, "kubectl create namespace attic").await?;
    lab.kubectl().apply(&fleet("attic")).await?;
    let message = lab.fleet_says("home", "Stalled", "True", "NamespaceNotAllowed").await?;
    say(&message);
    settle(&lab, QUIET).await?;
    ensure!(lab.children("home").await? == in_cellar, "what works stays");
    served_in(&lab, "cellar").await?;
    let start = Instant::now();
    typed(&lab, "kubectl label namespace attic serialfleet.io/services=allowed").await?;
    served_in(&lab, "attic").await?;
    say(&format!("served in the other namespace {} ms after consent", since(start)));
    lab.fleet_is_ready("home").await?;
    settle(&lab, QUIET).await?;
    let left = lab.objects(&["-n", "cellar", "services,endpointslices"]).await?;
    ensure!(left.is_empty(), "left in the old namespace: {left:?}");

    // Consent that is taken back takes nothing away.
    let in_attic = lab.children("home").await?;
    typed(&lab, "kubectl label namespace attic serialfleet.io/services-").await?;
    lab.fleet_says("home", "Stalled", "True", "NamespaceNotAllowed").await?;
    settle(&lab, QUIET).await?;
    ensure!(lab.children("home").await? == in_attic, "what works stays");
    served_in(&lab, "attic").await
}

/// The device's slice there has its endpoint.
async fn served_in(lab: &Lab, namespace: &str) -> Result<()> {
    wait::until(&format!("zigbee is served in {namespace}"), PATIENCE, async || {
        let slice = lab.object(namespace, "endpointslice/zigbee-ipv4").await?;
        lab.object(namespace, "service/zigbee").await?;
        Ok((slice["endpoints"][0]["nodeName"] == "node-2").then_some(()))
    })
    .await
}

/// The two commands of a message: `... : FIRST && SECOND`.
fn commands(message: &str) -> Result<[&str; 2]> {
    let (_, commands) = message.split_once(": ").context("a command")?;
    let (first, rest) = commands.split_once(" && ").context("two commands")?;
    // Conditions may say more than one thing.
    let second = rest.split_once("allowed").context("the label")?.0.len() + "allowed".len();
    Ok([first, rest.get(..second).context("the label")?])
}

/// What a person does who reads it.
async fn typed(lab: &Lab, command: &str) -> Result<()> {
    let words: Vec<&str> = command.split_whitespace().collect();
    let (kubectl, arguments) = words.split_first().context("a command")?;
    ensure!(*kubectl == "kubectl", "{command}");
    lab.kubectl().run(arguments).await?.success()?;
    Ok(())
}

/// Longer than the 2 s after which the hook server first asks to look again.
const QUIET: Duration = Duration::from_secs(3);
