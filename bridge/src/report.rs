//! This node's `SerialNode`: what is plugged in here and what is served.
//!
//! The supervisor publishes [`NodeReport`]s; one task ([`run`]), owned by `main` on the control thread, folds them
//! and writes the result to the API server or to a file, only when it differs from what stands there. At rest it
//! writes nothing. Must not decide anything about ports, and must not keep anybody waiting: an API server that is
//! away costs nothing but this task's time.
//!
//! | module | does |
//! |---|---|
//! | [`fold`] | report and history to object; pure |
//! | [`bounds`] | what keeps the object small; pure |
//! | [`summary`] | the columns; pure |
//! | [`pace`] | how often to write; pure |
//! | [`plan`] | what to do next; pure |
//! | [`published`] | what the fleet's status says about us; pure |
//! | [`target`] | reading, writing and deleting the object |
//! | [`write`] | the task |

pub mod bounds;
pub mod fold;
pub mod pace;
pub mod plan;
pub mod published;
pub mod summary;
pub mod target;
pub mod write;

use serialfleet_api::node::{PortState, PresentDevice, Warning};

pub use self::{
    published::{published, serving_elsewhere},
    target::Target,
    write::run,
};

/// What this node sees and does, as the supervisor publishes it. Everything in it may be as long and as odd as
/// hardware makes it: [`fold`] bounds and escapes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeReport {
    /// Every serial device present, matched or not.
    pub devices: Vec<PresentDevice>,
    /// Each device of the fleet.
    pub ports: Vec<PortReport>,
}

/// One device of the fleet on this node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PortReport {
    /// The device's name in the fleet.
    pub name: String,
    /// What it is doing.
    pub state: PortState,
    /// One CamelCase word that tells cases of one state apart, or empty.
    pub reason: String,
    /// A sentence with the next step, or empty.
    pub message: String,
    /// Name of the tty.
    pub tty: Option<String>,
    /// What tells this very device from others.
    pub identity: Option<String>,
    /// Bits per second in force from `line`.
    pub baud_rate: Option<i32>,
    /// What is odd although it works.
    pub warnings: Vec<Warning>,
}

/// Whose report it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeIdentity {
    /// The fleet's name.
    pub fleet: String,
    /// The node's name.
    pub node: String,
    /// The node's uid: the object's owner. Absent outside of a cluster.
    pub node_uid: Option<String>,
    /// The pod's uid; empty outside of a cluster.
    pub pod_uid: String,
}
