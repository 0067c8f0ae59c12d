//! The bridge in a real kernel, with emulated sticks: `make test-hardware`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a broken bench must stop the test at once")]

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use libtest_mimic::{Arguments, Trial};
use serialfleet_hardware::lab::{self, Lab};

#[path = "hardware/lines.rs"]
mod lines;
#[path = "hardware/plug.rs"]
mod plug;
#[path = "hardware/rfc2217.rs"]
mod rfc2217;

type Scenario = fn(&mut Lab) -> Result<()>;

const SCENARIOS: &[(&str, Scenario)] = &[
    ("each_driver_is_served_and_its_client_stays_over_a_replug", plug::each_driver_is_served),
    (
        "a_socket_tells_sticks_without_a_serial_number_apart",
        plug::a_socket_tells_sticks_without_a_serial_number_apart,
    ),
    ("visitors_leave_dtr_and_rts_alone", lines::visitors_leave_dtr_and_rts_alone),
    ("a_stick_that_hangs_disturbs_nobody", plug::a_stick_that_hangs_disturbs_nobody),
    ("pyserials_own_tests_pass_over_rfc2217_with_modem_lines", rfc2217::pyserials_own_tests_pass),
    ("esptools_reset_reaches_the_chip_in_order", rfc2217::esptools_reset_reaches_the_chip_in_order),
    (
        "what_a_client_has_set_is_there_again_after_a_replug",
        rfc2217::what_a_client_has_set_is_there_again_after_a_replug,
    ),
    ("orders_for_lines_are_carried_out_at_once", rfc2217::orders_for_lines_are_carried_out_at_once),
];

/// The fleet, each device with a port of its own.
const DEVICES: &[&str] = &[
    "{name: ftdi, match: {usb: 0403:6001, serialNumber: FT4X8RQJ}, port: 6638}",
    "{name: sonoff, match: {usb: 10c4:ea60}, port: 6639}",
    "{name: ch340, match: {usb: 1a86:7523}, port: 6640}",
    "{name: zwave, match: {usb: 0658:0200}, port: 6641}",
    "{name: esp, match: {usb: 0403:6001, serialNumber: FT9HT9QX}, port: 6642, protocol: Rfc2217}",
];

/// A stick: the device's name in the fleet, what it is, and where it is served.
#[derive(Clone, Copy, Debug)]
struct Stick {
    device: &'static str,
    kind: &'static str,
    port: u16,
}

const FTDI: Stick = Stick { device: "ftdi", kind: "ftdi", port: 6638 };
const SONOFF: Stick = Stick { device: "sonoff", kind: "cp2102", port: 6639 };
const CH340: Stick = Stick { device: "ch340", kind: "ch340", port: 6640 };
const ZWAVE: Stick = Stick { device: "zwave", kind: "zwave", port: 6641 };
/// The one whose line is set over the network.
const ESP: Stick = Stick { device: "esp", kind: "ftdi-too", port: 6642 };

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // One guest for all of them, which two at once would disturb.
    arguments.test_threads = Some(1);
    let shared = Arc::new(Mutex::new(None));
    let trial = |(name, scenario): &(&'static str, Scenario)| {
        let (scenario, shared) = (*scenario, Arc::clone(&shared));
        Trial::test(*name, move || {
            run(scenario, &mut shared.lock().unwrap_or_else(PoisonError::into_inner))
                .map_err(|error| format!("{error:#}").into())
        })
    };
    let trials = SCENARIOS.iter().map(trial).collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// The first scenario boots the guest. One that fails takes it along: the next one gets a fresh one.
fn run(scenario: Scenario, shared: &mut Option<Lab>) -> Result<()> {
    if shared.is_none() {
        let missing = lab::missing();
        // Nobody comes here without having asked for it: what is missing fails.
        anyhow::ensure!(missing.is_empty(), "missing: {}", missing.join("; "));
        let start = std::time::Instant::now();
        *shared = Some(Lab::boot(DEVICES, &[FTDI, SONOFF, CH340, ZWAVE, ESP].map(|stick| stick.port))?);
        say(&format!("booted within {:.1} s", start.elapsed().as_secs_f32()));
    }
    let mut lab = shared.take().expect("booted");
    match scenario(&mut lab) {
        Ok(()) => {
            *shared = Some(lab);
            Ok(())
        }
        Err(error) => Err(error.context(lab.said())),
    }
}

/// Plugs it in, and waits until it is served; returns where.
fn plug_in(lab: &mut Lab, stick: Stick) -> Result<SocketAddr> {
    lab.plug(stick.device, stick.kind)?;
    lab.admin()?.wait(stick.device, "Serving")?;
    lab.address(stick.port)
}

/// Pulls them out, and waits until the bridge has seen that. Nobody talks to them any more.
fn pull_out(lab: &mut Lab, sticks: &[Stick]) -> Result<()> {
    sticks.iter().try_for_each(|stick| lab.unplug(stick.device))?;
    sticks.iter().try_for_each(|stick| lab.admin()?.wait(stick.device, "Absent").map(drop))
}

/// A figure for people: shown whatever the verdict.
#[allow(clippy::print_stderr, reason = "what somebody ran this for")]
fn say(what: &str) {
    eprintln!("  {what}");
}
