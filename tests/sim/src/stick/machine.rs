//! The stick's own thread: waits for bytes, opens, closes and commands, and carries out plug and unplug.
//!
//! Owner: `stick`. The only code that touches the PTYs; everything it learns goes into the journal.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};

use anyhow::{Context, Result, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, read};

use super::port::Port;
use crate::host::Roots;
use crate::journal::{Event, Journal};
use crate::layout::{Action, Device, Layout};
use crate::opens::Opens;
use crate::spec::StickSpec;
use crate::sysfs::Tree;
use crate::uevent::Injector;

/// Something to do on the thread.
pub(super) type Command = Box<dyn FnOnce(&mut Machine) + Send>;

/// The stick as its thread sees it.
#[derive(Debug)]
pub(super) struct Machine {
    roots: Arc<Roots>,
    journal: Arc<Journal>,
    wake: Arc<OwnedFd>,
    opens: Opens,
    injector: Option<Injector>,
    bind: bool,
    pub(super) spec: StickSpec,
    pub(super) frozen: bool,
    /// What is plugged in, as it was laid out then.
    plugged: Option<Plugged>,
    /// Ports of earlier plugs that somebody still holds open.
    dead: Vec<Port>,
}

#[derive(Debug)]
struct Plugged {
    layout: Layout,
    usb_path: String,
    ports: Vec<Port>,
    /// By index into the layout: whether a driver has it; absent: not there yet or gone already.
    driven: BTreeMap<usize, bool>,
}

impl Machine {
    pub(super) fn new(
        roots: Arc<Roots>,
        journal: Arc<Journal>,
        wake: Arc<OwnedFd>,
        spec: StickSpec,
        uevents: bool,
        bind: bool,
    ) -> Result<Self> {
        let injector = uevents.then(Injector::open).transpose()?;
        let opens = Opens::new()?;
        let (plugged, dead) = (None, Vec::new());
        Ok(Self { roots, journal, wake, opens, injector, bind, spec, frozen: false, plugged, dead })
    }

    /// Until the last sender of commands is gone; then unplugs.
    pub(super) fn run(mut self, commands: &Receiver<Command>) {
        loop {
            let turn = self.wait().and_then(|()| self.look());
            self.report(turn);
            loop {
                match commands.try_recv() {
                    Ok(command) => command(&mut self),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => {
                        if self.plugged.is_some() {
                            let end = self.unplug();
                            self.report(end);
                        }
                        return;
                    }
                }
            }
        }
    }

    pub(super) fn plug(&mut self) -> Result<()> {
        ensure!(self.plugged.is_none(), "already plugged in");
        // Whoever let go of the last device meanwhile has freed its number.
        self.look()?;
        let open = |index| {
            Port::open(
                usize::from(index),
                &self.spec,
                &self.roots.dev,
                &self.opens,
                Arc::clone(&self.journal),
            )
        };
        let ports = (0..self.spec.ports).map(open).collect::<Result<Vec<_>>>()?;
        let names: Vec<_> = ports.iter().map(Port::tty_name).collect();
        let layout = Layout::of(&self.spec, &names, self.roots.next_device_number());
        for device in &layout.standing {
            // A hub that stands already is left alone: somebody may be reading it.
            if !self.roots.sysfs.contains(&device.path) {
                add(&self.roots.sysfs, device)?;
            }
        }
        let arrival = layout.arrival.clone();
        let usb_path = self.spec.usb_path.clone();
        self.plugged = Some(Plugged { layout, usb_path: usb_path.clone(), ports, driven: BTreeMap::new() });
        for (action, index) in arrival {
            self.apply(action, index)?;
        }
        let names = names.into_iter().map(|tty| tty.name).collect();
        self.journal.push(Event::Plugged { usb_path, names });
        Ok(())
    }

    pub(super) fn unplug(&mut self) -> Result<()> {
        // What was written before the unplug has arrived.
        self.look()?;
        let plugged = self.plugged.as_ref().context("not plugged in")?;
        let names = plugged.ports.iter().map(|port| port.name().to_owned()).collect();
        let usb_path = plugged.usb_path.clone();
        for (action, index) in plugged.layout.departure.clone() {
            // After a plug that failed half-way only what had come can go.
            if self.plugged.as_ref().is_some_and(|plugged| plugged.driven.contains_key(&index)) {
                self.apply(action, index)?;
            }
        }
        if let Some(plugged) = self.plugged.take() {
            self.dead.extend(plugged.ports);
        }
        self.dead.iter_mut().for_each(Port::hang_up);
        self.journal.push(Event::Unplugged { usb_path, names });
        self.look()
    }

    pub(super) fn send(&mut self, port: usize, bytes: &[u8]) -> Result<()> {
        self.look()?;
        let frozen = self.frozen;
        let port = self
            .plugged
            .as_mut()
            .and_then(|p| p.ports.get_mut(port))
            .context("no such port is plugged in")?;
        port.send(bytes);
        if frozen { Ok(()) } else { port.flush() }
    }

    pub(super) fn unread(&self, port: usize) -> Result<u64> {
        let port = self.plugged.as_ref().and_then(|plugged| plugged.ports.get(port));
        port.and_then(|port| port.pty.as_ref())
            .context("no such port is plugged in")?
            .unread()
            .context("FIONREAD")
    }

    pub(super) fn name(&self, port: usize) -> Option<String> {
        Some(self.plugged.as_ref()?.ports.get(port)?.name().to_owned())
    }

