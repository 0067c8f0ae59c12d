//! Defaults: built-in < `spec.defaults` < device, leaf by leaf. Lists and `rs485` are replaced whole, maps are
//! merged by key. The one function that hook server, bridge and file mode share.

use std::collections::BTreeMap;

use ipnet::IpNet;

use crate::{
    fleet::{
        ClientPolicy, Device, ExternalTrafficPolicy, FlowControl, Match, Peer, Protocol, Rs485, Scope,
        SerialFleetSpec, ServiceType, Settings, SlowReader, TlsMode, Writers,
    },
    line::{Format, FormatError},
};

/// A device with every setting decided.
#[derive(Clone, Debug, PartialEq)]
pub struct ResolvedDevice {
    /// The Service's name.
    pub name: String,
    /// One in the cluster, or one on each node.
    pub scope: Scope,
    /// Which device it is.
    pub matcher: Match,
    /// The tty is closed and left alone.
    pub suspend: bool,
    /// The fleet is not Ready while this device is absent.
    pub required: bool,
    /// The Service's port.
    pub port: u16,
    /// What clients speak.
    pub protocol: Protocol,
    /// Serial line settings.
    pub line: Line,
    /// Who may connect, and what happens when several do.
    pub clients: Clients,
    /// Seconds that clients are kept while the device is unplugged.
    pub hold_seconds: u32,
    /// When a silent client is taken for dead.
    pub keepalive: Keepalive,
    /// Milliseconds of silence that end a frame; 0: no gathering.
    pub frame_gap_milliseconds: u32,
    /// TLS towards clients.
    pub tls: Option<TlsMode>,
    /// The device's Service.
    pub service: Service,
}

/// Serial line settings, decided.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// Bits per second.
    pub baud_rate: u32,
    /// Data bits, parity, stop bits.
    pub format: Format,
    /// Flow control.
    pub flow_control: FlowControl,
    /// DTR after opening; `None`: as the kernel raised it.
    pub dtr: Option<bool>,
    /// RTS after opening; `None`: as the kernel raised it.
    pub rts: Option<bool>,
    /// Ask the driver for low latency; `None`: ask, and say nothing where it has none.
    pub low_latency: Option<bool>,
    /// RS485 direction control; `None`: untouched.
    pub rs485: Option<Rs485>,
}

/// Client settings, decided.
#[derive(Clone, Debug, PartialEq)]
pub struct Clients {
    /// What happens when a second client connects.
    pub policy: ClientPolicy,
    /// How many at once, for `Share`.
    pub max: usize,
    /// Whose bytes reach the device, for `Share`.
    pub writers: Writers,
    /// What happens to a client that does not read.
    pub slow_reader: SlowReader,
    /// Seconds without a byte either way; 0: never.
    pub idle_timeout_seconds: u32,
    /// Who may connect; `None`: everyone.
    pub allow_from: Option<Vec<Peer>>,
}

impl Clients {
    /// The allowed networks where all entries of `allowFrom` are networks: only then can the bridge itself
    /// decide. `None`: everyone may connect, or only a NetworkPolicy can tell.
    pub fn networks(&self) -> Option<Vec<IpNet>> {
        self.allow_from.as_ref()?.iter().map(|peer| peer.cidr.as_ref()?.parse().ok()).collect()
    }
}

/// Keepalive settings, decided; all in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// TCP_KEEPIDLE.
    pub idle_seconds: u32,
    /// TCP_USER_TIMEOUT.
    pub user_timeout_seconds: u32,
}

impl Keepalive {
    /// TCP_KEEPINTVL: max(1, (userTimeout - idle) / 3) seconds.
    pub fn interval_seconds(self) -> u32 {
        (self.user_timeout_seconds.saturating_sub(self.idle_seconds) / 3).max(1)
    }
}

/// Service settings, decided.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// Type.
    pub type_: ServiceType,
    /// Further labels.
    pub labels: BTreeMap<String, String>,
    /// Further annotations.
    pub annotations: BTreeMap<String, String>,
    /// For `LoadBalancer`.
    pub load_balancer_class: Option<String>,
    /// For `NodePort` and `LoadBalancer`.
    pub external_traffic_policy: Option<ExternalTrafficPolicy>,
    /// For `NodePort` and `LoadBalancer`.
    pub node_port: Option<i32>,
}

/// Why a device cannot be resolved: only for an object that skipped validation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// `line.format` is none.
    #[error("line.format: {0}")]
    Format(#[from] FormatError),
    /// A number is out of its bounds.
    #[error("{field}: {value} is out of range")]
    Range {
        /// The field's path below the device.
        field: &'static str,
        /// What it holds.
        value: i64,
    },
}

/// All devices of a fleet, in the order of the spec, each resolved or refused by itself.
pub fn resolve(spec: &SerialFleetSpec) -> Vec<Result<ResolvedDevice, (String, ResolveError)>> {
    spec.devices
        .iter()
        .map(|device| resolve_device(device, &spec.defaults).map_err(|error| (device.name.clone(), error)))
        .collect()
}

