//! The headless Service over a fleet's bridge pods. Kubernetes' own controller fills its EndpointSlices: the only
//! source of pod addresses that the hook trusts. It carries a named port because slices without any are outside what
//! that controller promises.

use serde_json::{Value, json};
use serialfleet_api::names;

use super::{fleet_labels, pod_labels};
use crate::request::Parent;

pub(super) fn anchor(parent: &Parent) -> Value {
    let port = parent.admin_port();
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": names::anchor(&parent.name),
            "namespace": names::SYSTEM_NAMESPACE,
            "labels": fleet_labels(&parent.name),
        },
        "spec": {
            "type": "ClusterIP",
            "clusterIP": "None",
            "ipFamilyPolicy": "PreferDualStack",
            "selector": pod_labels(&parent.name),
            "ports": [{"name": "admin", "port": port, "protocol": "TCP", "targetPort": port}],
        },
    })
}
