//! A Kubernetes cluster made of processes: a real control plane, and nodes, pods and containers that are network
//! namespaces and processes of this machine.
//!
//! Owner: the scenarios in `tests/`. Nothing here knows what the product does, and nothing of it ships. A scenario
//! runs below [`harness`], in namespaces of its own, so that it may use fixed addresses and leaves nothing behind.
#![allow(
    clippy::expect_used,
    reason = "test support: a broken lab must stop the scenario at once, with a sentence"
)]

pub mod audit;
pub mod capability;
pub mod control_plane;
pub mod credentials;
pub mod dns;
pub mod families;
pub mod harness;
pub mod image;
pub mod kubectl;
pub mod kubelet;
pub mod network;
pub mod node;
pub mod process;
pub mod wait;

/// To be called first thing in `main`: the executable runs itself again to become a container of a pod, and then this
/// does not return.
pub fn enter_container() {
    kubelet::launcher::enter_container();
}
