//! Many ports at once, each flooded: the sum, and whether all get their share.
//!
//! Owner: the plan. Two threads of the bench's for any number of ports, so that the bench itself does not take the
//! cores from who is measured.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::ioctl_fionbio;

use crate::interrupt;

/// One run.
pub(crate) struct Flood {
    /// Of all ports together.
    pub(crate) megabytes_per_second: f64,
    /// The slowest port's rate over the mean.
    pub(crate) fairness: f64,
}

/// Floods all pairs for `window`, after a time to get going.
#[allow(clippy::cast_precision_loss, reason = "bytes of one run are far below 2^52")]
pub(crate) fn run(from: &[&File], to: &[&File], window: Duration) -> Result<Flood> {
    for file in from.iter().chain(to) {
        ioctl_fionbio(file, true)?;
    }
    let ended = AtomicBool::new(false);
    let counts = std::thread::scope(|scope| {
        let source = scope.spawn(|| pour(from, &ended));
        let counts = drain(to, window);
        ended.store(true, Ordering::Release);
        source.join().ok().context("a thread has failed")??;
        counts
    })?;
    let total = counts.iter().sum::<u64>() as f64;
    let slowest = counts.iter().copied().min().unwrap_or(0) as f64;
    Ok(Flood {
        megabytes_per_second: total / 1e6 / window.as_secs_f64(),
        fairness: slowest / (total / counts.len() as f64),
    })
}

fn pour(ports: &[&File], ended: &AtomicBool) -> Result<()> {
    let chunk = vec![b'x'; CHUNK];
    while !ended.load(Ordering::Acquire) {
        for port in ready(ports, PollFlags::OUT)? {
            let Some(mut port) = ports.get(port).copied() else { continue };
            match port.write(&chunk) {
                Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error).context("sending"),
                _ => {}
            }
        }
    }
    Ok(())
}

fn drain(ports: &[&File], window: Duration) -> Result<Vec<u64>> {
    let mut buffer = vec![0; 64 * 1024];
    let mut counts = vec![0; ports.len()];
    let (begin, end) = (Instant::now() + RAMP, Instant::now() + RAMP + window);
    loop {
        interrupt::check()?;
        for port in ready(ports, PollFlags::IN)? {
            let (Some(mut file), Some(count)) = (ports.get(port).copied(), counts.get_mut(port)) else {
                continue;
            };
            let now = Instant::now();
            match file.read(&mut buffer) {
                Ok(0) => anyhow::bail!("port {port}: the connection ended"),
                Ok(read) if now >= begin && now < end => *count += read as u64,
                Err(error) if error.kind() != ErrorKind::WouldBlock => {
                    return Err(error).context("receiving");
                }
                _ => {}
            }
        }
        if Instant::now() >= end {
            return Ok(counts);
        }
    }
}

fn ready(ports: &[&File], wanted: PollFlags) -> Result<Vec<usize>> {
    let mut watched: Vec<_> = ports.iter().map(|port| PollFd::new(port, wanted)).collect();
    poll(&mut watched, Some(&TURN))?;
    Ok((0..).zip(&watched).filter(|(_, fd)| !fd.revents().is_empty()).map(|(at, _)| at).collect())
}

const CHUNK: usize = 16 * 1024;
/// Until all ports are under load.
const RAMP: Duration = Duration::from_millis(300);
const TURN: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
