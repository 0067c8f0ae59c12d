//! Private user, network and mount namespaces for a single test.
//!
//! Owner: tests that inject uevents. A user namespace can only be made by a process with one thread, which a test
//! binary is not: the binary is run again, below `unshare` of util-linux, for that one test.

use std::env;
use std::fs;
use std::io::{Write, stderr};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result};

use crate::netlink::{FIRST_FAMILY_TYPE, Netlink};

/// Put first into a test that needs private namespaces, with the test's full name as `--exact` takes it:
///
/// ```no_run
/// #[test]
/// fn uevents_arrive() {
///     if !serialfleet_sim::namespace::enter("uevents_arrive") {
///         return;
///     }
///     // here only inside: root of a user namespace, with `lo` up and nothing else
/// }
/// ```
///
/// Outside it runs the test inside and returns false; a failure there panics here with its output. Inside it returns
/// true. Where namespaces cannot be made, it panics if the environment has `CI=true`, else says that the test is
/// skipped and returns false.
#[must_use = "the test's body belongs inside"]
pub fn enter(test: &str) -> bool {
    if let Some(marker) = env::var_os(MARKER) {
        raise_loopback().expect("lo can be brought up by root of the namespace");
        fs::write(marker, test).expect("the marker's directory is the outer test's");
        return true;
    }
    if let Err(reason) = possible() {
        assert!(
            !env::var("CI").is_ok_and(|ci| ci == "true"),
            "missing capability: private namespaces ({reason:#})"
        );
        // Straight to the descriptor: a passing test's captured output is thrown away.
        drop(writeln!(stderr(), "skipped: {test}: no private namespaces here ({reason:#})"));
        return false;
    }
    let directory = tempfile::tempdir().expect("a temporary directory");
    let marker = directory.path().join("entered");
    let output = Command::new("unshare")
        .args(UNSHARE)
        .arg(env::current_exe().expect("a test binary knows its path"))
        .args(["--exact", test, "--include-ignored", "--nocapture", "--test-threads=1"])
        .env(MARKER, &marker)
        .stdin(Stdio::null())
        .output()
        .expect("unshare has just worked");
    assert!(output.status.success(), "{test}, in private namespaces, {}:\n{}", output.status, text(&output));
    assert!(marker.exists(), "no test is called {test}: give the full name, with its modules");
    false
}

/// Whether private namespaces can be made here; the error says why not.
pub fn possible() -> Result<()> {
    let output =
        Command::new("unshare").args(UNSHARE).arg("true").output().context("unshare (util-linux)")?;
    anyhow::ensure!(output.status.success(), "{}", text(&output).trim());
    Ok(())
}

fn text(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).join("")
}

/// A new network namespace has `lo`, but down: nothing could connect to 127.0.0.1.
///
/// # Errors
/// If this process is not root of the namespace.
pub fn raise_loopback() -> Result<()> {
    const LOOPBACK_INDEX: i32 = 1;
    const IFF_UP: u32 = 1;
    // struct ifinfomsg: family, padding, type, index, flags, change mask.
    let mut message = vec![0_u8; 4];
    message.extend_from_slice(&LOOPBACK_INDEX.to_ne_bytes());
    message.extend_from_slice(&IFF_UP.to_ne_bytes());
    message.extend_from_slice(&IFF_UP.to_ne_bytes());
    // RTM_NEWLINK is the first type of NETLINK_ROUTE, which is protocol 0.
    Netlink::open(None)?.request(FIRST_FAMILY_TYPE, &message).context("bringing lo up")
}

/// User (as root in it), network and mount namespace. The user namespace also for root: real hardware's events enter
/// network namespaces of the initial user namespace.
const UNSHARE: [&str; 4] = ["--user", "--map-root-user", "--net", "--mount"];

const MARKER: &str = "SERIALFLEET_SIM_NAMESPACE";
