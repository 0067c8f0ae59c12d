//! Where the clients and our own program are. `make test-clients` puts them there.
//!
//! Owner: every scenario. It installs nothing and looks for nothing else on the machine.

use std::env;
use std::path::{Path, PathBuf};

/// What is not there, in words that say how to get it. Empty: the scenarios can run.
#[must_use]
pub fn missing() -> Vec<String> {
    let needed = [python(), pyserial_tests(), node_modules().join("zwave-js"), bridge()];
    let absent = needed.iter().filter(|path| !path.exists());
    absent.map(|path| format!("{} (made by `make test-clients`)", path.display())).collect()
}

/// The Python that has the clients of `environment/requirements.txt`.
#[must_use]
pub fn python() -> PathBuf {
    clients().join("python/bin/python")
}

/// The tests in pyserial's source archive.
#[must_use]
pub fn pyserial_tests() -> PathBuf {
    clients().join("python/pyserial-3.5/test")
}

/// The packages of `environment/package-lock.json`.
#[must_use]
pub fn node_modules() -> PathBuf {
    clients().join("node/node_modules")
}

/// The program under test: beside the test executable's directory, or in `SERIALFLEET_BINARIES`.
#[must_use]
pub fn bridge() -> PathBuf {
    env::var_os("SERIALFLEET_BINARIES")
        .map_or_else(profile_directory, PathBuf::from)
        .join("serialfleet-bridge")
}

/// A script of ours that drives a client.
#[must_use]
pub fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts").join(name)
}

/// The target directory that this test was built in.
#[must_use]
pub fn target() -> PathBuf {
    profile_directory().parent().map(Path::to_owned).unwrap_or_default()
}

/// What `environment/build` was told to fill: `SERIALFLEET_CLIENTS`, or `clients` in the target directory.
fn clients() -> PathBuf {
    env::var_os("SERIALFLEET_CLIENTS").map_or_else(|| target().join("clients"), PathBuf::from)
}

/// `target/debug` for the test executable `target/debug/deps/clients-0123`.
fn profile_directory() -> PathBuf {
    let executable = env::current_exe().unwrap_or_default();
    executable.ancestors().nth(2).map(Path::to_owned).unwrap_or_default()
}
