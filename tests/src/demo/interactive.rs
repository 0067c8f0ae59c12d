//! The demo with somebody there: what is served and how to try it, then commands, and every change as it happens.

use std::{future::Future, io::stdin, net::SocketAddr, pin::pin, time::Duration};

use anyhow::{Context, Result, bail};
use serialfleet_api::node::{PortState, PresentDevice};
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};

use super::{
    bridge::{Port, discover},
    dialogue,
    screen::Screen,
    stage::Stage,
};

/// Between two looks at the bridge's ports and at what is really plugged in.
const LOOK: Duration = Duration::from_millis(100);

/// Until somebody has seen enough, or a program fails.
pub(super) async fn run(mut stage: Stage, stop: impl Future<Output = ()>, screen: Screen) -> Result<()> {
    let result = show(&mut stage, stop, screen).await;
    screen.say("\nTaking everything down.");
    let struck = stage.strike().await;
    result.and(struck)
}

async fn show(stage: &mut Stage, stop: impl Future<Output = ()>, screen: Screen) -> Result<()> {
    let mut shown = stage.bridge.ports().await?;
    introduce(stage, &shown, screen).await?;
    let mut commands = typed();
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut stop = pin!(stop);
    let mut listening = true;
    loop {
        tokio::select! {
            () = &mut stop => return Ok(()),
            error = stage.bridge.program.unexpected_end() => return Err(error),
            error = stage.hook.program.unexpected_end() => return Err(error),
            command = commands.recv(), if listening => match command.as_deref().map(str::trim) {
                Some("quit" | "exit") => return Ok(()),
                Some(command) => {
                    if let Err(error) = obey(stage, command, &mut shown, screen).await {
                        screen.say(&format!("  {error:#}"));
                    }
                }
                // Standard input has ended: from now on there is only something to see.
                None => listening = false,
            },
            _ = looks.tick() => {
                let now = stage.bridge.ports().await?;
                tell_changes(&shown, &now, screen);
                shown = now;
                if stage.hardware.refresh()? {
                    tell_neighbours(stage, screen).await?;
                }
            }
        }
    }
}

async fn obey(stage: &mut Stage, command: &str, shown: &mut Vec<Port>, screen: Screen) -> Result<()> {
    let words: Vec<&str> = command.split_whitespace().collect();
    match *words.as_slice() {
        [] => Ok(()),
        ["unplug", device] => stage.hardware.unplug(device),
        ["plug", device] => stage.hardware.plug(device),
        ["replug", device] => {
            stage.hardware.unplug(device)?;
            // Not faster than people can see.
            let ports = stage.bridge.wait_for_other(device, PortState::Serving).await?;
            tell_changes(shown, &ports, screen);
            *shown = ports;
            stage.hardware.plug(device)
        }
        ["move", device, socket] => {
            stage.hardware.move_to(device, socket)?;
            screen.say(&format!("  {device} is in socket {socket} now"));
            Ok(())
        }
        ["ports"] => {
            tell_ports(stage, &stage.bridge.ports().await?, screen);
            Ok(())
        }
        ["sync"] => tell_sync(stage, screen).await,
        ["log"] => {
            screen.say(&stage.bridge.program.last_words(20));
            Ok(())
        }
        _ => bail!("{}", commands(stage)),
    }
}

async fn introduce(stage: &Stage, ports: &[Port], screen: Screen) -> Result<()> {
    let name = stage.fleet.object.metadata.name.as_deref().unwrap_or_default();
    let kind = if stage.hardware.is_simulated() { "simulated sticks" } else { "this machine's ttys" };
    screen.say(&format!("\nSerialFleet {name} ({}), served from {kind}:\n", stage.fleet.path.display()));
    tell_ports(stage, ports, screen);
    screen.say("\nTalk to a device from another terminal:\n");
    for device in &stage.fleet.devices {
        let address = SocketAddr::new(stage.bridge.address, device.port);
        let command = dialogue::command(stage.hardware.mode(&device.name), address);
        screen.say(&format!("  # {}: {}", device.name, describe(stage, &device.name)));
        screen.say(&format!("  {command}\n"));
    }
    screen.say("What a cluster would make of it, from the hook server:\n");
    tell_sync(stage, screen).await?;
    let admin = stage.bridge.admin;
    screen.say("\nLook around:\n");
    screen.table(&[
        ["bridge".to_owned(), format!("http://{admin}/ports  http://{admin}/metrics  http://{admin}/readyz")],
        [
            "hook".to_owned(),
            format!("http://{}/metrics  (Metacontroller posts to {})", stage.hook.address, stage.hook.url()),
        ],
    ]);
    screen.say("");
    tell_neighbours(stage, screen).await?;
    screen.say(&format!("\n{}", commands(stage)));
    screen.say("Changes are shown as they happen.\n");
    Ok(())
}

