//! `serialfleet-bridge import`: what ser2net was told, as a SerialFleet.
//!
//! Owner: the command line ([`command`], which alone touches files and sysfs). [`import`] is a function of texts and
//! of what is plugged in. It opens no tty, and it never guesses: what cannot be said with certainty stands in the
//! output as a comment, so that applying it never serves another stick than ser2net did.
//!
//! | | |
//! |---|---|
//! | `tree`, `statements` | ser2net 4: its YAML (ser2net.yaml(5)), which standard readers refuse |
//! | `connections`, `conf` | ser2net 4 and ser2net 3 (ser2net.conf) to [`entry::Entry`] |
//! | `stack`, `serial`, `options`, `network` | the small languages inside of both |
//! | `place` | from a path below `/dev` to a `match` |
//! | `fleet`, `print` | the fleet as a whole, and as text |

pub mod command;
mod conf;
mod connections;
mod entry;
mod fleet;
mod network;
mod options;
mod place;
mod print;
mod serial;
mod stack;
mod statements;
mod tree;

use std::collections::{BTreeMap, BTreeSet};

use serialfleet_api::{fleet::Device, manifest::read_fleet};

use crate::discovery::{sysfs::Scan, text::printable};

/// Longest file that is read, in bytes.
pub const MAX_TEXT: usize = 1 << 20;
/// Longest remark, in bytes.
const MAX_REMARK: usize = 1000;
/// Most connections that are read; what follows is counted and named, not read.
pub const MAX_CONNECTIONS: usize = 512;

/// A file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// Its name as people know it. `10c4:ea60.yaml` says which stick it is about.
    pub name: String,
    /// What it holds.
    pub text: String,
}

/// Where the files come from.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    /// What is plugged in there.
    pub scan: Scan,
    /// The tty behind each link below `/dev`, by its path: `/dev/serial/by-id/...` to `ttyUSB0`.
    pub links: BTreeMap<String, String>,
    /// Its name as a node.
    pub node: Option<String>,
    /// Somebody said that this node is meant, so that what is not plugged in now may be named as well.
    pub node_is_certain: bool,
}

/// A fleet made of ser2net's files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// One SerialFleet with comments; it passes the validation of the API server.
    pub yaml: String,
    /// Devices in it.
    pub devices: usize,
    /// Connections that stand in it as comments.
    pub left_out: usize,
    /// What a person should know before applying it, one sentence each.
    pub remarks: Vec<String>,
}

/// Why there is no fleet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// No file holds a connection.
    #[error("no connection of ser2net found{}{}", if .0.is_empty() { "" } else { ": " }, .0.join("; "))]
    Nothing(Vec<String>),
    /// The output would be larger than a file may be.
    #[error("the result is larger than {MAX_TEXT} bytes: import fewer files at a time")]
    TooLarge,
    /// The output would be refused: a mistake in this program, which is better told than applied.
    #[error("the result would be refused, which is a mistake of this program: {0}")]
    Invalid(String),
}

/// Reads the files that an `include` names: a path with `*` and `?` in it, as written.
pub type Include<'a> = &'a mut dyn FnMut(&str) -> Result<Vec<Source>, String>;

/// The fleet `name` with what the files say.
///
/// # Errors
/// If there is no connection in them, or the result is too large. Whatever else is wrong is a remark.
pub fn import(
    sources: &[Source],
    name: &str,
    machine: &Machine,
    include: Include<'_>,
) -> Result<Imported, ImportError> {
    let mut reading = entry::Reading::default();
    for source in sources {
        if source.text.len() > MAX_TEXT {
            reading.say(format!("{}: larger than {MAX_TEXT} bytes, not read", source.name));
        } else if conf::is_conf(source) {
            conf::read(source, &mut reading);
        } else {
            connections::read(source, include, &mut reading);
        }
    }
    if reading.entries.is_empty() {
        return Err(ImportError::Nothing(shown(&reading.remarks)));
    }
    let fleet = fleet::assemble(reading, name, machine);
    let names: Vec<&str> = sources.iter().map(|source| source.name.as_str()).collect();
    let yaml = print::print(&fleet, &names);
    if yaml.len() > MAX_TEXT {
        return Err(ImportError::TooLarge);
    }
    match read_fleet(&yaml) {
        Ok(read) if read == fleet.object => {}
        Ok(_) => return Err(ImportError::Invalid("it reads back as something else".to_owned())),
        Err(problems) => {
            let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
            return Err(ImportError::Invalid(problems.join("; ")));
        }
    }
    let mut remarks = fleet.remarks();
    let mut ports = BTreeSet::new();
    let port = |device: &Device| device.settings.port.unwrap_or_default();
    if !fleet.object.spec.devices.iter().map(port).all(|port| port >= 1024 && ports.insert(port)) {
        remarks.push(
            "for `run --file` each device needs a port of its own, 1024 or above, as all share one address"
                .to_owned(),
        );
    }
    Ok(Imported {
        devices: fleet.object.spec.devices.len(),
        left_out: fleet.left_out(),
        yaml,
        remarks: shown(&remarks),
    })
}

/// Texts from files on their way to a terminal.
fn shown(remarks: &[String]) -> Vec<String> {
    remarks.iter().map(|remark| printable(remark, MAX_REMARK)).collect()
}

/// One text by itself, from an unknown machine. Any text is fine.
///
/// # Errors
/// As [`import`]; [`ImportError::Invalid`] never.
pub fn import_text(file_name: &str, text: &str) -> Result<Imported, ImportError> {
    let source = Source { name: file_name.to_owned(), text: text.to_owned() };
    let mut include = |_: &str| Err("files are not read here".to_owned());
    import(&[source], DEFAULT_NAME, &Machine::default(), &mut include)
}

/// Name of the fleet where none is given.
pub const DEFAULT_NAME: &str = "imported";
