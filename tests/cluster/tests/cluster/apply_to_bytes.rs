//! From `kubectl apply` to bytes, then quiet, then nothing left.

use std::{
    io::{Read, Write},
    net::SocketAddr,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use serialfleet_cluster::harness::say;
use serialfleet_sim::{Mode, Scene, StickSpec};

use super::{
    lab::{Lab, Strategy, connect, since},
    settle::settle,
};

/// The fleet of these scenarios: one stick for each device, both absent at first.
pub(crate) const FLEET: &str = "
apiVersion: serialfleet.io/v1alpha1
kind: SerialFleet
metadata: {name: home}
spec:
  serviceNamespace: iot-system
  devices:
  - {name: zigbee, match: {usb: '10c4:ea60'}}
  - {name: zwave, match: {usb: '0658:0200'}}
";

/// What [`FLEET`] calls `zigbee`; it echoes.
pub(crate) fn zigbee() -> StickSpec {
    StickSpec::new(Scene::Cp210x).mode(Mode::Echo)
}

pub(crate) async fn apply_to_bytes(directory: PathBuf, strategy: Strategy) -> Result<()> {
    let lab = Lab::start(&directory, 3, strategy).await?;
    say("installed");
    let stick = lab.node(2).host().plug(zigbee())?;

    let start = Instant::now();
    lab.kubectl().apply(FLEET).await?;
    lab.fleet_is_ready("home").await?;
    say(&format!("Ready {} ms after kubectl apply", since(start)));
    let endpoint = lab.endpoint_on("zigbee", "node-2").await?;
    ensure!((20_000..30_000).contains(&endpoint.port()), "a pod port, but {endpoint}");

    // Bytes: through the endpoint that the slice names, through the address that never changes, and by name; from
    // another node, where clients are.
    let client = lab.node(3).client()?;
    let service = lab.service("zigbee").await?;
    let named = SocketAddr::new(lab.resolve("zigbee.iot-system.svc").await?, 6638);
    ensure!(named == service, "the name leads to {named}, the ClusterIP is {service}");
    for address in [endpoint, service] {
        let mut stream = connect(&client, address).await?;
        stream.write_all(b"ping")?;
        let mut answer = [0; 4];
        stream.read_exact(&mut answer)?;
        ensure!(&answer == b"ping", "an echo through {address}: {answer:?}");
    }
    say(&format!("bytes through {endpoint} and {service}"));

    // What a person sees. The status is written after the slice.
    lab.device_is("home", "zigbee", "Serving").await?;
    let table = lab.kubectl().run(&["get", "serialfleets"]).await?.success()?;
    ensure!(table.contains("home") && table.contains("1/2"), "columns:\n{table}");
    let table = lab.kubectl().run(&["get", "serialnodes"]).await?.success()?;
    ensure!(table.contains("home.node-2") && !table.contains("home.node-3"), "columns:\n{table}");
    lab.kubectl()
        .run(&["wait", "--for=condition=Ready", "serialfleet/home", "--timeout=10s"])
        .await?
        .success()?;

    // A device that is not plugged in has its address already: refused, not lost in silence.
    let zwave = lab.service("zwave").await?;
    ensure!(client.connect(zwave).is_err(), "nobody can answer at {zwave}");

    // A mistake is refused with our sentence, and changes nothing.
    let before = lab.fleet("home").await?;
    let wrong = FLEET.replace("name: zwave", "name: zigbee-anchor");
    let refused = lab.kubectl().run_with_input(&["apply", "-f", "-"], &wrong).await?;
    ensure!(!refused.ok && refused.stderr.contains("-anchor"), "kubectl says: {}", refused.stderr);
    ensure!(lab.fleet("home").await?["spec"] == before["spec"], "the refused edit changed nothing");

    // For longer, and with devices in every state: rest.rs.
    settle(&lab, Duration::from_secs(3)).await?;

    // Pulled out and plugged in again: the same address.
    stick.unplug()?;
    lab.device_is("home", "zigbee", "Absent").await?;
    lab.no_endpoint("zigbee").await?;
    let start = Instant::now();
    stick.plug()?;
    lab.endpoint_on("zigbee", "node-2").await?;
    say(&format!("slice names it again {} ms after the plug", since(start)));
    ensure!(lab.service("zigbee").await? == service, "the address never changes");

    lab.memory()?;
    Ok(())
}

/// What [`FLEET`] calls `zwave`; it echoes.
pub(crate) fn zwave() -> StickSpec {
    StickSpec::new(Scene::CdcAcm).usb_path("1-2").mode(Mode::Echo)
}