fn describe<'a>(stage: &'a Stage, device: &str) -> &'a str {
    let devices = &stage.fleet.object.spec.devices;
    let found = devices.iter().find(|it| it.name == device).and_then(|it| it.description.as_deref());
    found.unwrap_or("bytes as they are")
}

fn commands(stage: &Stage) -> String {
    let first = stage.fleet.devices.first().map_or("NAME", |device| device.name.as_str());
    if stage.hardware.is_simulated() {
        format!(
            "Type: unplug {first} | plug {first} | replug {first} | move {first} 1-3 | ports | sync | log | quit"
        )
    } else {
        "Unplug a device and plug it in again. Type: ports | sync | log | quit".to_owned()
    }
}

fn tell_ports(stage: &Stage, ports: &[Port], screen: Screen) {
    let mut rows = vec![["DEVICE", "STATE", "TTY", "ADDRESS", "CLIENTS"].map(str::to_owned)];
    rows.extend(stage.fleet.devices.iter().map(|device| {
        let port = ports.iter().find(|port| port.name == device.name);
        let clients = port.map_or(0, |port| port.clients.len());
        [
            device.name.clone(),
            port.map_or("-", |port| port.state.as_str()).to_owned(),
            port.and_then(|port| port.tty.clone()).unwrap_or_else(|| "-".to_owned()),
            SocketAddr::new(stage.bridge.address, device.port).to_string(),
            clients.to_string(),
        ]
    }));
    screen.table(&rows);
    for port in ports.iter().filter(|port| !port.message.is_empty()) {
        screen.say(&format!("  {}: {}", port.name, port.message));
    }
}

async fn tell_sync(stage: &Stage, screen: Screen) -> Result<()> {
    let node = stage.bridge.last_report()?;
    let sync = stage.hook.sync(&stage.fleet.object, &node).await?;
    screen.say(&format!("  {} children: {}", sync.children.len(), sync.names().join(", ")));
    let (ready, message) = sync.condition("Ready");
    screen.say(&format!("  Ready: {ready}. {message}"));
    for device in sync.status["devices"].as_array().into_iter().flatten() {
        let text = |field: &str| device[field].as_str().unwrap_or_default();
        let place = match text("node") {
            "" => String::new(),
            node => format!(" on {node}"),
        };
        screen.say(&format!(
            "  {}: {}{place}, {} {}",
            text("name"),
            text("state"),
            text("address"),
            text("message")
        ));
    }
    Ok(())
}

async fn tell_neighbours(stage: &Stage, screen: Screen) -> Result<()> {
    let devices = discover(&stage.programs).await.context("serialfleet-bridge discover")?;
    let names: Vec<String> = devices.iter().map(describe_present).collect();
    if names.is_empty() {
        screen.say("Plugged in here: no serial device.");
        return Ok(());
    }
    screen.say(&format!("Plugged in here: {}.", names.join("; ")));
    let bridge = stage.programs.join(super::bridge::BRIDGE);
    screen.say(&format!(
        "  To serve one of them, add its entry to {}, with a port of its own; this prints it:\n  {} discover --output yaml",
        stage.fleet.path.display(),
        bridge.display()
    ));
    Ok(())
}

fn describe_present(device: &PresentDevice) -> String {
    let parts = [&device.tty, &device.usb, &device.product];
    parts.into_iter().flatten().map(String::as_str).collect::<Vec<_>>().join(" ")
}

fn tell_changes(before: &[Port], now: &[Port], screen: Screen) {
    for port in now {
        let old = before.iter().find(|old| old.name == port.name);
        let name = &port.name;
        // Open, and about to listen: not worth a line.
        let opening = port.state == PortState::Absent && port.tty.is_some();
        if !opening && old.map(|old| (old.state, &old.message)) != Some((port.state, &port.message)) {
            let from = old.map_or("-", |old| old.state.as_str());
            let tty = port.tty.as_ref().map(|tty| format!(" ({tty})")).unwrap_or_default();
            let said = format!("  {name}: {from} -> {}{tty} {}", port.state.as_str(), port.message);
            screen.say(said.trim_end());
        }
        let clients = old.map(|old| old.clients.as_slice()).unwrap_or_default();
        for client in port.clients.iter().filter(|client| !clients.contains(client)) {
            screen.say(&format!("  {name}: client {} connected", client.peer));
        }
        for client in clients.iter().filter(|client| !port.clients.contains(client)) {
            screen.say(&format!("  {name}: client {} ended", client.peer));
        }
    }
    for gone in before.iter().filter(|old| now.iter().all(|port| port.name != old.name)) {
        screen.say(&format!("  {}: no longer in the fleet", gone.name));
    }
}

/// Lines of standard input. The thread is left behind in its read when the demo ends.
fn typed() -> mpsc::Receiver<String> {
    let (lines, typed) = mpsc::channel(16);
    std::thread::spawn(move || {
        for line in stdin().lines().map_while(Result::ok) {
            if lines.blocking_send(line).is_err() {
                return;
            }
        }
    });
    typed
}
