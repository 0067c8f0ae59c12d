//! What the fleet's status says about a device that this node serves. Pure.

use serialfleet_api::fleet::{DeviceStatus, SerialFleetStatus};

const SERVING: &str = "Serving";
const HELD: &str = "Held";
const CONFLICT: &str = "Conflict";

/// Whether the fleet's status has taken notice that this node serves the device: it says so, or it names a
/// conflict about it. Where that stays false for a minute, nobody turns reports into endpoints (NotPublished).
/// Scope Node: the status names at most eight nodes with problems, so this is false only if it contradicts.
pub fn published(status: Option<&SerialFleetStatus>, device: &str, node: &str) -> bool {
    let Some(device) = find(status, device) else { return false };
    match &device.nodes {
        None => device.state == CONFLICT || (is_bound(&device.state) && device.node == node),
        Some(counts) => counts.serving > 0 && device.problems.iter().all(|problem| problem.node != node),
    }
}

/// The other node that the fleet's status shows the device Serving on: the stick has moved there. Never for scope
/// Node, where each node has its own.
pub fn serving_elsewhere(status: Option<&SerialFleetStatus>, device: &str, node: &str) -> Option<String> {
    let device = find(status, device).filter(|device| device.nodes.is_none() && device.state == SERVING)?;
    (!device.node.is_empty() && device.node != node).then(|| device.node.clone())
}

fn find<'a>(status: Option<&'a SerialFleetStatus>, device: &str) -> Option<&'a DeviceStatus> {
    status?.devices.iter().find(|status| status.name == device)
}

fn is_bound(state: &str) -> bool {
    state == SERVING || state == HELD
}

#[cfg(test)]
mod tests {
    use serialfleet_api::fleet::{NodeCounts, NodeProblem};

    use super::*;

    fn status(device: DeviceStatus) -> SerialFleetStatus {
        SerialFleetStatus { devices: vec![device], ..SerialFleetStatus::default() }
    }

    fn cluster(state: &str, node: &str) -> SerialFleetStatus {
        status(DeviceStatus {
            name: "zigbee".into(),
            state: state.into(),
            node: node.into(),
            ..DeviceStatus::default()
        })
    }

    #[test]
    fn scope_cluster() {
        //  state, node in the status, published for wyse-1, serving elsewhere
        let cases = [
            ("Serving", "wyse-1", true, None),
            ("Held", "wyse-1", true, None),
            ("Conflict", "", true, None),
            ("Serving", "wyse-2", false, Some("wyse-2")),
            ("Held", "wyse-2", false, None),
            ("Serving", "", false, None),
            ("Absent", "", false, None),
            ("Absent", "wyse-1", false, None),
        ];
        for (state, node, is_published, elsewhere) in cases {
            let status = cluster(state, node);
            assert_eq!(published(Some(&status), "zigbee", "wyse-1"), is_published, "{state} on {node}");
            assert_eq!(
                serving_elsewhere(Some(&status), "zigbee", "wyse-1").as_deref(),
                elsewhere,
                "{state} {node}"
            );
        }
        assert!(!published(None, "zigbee", "wyse-1"));
        assert!(!published(Some(&cluster("Serving", "wyse-1")), "zwave", "wyse-1"));
    }

    #[test]
    fn scope_node() {
        let mut device = DeviceStatus {
            name: "meter".into(),
            state: "Busy".into(),
            nodes: Some(NodeCounts { serving: 2, total: 3 }),
            problems: vec![NodeProblem {
                node: "wyse-3".into(),
                state: "Busy".into(),
                message: String::new(),
            }],
            ..DeviceStatus::default()
        };
        assert!(published(Some(&status(device.clone())), "meter", "wyse-1"));
        assert!(!published(Some(&status(device.clone())), "meter", "wyse-3"));
        assert_eq!(serving_elsewhere(Some(&status(device.clone())), "meter", "wyse-1"), None);
        device.nodes = Some(NodeCounts { serving: 0, total: 3 });
        assert!(!published(Some(&status(device)), "meter", "wyse-1"));
    }
}
