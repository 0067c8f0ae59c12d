//! One pass over sysfs and all devices, and what came of the work that it started. Used by the supervisor's loop alone;
//! must not wait for a device.

use std::{
    collections::BTreeSet,
    sync::{Arc, PoisonError},
};

use serialfleet_api::resolve::ResolvedDevice;
use tokio::time::Instant;

use super::{
    Done, OpenTtys, Supervisor,
    opening::failure_of,
    slot::{InProgress, Open},
};
use crate::{
    discovery::sysfs::{self, DeviceKey},
    matching::{self, Verdict},
    port::{Command, EndReason},
    report::published,
    tty::{AdoptError, Tty},
};

impl Supervisor {
    /// One pass: scan, match, and make each port's tty the one that it should be.
    pub(super) async fn reconcile(&mut self) {
        for slot in self.slots.values_mut() {
            if slot.open.as_ref().is_some_and(|open| open.tty.strong_count() == 0) {
                // The port noticed first that the tty is gone.
                slot.hung_up();
                self.stale = true;
            }
        }
        if std::mem::take(&mut self.stale) {
            self.scan().await;
        }
        let devices: Vec<ResolvedDevice> = self.slots.values().map(|slot| slot.device.clone()).collect();
        let open = self
            .slots
            .iter()
            .filter_map(|(name, slot)| Some((name.clone(), slot.open.as_ref()?.key.clone())))
            .collect();
        let mut verdicts = matching::assign(&devices, &self.config.node, &self.scan, &open);
        let present: BTreeSet<&DeviceKey> = self.scan.ttys.iter().map(|tty| &tty.key).collect();
        let mut ended = Vec::new();
        for (name, slot) in &mut self.slots {
            if slot.has_ended() {
                ended.push(name.clone());
                continue;
            }
            if let Some(verdict) = verdicts.remove(name) {
                slot.verdict = verdict;
            }
            let wanted = match slot.verdict {
                Verdict::Bound { tty, .. } if slot.may_open() => self.scan.ttys.get(tty),
                _ => None,
            };
            if let Some(open) = &slot.open
                && wanted.is_none_or(|tty| tty.key != open.key)
            {
                let reason = match wanted {
                    _ if !present.contains(&open.key) => None,
                    Some(_) => Some(EndReason::DeviceChanged),
                    None => Some(EndReason::Reconfigured),
                };
                slot.detach(reason).await;
            }
            if slot.opening.as_ref().is_some_and(|opening| !wanted.is_some_and(|tty| opening.is_of(tty))) {
                // What is being opened is gone or not ours any more.
                slot.opening = None;
            }
            if let Some(open) = slot.open.as_mut().filter(|open| !open.configuring)
                && open.asked != slot.device.line
                && let Some(tty) = open.tty.upgrade()
            {
                let (port, key, line) = (name.clone(), open.key.clone(), slot.device.line.clone());
                open.asked = line.clone();
                open.configuring = true;
                self.work.spawn_blocking(move || {
                    let result = tty.configure(&line);
                    Done::Configured { port, key, result }
                });
            }
            match wanted {
                Some(tty) if slot.open.is_none() => {
                    if slot.failed.as_ref().is_some_and(|failed| failed.key != tty.key) {
                        slot.failed = None;
                    }
                    let waits = slot.failed.as_ref().is_some_and(|failed| failed.retry_at > Instant::now());
                    if slot.opening.is_none() && !waits {
                        let opening = self.opening.clone();
                        let (port, tty, line) = (name.clone(), tty.clone(), slot.device.line.clone());
                        let (key, number) = (tty.key.clone(), tty.device_number);
                        let task = self.work.spawn(async move {
                            let result = opening.open(tty.name.clone(), number, line.clone()).await;
                            Done::Opened { port, tty: Box::new(tty), line, result }
                        });
                        slot.opening = Some(InProgress { key, number, task });
                    }
                }
                Some(_) => slot.failed = None,
                None => {
                    slot.failed = None;
                    if !slot.may_open() {
                        slot.detach(Some(EndReason::Reconfigured)).await;
                    }
                }
            }
        }
        for name in ended {
            // A port's task ends by itself only by a bug: start it anew.
            if let Some(slot) = self.slots.remove(&name) {
                self.start_port(slot.device, slot.settings).await;
                self.adopt_certificates().await;
                self.changed.notify_one();
            }
        }
        if let Some(fleet) = &self.fleet.borrow().fleet {
            for (name, slot) in &mut self.slots {
                if let Some(open) = &mut slot.open {
                    open.published |= published(fleet.object.status.as_ref(), name, &self.config.node);
                }
            }
        }
        if self.ready_by.is_some_and(|by| self.work.is_empty() || Instant::now() >= by) {
            self.ready.send_if_modified(|ready| !std::mem::replace(ready, true));
        }
    }

