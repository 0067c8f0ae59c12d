//! What is measured, in which order, for how long.
//!
//! Owner: `main`. Within a case the hooks take turns, and each case begins with another one: what the machine does
//! meanwhile hits all of them alike. All are up during the cases; memory is taken of each while it is alone.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};

use crate::alike;
use crate::exchange::Line;
use crate::fleet::{SIZES, Size};
use crate::goals::{self, verdicts};
use crate::interrupt;
use crate::load::LoadArgs;
use crate::peer::{Peer, Programs};
use crate::procfs;
use crate::request;
use crate::serving::{Serving, megabytes};
use crate::stored::Strategy;
use crate::table::{Case, Figures, Table};

/// A run of the bench.
pub(crate) struct Plan {
    programs: Programs,
    rounds: usize,
    strategy: Strategy,
    only: Vec<String>,
    milliseconds: u64,
    calls: usize,
    starts: usize,
    table: Table,
}

/// A request's body, in memory for us and in a file for the load.
struct Body {
    size: Size,
    bytes: Vec<u8>,
    file: PathBuf,
}

impl Plan {
    pub(crate) fn new(
        programs: Programs,
        quick: bool,
        rounds: Option<usize>,
        strategy: Strategy,
        only: Vec<String>,
    ) -> Self {
        let (milliseconds, calls, starts) = if quick { (300, 30, 1) } else { (500, 100, 3) };
        let rounds = rounds.unwrap_or(if quick { 1 } else { 3 }).max(1);
        Self { programs, rounds, strategy, only, milliseconds, calls, starts, table: Table::default() }
    }

    /// Measures, then prints. With a directory, only writes the requests there.
    pub(crate) fn run(mut self, requests: Option<&Path>) -> Result<()> {
        let start = Instant::now();
        let temporary = tempfile::Builder::new().prefix("serialfleet-bench-hook-").tempdir()?;
        let bodies = self.bodies(requests.unwrap_or_else(|| temporary.path()))?;
        if requests.is_some() {
            return Ok(());
        }
        let load_before = load_average();
        let (here, missing): (Vec<_>, Vec<_>) =
            Peer::ALL.into_iter().partition(|peer| self.programs.has(*peer));
        for peer in missing {
            self.table.note(format!("{} is not here: left out (see peers/build)", peer.name()));
        }
        let here = self.alike(&here, &bodies)?;
        for round in 0..self.rounds {
            self.round(&here, round, &bodies)?;
            for peer in here.iter().filter(|_| self.wanted(ALONE)).copied().collect::<Vec<_>>() {
                eprintln!("round {} of {}: {ALONE}, {}", round + 1, self.rounds, peer.name());
                let result = self.start_and_memory(peer, round, &bodies);
                self.judge(ALONE, peer, result)?;
            }
        }
        for peer in &here {
            let size = self.programs.file(*peer).and_then(|file| megabytes(&file));
            if let Some(size) = size {
                self.table.single(goals::FILE, "MB", *peer, 0, size);
            }
        }
        println!("{}", self.table);
        for verdict in verdicts(&self.table) {
            println!("{verdict}");
        }
        let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
        println!(
            "\n{} rounds, {:.0} s, {cores} cores; load average {load_before} before, {} after.",
            self.rounds,
            start.elapsed().as_secs_f64(),
            load_average()
        );
        Ok(())
    }

    fn bodies(&mut self, directory: &Path) -> Result<Vec<Body>> {
        let hook = Serving::start(&self.programs, Peer::Hook, None)?;
        let mut bodies = Vec::new();
        for size in SIZES {
            let bytes = request::settled(size, self.strategy, hook.address)?;
            let file = directory.join(format!("{}-{}.json", size.devices, size.nodes));
            fs::write(&file, &bytes).with_context(|| file.display().to_string())?;
            self.table.note(format!("{}: request {} KB", size.name(), bytes.len() / 1000));
            bodies.push(Body { size, bytes, file });
        }
        Ok(bodies)
    }

    /// The hooks that answer like ours.
    fn alike(&mut self, here: &[Peer], bodies: &[Body]) -> Result<Vec<Peer>> {
        let ours = self.answers(Peer::Hook, bodies)?;
        let mut alike = Vec::new();
        for peer in here.iter().copied() {
            let result = if peer == Peer::Floor { Ok(()) } else { self.answers_alike(peer, bodies, &ours) };
            alike.extend(self.judge("answers other than ours, left out", peer, result)?.map(|()| peer));
        }
        Ok(alike)
    }

    fn answers_alike(&mut self, peer: Peer, bodies: &[Body], ours: &[Vec<u8>]) -> Result<()> {
        let theirs = self.answers(peer, bodies)?;
        let sizes: Vec<String> = theirs.iter().map(|it| (it.len() / 1000).to_string()).collect();
        self.table.note(format!("{}: answers of {} KB", peer.name(), sizes.join(", ")));
        let pairs = ours.iter().zip(&theirs).zip(bodies);
        pairs.into_iter().try_for_each(|((ours, theirs), body)| {
            alike::check(ours, theirs).with_context(|| body.size.name())
        })
    }

