//! One port of a stick: its PTY, its number, who has it open, and the bytes on their way.
//!
//! Owner: `stick::machine`, on whose thread all of it happens.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use anyhow::Result;

use crate::journal::{Event, Journal, Line, RECEIVED_KEPT};
use crate::layout::TtyName;
use crate::number::Number;
use crate::opens::{Access, Opens};
use crate::pty::{Packet, Pty};
use crate::reply::Mode;
use crate::spec::StickSpec;

/// A port, plugged in; or dead and still held open by somebody.
#[derive(Debug)]
pub(super) struct Port {
    index: usize,
    number: Number,
    /// `None` once the device is gone.
    pub(super) pty: Option<Pty>,
    pub(super) watch: i32,
    users: u32,
    /// Our own hold on the PTY also shows as a close when it ends.
    own_close_expected: bool,
    line: Line,
    /// Read from the program, not looked at yet.
    taken: Vec<u8>,
    /// The beginning of what the device understands.
    received: Vec<u8>,
    /// Megabytes, where the program reads nothing: what was taken must cost no move of the rest.
    outgoing: VecDeque<u8>,
    journal: Arc<Journal>,
}

impl Port {
    pub(super) fn open(
        index: usize,
        spec: &StickSpec,
        dev_root: &Path,
        opens: &Opens,
        journal: Arc<Journal>,
    ) -> Result<Self> {
        let number = Number::take(dev_root, &spec.tty_prefix, spec.lowest_number)?;
        let pty = Pty::open(spec.cooked)?;
        // After our own open, so that it does not count.
        let watch = opens.watch(&pty.path)?;
        let line = pty.line()?;
        journal.port(index, |port| {
            port.users = 0;
            port.line = Some(line.clone());
        });
        Ok(Self {
            index,
            number,
            pty: Some(pty),
            watch,
            users: 0,
            own_close_expected: false,
            line,
            taken: Vec::new(),
            received: Vec::new(),
            outgoing: VecDeque::new(),
            journal,
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.number.name
    }

    pub(super) fn tty_name(&self) -> TtyName {
        let (major, minor) = self.pty.as_ref().map_or((0, 0), |pty| (pty.major, pty.minor));
        TtyName { name: self.number.name.clone(), major, minor }
    }

    pub(super) fn is_open(&self) -> bool {
        self.users > 0
    }

    /// Nothing refers to the dead device any more.
    pub(super) fn is_released(&self) -> bool {
        self.pty.is_none() && self.users == 0 && !self.own_close_expected
    }

    /// The device takes in what the program wrote; not while so much waits to go back that more would pile up.
    pub(super) fn wants_input(&self) -> bool {
        self.outgoing.len() < OUTGOING_LIMIT
    }

    pub(super) fn wants_output(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Takes in some of what the program wrote. Whether there was anything.
    pub(super) fn take_in(&mut self) -> Result<bool> {
        let Some(pty) = self.pty.as_ref().filter(|_| self.wants_input()) else { return Ok(false) };
        match pty.read(&mut [0; 16 * 1024])? {
            None => return Ok(false),
            Some(Packet::Other) => {}
            Some(Packet::Flushed { input, output }) => {
                self.journal.push(Event::Flushed { name: self.number.name.clone(), input, output });
            }
            Some(Packet::Data(data)) => {
                self.journal.port(self.index, |port| {
                    port.received_bytes += data.len() as u64;
                    port.received.extend_from_slice(data);
                    let surplus = port.received.len().saturating_sub(RECEIVED_KEPT);
                    port.received.drain(..surplus);
                });
                self.taken.extend_from_slice(data);
            }
        }
        Ok(true)
    }

    /// Answers what was taken in: lost if nobody has it open any more.
    pub(super) fn answer(&mut self, mode: Mode) -> Result<()> {
        let taken = std::mem::take(&mut self.taken);
        if self.users > 0 {
            self.received.extend(taken);
            self.outgoing.extend(mode.answer(&mut self.received));
        }
        self.flush()
    }

    /// The device sends of its own accord.
    pub(super) fn send(&mut self, bytes: &[u8]) {
        if self.users == 0 {
            self.journal.push(Event::Dropped { name: self.number.name.clone(), bytes: bytes.len() });
        } else {
            self.outgoing.extend(bytes);
        }
    }

    /// What the program set on the line since the last look.
    pub(super) fn look_at_line(&mut self) -> Result<()> {
        let Some(pty) = &self.pty else { return Ok(()) };
        let line = pty.line()?;
        if line != self.line {
            self.line = line.clone();
            self.journal.port(self.index, |port| port.line = Some(line.clone()));
            self.journal.push(Event::Line { name: self.number.name.clone(), line });
        }
        Ok(())
    }

    /// Somebody opened or closed the node.
    pub(super) fn accessed(&mut self, access: Access) -> Result<()> {
        let name = self.number.name.clone();
        match access {
            Access::Open => {
                self.users += 1;
                self.journal.push(Event::Opened { name, users: self.users });
                let alive = self.pty.is_some();
                self.journal.port(self.index, |port| {
                    port.opens += 1;
                    port.users += u32::from(alive);
                });
            }
            Access::Close if self.own_close_expected => self.own_close_expected = false,
            Access::Close => {
                self.users = self.users.saturating_sub(1);
                self.journal.push(Event::Closed { name, users: self.users });
                if let Some(pty) = &self.pty {
                    if self.users == 0 {
                        pty.forget_last_user()?;
                        self.received.clear();
                        self.outgoing.clear();
                    }
                    self.journal.port(self.index, |port| port.users = self.users);
                }
            }
            Access::Gone => {
                self.users = 0;
                self.own_close_expected = false;
            }
        }
        Ok(())
    }

    /// The device is gone: hang-up. Who had it open keeps a dead file and, with it, the number.
    pub(super) fn hang_up(&mut self) {
        if let Some(pty) = self.pty.take() {
            self.own_close_expected = true;
            pty.hang_up();
            self.journal.port(self.index, |port| port.users = 0);
        }
    }

    pub(super) fn flush(&mut self) -> Result<()> {
        let Some(pty) = &self.pty else { return Ok(()) };
        while !self.outgoing.is_empty() {
            let written = pty.write(self.outgoing.as_slices().0)?;
            if written == 0 {
                break;
            }
            self.outgoing.drain(..written);
            self.journal.port(self.index, |port| port.sent_bytes += written as u64);
        }
        Ok(())
    }
}

/// As much as may wait to be sent before the device stops reading.
const OUTGOING_LIMIT: usize = 64 * 1024;
