//! What `defaults` and a device can both set: line, clients, Service. Shape only; see [`crate::resolve`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::meta::is_default;

/// What `defaults` and a device can both set. A leaf that is absent is decided one level up
/// ([`crate::resolve`]), hence no field here has a schema default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// The Service's port; default 6638.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "crd", schemars(range(min = 1, max = 65535)))]
    pub port: Option<i32>,
    /// What clients speak; default `Raw`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    /// Serial line settings.
    #[serde(default, skip_serializing_if = "is_default")]
    pub line: LineSettings,
    /// Who may connect, and what happens when several do.
    #[serde(default, skip_serializing_if = "is_default")]
    pub clients: ClientSettings,
    /// Seconds that connected clients are kept while the device is unplugged; default 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "crd", schemars(range(min = 0, max = 3600)))]
    pub hold_seconds: Option<i32>,
    /// When a client that says nothing is taken for dead.
    #[serde(default, skip_serializing_if = "is_default")]
    pub keepalive: KeepaliveSettings,
    /// Milliseconds of silence that end a frame from device to TCP; default 0: no gathering.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "crd", schemars(range(min = 0, max = 1000)))]
    pub frame_gap_milliseconds: Option<i32>,
    /// TLS towards clients; absent: plain TCP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsSettings>,
    /// The device's Service.
    #[serde(default, skip_serializing_if = "is_default")]
    pub service: ServiceSettings,
}

/// What clients speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
pub enum Protocol {
    /// Bytes as they are.
    #[default]
    Raw,
    /// Telnet with the COM-PORT option (RFC 2217).
    Rfc2217,
}

/// Serial line settings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct LineSettings {
    /// Bits per second; default 115200. The rate in force is read back and shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "crd", schemars(range(min = 50, max = 12000000)))]
    pub baud_rate: Option<i32>,
    /// Data bits, parity (None, Even, Odd, Mark, Space) and stop bits; default `8N1`. 1.5 stop bits only with
    /// 5 data bits, 2 not with 5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "crd", schemars(length(max = 16), extend("x-kubernetes-validations" = crate::cel::format())))]
    pub format: Option<String>,
    /// Default `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flow_control: Option<FlowControl>,
    /// DTR after opening, `true` or `false`; absent: as the kernel raised it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dtr: Option<bool>,
    /// RTS after opening, `true` or `false`; absent: as the kernel raised it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rts: Option<bool>,
    /// Ask the driver for low latency where it has that; default true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub low_latency: Option<bool>,
    /// RS485 direction control by the driver; absent: untouched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rs485: Option<Rs485>,
}

/// Flow control.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[allow(missing_docs, reason = "the words say it")]
pub enum FlowControl {
    #[default]
    None,
    RtsCts,
    XonXoff,
}

/// RS485 settings of the driver (`TIOCSRS485`, Linux `serial_rs485`).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Rs485 {
    /// Milliseconds between raising RTS and the first bit; default 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "crd", schemars(range(min = 0, max = 100)))]
    pub delay_before_milliseconds: Option<i32>,
    /// Milliseconds between the last bit and lowering RTS; default 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "crd", schemars(range(min = 0, max = 100)))]
    pub delay_after_milliseconds: Option<i32>,
    /// RTS level while sending; default true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rts_on_send: Option<bool>,
    /// RTS level after sending; default false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rts_after_send: Option<bool>,
    /// Receive what is sent; default false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rx_during_tx: Option<bool>,
    /// `true`: a driver without RS485 makes the device Failed, not merely warned about; default false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mandatory: Option<bool>,
}

/// Who may connect, and what happens when several do.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "crd", schemars(extend("x-kubernetes-validations" = crate::cel::clients())))]
pub struct ClientSettings {
    /// Default `Takeover`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<ClientPolicy>,
    /// For `Share`: how many at once; default 8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "crd", schemars(range(min = 1, max = 64)))]
    pub max: Option<i32>,
    /// Whose bytes reach the device; default `All`. `First`: the client that is connected for longest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writers: Option<Writers>,
    /// What happens to a client that does not read; default `Disconnect`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slow_reader: Option<SlowReader>,
    /// Seconds without a byte either way after which a client is closed; default 0: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "crd", schemars(range(min = 0, max = 604800)))]
    pub idle_timeout_seconds: Option<i32>,
    /// Who may connect; absent: everyone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "crd", schemars(length(min = 1, max = 8), extend("x-kubernetes-list-type" = "atomic")))]
    pub allow_from: Option<Vec<Peer>>,
}

