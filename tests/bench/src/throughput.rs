//! One port, as fast as it goes: bytes per second, and what they cost the forwarder.
//!
//! Owner: the plan. A run ends when its bytes have arrived, or earlier for a forwarder that is slow; the rate is that
//! of the bytes that did arrive.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::ioctl_fionbio;
use rustix::process::Pid;

use crate::interrupt;
use crate::procfs;

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// The device sends.
    FromTty,
    /// The client sends.
    ToTty,
    /// Each sends all of it.
    Both,
}

/// One run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flow {
    pub(crate) bytes: u64,
    pub(crate) elapsed: Duration,
    /// The forwarder's; `None`: there is none.
    pub(crate) cpu: Option<Duration>,
}

impl Flow {
    #[allow(clippy::cast_precision_loss, reason = "bytes of one run are far below 2^52")]
    pub(crate) fn megabytes_per_second(&self) -> f64 {
        self.bytes as f64 / 1e6 / self.elapsed.as_secs_f64()
    }

    /// CPU seconds for each gigabyte.
    #[allow(clippy::cast_precision_loss, reason = "as above")]
    pub(crate) fn cpu_per_gigabyte(&self) -> Option<f64> {
        Some(self.cpu?.as_secs_f64() / (self.bytes as f64 / 1e9))
    }
}

/// Sends `most` bytes through `client` and `device`, for at most `limit`.
pub(crate) fn run(
    direction: Direction,
    device: &File,
    client: &File,
    forwarder: Option<Pid>,
    most: u64,
    limit: Duration,
) -> Result<Flow> {
    ioctl_fionbio(device, true)?;
    ioctl_fionbio(client, true)?;
    let before = forwarder.map(procfs::cpu_time).transpose()?;
    let (bytes, elapsed) = match direction {
        Direction::FromTty => one_way(device, client, most, limit)?,
        Direction::ToTty => one_way(client, device, most, limit)?,
        Direction::Both => std::thread::scope(|scope| {
            let back = scope.spawn(|| one_way(client, device, most, limit));
            let (there, there_time) = one_way(device, client, most, limit)?;
            let (back, back_time) = back.join().ok().context("a thread has failed")??;
            anyhow::Ok((there + back, there_time.max(back_time)))
        })?,
    };
    let cpu = match (forwarder, before) {
        (Some(pid), Some(before)) => Some(procfs::cpu_time(pid)?.saturating_sub(before)),
        _ => None,
    };
    Ok(Flow { bytes, elapsed, cpu })
}

/// How many bytes arrived, and when the last did.
fn one_way(from: &File, to: &File, most: u64, limit: Duration) -> Result<(u64, Duration)> {
    let start = Instant::now();
    let sent = AtomicU64::new(UNKNOWN);
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| send(from, most, start + limit, &sent));
        let received = receive(to, start, start + limit + DRAIN, &sent);
        sender.join().ok().context("a thread has failed")??;
        received
    })
}

/// Says in `total` how many bytes it sent, also when it fails.
fn send(mut to: &File, most: u64, deadline: Instant, total: &AtomicU64) -> Result<()> {
    let chunk: Vec<u8> = (0..CHUNK).map(|at| (at % 251).to_le_bytes()[0]).collect();
    let (mut sent, mut progress) = (0, Instant::now());
    let result = loop {
        let left = usize::try_from(most - sent).unwrap_or(CHUNK).min(CHUNK);
        if left == 0 || Instant::now() > deadline || interrupt::stopped() {
            break Ok(());
        }
        match to.write(chunk.get(..left).unwrap_or_default()) {
            Ok(written) => {
                sent += written as u64;
                progress = Instant::now();
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if progress.elapsed() > STALL {
                    break Err(anyhow::anyhow!("nothing was taken for {STALL:?} after {sent} bytes"));
                }
                wait(to, PollFlags::OUT)?;
            }
            Err(error) => break Err(error).context("sending"),
        }
    };
    total.store(sent, Ordering::Release);
    result
}

/// Until all has arrived; a forwarder that drains its queues for ever is left with what is in them.
fn receive(mut from: &File, start: Instant, deadline: Instant, total: &AtomicU64) -> Result<(u64, Duration)> {
    let mut buffer = vec![0; 64 * 1024];
    let (mut received, mut last) = (0, Instant::now());
    while received < total.load(Ordering::Acquire) && last < deadline {
        match from.read(&mut buffer) {
            Ok(0) => anyhow::bail!("the connection ended after {received} bytes"),
            Ok(read) => {
                received += read as u64;
                last = Instant::now();
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                ensure!(last.elapsed() < STALL, "no byte for {STALL:?} after {received}");
                interrupt::check()?;
                wait(from, PollFlags::IN)?;
            }
            Err(error) => return Err(error).context("receiving"),
        }
    }
    interrupt::check()?;
    Ok((received, last - start))
}

fn wait(file: &File, wanted: PollFlags) -> Result<()> {
    poll(&mut [PollFd::new(file, wanted)], Some(&TURN))?;
    Ok(())
}

/// Bytes of one write.
const CHUNK: usize = 16 * 1024;
const UNKNOWN: u64 = u64::MAX;
/// How long what is on its way may take after the sender has stopped.
const DRAIN: Duration = Duration::from_secs(2);
/// A forwarder that moves nothing for this long has stopped.
const STALL: Duration = Duration::from_secs(5);
/// How soon the end of a run is noticed while nothing moves.
const TURN: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
