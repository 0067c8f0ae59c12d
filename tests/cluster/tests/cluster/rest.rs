//! Whatever state devices are in, the cluster comes to rest: then nobody writes anything.

use std::{
    io::{Read, Write},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Result, ensure};
use serialfleet_cluster::{harness::say, wait};
use serialfleet_sim::{Mode, Scene, Stick, StickSpec};

use super::{
    apply_to_bytes::{zigbee, zwave},
    lab::{Lab, PATIENCE, Strategy, connect},
    settle::settle,
};

/// A device for each state.
const FLEET: &str = "
apiVersion: serialfleet.io/v1alpha1
kind: SerialFleet
metadata: {name: home}
spec:
  serviceNamespace: iot-system
  devices:
  - {name: zigbee, match: {usb: '10c4:ea60'}}
  - {name: zwave, match: {usb: '0658:0200'}}
  - {name: held, holdSeconds: 3600, match: {usb: '0403:6001'}}
  - {name: moved, match: {usb: '1a86:7523'}}
  - {name: meter, scope: Node, match: {usb: '2341:0043'}}
  - {name: absent, match: {usb: '1234:0001'}}
";

pub(crate) async fn comes_in_every_state(directory: PathBuf, strategy: Strategy) -> Result<()> {
    let lab = Lab::start(&directory, 3, strategy).await?;
    let plug = |node: usize, spec: StickSpec| lab.node(node).host().plug(spec);
    let _first = plug(2, zigbee())?;
    let zwave_on_1 = plug(1, zwave())?;
    let held = plug(2, echo(Scene::Ftdi, "1-3"))?;
    let moved = plug(2, echo(Scene::Ch340, "1-4"))?;
    let _meter = plug(2, echo(Scene::Arduino, "1-5"))?;
    let meter = plug(3, echo(Scene::Arduino, "1-5"))?;
    lab.kubectl().apply(FLEET).await?;
    for (service, node) in [
        ("zigbee", "node-2"),
        ("zwave", "node-1"),
        ("held", "node-2"),
        ("moved", "node-2"),
        ("meter-node-2", "node-2"),
        ("meter-node-3", "node-3"),
    ] {
        lab.endpoint_on(service, node).await?;
    }
    lab.fleet_is_ready("home").await?;

    // Somebody talks to it when it is pulled out, and is kept. A connection that only the kernel knows of would not be.
    let client = lab.node(1).client()?;
    let mut kept = connect(&client, lab.service("held").await?).await?;
    kept.write_all(b"?")?;
    kept.read_exact(&mut [0])?;
    held.unplug()?;
    lab.device_is("home", "held", "Held").await?;
    lab.endpoint_on("held", "node-2").await?;
    // Carried to another node.
    drop(moved);
    let _moved = plug(3, echo(Scene::Ch340, "1-4"))?;
    lab.endpoint_on("moved", "node-3").await?;
    // One of two; its Service stays.
    meter.unplug()?;
    lab.no_endpoint("meter-node-3").await?;
    lab.service("meter-node-3").await?;
    wait::until("one meter of two serves", PATIENCE, async || {
        let device = lab.device("home", "meter").await?;
        Ok((device["nodes"]["serving"] == 1 && device["nodes"]["total"] == 2).then_some(()))
    })
    .await?;
    // A second one of the same name: who has the endpoint keeps it.
    let second = plug(3, zigbee())?;
    let message = contested(&lab, "zigbee", "node-3").await?;
    say(&format!("zigbee: {message}"));
    lab.endpoint_on("zigbee", "node-2").await?;
    // Two more, and the one that had the endpoint goes: nobody knows which of the others is meant.
    let (_zwave_on_2, zwave_on_3) = (plug(2, zwave())?, plug(3, zwave())?);
    contested(&lab, "zwave", "node-2, node-3").await?;
    drop(zwave_on_1);
    let device = lab.device_is("home", "zwave", "Conflict").await?;
    say(&format!("zwave: {}", device["message"]));
    lab.no_endpoint("zwave").await?;
    let message = lab.fleet_says_of("home", "Degraded", "True", "Conflict", "zigbee, zwave").await?;
    say(&message);
    lab.device_is("home", "absent", "Absent").await?;

    settle(&lab, Duration::from_secs(30)).await?;
    for (device, state) in [
        ("zigbee", "Serving"),
        ("zwave", "Conflict"),
        ("held", "Held"),
        ("moved", "Serving"),
        ("meter", "Serving"),
        ("absent", "Absent"),
    ] {
        ensure!(lab.device("home", device).await?["state"] == state, "{device} is {state}");
    }

    // A person decides, by pulling out one of each two.
    drop::<[Stick; 2]>([second, zwave_on_3]);
    lab.endpoint_on("zwave", "node-2").await?;
    lab.endpoint_on("zigbee", "node-2").await?;
    lab.fleet_says("home", "Degraded", "False", "AsExpected").await?;
    settle(&lab, Duration::from_secs(2)).await
}

/// Waits until a served device is said to be on these nodes as well.
async fn contested(lab: &Lab, device: &str, nodes: &str) -> Result<String> {
    wait::until(&format!("{device} is contested by {nodes}"), PATIENCE, async || {
        let status = lab.device("home", device).await?;
        let message = status["message"].as_str().unwrap_or_default().to_owned();
        let contested = status["state"] == "Serving" && status["reason"] == "Conflict";
        Ok((contested && message.starts_with(&format!("Also on {nodes},"))).then_some(message))
    })
    .await
}

fn echo(scene: Scene, usb_path: &str) -> StickSpec {
    StickSpec::new(scene).usb_path(usb_path).mode(Mode::Echo)
}
