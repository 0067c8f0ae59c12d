//! A simulated stick: plug, unplug, replug, and what the program under test did with it.
//!
//! Owner: a test, or the demo. One thread per stick owns PTYs, tree and events; the calls here are carried out on it
//! one after the other, so that a call which has returned has happened. Dropping a stick unplugs it.

mod machine;
mod port;

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::write;

use crate::host::Roots;
use crate::journal::{Entry, Event, Journal, Line, Record};
use crate::reply::Mode;
use crate::spec::StickSpec;
use machine::{Command, Machine};

/// A stick, plugged in or not.
#[derive(Debug)]
pub struct Stick {
    roots: Arc<Roots>,
    journal: Arc<Journal>,
    wake: Arc<OwnedFd>,
    /// `None` only while being dropped: the thread ends with its last sender.
    commands: Option<SyncSender<Command>>,
    thread: Option<JoinHandle<()>>,
}

impl Stick {
    pub(crate) fn start(roots: Arc<Roots>, spec: StickSpec, uevents: bool, bind: bool) -> Result<Self> {
        let journal = Arc::new(Journal::new(usize::from(spec.ports)));
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let (commands, queue) = sync_channel(16);
        let machine =
            Machine::new(Arc::clone(&roots), Arc::clone(&journal), Arc::clone(&wake), spec, uevents, bind)?;
        let thread =
            std::thread::Builder::new().name("stick".to_owned()).spawn(move || machine.run(&queue))?;
        Ok(Self { roots, journal, wake, commands: Some(commands), thread: Some(thread) })
    }

    /// Plugs it in: when this returns, tree, node and events are there.
    pub fn plug(&self) -> Result<()> {
        self.call(Machine::plug)?
    }

    /// Pulls it out: hang-up of open files, nodes and tree gone, events sent.
    pub fn unplug(&self) -> Result<()> {
        self.call(Machine::unplug)?
    }

    /// Out and in again, without a pause: a number that is still held is not given again.
    pub fn replug(&self) -> Result<()> {
        self.call(|machine| machine.unplug().and_then(|()| machine.plug()))?
    }

    /// Out, then in at another socket.
    pub fn move_to(&self, usb_path: &str) -> Result<()> {
        let usb_path = usb_path.to_owned();
        self.call(|machine| {
            machine.unplug()?;
            machine.spec.usb_path = usb_path;
            machine.plug()
        })?
    }

