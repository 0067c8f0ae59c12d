//! Runs scenarios like tests: each in a process and in namespaces of its own, one after the other.
//!
//! Owner: the test target, whose `main` this is. It must not know what a scenario does.
//!
//! The test executable runs itself again below `unshare`, as the first process of a PID namespace: when that one
//! ends, for whatever reason, the kernel ends everything that it started, and its mounts and network go with it.

use std::path::PathBuf;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use std::{env, ffi::OsStr};

use anyhow::Result;
use libtest_mimic::{Arguments, Completion, Failed, Trial};

use crate::capability;

mod inside;
mod outside;

/// What a scenario's function returns. It stays on one thread.
pub type Body = Pin<Box<dyn Future<Output = Result<()>>>>;

/// One story about a cluster.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    name: &'static str,
    limit: Duration,
    obstacle: fn() -> Option<String>,
    body: fn(PathBuf) -> Body,
}

impl Scenario {
    /// `name` says what a user would notice. `body` gets an empty directory in memory, for the lab; what it puts
    /// into `logs` there is shown if it fails.
    ///
    /// ```
    /// use serialfleet_cluster::harness::Scenario;
    ///
    /// async fn sticks_are_served(directory: std::path::PathBuf) -> anyhow::Result<()> {
    ///     Ok(())
    /// }
    /// const SCENARIO: Scenario =
    ///     Scenario::new("sticks_are_served", |directory| Box::pin(sticks_are_served(directory)));
    /// ```
    #[must_use]
    pub const fn new(name: &'static str, body: fn(PathBuf) -> Body) -> Self {
        Self { name, limit: LIMIT, obstacle: || None, body }
    }

    /// How long it may take in all.
    #[must_use]
    pub const fn within(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Where `obstacle` gives a reason, the scenario is ignored with it, in CI as well: for what a kernel may lack.
    #[must_use]
    pub const fn unless(mut self, obstacle: fn() -> Option<String>) -> Self {
        self.obstacle = obstacle;
        self
    }
}

/// The test target's `main`: takes the flags of a Rust test. Where something is missing that the lab needs, scenarios
/// are ignored; with `CI=true` they fail. `heading` is said first. A container of a pod begins here, too, and does not
/// return.
#[must_use]
#[allow(clippy::print_stderr, reason = "what the verdicts are about")]
pub fn run(heading: &str, scenarios: &[Scenario]) -> ExitCode {
    crate::enter_container();
    let mut arguments = env::args_os().skip(1);
    if arguments.next().as_deref() == Some(OsStr::new(INSIDE)) {
        return inside::run(scenarios, arguments);
    }
    let mut arguments = Arguments::from_args();
    eprintln!("{heading}");
    // One control plane keeps two cores busy.
    arguments.test_threads.get_or_insert(1);
    let missing = if arguments.list { Vec::new() } else { capability::missing() };
    let trials =
        scenarios.iter().map(|scenario| trial(*scenario, missing.clone(), arguments.nocapture)).collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// A line of the running scenario, with the time that it has taken so far: shown if it fails, with `--nocapture`, and
/// in `SERIALFLEET_LOGS`.
#[allow(clippy::print_stderr, reason = "the outer process keeps or shows it")]
pub fn say(what: &str) {
    let start = START.get_or_init(Instant::now);
    eprintln!("{:7.2} s {what}", start.elapsed().as_secs_f32());
}

fn trial(scenario: Scenario, missing: Vec<String>, nocapture: bool) -> Trial {
    Trial::ignorable_test(scenario.name, move || {
        if missing.is_empty() {
            if let Some(reason) = (scenario.obstacle)() {
                return Ok(Completion::ignored_with(reason));
            }
            return outside::run(&scenario, nocapture)
                .map(|()| Completion::Completed)
                .map_err(|error| format!("{error:#}").into());
        }
        let reason = format!("missing for the cluster lab: {}", missing.join("; "));
        if env::var("CI").is_ok_and(|ci| ci == "true") {
            Err(Failed::from(reason))
        } else {
            Ok(Completion::ignored_with(reason))
        }
    })
}

/// A directory that logs are kept in, one directory below it for each scenario.
const LOGS_VARIABLE: &str = "SERIALFLEET_LOGS";

/// First argument of the process inside; then come the scenario's name and the lab's directory.
const INSIDE: &str = "--scenario";

/// Of this process, which is one scenario's.
static START: OnceLock<Instant> = OnceLock::new();

/// Enough for a slow machine, if a scenario does not say otherwise.
const LIMIT: Duration = Duration::from_secs(240);
