//! Scenarios on a real control plane: `make test-cluster`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a scenario fails by panicking, too")]

use std::{path::PathBuf, process::ExitCode, time::Duration};

use serialfleet_cluster::{
    capability::no_ipv6,
    harness::{self, Body, Scenario},
};

#[path = "cluster/admission.rs"]
mod admission;
#[path = "cluster/apply_to_bytes.rs"]
mod apply_to_bytes;
#[path = "cluster/control_plane.rs"]
mod control_plane;
#[path = "cluster/drift.rs"]
mod drift;
#[path = "cluster/failures.rs"]
mod failures;
#[path = "cluster/families.rs"]
mod families;
#[path = "cluster/foreign.rs"]
mod foreign;
#[path = "cluster/lab.rs"]
mod lab;
#[path = "cluster/moves.rs"]
mod moves;
#[path = "cluster/namespaces.rs"]
mod namespaces;
#[path = "cluster/objects.rs"]
mod objects;
#[path = "cluster/outage.rs"]
mod outage;
#[path = "cluster/pods.rs"]
mod pods;
#[path = "cluster/recording.rs"]
mod recording;
#[path = "cluster/removal.rs"]
mod removal;
#[path = "cluster/rest.rs"]
mod rest;
#[path = "cluster/restarts.rs"]
mod restarts;
#[path = "cluster/settle.rs"]
mod settle;
#[path = "cluster/state.rs"]
mod state;
#[path = "cluster/strategies.rs"]
mod strategies;
#[path = "cluster/traffic.rs"]
mod traffic;
#[path = "cluster/verdicts.rs"]
mod verdicts;

use lab::Strategy;

const SCENARIOS: &[Scenario] = &[
    // The lab's own ground first: without it no other scenario means anything.
    scenario("control_plane_comes_up", |at| Box::pin(control_plane::comes_up(at))),
    scenario("names_of_services_resolve", |at| Box::pin(control_plane::names_of_services_resolve(at))),
    scenario("pods_are_processes", |at| Box::pin(pods::are_processes(at))),
    scenario("sticks_reach_running_pods", |at| Box::pin(pods::see_sticks(at))),
    scenario("nodes_fall_silent_and_lose_power", |at| Box::pin(pods::on_a_node_without_power(at))),
    scenario("verdicts_are_the_api_servers_own", |at| Box::pin(verdicts::are_the_api_servers_own(at))),
    scenario("from_kubectl_apply_to_bytes", |at| {
        Box::pin(apply_to_bytes::apply_to_bytes(at, Strategy::DynamicApply))
    }),
    scenario("from_kubectl_apply_to_bytes_by_server_side_apply", |at| {
        Box::pin(apply_to_bytes::apply_to_bytes(at, Strategy::ServerSideApply))
    }),
    scenario("a_stick_moves_between_nodes_under_traffic", |at| {
        Box::pin(moves::between_nodes_under_traffic(at))
    }),
    scenario("a_bridge_fails_and_comes_back", |at| Box::pin(failures::of_a_bridge(at))),
    scenario("a_node_fails_and_its_stick_is_moved", |at| Box::pin(failures::of_a_node(at))),
    scenario("restarts_are_not_noticed", |at| Box::pin(restarts::are_not_noticed(at))).within(LONG),
    scenario("a_bridge_writes_its_own_report_only", |at| {
        Box::pin(admission::a_bridge_writes_its_own_report_only(at))
    }),
    scenario("rest_comes_in_every_state", |at| {
        Box::pin(rest::comes_in_every_state(at, Strategy::DynamicApply))
    }),
    scenario("rest_comes_in_every_state_under_server_side_apply", |at| {
        Box::pin(rest::comes_in_every_state(at, Strategy::ServerSideApply))
    }),
    scenario("drift_is_repaired_or_told", |at| {
        Box::pin(drift::is_repaired_or_told(at, Strategy::DynamicApply))
    }),
    scenario("drift_is_repaired_or_told_under_server_side_apply", |at| {
        Box::pin(drift::is_repaired_or_told(at, Strategy::ServerSideApply))
    }),
    scenario("strategies_may_be_changed", |at| Box::pin(strategies::may_be_changed(at))),
    scenario("foreign_objects_stay_as_they_are", |at| {
        Box::pin(foreign::stay_as_they_are(at, Strategy::DynamicApply))
    }),
    scenario("foreign_objects_stay_as_they_are_under_server_side_apply", |at| {
        Box::pin(foreign::stay_as_they_are(at, Strategy::ServerSideApply))
    }),
    scenario("namespaces_are_asked_for_and_followed", |at| {
        Box::pin(namespaces::are_asked_for_and_followed(at))
    }),
    scenario("an_outage_of_all_hook_servers_loses_nothing", |at| Box::pin(outage::of_all_hook_servers(at))),
    scenario("both_address_families_are_served", |at| Box::pin(families::both(at))).unless(no_ipv6),
    scenario("ipv6_alone_is_served", |at| Box::pin(families::ipv6_alone(at))).unless(no_ipv6),
    scenario("removal_leaves_nothing", |at| Box::pin(removal::leaves_nothing(at))).within(LONG),
];

const fn scenario(name: &'static str, body: fn(PathBuf) -> Body) -> Scenario {
    Scenario::new(name, body)
}

const LONG: Duration = Duration::from_secs(480);

fn main() -> ExitCode {
    let heading = match lab::real_metacontroller() {
        Some(path) => format!("with Metacontroller itself: {}", path.display()),
        None => "with the driver in Metacontroller's place, as METACONTROLLER names no other".to_owned(),
    };
    let recordings = [
        scenario("dynamic_apply_is_recorded", |at| Box::pin(recording::of_dynamic_apply(at))),
        scenario("server_side_apply_is_recorded", |at| Box::pin(recording::of_server_side_apply(at))),
    ];
    // Asked for, they are all that is asked for.
    let recording = std::env::var_os(recording::VARIABLE).is_some();
    harness::run(&heading, if recording { &recordings } else { SCENARIOS })
}
