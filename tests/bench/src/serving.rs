//! A forwarder that serves some lines, from its start to its end.
//!
//! Owner: one measurement. Each one starts its forwarder anew on fresh PTYs, so that none inherits what another left
//! in a queue; dropping it ends the process and waits.

use std::fs;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal};
use serialfleet_sim::{Host, Stick};
use tempfile::TempDir;

use crate::interrupt;
use crate::line::Line;
use crate::loopback::free_addresses;
use crate::peer::{Peer, Programs};
use crate::process::Process;
use crate::procfs;
use crate::stick;

/// A forwarder and the devices behind it. Fields are dropped in this order: the process before what it uses.
pub(crate) struct Serving {
    processes: Vec<Process>,
    addresses: Vec<SocketAddr>,
    lines: Vec<Line>,
    _sticks: Vec<Stick>,
    _host: Option<Host>,
    _directory: TempDir,
    started: Instant,
}

impl Serving {
    /// Starts it on so many fresh lines.
    pub(crate) fn start(programs: &Programs, peer: Peer, ports: usize) -> Result<Self> {
        let directory = directory()?;
        let lines = (0..ports).map(|_| Line::open()).collect::<Result<Vec<_>>>()?;
        let mut free = free_addresses(ports + 1)?;
        let admin = free.pop().context("an address for the admin endpoints")?;
        let (mut sticks, mut host) = (Vec::new(), None);
        let commands = match peer {
            Peer::Direct => Vec::new(),
            Peer::Bridge => {
                let machine = Host::at(&directory.path().join("sys"), &directory.path().join("dev"))?;
                for (index, line) in lines.iter().enumerate() {
                    sticks.push(stick::present(&machine, index, line)?);
                }
                let fleet = directory.path().join("fleet.yaml");
                fs::write(&fleet, stick::fleet(&free))?;
                vec![stick::command(&programs.bridge, host.insert(machine), &fleet, admin)]
            }
            _ => {
                let pairs: Vec<_> =
                    free.iter().copied().zip(lines.iter().map(|line| line.path.as_path())).collect();
                programs.commands(peer, &pairs, directory.path())?
            }
        };
        let started = Instant::now();
        let processes = commands
            .into_iter()
            .map(|mut command| Process::start(&mut command, directory.path(), Signal::KILL))
            .collect::<Result<_>>()?;
        Ok(Self {
            processes,
            addresses: free,
            lines,
            _sticks: sticks,
            _host: host,
            _directory: directory,
            started,
        })
    }

    /// The device behind a port.
    pub(crate) fn device(&self, port: usize) -> Result<&File> {
        Ok(&self.lines.get(port).context("no such port")?.far)
    }

    /// A client's end of a port. A byte has come through when this returns: a forwarder may drop what the device
    /// sends before it has accepted the connection.
    pub(crate) fn client(&mut self, port: usize) -> Result<File> {
        let line = self.lines.get(port).context("no such port")?;
        let address = *self.addresses.get(port).context("no such port")?;
        // One for all ports, or one for each.
        let process = port.min(self.processes.len().saturating_sub(1));
        let mut client = match self.processes.get_mut(process) {
            None => line.direct()?,
            Some(process) => connect(address, process)?,
        };
        client.write_all(b"?")?;
        let come = poll(&mut [PollFd::new(&line.far, PollFlags::IN)], Some(&COME))?;
        let mut byte = [0];
        ensure!(come == 1 && (&line.far).read(&mut byte)? == 1, "the first byte does not reach the device");
        Ok(client)
    }

    /// All devices.
    pub(crate) fn devices(&self) -> Vec<&File> {
        self.lines.iter().map(|line| &line.far).collect()
    }

    /// A client of each port.
    pub(crate) fn clients(&mut self) -> Result<Vec<File>> {
        (0..self.lines.len()).map(|port| self.client(port)).collect()
    }

    /// Where a port is served.
    pub(crate) fn address(&self, port: usize) -> Result<SocketAddr> {
        self.addresses.get(port).copied().context("no such port")
    }

    /// Until every port is listened on, without connecting.
    pub(crate) fn wait_listening(&self) -> Result<()> {
        let deadline = Instant::now() + SERVED;
        for address in &self.addresses {
            let SocketAddr::V4(address) = address else { bail!("{address} is of IPv6") };
            while !procfs::listens(*address)? {
                interrupt::check()?;
                ensure!(Instant::now() < deadline, "{address} is not served");
                std::thread::sleep(LISTENING);
            }
        }
        Ok(())
    }

    /// Until it was started so long ago.
    pub(crate) fn wait_age(&self, age: Duration) -> Result<()> {
        while self.started.elapsed() < age {
            interrupt::check()?;
            std::thread::sleep(LISTENING);
        }
        Ok(())
    }

    /// The device sends one byte, and it arrives.
    pub(crate) fn answer(&self, port: usize, mut client: &File) -> Result<()> {
        self.device(port)?.write_all(b"!")?;
        client.read_exact(&mut [0])?;
        Ok(())
    }

    /// The one process of a forwarder that has no more.
    pub(crate) fn pid(&self) -> Result<Pid> {
        Ok(self.processes.first().context("nobody forwards")?.pid())
    }

    /// All that forward, as of now.
    pub(crate) fn processes(&self) -> Result<Vec<Pid>> {
        let roots: Vec<_> = self.processes.iter().map(Process::pid).collect();
        if roots.is_empty() { Ok(roots) } else { procfs::descendants(&roots) }
    }

    /// Proportional set size of all of them once it does not change any more, in MiB.
    pub(crate) fn settled_pss(&self) -> Result<f64> {
        procfs::settled_pss_of_all(&self.processes()?)
    }

    /// When the first process was started.
    pub(crate) fn started(&self) -> Instant {
        self.started
    }
}

/// Where one process keeps its files.
pub(crate) fn directory() -> Result<TempDir> {
    Ok(tempfile::Builder::new().prefix("serialfleet-bench-").tempdir()?)
}

/// Connects as soon as somebody listens.
pub(crate) fn connect(address: SocketAddr, process: &mut Process) -> Result<File> {
    let deadline = Instant::now() + SERVED;
    loop {
        interrupt::check()?;
        match TcpStream::connect(address) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                // A forwarder that hangs must not hang the bench.
                stream.set_read_timeout(Some(SILENCE))?;
                return Ok(OwnedFd::from(stream).into());
            }
            Err(error) if Instant::now() > deadline => {
                bail!("{address} is not served: {error}; {}", process.last_words())
            }
            Err(_) if process.has_ended() => bail!("it has ended: {}", process.last_words()),
            Err(_) => std::thread::sleep(AGAIN),
        }
    }
}

/// A forwarder that does not serve after this long is broken.
const SERVED: Duration = Duration::from_secs(10);
/// So long without a byte means that none will come.
const SILENCE: Duration = Duration::from_secs(5);
const COME: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };
const LISTENING: Duration = Duration::from_millis(10);
const AGAIN: Duration = Duration::from_micros(200);
