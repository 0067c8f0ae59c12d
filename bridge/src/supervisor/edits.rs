//! What an edit of the fleet changes: settings in place, ports made and unmade. Other ports notice nothing.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use serialfleet_api::{
    fleet::SerialFleet,
    ports::pod_ports,
    resolve::{ResolvedDevice, resolve},
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, timeout},
};

use super::{FIRST_PLAN, Supervisor, slot::Slot};
use crate::{
    port::{Command, EndReason, Phase, Port, PortSettings},
    report::serving_elsewhere,
};

/// Commands waiting for one port; the supervisor waits when it is full.
const COMMANDS: usize = 16;
/// Ports give their addresses up at once. One that does not is not waited for: whoever wants its address tries again.
const RELEASED_WITHIN: Duration = Duration::from_secs(1);

impl Supervisor {
    /// Takes over what the fleet says now: settings in place, ports made and unmade. Which tty is whose is decided
    /// by [`Self::reconcile`].
    pub(super) async fn adopt_fleet(&mut self) {
        let state = self.fleet.borrow_and_update().clone();
        let Some(fleet) = state.fleet else { return };
        self.ready_by.get_or_insert_with(|| Instant::now() + FIRST_PLAN);
        self.refused.clone_from(&fleet.refused);
        let mut devices = BTreeMap::new();
        for resolved in resolve(&fleet.object.spec) {
            match resolved {
                Ok(device) => drop(devices.insert(device.name.clone(), device)),
                Err((name, error)) => drop(self.refused.insert(name, error.to_string())),
            }
        }
        let listen_ports = self.listen_ports(&fleet.object, &devices);
        let devices: BTreeMap<String, (ResolvedDevice, PortSettings)> = devices
            .into_iter()
            .map(|(name, device)| {
                let port = listen_ports.get(&name).copied().unwrap_or(device.port);
                let settings = self.port_settings(&device, port);
                (name, (device, settings))
            })
            .collect();
        self.release(|name, slot| {
            devices.get(name).is_none_or(|(_, settings)| settings.listen != slot.settings.listen)
        })
        .await;
        let gone: Vec<String> =
            self.slots.keys().filter(|name| !devices.contains_key(*name)).cloned().collect();
        for name in gone {
            if let Some(mut slot) = self.slots.remove(&name) {
                // With the slot goes the port's last commander, and with that the port.
                slot.detach(Some(EndReason::Reconfigured)).await;
            }
        }
        for (name, (device, settings)) in devices {
            match self.slots.get_mut(&name) {
                Some(slot) => {
                    if slot.device != device {
                        tracing::info!(port = name, "settings changed");
                        slot.set_device(device);
                    }
                    if let Some(slot) = self.slots.get_mut(&name).filter(|slot| slot.settings != settings) {
                        slot.settings = settings.clone();
                        slot.tell(Command::Settings(settings)).await;
                    }
                }
                None => self.start_port(device, settings).await,
            }
        }
        self.end_holds(&fleet.object).await;
    }

    /// Has the listeners of all `leaving` closed before any of their addresses is bound anew: two devices may have
    /// swapped theirs.
    async fn release(&self, leaving: impl Fn(&str, &Slot) -> bool) {
        let mut released = Vec::new();
        for (name, slot) in &self.slots {
            if leaving(name, slot) {
                let (done, wait) = oneshot::channel();
                slot.tell(Command::Release(done)).await;
                released.push(wait);
            }
        }
        let all = async {
            for wait in released {
                // Closed without a word: that is the answer.
                wait.await.ok();
            }
        };
        if timeout(RELEASED_WITHIN, all).await.is_err() {
            tracing::warn!("a port keeps its address for longer than expected");
        }
    }

    /// Clients held here while the device already serves on another node would wait for nothing.
    async fn end_holds(&self, fleet: &SerialFleet) {
        for slot in self.slots.values() {
            let held = slot.link.borrow().phase == Phase::Held;
            if held
                && let Some(node) =
                    serving_elsewhere(fleet.status.as_ref(), &slot.device.name, &self.config.node)
            {
                tracing::info!(port = slot.device.name, node, "device is served by another node");
                slot.tell(Command::EndHold(EndReason::Moved)).await;
            }
        }
    }

    /// The TCP port of each device here. Names that are refused take part: the hook server counts them too.
    fn listen_ports(
        &self,
        fleet: &SerialFleet,
        devices: &BTreeMap<String, ResolvedDevice>,
    ) -> BTreeMap<String, u16> {
        if !self.config.in_cluster || fleet.spec.bridge.host_network == Some(true) {
            return devices.iter().map(|(name, device)| (name.clone(), device.port)).collect();
        }
        let names = devices.keys().chain(self.refused.keys()).map(String::as_str);
        pod_ports(names).into_iter().map(|(name, port)| (name.to_owned(), port)).collect()
    }

    fn port_settings(&self, device: &ResolvedDevice, port: u16) -> PortSettings {
        let idle = device.clients.idle_timeout_seconds;
        PortSettings {
            listen: self.config.bind.iter().map(|address| SocketAddr::new(*address, port)).collect(),
            protocol: device.protocol,
            line: device.line.clone(),
            policy: device.clients.policy,
            max: device.clients.max,
            writers: device.clients.writers,
            slow_reader: device.clients.slow_reader,
            idle_timeout: (idle > 0).then(|| Duration::from_secs(idle.into())),
            networks: device.clients.networks(),
            hold: Duration::from_secs(device.hold_seconds.into()),
            keepalive: device.keepalive,
            frame_gap: Duration::from_millis(device.frame_gap_milliseconds.into()),
        }
    }

    pub(super) async fn start_port(&mut self, device: ResolvedDevice, settings: PortSettings) {
        let (commands, orders) = mpsc::channel(COMMANDS);
        let (link, link_rx) = watch::channel(Default::default());
        let name = device.name.clone();
        let port = Port::new(
            name.clone(),
            settings.clone(),
            orders,
            link,
            Arc::clone(&self.changed),
            self.metrics.port(&name),
        );
        if let Err(error) = self.data.run(port).await {
            tracing::error!(port = name, %error, "port not started");
        }
        self.slots.insert(name, Slot::new(device, settings, commands, link_rx));
    }
}
