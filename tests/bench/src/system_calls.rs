//! System calls of a forwarder, counted by strace: for each chunk in bulk, and at rest.
//!
//! Owner: the plan. A traced process is slow, so nothing else is measured meanwhile.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::flood::{self, Direction, Load};
use crate::interrupt;
use crate::peer::{Peer, Programs};
use crate::process::Process;
use crate::procfs;
use crate::round_trip::Exchange;
use crate::serving::{Serving, directory};

/// What `--only` looks at, and a part of the rows' names.
pub(crate) const NAME: &str = "system calls";

/// Calls by name.
pub(crate) struct Calls {
    /// For each 4 KiB that went through (the queue of a tty, which is what a read gives in bulk), or each exchange.
    pub(crate) each: f64,
    /// The most frequent ones, for people.
    pub(crate) text: String,
}

impl Calls {
    /// From the summary of `strace -c`.
    #[allow(clippy::cast_precision_loss, reason = "counts of one run")]
    fn of(summary: &str, times: f64) -> Self {
        // % time, seconds, usecs/call, calls, errors (may be absent), name
        let mut calls: Vec<(u64, &str)> = summary
            .lines()
            .filter(|line| line.trim().starts_with(|first: char| first.is_ascii_digit()))
            .filter_map(|line| {
                let fields: Vec<_> = line.split_whitespace().collect();
                Some((fields.get(3)?.parse().ok()?, *fields.last()?))
            })
            .filter(|(_, name)| *name != "total")
            .collect();
        calls.sort_unstable_by(|a, b| b.cmp(a));
        let each = calls.iter().map(|(count, _)| *count).sum::<u64>() as f64 / times;
        let most = calls.iter().map(|(count, name)| (*count as f64 / times, name));
        let most =
            most.filter(|(count, _)| *count >= 0.005).map(|(count, name)| format!("{name} {count:.2}"));
        Self { each, text: most.collect::<Vec<_>>().join(", ") }
    }
}

/// Whether strace works here.
pub(crate) fn possible() -> bool {
    Command::new("strace").arg("-V").output().is_ok_and(|output| output.status.success())
}

/// In bulk, one way.
#[allow(clippy::cast_precision_loss, reason = "bytes of one run")]
pub(crate) fn in_bulk(programs: &Programs, peer: Peer, direction: Direction) -> Result<Calls> {
    let mut serving = Serving::start(programs, peer, 1)?;
    let client = serving.client(0)?;
    serving.answer(0, &client)?;
    let load = Load { direction, write: 16 * 1024, ramp: Duration::ZERO, window: BULK };
    let pids = serving.processes()?;
    let (flow, summary) = traced(&pids, &["-c"], || flood::run(&serving.devices(), &[&client], load, &pids))?;
    Ok(Calls::of(&summary, flow.bytes() as f64 / 4096.0))
}

/// For each exchange of one byte with a device that echoes.
#[allow(clippy::cast_precision_loss, reason = "a count of exchanges")]
pub(crate) fn in_exchange(programs: &Programs, peer: Peer) -> Result<Calls> {
    let mut serving = Serving::start(programs, peer, 1)?;
    let client = serving.client(0)?;
    serving.answer(0, &client)?;
    let exchange = || Exchange::Byte.run(serving.device(0)?, &client, EXCHANGING);
    let (latency, summary) = traced(&serving.processes()?, &["-c"], exchange)?;
    Ok(Calls::of(&summary, latency.exchanges as f64))
}

/// For five seconds at rest, one client connected: calls by thread.
pub(crate) fn at_rest(programs: &Programs, peer: Peer) -> Result<String> {
    let mut serving = Serving::start(programs, peer, 1)?;
    let client = serving.client(0)?;
    serving.answer(0, &client)?;
    let pid = serving.pid()?;
    serving.settled_pss()?;
    let names = procfs::threads(pid)?;
    let ((), trace) = traced(&[pid], &[], || {
        let end = Instant::now() + AT_REST;
        while Instant::now() < end {
            interrupt::check()?;
            std::thread::sleep(TURN);
        }
        Ok(())
    })?;
    let mut seen: BTreeMap<(String, String), usize> = BTreeMap::new();
    // What a thread was blocked in before and after is not a call that it made.
    for line in trace.lines().filter(|line| line.contains(" = ")) {
        let (id, rest) = line.trim().split_once(' ').unwrap_or_default();
        let thread = names.iter().find(|(known, _)| known.to_string() == id);
        let name = thread.map_or_else(|| id.to_owned(), |(_, name)| name.clone());
        let call = rest.trim().trim_start_matches("<... ").split(['(', ' ']).next().unwrap_or_default();
        *seen.entry((name, call.to_owned())).or_default() += 1;
    }
    let mut parts: Vec<_> = names
        .iter()
        .filter(|(_, name)| !seen.keys().any(|(thread, _)| thread == name))
        .map(|(_, name)| format!("{name} none"))
        .collect();
    parts.extend(seen.iter().map(|((thread, call), count)| format!("{thread} {call} {count}")));
    Ok(parts.join(", "))
}

/// Runs `work` while strace is attached to every thread, and returns what strace wrote.
fn traced<T>(pids: &[Pid], options: &[&str], work: impl FnOnce() -> Result<T>) -> Result<(T, String)> {
    let directory = directory()?;
    let trace = directory.path().join("trace");
    let mut command = Command::new("strace");
    command.arg("-f").args(options).arg("-o").arg(&trace);
    command.args(pids.iter().flat_map(|pid| ["-p".to_owned(), pid.to_string()]));
    let mut strace = Process::start(&mut command, directory.path(), Signal::TERM)?;
    let deadline = Instant::now() + LIMIT;
    while !pids.iter().try_fold(true, |all, pid| anyhow::Ok(all && procfs::is_traced(*pid)?))? {
        interrupt::check()?;
        ensure!(Instant::now() < deadline && !strace.has_ended(), "strace: {}", strace.last_words());
        std::thread::sleep(TURN);
    }
    let result = work()?;
    // It detaches, writes its summary, and ends by the same signal.
    kill_process(strace.pid(), Signal::INT)?;
    while !strace.has_ended() {
        ensure!(Instant::now() < deadline + LIMIT, "strace does not end");
        std::thread::sleep(TURN);
    }
    Ok((result, fs::read_to_string(&trace)?))
}

const BULK: Duration = Duration::from_millis(1000);
const EXCHANGING: Duration = Duration::from_secs(1);
const LIMIT: Duration = Duration::from_secs(10);
const AT_REST: Duration = Duration::from_secs(5);
const TURN: Duration = Duration::from_millis(10);
