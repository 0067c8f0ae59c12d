//! The reference: one thread, level-triggered epoll, 16 KiB, no protocol, no policy, no log.
//!
//! Owner: started by the bench as a process of its own. What a competent programmer would write in an afternoon; a
//! forwarder that does more is judged by what the more costs.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Signal, set_parent_process_death_signal};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

/// Copies until it is killed.
pub(crate) fn copy(pairs: &[(SocketAddr, PathBuf)]) -> Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    let mut ports = Vec::new();
    for (address, tty) in pairs {
        ports.push(Port::open(&epoll, ports.len() as u64, *address, tty)?);
    }
    let mut buffer = vec![0; CHUNK];
    let mut events = Vec::with_capacity(256);
    loop {
        events.clear();
        match epoll::wait(&epoll, spare_capacity(&mut events), None) {
            // Whoever traces it stops it.
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &events {
            let (token, flags) = (event.data.u64(), event.flags);
            let Some(port) = usize::try_from(token / 3).ok().and_then(|port| ports.get_mut(port)) else {
                continue;
            };
            match token % 3 {
                LISTENER => port.accept(&epoll)?,
                TTY => port.tty_ready(&epoll, flags, &mut buffer)?,
                _ => port.client_ready(&epoll, flags, &mut buffer)?,
            }
        }
    }
}

/// One side's file, what epoll is to say of it, and the bytes that it has not taken yet.
struct Side {
    file: File,
    token: u64,
    interest: EventFlags,
    pending: Vec<u8>,
}

impl Side {
    fn add(epoll: &OwnedFd, fd: OwnedFd, token: u64) -> Result<Self> {
        epoll::add(epoll, &fd, EventData::new_u64(token), EventFlags::IN)?;
        Ok(Self { file: fd.into(), token, interest: EventFlags::IN, pending: Vec::new() })
    }

    /// `None`: nothing now; 0: the end.
    fn read(&mut self, buffer: &mut [u8]) -> Option<usize> {
        match self.file.read(buffer) {
            Ok(read) => Some(read),
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Err(_) => Some(0),
        }
    }

    /// Takes bytes; whether it took all of them.
    fn write(&mut self, bytes: &[u8]) -> bool {
        let written = self.file.write(bytes).unwrap_or(0);
        self.pending.extend_from_slice(bytes.get(written..).unwrap_or_default());
        self.pending.is_empty()
    }

    /// Takes what is pending; whether it took all of it.
    fn flush(&mut self) -> bool {
        let written = self.file.write(&self.pending).unwrap_or(0);
        self.pending.drain(..written);
        self.pending.is_empty()
    }

    fn want(&mut self, epoll: &OwnedFd, flag: EventFlags, on: bool) -> Result<()> {
        let mut interest = self.interest;
        interest.set(flag, on);
        if interest != self.interest {
            self.interest = interest;
            epoll::modify(epoll, &self.file, EventData::new_u64(self.token), interest)?;
        }
        Ok(())
    }
}

struct Port {
    listener: TcpListener,
    tty: Side,
    client: Option<Side>,
}

impl Port {
    fn open(epoll: &OwnedFd, index: u64, address: SocketAddr, path: &Path) -> Result<Self> {
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let tty = rustix::fs::open(path, flags, Mode::empty()).with_context(|| path.display().to_string())?;
        let mut termios = tcgetattr(&tty)?;
        termios.make_raw();
        tcsetattr(&tty, OptionalActions::Now, &termios)?;
        let tty = Side::add(epoll, tty, 3 * index + TTY)?;
        let listener = TcpListener::bind(address).with_context(|| address.to_string())?;
        listener.set_nonblocking(true)?;
        epoll::add(epoll, &listener, EventData::new_u64(3 * index + LISTENER), EventFlags::IN)?;
        Ok(Self { listener, tty, client: None })
    }

    fn accept(&mut self, epoll: &OwnedFd) -> Result<()> {
        let (stream, _): (TcpStream, _) = self.listener.accept()?;
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        self.end(epoll)?;
        self.client = Some(Side::add(epoll, stream.into(), self.tty.token - TTY + CLIENT)?);
        Ok(())
    }

    /// The client is gone; dropping its socket takes it out of epoll.
    fn end(&mut self, epoll: &OwnedFd) -> Result<()> {
        self.client = None;
        self.tty.pending.clear();
        self.tty.want(epoll, EventFlags::IN, true)?;
        self.tty.want(epoll, EventFlags::OUT, false)
    }

    fn tty_ready(&mut self, epoll: &OwnedFd, flags: EventFlags, buffer: &mut [u8]) -> Result<()> {
        if flags.contains(EventFlags::OUT) && self.tty.flush() {
            self.tty.want(epoll, EventFlags::OUT, false)?;
            if let Some(client) = &mut self.client {
                client.want(epoll, EventFlags::IN, true)?;
            }
        }
        if !flags.intersects(EventFlags::IN | EventFlags::HUP) {
            return Ok(());
        }
        let Some(read) = self.tty.read(buffer) else { return Ok(()) };
        anyhow::ensure!(read > 0, "the tty is gone");
        let bytes = buffer.get(..read).unwrap_or_default();
        if let Some(client) = &mut self.client
            && !client.write(bytes)
        {
            client.want(epoll, EventFlags::OUT, true)?;
            self.tty.want(epoll, EventFlags::IN, false)?;
        }
        Ok(())
    }

    fn client_ready(&mut self, epoll: &OwnedFd, flags: EventFlags, buffer: &mut [u8]) -> Result<()> {
        let Some(client) = &mut self.client else { return Ok(()) };
        if flags.contains(EventFlags::OUT) && client.flush() {
            client.want(epoll, EventFlags::OUT, false)?;
            self.tty.want(epoll, EventFlags::IN, true)?;
        }
        if !flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
            return Ok(());
        }
        let Some(read) = client.read(buffer) else { return Ok(()) };
        if read == 0 {
            return self.end(epoll);
        }
        if !self.tty.write(buffer.get(..read).unwrap_or_default()) {
            self.tty.want(epoll, EventFlags::OUT, true)?;
            client.want(epoll, EventFlags::IN, false)?;
        }
        Ok(())
    }
}

const CHUNK: usize = 16 * 1024;
const LISTENER: u64 = 0;
const TTY: u64 = 1;
const CLIENT: u64 = 2;