/// One device over the fleet's defaults.
///
/// # Errors
/// If a merged value is no character format or no number of its type; validation refuses such objects first.
pub fn resolve_device(device: &Device, defaults: &Settings) -> Result<ResolvedDevice, ResolveError> {
    let merged = merge(&device.settings, defaults);
    let line = &merged.line;
    let clients = &merged.clients;
    Ok(ResolvedDevice {
        name: device.name.clone(),
        scope: device.scope.unwrap_or_default(),
        matcher: device.matcher.clone(),
        suspend: device.suspend.unwrap_or(false),
        required: device.required.unwrap_or(false),
        port: u16::try_from(merged.port.unwrap_or(6638))
            .map_err(|_| ResolveError::Range { field: "port", value: merged.port.unwrap_or(0).into() })?,
        protocol: merged.protocol.unwrap_or_default(),
        line: Line {
            baud_rate: unsigned("line.baudRate", line.baud_rate, 115_200)?,
            format: line.format.as_deref().map_or_else(|| Ok(Format::default()), str::parse)?,
            flow_control: line.flow_control.unwrap_or_default(),
            dtr: line.dtr,
            rts: line.rts,
            low_latency: line.low_latency,
            rs485: line.rs485.clone(),
        },
        clients: Clients {
            policy: clients.policy.unwrap_or_default(),
            max: unsigned("clients.max", clients.max, 8)? as usize,
            writers: clients.writers.unwrap_or_default(),
            slow_reader: clients.slow_reader.unwrap_or_default(),
            idle_timeout_seconds: unsigned("clients.idleTimeoutSeconds", clients.idle_timeout_seconds, 0)?,
            allow_from: clients.allow_from.clone(),
        },
        hold_seconds: unsigned("holdSeconds", merged.hold_seconds, 10)?,
        keepalive: Keepalive {
            idle_seconds: unsigned("keepalive.idleSeconds", merged.keepalive.idle_seconds, 10)?,
            user_timeout_seconds: unsigned(
                "keepalive.userTimeoutSeconds",
                merged.keepalive.user_timeout_seconds,
                15,
            )?,
        },
        frame_gap_milliseconds: unsigned("frameGapMilliseconds", merged.frame_gap_milliseconds, 0)?,
        tls: merged.tls.map(|tls| tls.mode),
        service: Service {
            type_: merged.service.type_.unwrap_or_default(),
            labels: merged.service.labels,
            annotations: merged.service.annotations,
            load_balancer_class: merged.service.load_balancer_class,
            external_traffic_policy: merged.service.external_traffic_policy,
            node_port: merged.service.node_port,
        },
    })
}

fn unsigned(field: &'static str, value: Option<i32>, built_in: u32) -> Result<u32, ResolveError> {
    value.map_or(Ok(built_in), |value| {
        u32::try_from(value).map_err(|_| ResolveError::Range { field, value: value.into() })
    })
}

/// `upper` where it says something, else `lower`.
pub fn merge(upper: &Settings, lower: &Settings) -> Settings {
    let (u, l) = (upper.clone(), lower.clone());
    Settings {
        port: u.port.or(l.port),
        protocol: u.protocol.or(l.protocol),
        line: crate::fleet::LineSettings {
            baud_rate: u.line.baud_rate.or(l.line.baud_rate),
            format: u.line.format.or(l.line.format),
            flow_control: u.line.flow_control.or(l.line.flow_control),
            dtr: u.line.dtr.or(l.line.dtr),
            rts: u.line.rts.or(l.line.rts),
            low_latency: u.line.low_latency.or(l.line.low_latency),
            rs485: u.line.rs485.or(l.line.rs485),
        },
        clients: crate::fleet::ClientSettings {
            policy: u.clients.policy.or(l.clients.policy),
            max: u.clients.max.or(l.clients.max),
            writers: u.clients.writers.or(l.clients.writers),
            slow_reader: u.clients.slow_reader.or(l.clients.slow_reader),
            idle_timeout_seconds: u.clients.idle_timeout_seconds.or(l.clients.idle_timeout_seconds),
            allow_from: u.clients.allow_from.or(l.clients.allow_from),
        },
        hold_seconds: u.hold_seconds.or(l.hold_seconds),
        keepalive: crate::fleet::KeepaliveSettings {
            idle_seconds: u.keepalive.idle_seconds.or(l.keepalive.idle_seconds),
            user_timeout_seconds: u.keepalive.user_timeout_seconds.or(l.keepalive.user_timeout_seconds),
        },
        frame_gap_milliseconds: u.frame_gap_milliseconds.or(l.frame_gap_milliseconds),
        tls: u.tls.or(l.tls),
        service: crate::fleet::ServiceSettings {
            type_: u.service.type_.or(l.service.type_),
            labels: merge_maps(u.service.labels, l.service.labels),
            annotations: merge_maps(u.service.annotations, l.service.annotations),
            load_balancer_class: u.service.load_balancer_class.or(l.service.load_balancer_class),
            external_traffic_policy: u.service.external_traffic_policy.or(l.service.external_traffic_policy),
            node_port: u.service.node_port.or(l.service.node_port),
        },
    }
}

fn merge_maps(
    upper: BTreeMap<String, String>,
    mut lower: BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    lower.extend(upper);
    lower
}
