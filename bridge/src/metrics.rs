//! The bridge's metrics. Handles are resolved once, when a port starts: counting on the data path is one relaxed
//! atomic addition per chunk. Labels are closed sets or names from the fleet, never addresses, serial numbers or
//! error texts.

use std::sync::{Arc, Mutex, PoisonError, atomic::AtomicU64};

use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use serialfleet_api::node::PortState;

use crate::port::EndReason;

/// Every metric of the process; clones share them.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
    bytes: Family<PortDirection, Counter>,
    dropped: Family<PortReason, Counter>,
    clients: Family<PortLabel, Gauge>,
    connections: Family<PortLabel, Counter>,
    ended: Family<PortReason, Counter>,
    opens: Family<PortLabel, Counter>,
    state: Family<PortStateLabel, Gauge>,
    line_errors: Family<PortReason, Counter>,
    queued: Family<PortLabel, Gauge>,
    /// Fleets that were refused while a good one was in force.
    pub rejected_fleets: Counter,
    /// Whether the fleet in force is older than the one last read (1) or not (0).
    pub fleet_outdated: Gauge,
    /// Calls of the API server that failed.
    pub api_errors: Counter,
    /// Scans of sysfs.
    pub scans: Counter,
    /// Closes of ttys under way.
    pub closing: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PortLabel {
    port: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PortDirection {
    port: String,
    direction: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PortReason {
    port: String,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PortStateLabel {
    port: String,
    state: &'static str,
}

/// One port's handles, owned by its task on the data thread.
pub struct PortMetrics {
    /// Bytes read from the device and given to a client's socket or queue.
    pub from_device: Counter,
    /// Bytes written to the device.
    pub to_device: Counter,
    /// Bytes read from the device while nobody was connected.
    pub dropped_no_client: Counter,
    /// Bytes of clients that never reached the device.
    pub dropped_to_device: Counter,
    /// Bytes of clients that may not write, as `clients.writers` says.
    pub dropped_not_a_writer: Counter,
    /// Bytes for clients that were ended before they were delivered.
    pub dropped_to_client: Counter,
    /// Clients connected.
    pub clients: Gauge,
    /// Connections accepted.
    pub connections: Counter,
    family: Family<PortReason, Counter>,
    port: String,
}

impl PortMetrics {
    /// Counts a client that was ended.
    pub fn ended(&self, reason: EndReason) {
        self.family.get_or_create(&PortReason { port: self.port.clone(), reason: reason.as_str() }).inc();
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("serialfleet");
        let metrics = Self {
            registry: Arc::default(),
            bytes: Family::default(),
            dropped: Family::default(),
            clients: Family::default(),
            connections: Family::default(),
            ended: Family::default(),
            opens: Family::default(),
            state: Family::default(),
            line_errors: Family::default(),
            queued: Family::default(),
            rejected_fleets: Counter::default(),
            fleet_outdated: Gauge::default(),
            api_errors: Counter::default(),
            scans: Counter::default(),
            closing: Gauge::default(),
        };
        registry.register("port_bytes", "Bytes forwarded, by direction", metrics.bytes.clone());
        registry.register("port_dropped_bytes", "Bytes dropped, by reason", metrics.dropped.clone());
        registry.register("port_clients", "Clients connected", metrics.clients.clone());
        registry.register("port_connections", "Connections accepted", metrics.connections.clone());
        registry.register("port_clients_ended", "Clients ended, by reason", metrics.ended.clone());
        registry.register("port_opens", "Opens of the tty", metrics.opens.clone());
        registry.register("port_state", "1 for the port's state", metrics.state.clone());
        registry.register(
            "port_line_errors",
            "Line errors that the driver counted since it was bound",
            metrics.line_errors.clone(),
        );
        registry.register(
            "port_output_queue_bytes",
            "Bytes that the kernel holds for the device",
            metrics.queued.clone(),
        );
        registry.register(
            "fleet_rejected",
            "Fleets refused while the last good one stayed in force",
            metrics.rejected_fleets.clone(),
        );
        registry.register(
            "fleet_outdated",
            "1 while a refused edit is waiting for correction",
            metrics.fleet_outdated.clone(),
        );
        registry.register("api_errors", "Failed calls of the API server", metrics.api_errors.clone());
        registry.register("scans", "Scans of sysfs", metrics.scans.clone());
        registry.register("closes_pending", "Closes of ttys under way", metrics.closing.clone());
        let build = Family::<[(&'static str, &'static str); 1], Gauge>::default();
        build.get_or_create(&[("version", env!("CARGO_PKG_VERSION"))]).set(1);
        registry.register("build_info", "Version of the bridge", build);
        Self { registry: Arc::new(Mutex::new(registry)), ..metrics }
    }
}

impl Metrics {
    /// Handles of one port.
    pub fn port(&self, port: &str) -> PortMetrics {
        let label = || PortLabel { port: port.to_owned() };
        let direction = |direction| PortDirection { port: port.to_owned(), direction };
        let reason = |reason| PortReason { port: port.to_owned(), reason };
        PortMetrics {
            from_device: self.bytes.get_or_create_owned(&direction("from_device")),
            to_device: self.bytes.get_or_create_owned(&direction("to_device")),
            dropped_no_client: self.dropped.get_or_create_owned(&reason("no_client")),
            dropped_to_device: self.dropped.get_or_create_owned(&reason("to_device")),
            dropped_not_a_writer: self.dropped.get_or_create_owned(&reason("not_a_writer")),
            dropped_to_client: self.dropped.get_or_create_owned(&reason("to_client")),
            clients: self.clients.get_or_create_owned(&label()),
            connections: self.connections.get_or_create_owned(&label()),
            family: self.ended.clone(),
            port: port.to_owned(),
        }
    }

    /// Counts an open of a port's tty.
    pub fn opened(&self, port: &str) {
        self.opens.get_or_create(&PortLabel { port: port.to_owned() }).inc();
    }

    /// Shows a port's state; `None` forgets the port.
    pub fn set_state(&self, port: &str, before: Option<PortState>, now: Option<PortState>) {
        let label = |state: PortState| PortStateLabel { port: port.to_owned(), state: state.as_str() };
        if let Some(before) = before {
            self.state.remove(&label(before));
        }
        if let Some(now) = now {
            self.state.get_or_create(&label(now)).set(1);
        }
    }

    /// Shows a port's line errors as the driver counts them.
    pub fn set_line_errors(&self, port: &str, errors: crate::tty::LineErrors) {
        for (reason, value) in [
            ("frame", errors.frame),
            ("overrun", errors.overrun),
            ("parity", errors.parity),
            ("break", errors.brk),
            ("buffer_overrun", errors.buf_overrun),
        ] {
            let counter = self.line_errors.get_or_create_owned(&PortReason { port: port.to_owned(), reason });
            counter.inner().store(value, std::sync::atomic::Ordering::Relaxed);
        }
    }

    /// Shows how many bytes the kernel holds for a port's device.
    pub fn set_queued(&self, port: &str, bytes: u32) {
        self.queued.get_or_create(&PortLabel { port: port.to_owned() }).set(bytes.into());
    }

    /// Everything in the OpenMetrics text format.
    ///
    /// # Errors
    /// If a metric cannot be written.
    pub fn encode(&self) -> Result<String, std::fmt::Error> {
        let mut out = String::new();
        text::encode(&mut out, &self.registry.lock().unwrap_or_else(PoisonError::into_inner))?;
        Ok(out)
    }
}

/// Asserts that [`Counter`] holds what `set_line_errors` stores into.
const _: fn(&Counter) -> &AtomicU64 = |counter| counter.inner();