    /// Changes what it is. Strings, ids and path count from the next plug on, the mode at once.
    pub fn change<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut StickSpec) -> T + Send + 'static,
    ) -> Result<T> {
        self.call(move |machine| change(&mut machine.spec))
    }

    /// What it answers, from now on.
    pub fn set_mode(&self, mode: Mode) -> Result<()> {
        self.change(move |spec| spec.mode = mode)
    }

    /// Hung firmware: reads nothing, sends nothing, the queues fill up.
    pub fn freeze(&self) -> Result<()> {
        self.call(|machine| machine.frozen = true)
    }

    /// The firmware is alive again.
    pub fn thaw(&self) -> Result<()> {
        self.call(|machine| machine.frozen = false)
    }

    /// The device sends. Queued if the program does not read; lost (an [`Event::Dropped`]) if nobody has it open.
    pub fn send(&self, port: usize, bytes: &[u8]) -> Result<()> {
        let bytes = bytes.to_owned();
        self.call(move |machine| machine.send(port, &bytes))?
    }

    /// Bytes that the program could read now (FIONREAD); what is still on its way there is not counted.
    pub fn unread(&self, port: usize) -> Result<u64> {
        self.call(move |machine| machine.unread(port))?
    }

    /// What it is called now, e.g. `ttyUSB0`; an error while it is unplugged.
    pub fn name(&self, port: usize) -> Result<String> {
        self.call(move |machine| machine.name(port))?
            .with_context(|| format!("port {port} is not plugged in"))
    }

    /// The node below the device root.
    pub fn node(&self, port: usize) -> Result<PathBuf> {
        Ok(self.roots.dev.join(self.name(port)?))
    }

    /// Everything seen so far, including what the kernel knows already and the thread had not read yet.
    pub fn record(&self) -> Result<Record> {
        self.call(Machine::look)??;
        Ok(self.journal.lock().clone())
    }

    /// How often a port was opened in all: no need to wait. On hardware each one is an edge on DTR and RTS. Exact,
    /// unless two threads open it within the same microsecond.
    pub fn opens(&self, port: usize) -> Result<u64> {
        self.record_of(port, |port| port.opens)
    }

    /// How many files are open on it now: no need to wait; exact as above.
    pub fn users(&self, port: usize) -> Result<u32> {
        self.record_of(port, |port| port.users)
    }

    /// The line's settings now: exact, no need to wait.
    pub fn line(&self, port: usize) -> Result<Line> {
        self.record_of(port, |port| port.line.clone())?.context("never plugged in")
    }

    /// Waits until `probe` gives something. It is tried at each change.
    pub fn wait_for<T>(&self, timeout: Duration, probe: impl FnMut(&Record) -> Option<T>) -> Result<T> {
        self.journal.wait_for(timeout, || self.wake(), probe)
    }

    /// Where the journal ends now: the start for [`Stick::wait_event`].
    pub fn mark(&self) -> Result<usize> {
        self.call(Machine::look)??;
        Ok(self.journal.lock().entries.len())
    }

    /// Waits for the first event after `mark` (0: ever) that satisfies `wanted`.
    pub fn wait_event(
        &self,
        mark: usize,
        timeout: Duration,
        wanted: impl Fn(&Event) -> bool,
    ) -> Result<Entry> {
        self.wait_for(timeout, |record| {
            record.entries.iter().skip(mark).find(|entry| wanted(&entry.event)).cloned()
        })
    }

    /// Waits until somebody has the port open.
    pub fn wait_opened(&self, port: usize, timeout: Duration) -> Result<()> {
        self.wait_for(timeout, |record| (record.ports.get(port)?.users > 0).then_some(()))
    }

    /// Waits until nobody has it open.
    pub fn wait_closed(&self, port: usize, timeout: Duration) -> Result<()> {
        self.wait_for(timeout, |record| (record.ports.get(port)?.users == 0).then_some(()))
    }

    /// Waits until the line satisfies `wanted`, and returns it.
    pub fn wait_line(&self, port: usize, timeout: Duration, wanted: impl Fn(&Line) -> bool) -> Result<Line> {
        self.wait_for(timeout, |record| record.ports.get(port)?.line.clone().filter(|line| wanted(line)))
    }

    /// Waits until the device has received `bytes` in one piece, among what it received last.
    pub fn wait_received(&self, port: usize, timeout: Duration, bytes: &[u8]) -> Result<()> {
        self.wait_for(timeout, |record| {
            let received = &record.ports.get(port)?.received;
            received.windows(bytes.len().max(1)).any(|window| window == bytes).then_some(())
        })
    }

    /// Waits until all numbers of unplugged ports are free again.
    pub fn wait_released(&self, timeout: Duration) -> Result<()> {
        self.wait_for(timeout, |record| {
            let lost = record.entries.iter().map(|entry| match &entry.event {
                Event::Unplugged { names, .. } => names.len(),
                _ => 0,
            });
            let released = record.count(|event| matches!(event, Event::Released { .. }));
            (lost.sum::<usize>() == released).then_some(())
        })
    }

    fn record_of<T>(&self, port: usize, pick: impl FnOnce(&crate::journal::PortRecord) -> T) -> Result<T> {
        self.call(Machine::look)??;
        Ok(pick(self.journal.lock().ports.get(port).with_context(|| format!("no port {port}"))?))
    }

    /// Carries something out on the stick's thread and waits for the result.
    fn call<T: Send + 'static>(&self, job: impl FnOnce(&mut Machine) -> T + Send + 'static) -> Result<T> {
        let (answer, result) = sync_channel(1);
        let command: Command = Box::new(move |machine| drop(answer.send(job(machine))));
        self.commands
            .as_ref()
            .and_then(|commands| commands.send(command).ok())
            .context("the stick's thread has ended")?;
        self.wake();
        result.recv().context("the stick's thread has ended")
    }

    fn wake(&self) {
        // Full means: woken already.
        write(&*self.wake, &1_u64.to_ne_bytes()).ok();
    }
}

impl Drop for Stick {
    fn drop(&mut self) {
        self.commands = None;
        self.wake();
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}
