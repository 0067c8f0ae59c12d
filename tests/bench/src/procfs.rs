//! What `/proc` says of a process: CPU time, memory, whether it is traced.
//!
//! Owner: the measures. Reads only.

use std::fs;
use std::net::SocketAddrV4;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::Pid;

use crate::interrupt;

/// CPU time of a process and of all that descend from it, the ones that have ended included.
pub fn cpu_time(pid: Pid) -> Result<Duration> {
    let ticks: u64 = family(pid)?.into_iter().map(|stat| stat.ticks).sum();
    let per_second = rustix::param::clock_ticks_per_second();
    Ok(Duration::from_micros(ticks * 1_000_000 / per_second))
}

/// Proportional set size of a process and its descendants, in KiB.
pub fn pss(pid: Pid) -> Result<u64> {
    family(pid)?.into_iter().map(|stat| pss_of(stat.pid)).sum()
}

/// Most memory that a process and its descendants ever had resident, each by itself, in KiB.
pub fn peak(pid: Pid) -> Result<u64> {
    family(pid)?.into_iter().map(|stat| kilobytes(&format!("/proc/{}/status", stat.pid), "VmHWM:")).sum()
}

/// What [`pss`] says once it does not change any more, in MiB.
pub fn settled_pss(pid: Pid) -> Result<f64> {
    settled(|| pss(pid))
}

/// The same of several processes together, without their descendants.
pub fn settled_pss_of_all(processes: &[Pid]) -> Result<f64> {
    settled(|| processes.iter().map(|pid| pss_of(pid.as_raw_nonzero().get())).sum())
}

#[allow(clippy::cast_precision_loss, reason = "KiB of a few processes")]
fn settled(look: impl Fn() -> Result<u64>) -> Result<f64> {
    let deadline = Instant::now() + SETTLED;
    let mut last = look()?;
    loop {
        interrupt::check()?;
        std::thread::sleep(PAUSE);
        let now = look()?;
        if now == last || Instant::now() > deadline {
            return Ok(now as f64 / 1024.0);
        }
        last = now;
    }
}

/// Whether every thread of a process is traced.
pub fn is_traced(pid: Pid) -> Result<bool> {
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let status = fs::read_to_string(task?.path().join("status"))?;
        if status.lines().any(|line| line.split_whitespace().eq(["TracerPid:", "0"])) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Names of a process's threads, by id.
pub fn threads(pid: Pid) -> Result<Vec<(u32, String)>> {
    let mut threads = Vec::new();
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let path = task?.path();
        let id = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
        let name = fs::read_to_string(path.join("comm"))?.trim().to_owned();
        threads.extend(id.map(|id| (id, name)));
    }
    Ok(threads)
}

/// These processes and their descendants.
pub fn descendants(roots: &[Pid]) -> Result<Vec<Pid>> {
    Ok(families(roots)?.into_iter().filter_map(|stat| Pid::from_raw(stat.pid)).collect())
}

/// Whether somebody listens on an IPv4 address of this network namespace.
pub fn listens(address: SocketAddrV4) -> Result<bool> {
    // proc_pid_net(5): addresses as the kernel holds them, in the machine's byte order; 0A is TCP_LISTEN.
    let ip = u32::from_ne_bytes(address.ip().octets());
    let local = format!("{ip:08X}:{:04X}", address.port());
    let table = fs::read_to_string("/proc/net/tcp")?;
    Ok(table.lines().any(|line| {
        let mut fields = line.split_whitespace().skip(1);
        fields.next() == Some(&local) && fields.nth(1) == Some("0A")
    }))
}

struct Stat {
    pid: i32,
    parent: i32,
    ticks: u64,
}

fn pss_of(pid: i32) -> Result<u64> {
    kilobytes(&format!("/proc/{pid}/smaps_rollup"), "Pss:")
}

fn kilobytes(path: &str, field: &str) -> Result<u64> {
    let text = fs::read_to_string(path).with_context(|| path.to_owned())?;
    let line = text.lines().find_map(|line| line.strip_prefix(field)).with_context(|| path.to_owned())?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

fn family(root: Pid) -> Result<Vec<Stat>> {
    families(&[root])
}

fn families(roots: &[Pid]) -> Result<Vec<Stat>> {
    let mut all = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let path = entry?.path();
        let numeric = path.file_name().is_some_and(|name| name.to_string_lossy().parse::<i32>().is_ok());
        // Others come and go while we look.
        all.extend(numeric.then(|| stat(&path)).flatten());
    }
    let mut found: Vec<_> = roots.iter().map(|root| root.as_raw_nonzero().get()).collect();
    loop {
        let more: Vec<_> = all
            .iter()
            .filter(|stat| found.contains(&stat.parent) && !found.contains(&stat.pid))
            .map(|stat| stat.pid)
            .collect();
        if more.is_empty() {
            break;
        }
        found.extend(more);
    }
    all.retain(|stat| found.contains(&stat.pid));
    anyhow::ensure!(!all.is_empty(), "the processes {roots:?} are gone");
    Ok(all)
}

/// Fields of proc_pid_stat(5); the name in parentheses may hold anything, so they are counted from its end.
fn stat(process: &Path) -> Option<Stat> {
    let text = fs::read_to_string(process.join("stat")).ok()?;
    let (head, tail) = text.rsplit_once(')')?;
    let fields: Vec<&str> = tail.split_whitespace().collect();
    let number = |field: usize| fields.get(field)?.parse::<u64>().ok();
    Some(Stat {
        pid: head.split_whitespace().next()?.parse().ok()?,
        parent: fields.get(1)?.parse().ok()?,
        // utime, stime, cutime, cstime
        ticks: number(11)? + number(12)? + number(13)? + number(14)?,
    })
}

const PAUSE: Duration = Duration::from_millis(300);
const SETTLED: Duration = Duration::from_secs(3);
