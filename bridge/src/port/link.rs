//! What a port is told, and what it tells.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use ipnet::IpNet;
use serialfleet_api::{
    fleet::{ClientPolicy, Protocol, SlowReader, Writers},
    resolve::{Keepalive, Line},
};
use tokio::{sync::oneshot, time::Instant};

use super::EndReason;
use crate::{overlay::Overlay, tty::Tty};

/// What a port needs of its device's settings.
#[derive(Clone, Debug, PartialEq)]
pub struct PortSettings {
    /// Where it listens.
    pub listen: Vec<SocketAddr>,
    /// What clients speak.
    pub protocol: Protocol,
    /// What is in force where RFC 2217 clients have set nothing else. Set by others: known here for answers while
    /// the device is unplugged.
    pub line: Line,
    /// What happens when a second client connects.
    pub policy: ClientPolicy,
    /// For `Share`: how many at once.
    pub max: usize,
    /// Whose bytes reach the device. Counts with every policy: who must not write, must not write alone either.
    pub writers: Writers,
    /// What happens to a client that does not read.
    pub slow_reader: SlowReader,
    /// Time without a byte either way that ends a client.
    pub idle_timeout: Option<Duration>,
    /// Networks that may connect; `None`: everyone.
    pub networks: Option<Vec<IpNet>>,
    /// How long clients are kept while the device is unplugged.
    pub hold: Duration,
    /// When a silent client is taken for dead.
    pub keepalive: Keepalive,
    /// Silence of the device after which what it sent is delivered; zero: at once.
    pub frame_gap: Duration,
}

impl PortSettings {
    /// Whether clients of the settings `before` are closed and connect anew.
    pub fn moves(&self, before: &Self) -> bool {
        self.listen != before.listen || self.protocol != before.protocol
    }
}

/// What the supervisor tells a port.
pub enum Command {
    /// Serve this tty. Clients that are held go on if it is the same device, else they are closed first.
    Attach {
        /// The configured tty.
        tty: Arc<Tty>,
        /// Whether the held clients' stream may go on.
        same_device: bool,
    },
    /// Let go of the tty: it was unplugged (`None`: clients are held), or it is not ours any more.
    Detach(Option<EndReason>),
    /// Give held clients up.
    EndHold(EndReason),
    /// Stop listening and let everybody go: the addresses are about to change hands. Dropped when done; settings
    /// follow.
    Release(oneshot::Sender<()>),
    /// New settings.
    Settings(PortSettings),
    /// Stop listening, deliver what was read from the device until then, end.
    Drain(Instant),
}

/// What a port tells.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Link {
    /// What it is doing.
    pub phase: Phase,
    /// Where it listens.
    pub addresses: Vec<SocketAddr>,
    /// Who is connected.
    pub clients: Vec<ClientView>,
    /// Bytes for the device have not moved for five seconds.
    pub output_stalled: bool,
    /// What RFC 2217 clients have set over `line`.
    pub overlay: Overlay,
}

/// What a port is doing.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Phase {
    /// No device.
    #[default]
    Idle,
    /// Open and listening.
    Serving,
    /// Open, but an address could not be bound; tried again each second.
    ListenFailed(String),
    /// The device is gone, its clients are kept.
    Held,
}

/// Somebody who is connected.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientView {
    /// Its address.
    pub peer: SocketAddr,
    /// Since when.
    pub since: SystemTime,
}
