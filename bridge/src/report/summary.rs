//! The few short strings of a report that `kubectl get` shows in columns. Pure.

use serialfleet_api::node::{NodeSummary, Port, PortState, PresentDevice};

use super::bounds::{self, clean};

/// The summary of what is listed; `count` devices are present, `problem` is what is wrong with the fleet itself.
pub fn summary(
    count: usize,
    devices: &[PresentDevice],
    ports: &[Port],
    problem: Option<&str>,
) -> NodeSummary {
    let serving = ports.iter().filter(|port| port.state == PortState::Serving).map(|port| port.name.clone());
    let present = devices.iter().map(|device| {
        let name = device.tty.as_deref().or(device.usb_path.as_deref()).unwrap_or("?");
        device.usb.as_ref().map_or_else(|| name.to_owned(), |usb| format!("{name}={usb}"))
    });
    NodeSummary {
        devices: count.to_string(),
        serving: bounds::join(serving),
        present: bounds::join(present),
        problem: clean(
            &problem
                .map(|problem| format!("fleet: {problem}"))
                .or_else(|| first_problem(ports))
                .unwrap_or_default(),
            bounds::MAX_SUMMARY,
        ),
    }
}

/// The worst state, else the first warning. Held is none: it ends by itself, well or as Absent.
fn first_problem(ports: &[Port]) -> Option<String> {
    let says = |name: &str, reason: &str, message: &str| {
        format!("{name}: {}", if message.is_empty() { reason } else { message })
    };
    let rank = |state| match state {
        PortState::Failed => Some(0),
        PortState::Denied => Some(1),
        PortState::Busy => Some(2),
        PortState::Ambiguous => Some(3),
        PortState::Absent => Some(4),
        PortState::Serving | PortState::Held | PortState::Suspended => None,
    };
    let worst = ports.iter().filter(|port| rank(port.state).is_some()).min_by_key(|port| rank(port.state));
    let state = worst.map(|port| {
        says(
            &port.name,
            if port.reason.is_empty() { port.state.as_str() } else { &port.reason },
            &port.message,
        )
    });
    state.or_else(|| {
        let warnings = ports.iter().filter_map(|port| Some((port, port.warnings.first()?)));
        warnings.map(|(port, warning)| says(&port.name, &warning.reason, &warning.message)).next()
    })
}
