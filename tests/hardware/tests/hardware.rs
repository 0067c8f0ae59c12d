//! The bridge in a real kernel, with emulated sticks: `make test-hardware`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a broken bench must stop the test at once")]

use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use libtest_mimic::{Arguments, Trial};
use serialfleet_hardware::lab::{self, Lab};

#[path = "hardware/lines.rs"]
mod lines;
#[path = "hardware/plug.rs"]
mod plug;

type Scenario = fn(&mut Lab) -> Result<()>;

const SCENARIOS: &[(&str, Scenario)] = &[
    ("each_driver_is_served_and_its_client_stays_over_a_replug", plug::each_driver_is_served),
    (
        "a_socket_tells_sticks_without_a_serial_number_apart",
        plug::a_socket_tells_sticks_without_a_serial_number_apart,
    ),
    ("visitors_leave_dtr_and_rts_alone", lines::visitors_leave_dtr_and_rts_alone),
    ("a_stick_that_hangs_disturbs_nobody", plug::a_stick_that_hangs_disturbs_nobody),
];

/// Each with a port of its own. The FTDI stick is the one whose line is set over the network.
const DEVICES: &[&str] = &[
    "{name: ftdi, match: {usb: 0403:6001}, port: 6638}",
    "{name: sonoff, match: {usb: 10c4:ea60}, port: 6639}",
    "{name: ch340, match: {usb: 1a86:7523}, port: 6640}",
    "{name: zwave, match: {usb: 0658:0200}, port: 6641}",
];
const PORTS: &[u16] = &[FTDI, SONOFF, CH340, ZWAVE];
const FTDI: u16 = 6638;
const SONOFF: u16 = 6639;
const CH340: u16 = 6640;
const ZWAVE: u16 = 6641;

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
        *shared = Some(Lab::boot(DEVICES, PORTS)?);
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

/// A figure for people: shown whatever the verdict.
#[allow(clippy::print_stderr, reason = "what somebody ran this for")]
fn say(what: &str) {
    eprintln!("  {what}");
}
