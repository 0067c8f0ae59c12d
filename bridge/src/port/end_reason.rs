//! Why clients are ended: a closed set, for logs and metrics.

/// Why a client was ended; also the metric's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// It closed its side and nothing was left to send.
    PeerClosed,
    /// Its connection broke: reset, or dead for longer than `userTimeoutSeconds`.
    PeerLost,
    /// A newcomer took over.
    TakenOver,
    /// The policy is Refuse and the port was taken.
    Refused,
    /// It connected and closed without a byte while the port was taken: a health check.
    Probe,
    /// It is outside `allowFrom`.
    NotAllowed,
    /// More than `max` share the port, or too many newcomers were waiting.
    TooMany,
    /// Its queue was full.
    SlowReader,
    /// All queues together were too large, and this client's was the largest.
    Memory,
    /// No byte either way for `idleTimeoutSeconds`.
    Idle,
    /// The device did not come back within `holdSeconds`.
    HoldExpired,
    /// Another device answers to the name now.
    DeviceChanged,
    /// The device is served by another node.
    Moved,
    /// An edit changed the address, or took the device away.
    Reconfigured,
    /// The bridge stops.
    Shutdown,
}

impl EndReason {
    /// The word used in logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PeerClosed => "PeerClosed",
            Self::PeerLost => "PeerLost",
            Self::TakenOver => "TakenOver",
            Self::Refused => "Refused",
            Self::Probe => "Probe",
            Self::NotAllowed => "NotAllowed",
            Self::TooMany => "TooMany",
            Self::SlowReader => "SlowReader",
            Self::Memory => "Memory",
            Self::Idle => "Idle",
            Self::HoldExpired => "HoldExpired",
            Self::DeviceChanged => "DeviceChanged",
            Self::Moved => "Moved",
            Self::Reconfigured => "Reconfigured",
            Self::Shutdown => "Shutdown",
        }
    }
}
