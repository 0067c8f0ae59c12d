//! What is measured, in which order, for how long.
//!
//! Owner: `main`. Within a round the peers take turns, and each round begins with another one: what the machine does
//! meanwhile hits all of them alike.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serialfleet_sim::Mode;

use crate::cold_start;
use crate::echo::while_answering;
use crate::flood;
use crate::interrupt;
use crate::peer::{Peer, Programs};
use crate::plug;
use crate::procfs;
use crate::round_trip::{self, Latency};
use crate::serving::Serving;
use crate::system_calls;
use crate::table::Table;
use crate::throughput::{self, Direction};

/// A run of the bench.
pub(crate) struct Plan {
    programs: Programs,
    sizes: Sizes,
    rounds: usize,
    only: Vec<String>,
    system_calls: bool,
    table: Table,
}

/// How much of everything.
struct Sizes {
    bytes: u64,
    /// A slow forwarder moves fewer bytes, not for longer.
    bulk: Duration,
    pings: usize,
    exchanges: usize,
    latency: Duration,
    window: Duration,
    plugs: usize,
}

const FULL: Sizes = Sizes {
    bytes: 120_000_000,
    bulk: Duration::from_secs(3),
    pings: 20_000,
    exchanges: 4_000,
    latency: Duration::from_millis(2500),
    window: Duration::from_secs(2),
    plugs: 20,
};

const QUICK: Sizes = Sizes {
    bytes: 40_000_000,
    bulk: Duration::from_millis(700),
    pings: 5_000,
    exchanges: 1_000,
    latency: Duration::from_millis(600),
    window: Duration::from_millis(700),
    plugs: 4,
};

/// The measures of one peer in one round, by the name that `--only` takes.
const GROUPS: [(&str, Measure); 7] = [
    ("tty to TCP", |plan, peer, round| plan.throughput(peer, round, Direction::FromTty)),
    ("TCP to tty", |plan, peer, round| plan.throughput(peer, round, Direction::ToTty)),
    ("both at once", |plan, peer, round| plan.throughput(peer, round, Direction::Both)),
    ("8-byte round trip", Plan::ping),
    ("Modbus RTU", Plan::modbus),
    ("64 ports", Plan::many),
    ("cold start", Plan::cold_start),
];

type Measure = fn(&mut Plan, Peer, usize) -> Result<()>;

impl Plan {
    pub(crate) fn new(
        quick: bool,
        rounds: Option<usize>,
        only: Vec<String>,
        system_calls: bool,
        binaries: Option<PathBuf>,
    ) -> Result<Self> {
        Ok(Self {
            programs: Programs::find(binaries)?,
            sizes: if quick { QUICK } else { FULL },
            rounds: rounds.unwrap_or(if quick { 1 } else { 3 }).max(1),
            only,
            system_calls,
            table: Table::default(),
        })
    }

    /// Measures, then prints.
    pub(crate) fn run(mut self) -> Result<()> {
        let start = Instant::now();
        let (here, missing): (Vec<_>, Vec<_>) =
            Peer::ALL.into_iter().partition(|peer| self.programs.has(*peer));
        for peer in missing {
            self.table.note(format!("{} is not installed here: left out", peer.name()));
        }
        for round in 0..self.rounds {
            let mut turn = here.clone();
            turn.rotate_left(round % here.len());
            for (name, measure) in GROUPS {
                if !self.wanted(name) {
                    continue;
                }
                for peer in &turn {
                    eprintln!("round {} of {}: {name}, {}", round + 1, self.rounds, peer.name());
                    let result = measure(&mut self, *peer, round);
                    self.judge(name, *peer, result)?;
                }
            }
        }
        self.plugs()?;
        self.binary_sizes();
        if self.system_calls {
            self.count_system_calls(&here)?;
        }
        println!("{}", self.table);
        println!("{} rounds, {:.0} s.", self.rounds, start.elapsed().as_secs_f64());
        Ok(())
    }

    /// A peer that fails does not end the run; Ctrl-C does.
    fn judge<T>(&mut self, name: &str, peer: Peer, result: Result<T>) -> Result<Option<T>> {
        interrupt::check()?;
        Ok(result
            .map_err(|error| self.table.note(format!("{}, {name}: failed: {error:#}", peer.name())))
            .ok())
    }

    fn wanted(&self, name: &str) -> bool {
        let name = name.to_lowercase();
        self.only.is_empty() || self.only.iter().any(|text| name.contains(&text.to_lowercase()))
    }

    fn throughput(&mut self, peer: Peer, round: usize, direction: Direction) -> Result<()> {
        let (rate, cost) = match direction {
            Direction::FromTty => ("tty to TCP", "tty to TCP, CPU"),
            Direction::ToTty => ("TCP to tty", "TCP to tty, CPU"),
            Direction::Both => ("both at once", "both at once, CPU"),
        };
        let mut serving = Serving::start(&self.programs, peer, 1)?;
        let client = serving.client(0)?;
        let Sizes { bytes, bulk, .. } = self.sizes;
        let flow = throughput::run(direction, serving.device(0)?, &client, serving.pid(), bytes, bulk)?;
        self.table.record(rate, "MB/s", peer, round, flow.megabytes_per_second());
        if let Some(cpu) = flow.cpu_per_gigabyte() {
            self.table.record(cost, "s/GB", peer, round, cpu);
        }
        Ok(())
    }

