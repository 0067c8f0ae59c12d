//! What is measured, in which order, for how long.
//!
//! Owner: `main`. In each measure the peers take many short turns, each time in another order: what the machine does
//! meanwhile hits all of them alike. A round starts all of them anew.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::flood::Direction;
use crate::goals;
use crate::interrupt;
use crate::measures::{Measure, Sizes, Stand};
use crate::peer::{Peer, Programs};
use crate::plug;
use crate::system_calls;
use crate::table::Table;

/// A run of the bench.
pub(crate) struct Plan {
    programs: Programs,
    sizes: Sizes,
    quick: bool,
    rounds: usize,
    only: Vec<String>,
    table: Table,
}

const FULL: Sizes = Sizes {
    slices: 9,
    window: Duration::from_millis(100),
    writes: &[1, 64, 1024, 64 * 1024],
    latency: Duration::from_millis(100),
    paced: Duration::from_millis(500),
    connects: 1000,
    connects_limit: Duration::from_secs(1),
    plugs: 20,
};

const QUICK: Sizes = Sizes {
    slices: 5,
    window: Duration::from_millis(70),
    writes: &[1],
    latency: Duration::from_millis(60),
    paced: Duration::from_millis(300),
    connects: 300,
    connects_limit: Duration::from_millis(400),
    plugs: 4,
};

impl Plan {
    pub(crate) fn new(
        quick: bool,
        rounds: Option<usize>,
        only: Vec<String>,
        binaries: Option<PathBuf>,
    ) -> Result<Self> {
        Ok(Self {
            programs: Programs::find(binaries)?,
            sizes: if quick { QUICK } else { FULL },
            quick,
            rounds: rounds.unwrap_or(if quick { 1 } else { 2 }).max(1),
            only,
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
            for measure in Measure::all(&self.sizes) {
                if self.wanted(&measure.name()) {
                    eprintln!("round {} of {}: {}", round + 1, self.rounds, measure.name());
                    self.take_turns(measure, &here, round)?;
                }
            }
        }
        self.plugs()?;
        self.count_system_calls(&here)?;
        self.binary_sizes();
        println!("{}", self.table);
        for verdict in goals::verdicts(&self.table) {
            println!("{verdict}");
        }
        let (rounds, slices) = (self.rounds, self.sizes.slices);
        println!("\n{rounds} rounds of {slices} turns, {:.0} s.", start.elapsed().as_secs_f64());
        Ok(())
    }

    fn take_turns(&mut self, measure: Measure, peers: &[Peer], round: usize) -> Result<()> {
        let (name, slices) = (measure.name(), measure.slices(&self.sizes));
        let mut stands = Vec::new();
        for peer in peers.iter().copied().filter(|peer| measure.has(*peer)) {
            let stand = Stand::start(&self.programs, peer, measure.ports());
            stands.extend(self.judge(&name, peer, stand)?);
        }
        for slice in 0..slices {
            let sample = round * slices + slice;
            let count = stands.len().max(1);
            for turn in 0..count {
                let turn = if sample.is_multiple_of(2) { turn } else { count - 1 - turn };
                let Some(stand) = stands.get_mut((turn + sample / 2) % count) else { continue };
                let (peer, result) = (stand.peer, measure.run(&self.programs, &self.sizes, stand));
                match self.judge(&name, peer, result)? {
                    Some(figures) => {
                        for (what, unit, value) in figures {
                            self.table.record(format!("{name}{what}"), unit, peer, sample, value);
                        }
                    }
                    // What it has still in its queues would be taken for the next turn's.
                    None => stands.retain(|stand| stand.peer != peer),
                }
            }
        }
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

    fn plugs(&mut self) -> Result<()> {
        for (uevents, name) in [(true, "plug to bytes"), (false, "no kernel events: plug to bytes")] {
            if self.wanted(name) {
                eprintln!("{name}: {} plugs", self.sizes.plugs);
                let result = plug::run(&self.programs, self.sizes.plugs, uevents);
                if let Some(latency) = self.judge(name, Peer::Bridge, result)? {
                    for (what, value) in [("p50", latency.p50), ("p99", latency.p99)] {
                        self.table.record(format!("{name} {what}"), "ms", Peer::Bridge, 0, value / 1e3);
                    }
                }
            }
        }
        Ok(())
    }

    fn count_system_calls(&mut self, peers: &[Peer]) -> Result<()> {
        if !self.wanted(system_calls::NAME) {
            return Ok(());
        }
        if !system_calls::possible() {
            self.table.note("strace is not installed here: no system calls counted".to_owned());
            return Ok(());
        }
        let few = [Peer::Bridge, Peer::Copier];
        let peers = if self.quick { &few[..] } else { peers };
        for peer in peers.iter().copied().filter(|peer| *peer != Peer::Direct) {
            for direction in [Some(Direction::FromTty), Some(Direction::ToTty), Some(Direction::Both), None] {
                let (name, result) = match direction {
                    Some(direction) => (
                        format!("{}, {} for 4 KiB", direction.name(), system_calls::NAME),
                        system_calls::in_bulk(&self.programs, peer, direction),
                    ),
                    None => (
                        format!("round trip of a byte, {}", system_calls::NAME),
                        system_calls::in_exchange(&self.programs, peer),
                    ),
                };
                eprintln!("{}: {name}", peer.name());
                if let Some(calls) = self.judge(&name, peer, result)? {
                    self.table.note(format!("{}, {name}: {}", peer.name(), calls.text));
                    self.table.record(name, "", peer, 0, calls.each);
                }
            }
        }
        eprintln!("bridge: {} at rest", system_calls::NAME);
        let result = system_calls::at_rest(&self.programs, Peer::Bridge);
        if let Some(text) = self.judge("at rest", Peer::Bridge, result)? {
            self.table.note(format!("bridge, 5 s at rest with a client: {text}"));
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
}
