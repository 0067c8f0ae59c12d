//! Each measure: who takes part, how long, what is recorded under which name.
//!
//! Owner: the plan. One call measures one peer once; all peers are started before, so that one's turn follows another's
//! at once.

use std::fs::File;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::cold_start;
use crate::connects;
use crate::flood::{self, Direction, Flow, Load};
use crate::memory;
use crate::paced;
use crate::peer::{Peer, Programs};
use crate::round_trip::Exchange;
use crate::serving::Serving;

/// The many ports of design and table.
pub(crate) const PORTS: usize = 64;
/// Bytes of a write where nothing else is said.
pub(crate) const WRITE: usize = 16 * 1024;

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Measure {
    /// One port, writes of so many bytes.
    Flood(Direction, usize),
    /// All ports at once.
    Many(Direction),
    Exchange(Exchange),
    Paced,
    /// So many ports.
    Memory(usize),
    Connects,
    ColdStart,
}

/// How much of everything.
#[derive(Clone, Copy)]
pub(crate) struct Sizes {
    /// The peers take turns so many times before they are started anew.
    pub(crate) slices: usize,
    /// Of a flood.
    pub(crate) window: Duration,
    /// Of writes, beside [`WRITE`].
    pub(crate) writes: &'static [usize],
    /// Of exchanges; a slow forwarder gets fewer, never more time.
    pub(crate) latency: Duration,
    pub(crate) paced: Duration,
    pub(crate) connects: usize,
    pub(crate) connects_limit: Duration,
    pub(crate) plugs: usize,
}

impl Measure {
    /// All, in the table's order.
    pub(crate) fn all(sizes: &Sizes) -> Vec<Self> {
        let mut all: Vec<_> = Direction::ALL.map(|direction| Self::Flood(direction, WRITE)).into();
        for direction in [Direction::FromTty, Direction::ToTty] {
            all.extend(sizes.writes.iter().map(|write| Self::Flood(direction, *write)));
        }
        all.extend(Exchange::ALL.map(Self::Exchange));
        all.extend(Direction::ALL.map(Self::Many));
        all.extend([Self::Paced, Self::Memory(1), Self::Memory(PORTS), Self::Connects, Self::ColdStart]);
        all
    }

    /// What `--only` looks at, and the beginning of the rows.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Flood(direction, WRITE) => direction.name().to_owned(),
            Self::Flood(direction, write) => format!("{}, writes of {}", direction.name(), size(write)),
            Self::Many(direction) => format!("{PORTS} ports, {}", direction.name()),
            Self::Exchange(exchange) => exchange.name().to_owned(),
            Self::Paced => format!("{PORTS} ports paced at 115200"),
            Self::Memory(1) => "memory (Pss), 1 port".to_owned(),
            Self::Memory(ports) => format!("memory (Pss), {ports} ports"),
            Self::Connects => "connects".to_owned(),
            Self::ColdStart => "cold start to bytes".to_owned(),
        }
    }

    /// Whether the peer takes part.
    pub(crate) fn has(self, peer: Peer) -> bool {
        peer != Peer::Direct || matches!(self, Self::Exchange(_))
    }

    /// Ports that stay served while the peers take turns; 0: each turn starts its own.
    pub(crate) fn ports(self) -> usize {
        match self {
            Self::Flood(..) | Self::Exchange(_) | Self::Connects => 1,
            Self::Many(_) | Self::Paced => PORTS,
            Self::Memory(_) | Self::ColdStart => 0,
        }
    }

    /// Turns of each peer in a round: memory hardly varies.
    pub(crate) fn slices(self, sizes: &Sizes) -> usize {
        match self {
            Self::Memory(_) => 1,
            Self::Paced | Self::Connects => sizes.slices.div_ceil(3),
            _ => sizes.slices,
        }
    }

    /// Measures the peer once, on what is served or by itself; names are completed by the first of each.
    pub(crate) fn run(self, programs: &Programs, sizes: &Sizes, stand: &mut Stand) -> Result<Vec<Figure>> {
        Ok(match self {
            Self::Flood(direction, write) => {
                let load = Load { direction, write, ramp: RAMP, window: sizes.window };
                flood(direction, &stand.flood(load)?)
            }
            Self::Many(direction) => {
                let load = Load { direction, write: WRITE, ramp: RAMP, window: sizes.window };
                let flow = stand.flood(load)?;
                let mut figures = flood(direction, &flow);
                figures.push((", slowest / mean", "", flow.fairness()));
                figures
            }
            Self::Exchange(exchange) => {
                let client = stand.clients.first().context("a client")?;
                let latency = exchange.run(stand.serving.device(0)?, client, sizes.latency)?;
                vec![(" p50", "us", latency.p50), (" p99", "us", latency.p99)]
            }
            Self::Paced => {
                let processes = stand.serving.processes()?;
                let paced = paced::run(&stand.serving.devices(), &stand.clients(), sizes.paced, &processes)?;
                vec![
                    (", CPU of a core", "%", paced.cpu * 1e2),
                    (", tty to TCP p50", "us", paced.from_tty.p50),
                    (", tty to TCP p99", "us", paced.from_tty.p99),
                    (", TCP to tty p50", "us", paced.to_tty.p50),
                    (", TCP to tty p99", "us", paced.to_tty.p99),
                ]
            }
            Self::Memory(ports) => {
                let memory = memory::run(programs, stand.peer, ports)?;
                vec![(", idle", "MiB", memory.idle), (", after load", "MiB", memory.after_load)]
            }
            Self::Connects => {
                stand.clients.clear();
                let (address, device) = (stand.serving.address(0)?, stand.serving.device(0)?);
                let run = connects::run(address, device, sizes.connects, sizes.connects_limit)?;
                vec![("", "1/s", run.rate), (", failed of 1,000", "", run.failed)]
            }
            Self::ColdStart => {
                vec![("", "ms", cold_start::run(programs, stand.peer)?.as_secs_f64() * 1e3)]
            }
        })
    }
}

/// The end of a row's name, the unit, the value.
pub(crate) type Figure = (&'static str, &'static str, f64);

/// A peer that serves while others have their turn, and its clients.
pub(crate) struct Stand {
    pub(crate) peer: Peer,
    clients: Vec<File>,
    serving: Serving,
}

impl Stand {
    pub(crate) fn start(programs: &Programs, peer: Peer, ports: usize) -> Result<Self> {
        // Nobody is started for no ports.
        let mut serving = Serving::start(programs, if ports == 0 { Peer::Direct } else { peer }, ports)?;
        let clients = serving.clients()?;
        Ok(Self { peer, clients, serving })
    }

    fn clients(&self) -> Vec<&File> {
        self.clients.iter().collect()
    }

    fn flood(&self, load: Load) -> Result<Flow> {
        flood::run(&self.serving.devices(), &self.clients(), load, &self.serving.processes()?)
    }
}

fn flood(direction: Direction, flow: &Flow) -> Vec<Figure> {
    let mut figures =
        vec![("", "MB/s", flow.megabytes_per_second()), (", CPU", "s/GB", flow.cpu_per_gigabyte())];
    if direction == Direction::Both {
        figures.push((", of it tty to TCP", "%", flow.part_from_tty() * 1e2));
    }
    figures
}

fn size(bytes: usize) -> String {
    if bytes >= 1024 { format!("{} KiB", bytes / 1024) } else { format!("{bytes} B") }
}

/// Until all ports are under load.
const RAMP: Duration = Duration::from_millis(30);