    fn ping(&mut self, peer: Peer, round: usize) -> Result<()> {
        let Sizes { pings, latency, .. } = self.sizes;
        let Latency { p50, p99 } =
            self.latency(peer, Mode::Echo, |client| round_trip::ping(client, pings, latency))?;
        self.table.record("8-byte round trip p50", "us", peer, round, p50);
        self.table.record("8-byte round trip p99", "us", peer, round, p99);
        Ok(())
    }

    fn modbus(&mut self, peer: Peer, round: usize) -> Result<()> {
        let Sizes { exchanges, latency, .. } = self.sizes;
        let Latency { p50, p99 } =
            self.latency(peer, Mode::Modbus, |client| round_trip::modbus(client, exchanges, latency))?;
        self.table.record("Modbus RTU p50", "us", peer, round, p50);
        self.table.record("Modbus RTU p99", "us", peer, round, p99);
        Ok(())
    }

    fn latency(
        &self,
        peer: Peer,
        mode: Mode,
        measure: impl FnOnce(&fs::File) -> Result<Latency>,
    ) -> Result<Latency> {
        let mut serving = Serving::start(&self.programs, peer, 1)?;
        let client = serving.client(0)?;
        while_answering(serving.device(0)?, mode, || measure(&client))
    }

    /// Only who is built for it: ser2net and socat are compared on one port.
    fn many(&mut self, peer: Peer, round: usize) -> Result<()> {
        if !matches!(peer, Peer::Bridge | Peer::Copier) {
            return Ok(());
        }
        for (from_tty, total, fairness) in [
            (true, "64 ports, tty to TCP", "64 ports, tty to TCP: slowest / mean"),
            (false, "64 ports, TCP to tty", "64 ports, TCP to tty: slowest / mean"),
        ] {
            let mut serving = Serving::start(&self.programs, peer, PORTS)?;
            let clients = (0..PORTS).map(|port| serving.client(port)).collect::<Result<Vec<_>>>()?;
            let clients: Vec<_> = clients.iter().collect();
            let devices = (0..PORTS).map(|port| serving.device(port)).collect::<Result<Vec<_>>>()?;
            let pid = serving.pid().context("nobody forwards")?;
            if from_tty {
                let idle = procfs::settled_pss(pid)?;
                self.table.record("64 ports, memory (Pss)", "MiB", peer, round, idle);
            }
            let (from, to) = if from_tty { (&devices, &clients) } else { (&clients, &devices) };
            let flood = flood::run(from, to, self.sizes.window)?;
            self.table.record(total, "MB/s", peer, round, flood.megabytes_per_second);
            self.table.record(fairness, "", peer, round, flood.fairness);
        }
        Ok(())
    }

    fn cold_start(&mut self, peer: Peer, round: usize) -> Result<()> {
        if peer == Peer::Direct {
            return Ok(());
        }
        let start = cold_start::run(&self.programs, peer)?;
        self.table.record("cold start to bytes", "ms", peer, round, start.took.as_secs_f64() * 1e3);
        self.table.record("1 port, memory (Pss)", "MiB", peer, round, start.pss);
        Ok(())
    }

    fn plugs(&mut self) -> Result<()> {
        for (uevents, name, p50, p99) in [
            (true, "plug to bytes", "plug to bytes p50", "plug to bytes p99"),
            (
                false,
                "plug to bytes",
                "no kernel events: plug to bytes p50",
                "no kernel events: plug to bytes p99",
            ),
        ] {
            if self.wanted(name) {
                eprintln!("{} plugs, kernel events: {uevents}", self.sizes.plugs);
                let result = plug::run(&self.programs, self.sizes.plugs, uevents);
                if let Some(latency) = self.judge(name, Peer::Bridge, result)? {
                    self.table.record(p50, "ms", Peer::Bridge, 0, latency.p50 / 1e3);
                    self.table.record(p99, "ms", Peer::Bridge, 0, latency.p99 / 1e3);
                }
            }
        }
        Ok(())
    }

    #[allow(clippy::cast_precision_loss, reason = "sizes of files")]
    fn binary_sizes(&mut self) {
        for binary in [&self.programs.bridge, &self.programs.hook] {
            let name = binary.file_name().unwrap_or_default().display();
            let text = match fs::metadata(binary) {
                Ok(metadata) => format!("{name}: {:.2} MB", metadata.len() as f64 / 1e6),
                Err(_) => format!("{name}: not built"),
            };
            self.table.note(text);
        }
    }

    fn count_system_calls(&mut self, peers: &[Peer]) -> Result<()> {
        if !system_calls::possible() {
            self.table.note("strace is not installed here: no system calls counted".to_owned());
            return Ok(());
        }
        for peer in peers.iter().copied().filter(|peer| *peer != Peer::Direct) {
            for (direction, name) in [
                (Direction::FromTty, "tty to TCP, system calls for 4 KiB"),
                (Direction::ToTty, "TCP to tty, system calls for 4 KiB"),
            ] {
                eprintln!("{}: {name}", peer.name());
                let result = system_calls::in_bulk(&self.programs, peer, direction);
                if let Some(calls) = self.judge(name, peer, result)? {
                    self.table.record(name, "", peer, 0, calls.per_chunk);
                    self.table.note(format!("{}, {name}: {}", peer.name(), calls.text));
                }
            }
            let result = system_calls::at_rest(&self.programs, peer);
            if let Some(text) = self.judge("at rest", peer, result)? {
                self.table.note(format!("{}, 5 s at rest with a client: {text}", peer.name()));
            }
        }
        Ok(())
    }
}

const PORTS: usize = 64;