/// What happens when a client connects while another is connected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
pub enum ClientPolicy {
    /// The newcomer wins.
    #[default]
    Takeover,
    /// The newcomer is closed.
    Refuse,
    /// Both are served.
    Share,
}

/// Whose bytes reach a shared device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
pub enum Writers {
    /// Everybody's, interleaved.
    #[default]
    All,
    /// The longest-connected client's.
    First,
    /// Nobody's.
    None,
}

/// What happens to a client that does not read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
pub enum SlowReader {
    /// It is ended when its queue is full.
    #[default]
    Disconnect,
    /// The device is not read until it has read.
    Block,
}

/// Somebody who may connect: a network, or pods.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "crd", schemars(extend("x-kubernetes-validations" = crate::cel::peer())))]
pub struct Peer {
    /// A network without host bits, `10.244.0.0/16`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "crd", schemars(length(max = 64), extend("x-kubernetes-validations" = crate::cel::cidr())))]
    pub cidr: Option<String>,
    /// A namespace by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "crd", schemars(length(max = 63), extend("x-kubernetes-validations" = crate::cel::label())))]
    pub namespace: Option<String>,
    /// Labels of the pods in that namespace; absent: all of its pods.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[cfg_attr(feature = "crd", schemars(extend("maxProperties" = 8), extend("x-kubernetes-validations" = crate::cel::label_keys()), transform = crate::crd::label_values))]
    pub pod_labels: BTreeMap<String, String>,
}

/// When a client that says nothing is taken for dead. Probe interval: max(1, (userTimeout - idle) / 3) seconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "crd", schemars(extend("x-kubernetes-validations" = crate::cel::keepalive())))]
pub struct KeepaliveSettings {
    /// Seconds of silence before the first probe (TCP_KEEPIDLE); default 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "crd", schemars(range(min = 1, max = 32767)))]
    pub idle_seconds: Option<i32>,
    /// Seconds that sent data or probes may stay unacknowledged (TCP_USER_TIMEOUT); default 15; greater than
    /// `idleSeconds`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "crd", schemars(range(min = 2, max = 86400)))]
    pub user_timeout_seconds: Option<i32>,
}

/// TLS towards clients. Certificates come from Secret `<fleet>-bridge-tls` or `--tls-dir`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct TlsSettings {
    /// Who shows a certificate.
    pub mode: TlsMode,
}

/// Who shows a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
pub enum TlsMode {
    /// The bridge.
    #[default]
    Server,
    /// Bridge and client.
    Mutual,
}

/// The device's Service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ServiceSettings {
    /// Default `ClusterIP`.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub type_: Option<ServiceType>,
    /// Labels added to the Service.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[cfg_attr(feature = "crd", schemars(extend("maxProperties" = 8), extend("x-kubernetes-validations" = crate::cel::service_labels()), transform = crate::crd::label_values))]
    pub labels: BTreeMap<String, String>,
    /// Annotations added to the Service.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[cfg_attr(feature = "crd", schemars(extend("maxProperties" = 8), extend("x-kubernetes-validations" = crate::cel::service_annotations()), transform = crate::crd::annotation_values))]
    pub annotations: BTreeMap<String, String>,
    /// For `LoadBalancer` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "crd", schemars(length(max = 253), extend("x-kubernetes-validations" = crate::cel::load_balancer_class())))]
    pub load_balancer_class: Option<String>,
    /// For `NodePort` and `LoadBalancer` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_traffic_policy: Option<ExternalTrafficPolicy>,
    /// For `NodePort` and `LoadBalancer` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "crd", schemars(range(min = 1, max = 65535)))]
    pub node_port: Option<i32>,
}

/// Type of a Service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[allow(missing_docs, reason = "the words of the Kubernetes API")]
pub enum ServiceType {
    #[default]
    ClusterIP,
    NodePort,
    LoadBalancer,
}

/// Where external traffic may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[allow(missing_docs, reason = "the words of the Kubernetes API")]
pub enum ExternalTrafficPolicy {
    Cluster,
    Local,
}
