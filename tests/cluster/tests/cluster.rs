//! Scenarios on a real control plane: `make test-cluster`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a scenario fails by panicking, too")]

use std::{path::PathBuf, process::ExitCode};

use serialfleet_cluster::harness::{self, Body, Scenario};

#[path = "cluster/control_plane.rs"]
mod control_plane;
#[path = "cluster/pods.rs"]
mod pods;

const SCENARIOS: &[Scenario] = &[
    // The lab's own ground first: without it no other scenario means anything.
    scenario("control_plane_comes_up", |at| Box::pin(control_plane::comes_up(at))),
    scenario("names_of_services_resolve", |at| Box::pin(control_plane::names_of_services_resolve(at))),
    scenario("pods_are_processes", |at| Box::pin(pods::are_processes(at))),
    scenario("sticks_reach_running_pods", |at| Box::pin(pods::see_sticks(at))),
    scenario("nodes_fall_silent_and_lose_power", |at| Box::pin(pods::on_a_node_without_power(at))),
];

const fn scenario(name: &'static str, body: fn(PathBuf) -> Body) -> Scenario {
    Scenario::new(name, body)
}

fn main() -> ExitCode {
    harness::run("a control plane, nodes and pods made of processes", SCENARIOS)
}
