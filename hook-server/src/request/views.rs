//! Views of the observed kinds: only what a decision depends on. Absent and `null` are the same everywhere, as
//! Go writes `null` for empty lists.

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, SeqAccess, Visitor},
};

use super::labels::Labels;

fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// The length of a list whose items do not matter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count(pub usize);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Items;
        impl<'de> Visitor<'de> for Items {
            type Value = Count;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Count, A::Error> {
                let mut count = 0;
                while let Some(IgnoredAny) = items.next_element()? {
                    count += 1;
                }
                Ok(Count(count))
            }
        }
        deserializer.deserialize_seq(Items)
    }
}

macro_rules! views {
    ($($(#[$about:meta])* $name:ident { $($(#[$field_about:meta])* $field:ident: $type:ty,)* })*) => {$(
        $(#[$about])*
        #[derive(Clone, Debug, Default, Deserialize)]
        #[serde(default, rename_all = "camelCase")]
        pub struct $name {
            $($(#[$field_about])* #[serde(deserialize_with = "or_default")] pub $field: $type,)*
        }
    )*};
}

views! {
    /// Metadata of an observed object.
    Meta {
        /// Name.
        name: String,
        /// Namespace; empty for cluster-scoped objects.
        namespace: String,
        /// Generation, for kinds that have one.
        generation: i64,
        /// Set while the object is being deleted.
        deletion_timestamp: Option<String>,
        /// Labels.
        labels: Labels,
        /// Annotations.
        annotations: Annotations,
        /// Owners.
        owner_references: Vec<Owner>,
    }

    /// The annotations that decisions depend on.
    Annotations {
        /// The node of a scope-Node Service.
        #[serde(rename = "serialfleet.io/node")]
        node: Option<String>,
    }

    /// An owner.
    Owner {
        /// Its uid.
        uid: String,
        /// Whether it manages the object.
        controller: Option<bool>,
    }

    /// A NetworkPolicy.
    Policy {
        /// Metadata.
        metadata: Meta,
        /// Desired state.
        spec: PolicySpec,
    }

    /// Desired state of a NetworkPolicy.
    PolicySpec {
        /// Which pods it guards.
        pod_selector: PodSelector,
    }

    /// Which pods are meant.
    PodSelector {
        /// Labels that they carry.
        match_labels: BTreeMap<String, String>,
        /// Further conditions; ours have none.
        match_expressions: Count,
    }

    /// A DaemonSet.
    DaemonSet {
        /// Metadata.
        metadata: Meta,
        /// Desired state.
        spec: DaemonSetSpec,
        /// Observed state.
        status: DaemonSetStatus,
    }

    /// Desired state of a DaemonSet.
    DaemonSetSpec {
        /// Its pods.
        template: PodTemplate,
    }

    /// Pods of a DaemonSet.
    PodTemplate {
        /// Their spec.
        spec: PodSpec,
    }

    /// A pod spec.
    PodSpec {
        /// Containers.
        containers: Vec<Container>,
        /// Init containers; ours have none.
        init_containers: Vec<Named>,
        /// Volumes.
        volumes: Vec<Named>,
        /// Labels of the nodes.
        node_selector: BTreeMap<String, String>,
        /// Further wishes about nodes; ours have none.
        affinity: Option<IgnoredAny>,
        /// Whether pods use the node's own network.
        host_network: bool,
        /// Whether pods see the node's processes; ours do not.
        #[serde(rename = "hostPID")]
        host_pid: bool,
        /// Whether pods share the node's memory segments; ours do not.
        #[serde(rename = "hostIPC")]
        host_ipc: bool,
    }

    /// A container.
    Container {
        /// Its name.
        name: String,
        /// Environment.
        env: Vec<Named>,
        /// Mounts.
        volume_mounts: Vec<Mount>,
        /// Ports.
        ports: Vec<Named>,
    }

    /// A mount of a container.
    Mount {
        /// Where.
        mount_path: String,
    }

    /// Something with a name.
    Named {
        /// The name.
        name: String,
    }

    /// Observed state of a DaemonSet.
    DaemonSetStatus {
        /// Generation that the numbers speak of.
        observed_generation: i64,
        /// Nodes that should run the pod.
        desired_number_scheduled: i32,
        /// Nodes that have the pod.
        current_number_scheduled: i32,
        /// Nodes that have the pod of the present template.
        updated_number_scheduled: i32,
        /// Nodes with a ready pod.
        number_ready: i32,
        /// Nodes with an available pod.
        number_available: i32,
    }

    /// A Service.
    Service {
        /// Metadata.
        metadata: Meta,
        /// Desired state.
        spec: ServiceSpec,
    }

    /// Desired state of a Service.
    ServiceSpec {
        /// How it is reached.
        #[serde(rename = "type")]
        type_: String,
        /// Which pods; those of devices have none.
        selector: BTreeMap<String, String>,
        /// Ports.
        ports: Vec<ServicePort>,
        /// Who implements the load balancer.
        load_balancer_class: Option<String>,
        /// `Local` leads clients on other nodes nowhere.
        internal_traffic_policy: String,
        /// Whether its slices call pods ready that are not.
        publish_not_ready_addresses: bool,
    }

    /// A port of a Service.
    ServicePort {
        /// Its number.
        port: i32,
        /// Its number on every node; 0: none.
        node_port: i32,
    }

    /// An EndpointSlice.
    Slice {
        /// Metadata.
        metadata: Meta,
        /// `IPv4`, `IPv6` or `FQDN`.
        address_type: String,
        /// Endpoints; Go writes none as `null`.
        endpoints: Vec<Endpoint>,
        /// How many ports it has.
        ports: Count,
    }

    /// An endpoint.
    Endpoint {
        /// Addresses.
        addresses: Vec<String>,
        /// What it can do.
        conditions: EndpointConditions,
        /// Its node.
        node_name: String,
        /// Its pod.
        target_ref: TargetRef,
    }

    /// What an endpoint can do.
    EndpointConditions {
        /// Absent means ready.
        ready: Option<bool>,
        /// Whether its pod is ending.
        terminating: Option<bool>,
    }

    /// What an endpoint stands for.
    TargetRef {
        /// `Pod`.
        kind: String,
        /// Its name.
        name: String,
        /// Its uid.
        uid: String,
    }

    /// A SerialNode. States stay text: a bridge of a later version may know more of them.
    SerialNode {
        /// Metadata.
        metadata: Meta,
        /// The node.
        node_name: String,
        /// The fleet.
        fleet: String,
        /// Uid of the pod that wrote it.
        #[serde(rename = "podUID")]
        pod_uid: String,
        /// Devices of the fleet that are not plainly absent there.
        ports: Vec<Port>,
    }

    /// A device of the fleet on a node.
    Port {
        /// The device's name.
        name: String,
        /// What it is doing.
        state: String,
        /// One CamelCase word, or empty.
        reason: String,
        /// A sentence with the next step, or empty.
        message: String,
        /// Its tty.
        tty: String,
        /// What is odd although it works.
        warnings: Vec<PortWarning>,
    }

    /// What is odd although it works.
    PortWarning {
        /// One CamelCase word.
        reason: String,
        /// A sentence with the next step.
        message: String,
    }

    /// A Namespace.
    Namespace {
        /// Metadata.
        metadata: Meta,
    }
}
