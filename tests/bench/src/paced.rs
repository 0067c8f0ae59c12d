//! Many ports at a serial line's own pace, both ways: how late bytes are, and what that costs.
//!
//! Owner: the measures. 115200 baud, 8N1, are 11,520 bytes a second; they come in packets of 64 bytes, as from a
//! full-speed USB adapter, and are sent once a millisecond, as its frames are. Each packet says when it was sent.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::event::epoll::EventFlags;
use rustix::io::ioctl_fionbio;
use rustix::process::Pid;

use crate::cpu_clock;
use crate::interrupt;
use crate::ready::Ready;
use crate::round_trip::Latency;

/// One run.
pub(crate) struct Paced {
    /// The forwarder's, of one core.
    pub(crate) cpu: f64,
    pub(crate) from_tty: Latency,
    pub(crate) to_tty: Latency,
}

/// Every device and every client sends at its line's pace.
pub(crate) fn run(
    devices: &[&File],
    clients: &[&File],
    window: Duration,
    forwarder: &[Pid],
) -> Result<Paced> {
    for file in devices.iter().chain(clients) {
        ioctl_fionbio(file, true)?;
    }
    let (start, ended) = (Instant::now(), AtomicBool::new(false));
    let until = start + window;
    let before = cpu_clock::spent(forwarder)?;
    std::thread::scope(|scope| {
        let lane = |from, to| {
            let sent = scope.spawn(move || send(from, start, until));
            let ended = &ended;
            (sent, scope.spawn(move || receive(to, start, ended)))
        };
        let (sent, received) = lane(devices, clients);
        let (sent_back, received_back) = lane(clients, devices);
        let sent = [sent, sent_back].map(|thread| thread.join());
        let cpu = cpu_clock::spent(forwarder)?.saturating_sub(before).as_secs_f64();
        let elapsed = start.elapsed().as_secs_f64();
        ended.store(true, Ordering::Release);
        let mut latencies = Vec::new();
        for (sent, received) in sent.into_iter().zip([received, received_back]) {
            let sent = sent.ok().context("a thread has failed")??;
            let samples = received.join().ok().context("a thread has failed")??;
            ensure!(samples.len() == sent, "{} of {sent} packets arrived", samples.len());
            latencies.push(Latency::of(samples)?);
        }
        let [from_tty, to_tty] = latencies[..] else { anyhow::bail!("two directions") };
        Ok(Paced { cpu: cpu / elapsed, from_tty, to_tty })
    })
}

/// How many packets were sent.
fn send(ports: &[&File], start: Instant, until: Instant) -> Result<usize> {
    let mut sent = 0;
    // Spread evenly: no adapter knows of the others.
    let step = PERIOD / u32::try_from(ports.len())?;
    let mut due = start;
    while due < until {
        interrupt::check()?;
        let now = Instant::now();
        while due <= now && due < until {
            let mut port = *ports.get(sent % ports.len()).context("a port")?;
            let mut packet = [b'x'; PACKET];
            let stamp = u64::try_from(start.elapsed().as_nanos())?.to_le_bytes();
            packet.iter_mut().zip(stamp).for_each(|(to, from)| *to = from);
            let written = port.write(&packet).context("a line at its own pace is full")?;
            ensure!(written == PACKET, "a line at its own pace took {written} of {PACKET} bytes");
            sent += 1;
            due += step;
        }
        std::thread::sleep(FRAME);
    }
    Ok(sent)
}

/// How old each packet was.
fn receive(ports: &[&File], start: Instant, ended: &AtomicBool) -> Result<Vec<Duration>> {
    let mut ready = Ready::new(ports, EventFlags::IN)?;
    let mut partial: Vec<Vec<u8>> = vec![Vec::new(); ports.len()];
    let (mut samples, mut deadline) = (Vec::new(), None);
    let mut buffer = [0; 4096];
    loop {
        let mut quiet = true;
        for index in ready.wait()? {
            quiet = false;
            let (Some(mut port), Some(partial)) = (ports.get(index).copied(), partial.get_mut(index)) else {
                continue;
            };
            match port.read(&mut buffer) {
                Ok(0) => anyhow::bail!("port {index}: the connection ended"),
                Ok(read) => partial.extend_from_slice(buffer.get(..read).unwrap_or_default()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error).context("receiving"),
            }
            let now = start.elapsed();
            while partial.len() >= PACKET {
                let stamp = partial.first_chunk().map_or(0, |stamp| u64::from_le_bytes(*stamp));
                samples.push(now.saturating_sub(Duration::from_nanos(stamp)));
                partial.drain(..PACKET);
            }
        }
        if ended.load(Ordering::Acquire) {
            let now = Instant::now();
            if quiet || now >= *deadline.get_or_insert(now + LATE) {
                return Ok(samples);
            }
        }
    }
}

const PACKET: usize = 64;
/// Of one port's packets: 64 bytes at 11,520 in a second.
const PERIOD: Duration = Duration::from_nanos(5_555_556);
const FRAME: Duration = Duration::from_millis(1);
/// What comes later than this after the last was sent counts as lost.
const LATE: Duration = Duration::from_secs(1);
