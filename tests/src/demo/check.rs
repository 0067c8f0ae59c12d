//! The demo with nobody there: bytes through every address, an unplug and a replug under a client that stays, the hook
//! server's answer. Prints what it found as it goes; the first thing that is wrong ends it.

use std::{net::SocketAddr, path::Path, pin::pin, time::Duration};

use anyhow::{Context, Result, anyhow, bail, ensure};
use serialfleet_api::node::PortState;
use tokio::time::{Instant, timeout_at};

use super::{
    dialogue::{Client, Dialogue},
    fleet::Fleet,
    http,
    network::Network,
    screen::Screen,
    signals,
    stage::Stage,
};

/// For all of it but taking it down, which has limits of its own.
const LIMIT: Duration = Duration::from_secs(20);

/// Checks everything, and takes it down again whatever came of it.
pub(super) async fn run(programs: &Path, fleet: Fleet, network: Network, screen: Screen) -> Result<()> {
    let stop = signals::termination()?;
    let begun = Instant::now();
    let uevents = match network {
        Network::Private => {
            screen
                .say("ok  a network of its own: the simulated sticks announce themselves as the kernel does");
            true
        }
        Network::Shared(reason) => {
            let reason = reason.unwrap_or_default();
            screen.say(&format!(
                "--  no private network here ({reason}): no kernel events, the bridge watches its device directory"
            ));
            false
        }
    };
    let deadline = begun + LIMIT;
    let in_time = || format!("not done within {} s", LIMIT.as_secs());
    let mut stop = pin!(stop);
    let mut stage = tokio::select! {
        stage = timeout_at(deadline, Stage::build(programs, fleet, true, uevents)) => stage.with_context(in_time)??,
        () = &mut stop => bail!("interrupted"),
    };
    let result = tokio::select! {
        done = timeout_at(deadline, everything(&mut stage, screen)) => done.with_context(in_time).flatten(),
        () = &mut stop => Err(anyhow!("interrupted")),
    };
    let log = stage.bridge.program.last_words(20);
    let struck = stage.strike().await;
    if let Err(error) = result {
        return Err(error.context(format!("what the bridge said last:\n{log}\nwhat is wrong")));
    }
    struck?;
    screen.say("ok  both programs ended in good order, nothing is left behind");
    screen.say(&format!("demo: all is well ({:.1} s)", begun.elapsed().as_secs_f64()));
    Ok(())
}

async fn everything(stage: &mut Stage, screen: Screen) -> Result<()> {
    let simulated = stage.hardware.simulated_devices();
    let devices: Vec<(String, SocketAddr)> = stage
        .fleet
        .devices
        .iter()
        .filter(|device| simulated.contains(&device.name))
        .map(|device| (device.name.clone(), SocketAddr::new(stage.bridge.address, device.port)))
        .collect();
    let mut clients = Vec::new();
    for (device, address) in &devices {
        let dialogue = dialogue(stage, device)?;
        let mut client = Client::connect(*address).await.with_context(|| device.clone())?;
        client.ask(&dialogue).await.with_context(|| device.clone())?;
        screen.say(&format!("ok  {device} answers at {address}: {}", dialogue.about));
        clients.push((device, *address, client));
    }
    hook_names_the_serving_node(stage, screen).await?;
    for (device, address, client) in clients {
        replug(stage, device, address, client, screen).await?;
    }
    admin(stage, &devices, screen).await
}

/// Out and in again while a client is connected: the same connection must go on.
async fn replug(
    stage: &mut Stage,
    device: &str,
    address: SocketAddr,
    mut client: Client,
    screen: Screen,
) -> Result<()> {
    let dialogue = dialogue(stage, device)?;
    let opens = stage.hardware.opens(device)?;

    stage.hardware.unplug(device)?;
    let ports = stage.bridge.wait_for(&[device.to_owned()], PortState::Held).await?;
    let kept = ports.iter().any(|port| port.clients.iter().any(|it| it.peer == client.address));
    ensure!(kept, "{device} was unplugged, and its client {} is not kept", client.address);
    ensure!(
        Client::connect(address).await.is_err(),
        "{device} is unplugged, and newcomers are not refused at {address}"
    );

    let plugged = Instant::now();
    stage.hardware.plug(device)?;
    stage.bridge.wait_for(&[device.to_owned()], PortState::Serving).await?;
    let served = plugged.elapsed();
    client.ask(&dialogue).await.with_context(|| format!("{device} after the replug, same connection"))?;
    let opened = stage.hardware.opens(device)? - opens;
    ensure!(
        opened == 1,
        "{device} was opened {opened} times after one plug: each time is an edge on DTR and RTS"
    );
    screen.say(&format!(
        "ok  {device} unplugged and plugged in again: its client was kept, served {} ms after the plug",
        served.as_millis()
    ));
    Ok(())
}

async fn hook_names_the_serving_node(stage: &Stage, screen: Screen) -> Result<()> {
    let names = stage.hardware.simulated_devices();
    let node = stage.bridge.report(&names, PortState::Serving).await?;
    let sync = stage.hook.sync(&stage.fleet.object, &node).await?;
    for device in names {
        let endpoints = sync.endpoints(&device);
        ensure!(
            node["nodeName"].as_str().is_some_and(|node| endpoints == [node]),
            "the hook server sends {device}'s clients to {endpoints:?}, it is served on {}",
            node["nodeName"]
        );
    }
    let (ready, message) = sync.condition("Ready");
    ensure!(ready == "True", "the hook server says that the fleet is not Ready: {message}");
    let count = sync.children.len();
    screen.say(&format!(
        "ok  the hook server wants {count} children, with every device's endpoint on {}, and says Ready",
        node["nodeName"].as_str().unwrap_or_default()
    ));
    Ok(())
}

async fn admin(stage: &Stage, devices: &[(String, SocketAddr)], screen: Screen) -> Result<()> {
    for path in ["/livez", "/readyz"] {
        let answer = http::get(stage.bridge.admin, path).await?;
        ensure!(answer.status == 200, "the bridge's {path} says {}: {}", answer.status, answer.body.trim());
    }
    let metrics = http::get(stage.bridge.admin, "/metrics").await?.body;
    for (device, _) in devices {
        let of_device = format!("port=\"{device}\"");
        let forwarded = metrics.lines().any(|line| {
            line.starts_with("serialfleet_port_bytes_total{")
                && line.contains(&of_device)
                && !line.ends_with(" 0")
        });
        ensure!(forwarded, "the bridge's /metrics do not count {device}'s bytes:\n{metrics}");
    }
    screen.say("ok  livez and readyz agree, metrics count every device's bytes");
    Ok(())
}

fn dialogue(stage: &Stage, device: &str) -> Result<Dialogue> {
    let mode = stage.hardware.mode(device).with_context(|| format!("{device} is not simulated"))?;
    Ok(Dialogue::with(mode))
}
