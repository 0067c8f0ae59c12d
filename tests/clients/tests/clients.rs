//! Other people's clients against the real bridge: `make test-clients`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a broken bench must stop the test at once")]

use std::process::ExitCode;

use anyhow::Result;
use libtest_mimic::{Arguments, Trial};
use serialfleet_clients::environment;

#[path = "clients/import.rs"]
mod import;
#[path = "clients/modbus.rs"]
mod modbus;
#[path = "clients/pyserial.rs"]
mod pyserial;
#[path = "clients/rfc2217.rs"]
mod rfc2217;
#[path = "clients/zwave.rs"]
mod zwave;

const SCENARIOS: &[(&str, fn() -> Result<()>)] = &[
    // The longest first.
    ("pyserials_own_tests_pass_over_rfc2217", pyserial::over_rfc2217_without_modem_lines),
    ("pyserials_own_tests_pass_over_raw_tcp", pyserial::over_raw_tcp),
    ("zwave_js_does_not_notice_that_its_stick_was_out", zwave::does_not_notice_that_its_stick_was_out),
    ("pymodbus_goes_on_where_it_was_after_a_replug", modbus::goes_on_where_it_was_after_a_replug),
    (
        "serialx_opens_and_sets_a_stick_without_modem_lines",
        rfc2217::serialx_opens_and_sets_a_stick_without_modem_lines,
    ),
    (
        "esptools_sequence_changes_the_line_and_leaves_it",
        rfc2217::esptools_sequence_changes_the_line_and_leaves_it,
    ),
    ("orders_for_lines_are_answered", rfc2217::orders_for_lines_are_answered),
    ("a_client_of_ser2net_goes_on_with_the_bridge", import::a_client_of_ser2net_goes_on_with_the_bridge),
];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let missing = environment::missing();
    let trial = |(name, scenario): &(&'static str, fn() -> Result<()>)| {
        let (scenario, missing) = (*scenario, missing.join("; "));
        Trial::test(*name, move || {
            // Nobody comes here without having asked for it: what is missing fails.
            if !missing.is_empty() {
                return Err(format!("missing: {missing}").into());
            }
            scenario().map_err(|error| format!("{error:#}").into())
        })
    };
    libtest_mimic::run(&arguments, SCENARIOS.iter().map(trial).collect()).exit_code()
}

/// A figure for people: shown whatever the verdict.
#[allow(clippy::print_stderr, reason = "what somebody ran this for")]
fn say(what: &str) {
    eprintln!("  {what}");
}
