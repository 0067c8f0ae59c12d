//! The contract's table of good and bad objects, judged by a real API server through kubectl.

use std::{path::PathBuf, sync::Arc};

use anyhow::{Result, ensure};
use serialfleet_cluster::{control_plane::Options, harness::say};
use tokio::{sync::Semaphore, task::JoinSet};

use super::lab::{Lab, shipped};

#[path = "../../../../metacontroller/tests/verdicts/table.rs"]
mod table;

pub(crate) async fn are_the_api_servers_own(directory: PathBuf) -> Result<()> {
    let lab = Lab::empty(&directory, 0, Options::default()).await?;
    let definitions = shipped().join("manifests/crds.yaml");
    let definitions = definitions.to_str().unwrap_or_default();
    lab.kubectl().run(&["apply", "--server-side", "-f", definitions]).await?.success()?;
    lab.kubectl().run(&["wait", "--for=condition=Established", "crd", "--all"]).await?.success()?;
    // The first call fills kubectl's cache of what there is, for the others.
    lab.kubectl().run(&["get", "serialfleets"]).await?.success()?;

    let at_once = Arc::new(Semaphore::new(4));
    let mut calls = JoinSet::new();
    for entry in table::table() {
        let (kubectl, at_once) = (lab.kubectl(), Arc::clone(&at_once));
        calls.spawn(async move {
            let _turn = at_once.acquire().await?;
            let create = ["create", "--dry-run=server", "-f", "-"];
            let output = kubectl.run_with_input(&create, &entry.text).await?;
            anyhow::Ok((entry, output))
        });
    }
    let (mut good, mut bad, mut in_our_words, mut wrong) = (0, 0, 0, Vec::new());
    while let Some(call) = calls.join_next().await {
        let (entry, output) = call??;
        match entry.refusal {
            None if output.ok => good += 1,
            Some((_, fragment)) if !output.ok => {
                bad += 1;
                in_our_words += usize::from(output.stderr.contains(&fragment));
            }
            None => wrong.push(format!("{} is good, but: {}", entry.name, output.stderr.trim())),
            Some(_) => wrong.push(format!("{} is bad, but taken", entry.name)),
        }
    }
    say(&format!("{good} good and {bad} bad objects, {in_our_words} refused with exactly our words"));
    ensure!(wrong.is_empty(), "other verdicts than the table's:\n{}", wrong.join("\n"));
    Ok(())
}