    fn answers(&self, peer: Peer, bodies: &[Body]) -> Result<Vec<Vec<u8>>> {
        let serving = Serving::start(&self.programs, peer, None)?;
        let mut line = Line::connect(serving.address)?;
        bodies.iter().map(|body| line.post(&body.bytes)).collect()
    }

    fn round(&mut self, here: &[Peer], round: usize, bodies: &[Body]) -> Result<()> {
        let first = bodies.first().context("a request")?;
        let mut servings = here
            .iter()
            .map(|peer| Ok((*peer, Serving::start(&self.programs, *peer, Some(&first.bytes))?)))
            .collect::<Result<Vec<_>>>()?;
        for (body, case) in cases(bodies) {
            let name = case.name();
            if !self.wanted(&name) {
                continue;
            }
            eprintln!("round {} of {}: {name}", round + 1, self.rounds);
            for (peer, serving) in &servings {
                let result = self.load(serving, case, body);
                if let Some(figures) = self.judge(&name, *peer, result)? {
                    self.table.load(case, *peer, round, figures);
                }
            }
            servings.rotate_left(1);
        }
        Ok(())
    }

    fn load(&self, serving: &Serving, case: Case, body: &Body) -> Result<Figures> {
        let loaded = serving.load(&self.programs, &self.args(serving, case, body))?;
        let outcome = loaded.outcome;
        anyhow::ensure!(
            !case.changed || outcome.unchanged == 0,
            "{} answers were not new",
            outcome.unchanged
        );
        Ok(Figures { rate: outcome.rate, p50: outcome.p50, p99: outcome.p99, cpu: loaded.cpu })
    }

    fn args(&self, serving: &Serving, case: Case, body: &Body) -> LoadArgs {
        LoadArgs {
            address: serving.address,
            body: body.file.clone(),
            connections: case.connections,
            close: !case.keep,
            changed: case.changed,
            milliseconds: self.milliseconds,
            calls: self.calls,
            patience: 3,
        }
    }

    #[allow(clippy::cast_precision_loss, reason = "KiB of a process")]
    fn start_and_memory(&mut self, peer: Peer, round: usize, bodies: &[Body]) -> Result<()> {
        let (first, last) = bodies.first().zip(bodies.last()).context("a request")?;
        for start in 1..self.starts {
            let serving = Serving::start(&self.programs, peer, Some(&first.bytes))?;
            let at = round * self.starts + start;
            self.table.single(goals::COLD, "ms", peer, at, serving.cold_start.as_secs_f64() * 1e3);
        }
        let serving = Serving::start(&self.programs, peer, Some(&first.bytes))?;
        let took = serving.cold_start.as_secs_f64() * 1e3;
        self.table.single(goals::COLD, "ms", peer, round * self.starts, took);
        let pid = serving.pid();
        self.table.single(goals::MEMORY_IDLE, "MiB", peer, round, procfs::settled_pss(pid)?);
        let heaviest = Case { size: last.size, changed: true, keep: true, connections: CONNECTIONS };
        for peak in [goals::PEAK, goals::PEAK_AGAIN] {
            serving.load(&self.programs, &self.args(&serving, heaviest, last))?;
            self.table.single(peak, "MiB", peer, round, procfs::peak(pid)? as f64 / 1024.0);
        }
        self.table.single(goals::MEMORY_AFTER, "MiB", peer, round, procfs::settled_pss(pid)?);
        Ok(())
    }

    fn wanted(&self, name: &str) -> bool {
        self.only.iter().all(|text| name.contains(text.as_str()))
    }

    /// A hook that fails does not end the run; Ctrl-C does.
    fn judge<T>(&mut self, what: &str, peer: Peer, result: Result<T>) -> Result<Option<T>> {
        interrupt::check()?;
        Ok(result.map_err(|error| self.table.note(format!("{}, {what}: {error:#}", peer.name()))).ok())
    }
}

fn cases(bodies: &[Body]) -> impl Iterator<Item = (&Body, Case)> {
    let ways = [true, false].into_iter().flat_map(|changed| {
        [true, false]
            .into_iter()
            .flat_map(move |keep| [1, CONNECTIONS].map(|connections| (changed, keep, connections)))
    });
    ways.flat_map(move |(changed, keep, connections)| {
        bodies.iter().map(move |body| (body, Case { size: body.size, changed, keep, connections }))
    })
}

/// What the kernel says of the machine: figures of a busy one are to be taken as such.
fn load_average() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or_default().to_owned()
}

const CONNECTIONS: usize = 8;
/// What is measured of each hook while no other one is up; `--only` takes it too.
const ALONE: &str = "cold start and memory";