    /// Looks at sysfs, on a thread where the kernel may make it wait.
    async fn scan(&mut self) {
        self.metrics.scans.inc();
        let root = self.config.sysfs_root.clone();
        let scanned = tokio::task::spawn_blocking(move || sysfs::scan(&root)).await;
        match scanned.map_err(std::io::Error::other).flatten() {
            Ok(scan) => self.scan = scan,
            Err(error) => {
                let root = self.config.sysfs_root.display();
                tracing::warn!(%root, %error, "sysfs cannot be read; the last scan stays in force");
            }
        }
    }

    pub(super) async fn finish(&mut self, done: Done) {
        match done {
            Done::Opened { port, tty, line, result } => {
                // Whatever this opening was for is over: a tty that it brought is closed by being dropped.
                let Some(slot) = self.slots.get_mut(&port) else { return };
                if !slot.opening.as_ref().is_some_and(|opening| opening.is_of(&tty)) {
                    return;
                }
                slot.opening = None;
                let (opened, in_force) = match result {
                    Ok(opened) => opened,
                    Err(failure) => return slot.fail(tty.key, &tty.name, failure),
                };
                let open = Open::new(&tty, Arc::downgrade(&opened), in_force, line);
                self.metrics.opened(&port);
                tracing::info!(
                    port,
                    tty = open.name,
                    identity = %open.identity,
                    baud = open.in_force.baud_rate,
                    format = %open.in_force.format,
                    low_latency = open.in_force.low_latency,
                    "tty opened"
                );
                remember(&self.ttys, &port, &opened);
                let same_device = slot.last.as_ref() == Some(&open.identity);
                slot.failed = None;
                slot.open = Some(open);
                slot.tell(Command::Attach { tty: opened, same_device }).await;
            }
            Done::Configured { port, key, result } => {
                let Some(slot) = self.slots.get_mut(&port) else { return };
                let Some(open) = slot.open.as_mut().filter(|open| open.key == key) else { return };
                open.configuring = false;
                match result {
                    Ok(in_force) => open.in_force = in_force,
                    Err(AdoptError::Gone) => {}
                    Err(error) => {
                        let name = open.name.clone();
                        slot.detach(Some(EndReason::Reconfigured)).await;
                        slot.fail(key, &name, failure_of(&name, &error));
                    }
                }
            }
        }
    }

    /// After work that ended without a result, by a bug: whatever is not under way any more may be tried again.
    pub(super) fn forget_finished(&mut self) {
        for slot in self.slots.values_mut() {
            if slot.opening.as_ref().is_some_and(|opening| opening.task.is_finished()) {
                slot.opening = None;
            }
        }
    }

    /// Something was plugged in or out: what failed before may work now.
    pub(super) fn retry_all(&mut self) {
        for slot in self.slots.values_mut() {
            if let Some(failed) = slot.failed.as_mut().filter(|failed| failed.hopeful) {
                failed.retry_at = Instant::now();
            }
        }
    }
}

fn remember(ttys: &OpenTtys, port: &str, tty: &Arc<Tty>) {
    ttys.lock().unwrap_or_else(PoisonError::into_inner).insert(port.to_owned(), Arc::downgrade(tty));
}
