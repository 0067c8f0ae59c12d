//! One port or many, as fast as they go: bytes per second, what they cost the forwarder, whether all get their share.
//!
//! Owner: the measures. For each direction two threads of the bench's, for any number of ports, so that the bench
//! itself does not take the cores from who is measured.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::event::epoll::EventFlags;
use rustix::io::ioctl_fionbio;
use rustix::process::Pid;

use crate::cpu_clock;
use crate::interrupt;
use crate::ready::Ready;

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// The devices send.
    FromTty,
    /// The clients send.
    ToTty,
    /// All send.
    Both,
}

impl Direction {
    pub(crate) const ALL: [Self; 3] = [Self::FromTty, Self::ToTty, Self::Both];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::FromTty => "tty to TCP",
            Self::ToTty => "TCP to tty",
            Self::Both => "both at once",
        }
    }
}

/// How the sending side sends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) direction: Direction,
    /// Bytes of one write.
    pub(crate) write: usize,
    /// Before anything is counted.
    pub(crate) ramp: Duration,
    pub(crate) window: Duration,
}

/// One run's window.
#[derive(Debug)]
pub(crate) struct Flow {
    /// Bytes that arrived, by direction and port.
    ports: Vec<u64>,
    elapsed: Duration,
    cpu: Duration,
}

#[allow(clippy::cast_precision_loss, reason = "bytes of one run are far below 2^52")]
impl Flow {
    /// Of all ports together.
    pub(crate) fn megabytes_per_second(&self) -> f64 {
        self.bytes() as f64 / 1e6 / self.elapsed.as_secs_f64()
    }

    /// The forwarder's CPU seconds for each gigabyte.
    pub(crate) fn cpu_per_gigabyte(&self) -> f64 {
        self.cpu.as_secs_f64() / (self.bytes() as f64 / 1e9)
    }

    /// The slowest port's rate over the mean.
    pub(crate) fn fairness(&self) -> f64 {
        let slowest = self.ports.iter().copied().min().unwrap_or(0) as f64;
        slowest * self.ports.len() as f64 / self.bytes() as f64
    }

    /// Of a run both ways: which part came from the ttys.
    pub(crate) fn part_from_tty(&self) -> f64 {
        let (from_tty, _) = self.ports.split_at(self.ports.len() / 2);
        from_tty.iter().sum::<u64>() as f64 / self.bytes() as f64
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.ports.iter().sum()
    }
}

/// Floods all ports. When it returns, nobody sends any more and what was on its way has been read.
pub(crate) fn run(devices: &[&File], clients: &[&File], load: Load, forwarder: &[Pid]) -> Result<Flow> {
    for file in devices.iter().chain(clients) {
        ioctl_fionbio(file, true)?;
    }
    let lanes = match load.direction {
        Direction::FromTty => vec![(devices, clients)],
        Direction::ToTty => vec![(clients, devices)],
        Direction::Both => vec![(devices, clients), (clients, devices)],
    };
    let counts: Vec<Vec<AtomicU64>> =
        lanes.iter().map(|(_, to)| to.iter().map(|_| AtomicU64::new(0)).collect()).collect();
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let threads: Vec<_> = lanes
            .iter()
            .zip(&counts)
            .flat_map(|((from, to), counts)| {
                let ended = &ended;
                [
                    scope.spawn(move || pour(from, load.write, ended)),
                    scope.spawn(move || drain(to, counts, ended)),
                ]
            })
            .collect();
        let flow = observe(&counts, load, forwarder, &ended);
        ended.store(true, Ordering::Release);
        for thread in threads {
            thread.join().ok().context("a thread has failed")??;
        }
        flow
    })
}

fn observe(counts: &[Vec<AtomicU64>], load: Load, forwarder: &[Pid], ended: &AtomicBool) -> Result<Flow> {
    let look = || -> Result<_> {
        let ports: Vec<u64> = counts.iter().flatten().map(|count| count.load(Ordering::Relaxed)).collect();
        Ok((ports, cpu_clock::spent(forwarder)?, Instant::now()))
    };
    wait(load.ramp, ended)?;
    let (ports_before, cpu_before, start) = look()?;
    wait(load.window, ended)?;
    let (ports, cpu, end) = look()?;
    Ok(Flow {
        ports: ports.iter().zip(&ports_before).map(|(after, before)| after - before).collect(),
        elapsed: end - start,
        cpu: cpu.saturating_sub(cpu_before),
    })
}

fn wait(time: Duration, ended: &AtomicBool) -> Result<()> {
    let end = Instant::now() + time;
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        interrupt::check()?;
        // A thread that failed says so when it is joined.
        if ended.load(Ordering::Acquire) {
            break;
        }
        std::thread::sleep(left.min(SLICE));
    }
    Ok(())
}

fn pour(ports: &[&File], size: usize, ended: &AtomicBool) -> Result<()> {
    let chunk: Vec<u8> = (0..size).map(|at| (at % 251).to_le_bytes()[0]).collect();
    // So that what the bench itself spends on waiting is the same for each byte.
    let writes = (SPREE / size).max(1);
    let result = (|| {
        let mut ready = Ready::new(ports, EventFlags::OUT)?;
        while !ended.load(Ordering::Acquire) {
            for port in ready.wait()?.filter_map(|index| ports.get(index)) {
                let mut port = *port;
                for _ in 0..writes {
                    match port.write(&chunk) {
                        Ok(written) if written == size => {}
                        Ok(_) => break,
                        Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                        Err(error) => return Err(error).context("sending"),
                    }
                }
            }
        }
        Ok(())
    })();
    ended.store(true, Ordering::Release);
    result
}

/// Until all is quiet after the end.
fn drain(ports: &[&File], counts: &[AtomicU64], ended: &AtomicBool) -> Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    let result = (|| {
        let mut ready = Ready::new(ports, EventFlags::IN)?;
        let mut deadline = None;
        loop {
            let mut quiet = true;
            for index in ready.wait()? {
                quiet = false;
                let (Some(mut port), Some(count)) = (ports.get(index).copied(), counts.get(index)) else {
                    continue;
                };
                match port.read(&mut buffer) {
                    Ok(0) => anyhow::bail!("port {index}: the connection ended"),
                    Ok(read) => drop(count.fetch_add(read as u64, Ordering::Relaxed)),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error).context("receiving"),
                }
            }
            if ended.load(Ordering::Acquire) {
                let now = Instant::now();
                if quiet || now >= *deadline.get_or_insert(now + DRAIN) {
                    return Ok(());
                }
            }
        }
    })();
    ended.store(true, Ordering::Release);
    result
}

/// Bytes that a sender writes before it looks for other ports.
const SPREE: usize = 64 * 1024;
/// How long what is on its way may take after the senders have stopped.
const DRAIN: Duration = Duration::from_millis(500);
/// How soon a signal is noticed.
const SLICE: Duration = Duration::from_millis(100);
