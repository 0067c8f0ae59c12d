//! A stick is carried from one node to another while somebody talks to it.

use std::{path::PathBuf, time::Instant};

use anyhow::{Result, ensure};
use serialfleet_cluster::harness::say;

use super::{
    apply_to_bytes::{FLEET, zigbee},
    lab::{Lab, Strategy, since},
    traffic::Traffic,
};

pub(crate) async fn between_nodes_under_traffic(directory: PathBuf) -> Result<()> {
    let lab = Lab::start(&directory, 3, Strategy::DynamicApply).await?;
    let mut stick = lab.node(2).host().plug(zigbee())?;
    lab.kubectl().apply(FLEET).await?;
    lab.endpoint_on("zigbee", "node-2").await?;
    let service = lab.service("zigbee").await?;
    let traffic = Traffic::start(lab.node(1).client()?, service).await?;

    // There and back again, twice each way: the first move is no exception.
    for (round, to) in [3, 2, 3, 2].into_iter().enumerate() {
        traffic.goes_on().await?;
        traffic.forget_gaps();
        drop(stick);
        let start = Instant::now();
        stick = lab.node(to).host().plug(zigbee())?;
        traffic.goes_on().await?;
        let took = start.elapsed();
        let seen = traffic.seen();
        say(&format!(
            "move {round} to node-{to}: served after {} ms, the client heard nothing for {} ms",
            took.as_millis(),
            seen.longest_gap.as_millis()
        ));
        // The bridge that has lost the stick ends the connection as soon as it hears of the move; else it would keep it for
        // longer than the client has patience. Two seconds may be a bridge's pause between reports, after so many.
        ensure!(seen.given_up == 0, "the client was not told, and served again after {took:?}");
        lab.endpoint_on("zigbee", &format!("node-{to}")).await?;
        ensure!(lab.service("zigbee").await? == service, "the address never changes");
        let start = Instant::now();
        let device = lab.device_is("home", "zigbee", "Serving").await?;
        say(&format!("the status says so {} ms later: {}", since(start), device["node"]));
    }
    Ok(())
}
