//! A look at the bridge at rest: memory, descriptors, threads; and the verdict over all looks.
//!
//! Owner: `soak`, while every actor but one is stopped.

use std::fs;

use anyhow::{Context, Result, ensure};
use serialfleet_bench::procfs;

use crate::{
    fleet,
    world::{Spread, World},
};

#[derive(Default)]
pub(crate) struct Looks {
    looks: Vec<Look>,
}

struct Look {
    /// MiB.
    pss: f64,
    descriptors: usize,
    threads: usize,
}

impl Looks {
    /// Serves the first fleet, waits until all is at rest, looks.
    pub(crate) fn look(&mut self, world: &World, spread: &Spread) -> Result<()> {
        world.edit(&fleet::first(&world.devices))?;
        world.wait("every port serving without clients", || is_at_rest(world).filter(|rest| *rest))?;
        let look = Look {
            pss: procfs::settled_pss(world.pid())?,
            descriptors: fs::read_dir(format!("/proc/{}/fd", world.pid()))?.count(),
            threads: procfs::threads(world.pid())?.len(),
        };
        println!(
            "look {}: Pss {:.2} MiB, {} descriptors, {} threads, {} actions",
            self.looks.len(),
            look.pss,
            look.descriptors,
            look.threads,
            spread.total()
        );
        self.looks.push(look);
        Ok(())
    }

    /// Flat from the second look of churn on: the first rounds touch code and buffers for the first time.
    pub(crate) fn verdict(&self, ports: usize) -> Result<()> {
        let warm = self.looks.get(2).or_else(|| self.looks.first()).context("no look")?;
        let last = self.looks.last().context("no look")?;
        println!(
            "from look 2 to the last: Pss {:.2} to {:.2} MiB, descriptors {} to {}, threads {} to {}",
            warm.pss, last.pss, warm.descriptors, last.descriptors, warm.threads, last.threads
        );
        ensure!(
            last.pss <= warm.pss * 1.1 + 0.5,
            "memory has grown from {:.2} to {:.2} MiB",
            warm.pss,
            last.pss
        );
        // A port keeps one descriptor once its device has made it wait.
        ensure!(
            last.descriptors <= warm.descriptors + ports,
            "descriptors have grown from {} to {}",
            warm.descriptors,
            last.descriptors
        );
        ensure!(
            last.threads <= warm.threads + 1,
            "threads have grown from {} to {}",
            warm.threads,
            last.threads
        );
        Ok(())
    }
}

/// Whether every port of the first fleet is served, and only the one in peace has a client.
fn is_at_rest(world: &World) -> Option<bool> {
    let ports: serde_json::Value = serde_json::from_str(&world.get("/ports").ok()?).ok()?;
    let ports = ports.as_array()?;
    let serving = ports.iter().all(|port| port.get("state").is_some_and(|state| state == "Serving"));
    let clients = |port: &serde_json::Value| port.get("clients")?.as_array().map(Vec::len);
    let quiet = ports.iter().all(|port| {
        let expected = usize::from(port.get("name").is_some_and(|name| name == "steady"));
        clients(port) == Some(expected)
    });
    Some(serving && quiet && ports.len() == world.churned() + 1)
}
