//! Command line and environment: stable, users and tools script them.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};

pub use crate::discover::Output;

/// Serves the serial devices of this machine over TCP, as a SerialFleet says.
#[derive(Debug, Parser)]
#[command(name = "serialfleet-bridge", version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve the devices of a fleet until SIGTERM.
    Run(Box<RunArgs>),
    /// List the serial devices of this machine.
    Discover(DiscoverArgs),
    /// List what a running bridge serves, and to whom.
    Ports(PortsArgs),
    /// Make a SerialFleet of ser2net's configuration: ser2net.yaml, ser2net.conf, snippets named vendor:product.yaml.
    Import(ImportArgs),
}

/// `run`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("source").args(["file", "fleet"]).required(true))]
pub struct RunArgs {
    /// Name of the SerialFleet to follow through the API server.
    #[arg(long, env = "SERIALFLEET_FLEET", value_name = "NAME")]
    pub fleet: Option<String>,
    /// SerialFleet to serve without a cluster; edits are picked up.
    #[arg(long, env = "SERIALFLEET_FILE", value_name = "FLEET.yaml")]
    pub file: Option<PathBuf>,
    /// Name of this node [default: the pod's token, or the host name].
    #[arg(long, env = "SERIALFLEET_NODE", value_name = "NAME")]
    pub node: Option<String>,
    /// Addresses to listen on, comma separated [default: 127.0.0.1].
    #[arg(long, env = "SERIALFLEET_BIND", value_name = "ADDR", value_delimiter = ',')]
    pub bind: Vec<IpAddr>,
    /// Where livez, readyz, metrics and ports are answered [default: port 9640 of the first --bind address].
    #[arg(long, env = "SERIALFLEET_ADMIN", value_name = "ADDR:PORT", conflicts_with = "admin_port")]
    pub admin: Option<SocketAddr>,
    /// The same on this port of every --bind address.
    #[arg(long, env = "SERIALFLEET_ADMIN_PORT", value_name = "PORT")]
    pub admin_port: Option<u16>,
    /// Where sysfs is mounted.
    #[arg(long, env = "SERIALFLEET_SYSFS_ROOT", value_name = "DIR", default_value = "/sys")]
    pub sysfs_root: PathBuf,
    /// Where the device nodes are.
    #[arg(long, env = "SERIALFLEET_DEV_ROOT", value_name = "DIR", default_value = "/dev")]
    pub dev_root: PathBuf,
    /// Where the last good fleet is kept for a start without the API server.
    #[arg(long, env = "SERIALFLEET_STATE_DIR", value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// Where certificates and keys are, for devices that ask for TLS.
    #[arg(long, env = "SERIALFLEET_TLS_DIR", value_name = "DIR")]
    pub tls_dir: Option<PathBuf>,
    /// With --file: where this node's SerialNode is written.
    #[arg(long, env = "SERIALFLEET_REPORT_FILE", value_name = "PATH")]
    pub report_file: Option<PathBuf>,
    /// Uid of this pod [default: the pod's token].
    #[arg(long, env = "POD_UID", value_name = "UID", hide = true)]
    pub pod_uid: Option<String>,
    /// How the log looks.
    #[arg(long, env = "SERIALFLEET_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

impl RunArgs {
    /// Addresses to listen on.
    pub fn addresses(&self) -> Vec<IpAddr> {
        if self.bind.is_empty() { vec![Ipv4Addr::LOCALHOST.into()] } else { self.bind.clone() }
    }

    /// Where the admin endpoints are.
    pub fn admin_addresses(&self) -> Vec<SocketAddr> {
        match (self.admin, self.admin_port) {
            (Some(address), _) => vec![address],
            (None, Some(port)) => {
                self.addresses().into_iter().map(|address| SocketAddr::new(address, port)).collect()
            }
            (None, None) => self
                .addresses()
                .first()
                .map(|address| SocketAddr::new(*address, ADMIN_PORT))
                .into_iter()
                .collect(),
        }
    }
}

/// Port of the admin endpoints.
pub const ADMIN_PORT: u16 = 9640;

/// How the log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// `discover`.
#[derive(Debug, Args)]
pub struct DiscoverArgs {
    /// Where sysfs is mounted.
    #[arg(long, env = "SERIALFLEET_SYSFS_ROOT", value_name = "DIR", default_value = "/sys")]
    pub sysfs_root: PathBuf,
    /// A table, JSON, or `devices:` entries to paste into a SerialFleet.
    #[arg(long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// `import`.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// ser2net's files, each at most 1 MiB.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Name of the SerialFleet.
    #[arg(long, default_value = crate::import::DEFAULT_NAME, value_name = "NAME")]
    pub name: String,
    /// The node that the files come from [default: this machine, and what is plugged in here].
    #[arg(long, env = "SERIALFLEET_NODE", value_name = "NAME")]
    pub node: Option<String>,
    /// Where sysfs is mounted.
    #[arg(long, env = "SERIALFLEET_SYSFS_ROOT", value_name = "DIR", default_value = "/sys")]
    pub sysfs_root: PathBuf,
    /// Where the device nodes and the links to them are.
    #[arg(long, env = "SERIALFLEET_DEV_ROOT", value_name = "DIR", default_value = "/dev")]
    pub dev_root: PathBuf,
}

/// `ports`.
#[derive(Debug, Args)]
pub struct PortsArgs {
    /// Admin address of the bridge [default: where `run` would have it].
    #[arg(long, env = "SERIALFLEET_ADMIN", value_name = "ADDR:PORT")]
    pub admin: Option<SocketAddr>,
    /// In a pod, where the bridge's environment says that it is.
    #[arg(long, env = "SERIALFLEET_BIND", value_delimiter = ',', hide = true)]
    pub bind: Vec<IpAddr>,
    /// The same.
    #[arg(long, env = "SERIALFLEET_ADMIN_PORT", default_value_t = ADMIN_PORT, hide = true)]
    pub admin_port: u16,
    /// JSON instead of a table.
    #[arg(long)]
    pub json: bool,
}

impl PortsArgs {
    /// Where to ask.
    pub fn address(&self) -> SocketAddr {
        let bind = self.bind.first().copied().unwrap_or_else(|| Ipv4Addr::LOCALHOST.into());
        self.admin.unwrap_or_else(|| SocketAddr::new(bind, self.admin_port))
    }
}
