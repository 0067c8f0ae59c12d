//! A private network namespace for the check: there the simulated sticks may speak as the kernel does, and no port is
//! taken. Made by beginning the program anew below `unshare` of util-linux, in the same process.

use std::{env, os::unix::process::CommandExt, process::Command};

use anyhow::{Context, Result};
use serialfleet_sim::namespace;

/// Where the programs meet.
#[derive(Debug)]
pub(super) enum Network {
    /// In a namespace of their own: kernel events can be injected.
    Private,
    /// In the machine's; the text says why, where a private one was wanted.
    Shared(Option<String>),
}

/// Does not return where a private network can be made and is not there yet: then the program begins anew inside.
pub(super) fn private() -> Result<Network> {
    if env::var_os(INSIDE).is_some() {
        namespace::raise_loopback().context("bringing up lo in the private network")?;
        return Ok(Network::Private);
    }
    if let Err(error) = namespace::possible() {
        return Ok(Network::Shared(Some(format!("{error:#}"))));
    }
    let own = env::current_exe().context("where this program is")?;
    let failed = Command::new("unshare")
        .args(["--user", "--map-root-user", "--net", "--mount"])
        .arg(own)
        .args(env::args_os().skip(1))
        .env(INSIDE, "1")
        .exec();
    Err(failed).context("unshare (util-linux)")
}

/// Set for the program that was begun anew.
const INSIDE: &str = "SERIALFLEET_DEMO_INSIDE";
