//! Every name, label and annotation that more than one program must agree on.

/// API group of our kinds.
pub const GROUP: &str = "serialfleet.io";
/// Their version.
pub const VERSION: &str = "v1alpha1";
/// `group/version` of our kinds.
pub const API_VERSION: &str = "serialfleet.io/v1alpha1";
/// Namespace of bridges, hook server and everything that is not a device's Service.
pub const SYSTEM_NAMESPACE: &str = "serialfleet-system";

/// Label: the fleet an object belongs to.
pub const LABEL_FLEET: &str = "serialfleet.io/fleet";
/// Label: the device an object belongs to.
pub const LABEL_DEVICE: &str = "serialfleet.io/device";
/// Label by which a Namespace's owner allows our Services in it, with [`SERVICES_ALLOWED`].
pub const LABEL_SERVICES: &str = "serialfleet.io/services";
/// Value of [`LABEL_SERVICES`].
pub const SERVICES_ALLOWED: &str = "allowed";
/// Annotation: full name of the node of a scope-Node Service.
pub const ANNOTATION_NODE: &str = "serialfleet.io/node";
/// Kubernetes' label from an EndpointSlice to its Service.
pub const LABEL_SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Kubernetes' label that says who manages an EndpointSlice.
pub const LABEL_SLICE_MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// Our value of [`LABEL_SLICE_MANAGED_BY`].
pub const SLICE_MANAGER: &str = "serialfleet.io";

/// Longest name of a fleet or of a device, in characters.
pub const MAX_NAME: usize = 40;
/// Longest DNS label (RFC 1035), in characters: the longest name of a Service.
pub const MAX_LABEL: usize = 63;

/// The DaemonSet of a fleet.
pub fn bridge(fleet: &str) -> String {
    format!("{fleet}-bridge")
}

/// The headless Service over a fleet's bridge pods.
pub fn anchor(fleet: &str) -> String {
    format!("{fleet}-anchor")
}

/// The optional Secret with a fleet's certificates.
pub fn tls_secret(fleet: &str) -> String {
    format!("{fleet}-bridge-tls")
}

/// The `SerialNode` of a fleet on a node.
pub fn serial_node(fleet: &str, node: &str) -> String {
    format!("{fleet}.{node}")
}

/// The Service of a scope-Node device on a node: `<device>-<node>`; where the node has a dot or 63 characters
/// are exceeded, dots become dashes, the node part is cut, and `-` and 8 hexadecimal digits of SHA-256(node)
/// follow.
pub fn node_service(device: &str, node: &str) -> String {
    let plain = format!("{device}-{node}");
    if !node.contains('.') && plain.len() <= MAX_LABEL {
        return plain;
    }
    let digest = crate::sha256_prefix(node);
    let room = MAX_LABEL.saturating_sub(device.len() + 1 + 9);
    let cut: String = node.replace('.', "-").chars().take(room).collect();
    format!("{device}-{}-{digest:08x}", cut.trim_end_matches('-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_of_nodes_are_named_after_both() {
        assert_eq!(node_service("meter", "wyse-1"), "meter-wyse-1");
        assert_eq!(node_service("meter", "pi.example.com"), "meter-pi-example-com-a8630be8");
        assert_eq!(node_service("meter", &"n".repeat(57)).len(), 63);
        assert_eq!(node_service("meter", &"n".repeat(57)), format!("meter-{}", "n".repeat(57)));
    }

    #[test]
    fn names_are_labels_of_at_most_63_characters() {
        for device in ["a", "meter", &"d".repeat(MAX_NAME)] {
            for node in ["n", "pi.example.com", &"n".repeat(63), &"n.".repeat(126), &"x-.".repeat(20)] {
                let name = node_service(device, node);
                assert!(name.len() <= MAX_LABEL, "{name}");
                assert!(name.starts_with(&format!("{device}-")), "{name}");
                assert!(
                    name.bytes()
                        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
                );
                assert!(!name.ends_with('-'), "{name}");
            }
        }
    }

    /// Nodes whose names become the same without dots, or after cutting, stay apart.
    #[test]
    fn different_nodes_have_different_services() {
        let long = "n".repeat(70);
        let nodes = ["a.b", "a-b", "a.b.c", "a-b.c", "a.b-c", &format!("{long}1"), &format!("{long}2")];
        let names: std::collections::BTreeSet<String> =
            nodes.iter().map(|node| node_service("meter", node)).collect();
        assert_eq!(names.len(), nodes.len(), "{names:?}");
    }
}