    /// Takes in all that has happened: bytes, settings, opens and closes.
    pub(super) fn look(&mut self) -> Result<()> {
        let (frozen, mode) = (self.frozen, self.spec.mode);
        for _ in 0..READS_PER_TURN {
            // Who wrote what is read here has opened it before: that is known by the time of the answer, which the end
            // of an earlier user must not take away.
            let mut more = false;
            for port in self.ports().filter(|_| !frozen) {
                more |= port.take_in()?;
            }
            self.accesses()?;
            for port in self.ports().filter(|_| !frozen) {
                port.answer(mode)?;
            }
            if !more {
                break;
            }
        }
        self.ports().try_for_each(Port::look_at_line)?;
        for port in self.dead.extract_if(.., |port| port.is_released()) {
            let name = port.name().to_owned();
            // The number first: who has seen the event may rely on it.
            drop(port);
            self.journal.push(Event::Released { name });
        }
        Ok(())
    }

    /// What is plugged in.
    fn ports(&mut self) -> impl Iterator<Item = &mut Port> {
        self.plugged.iter_mut().flat_map(|plugged| &mut plugged.ports)
    }

    /// Who has opened and closed what since the last look.
    fn accesses(&mut self) -> Result<()> {
        for (watch, access) in self.opens.drain()? {
            let alive = self.plugged.iter_mut().flat_map(|plugged| &mut plugged.ports);
            if let Some(port) = alive.chain(&mut self.dead).find(|port| port.watch == watch) {
                port.accessed(access)?;
            }
        }
        Ok(())
    }

    fn apply(&mut self, action: Action, index: usize) -> Result<()> {
        let (sysfs, plugged) = (&self.roots.sysfs, self.plugged.as_mut().context("not plugged in")?);
        let device = plugged.layout.devices.get(index).context("no such device in the layout")?;
        let driven = plugged.driven.get(&index).copied().unwrap_or(false);
        let mut port = device.tty.and_then(|port| plugged.ports.get_mut(port));
        match action {
            Action::Add => {
                add(sysfs, device)?;
                if let Some((name, pty)) =
                    port.as_ref().and_then(|port| Some((port.name(), port.pty.as_ref()?)))
                {
                    // In the kernel's order (drivers/base/core.c, device_add): sysfs, then the node, then `add`.
                    self.roots.publish(name, &pty.path, self.bind)?;
                }
                plugged.driven.insert(index, driven);
            }
            Action::Probe => {
                if let Some(driver) = device.driver_path() {
                    sysfs.link(&format!("{}/driver", device.path), &driver)?;
                }
                plugged.driven.insert(index, true);
            }
            Action::Bind => {
                sysfs.put(&device.path, [("uevent", device.uevent_attribute(driven).as_str())])?;
            }
            Action::Unbind => {
                sysfs.drop(&format!("{}/driver", device.path))?;
                plugged.driven.insert(index, false);
            }
            Action::Remove => {
                if let Some(port) = &mut port {
                    port.hang_up();
                    self.roots.withdraw(port.name(), self.bind)?;
                }
                // A tty's directory is gone when `remove` arrives, its parents' may still be there.
                if device.tty.is_some() {
                    remove(sysfs, device)?;
                }
            }
        }
        let driven = action != Action::Unbind && driven;
        if let (Some(injector), Some(message)) = (&mut self.injector, device.message(action, driven)) {
            injector.send(&message)?;
        }
        if action == Action::Remove {
            remove(sysfs, device)?;
            plugged.driven.remove(&index);
        }
        Ok(())
    }

    /// Sleeps until something happens.
    fn wait(&self) -> Result<()> {
        let ports: Vec<&Port> = self.plugged.iter().flat_map(|plugged| &plugged.ports).collect();
        let mut watched = vec![
            PollFd::new(&self.wake, PollFlags::IN),
            PollFd::from_borrowed_fd(self.opens.as_fd(), PollFlags::IN),
        ];
        if !self.frozen {
            for port in &ports {
                let mut wanted = PollFlags::empty();
                wanted.set(PollFlags::IN, port.wants_input());
                wanted.set(PollFlags::OUT, port.wants_output());
                watched.extend(port.pty.as_ref().map(|pty| PollFd::from_borrowed_fd(pty.master(), wanted)));
            }
        }
        // The kernel tells nobody that a program has set a line: while somebody waits, we look again and again.
        let awaited = self.journal.is_awaited() && ports.iter().any(|port| port.is_open());
        match poll(&mut watched, awaited.then_some(&LINE_INTERVAL)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error).context("poll"),
        }
        let woken = watched.first().is_some_and(|wake| !wake.revents().is_empty());
        if woken {
            // Counted by the kernel, one read empties it; would-block cannot matter.
            read(&*self.wake, &mut [0_u8; 8]).ok();
        }
        Ok(())
    }

    fn report(&self, result: Result<()>) {
        if let Err(error) = result {
            self.journal.push(Event::Error { text: format!("{error:#}") });
        }
    }
}

fn add(sysfs: &Tree, device: &Device) -> Result<()> {
    let uevent = device.uevent_attribute(false);
    let attributes = device.attributes.iter().map(|(name, text)| (*name, text.as_str()));
    sysfs.put(&device.path, attributes.chain([("uevent", uevent.as_str())]))?;
    sysfs.link(&format!("{}/subsystem", device.path), &device.subsystem_path())?;
    if let Some((parent, _)) = device.path.split_once("/tty/").filter(|_| device.tty.is_some()) {
        sysfs.link(&format!("{}/device", device.path), parent)?;
    }
    // Last, as a scan finds the device by these.
    device.aliases.iter().try_for_each(|alias| sysfs.link(alias, &device.path))?;
    Ok(())
}

fn remove(sysfs: &Tree, device: &Device) -> Result<()> {
    device.aliases.iter().chain([&device.path]).try_for_each(|path| sysfs.drop(path))?;
    Ok(())
}

const LINE_INTERVAL: Timespec = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };

/// After so many reads commands get their turn.
const READS_PER_TURN: usize = 64;
