//! SerialFleet's contract with the cluster, and nothing that runs.
//!
//! | type | written by | read by |
//! |---|---|---|
//! | [`fleet::SerialFleet`] | people; status by the hook server | hook server, bridges |
//! | [`node::SerialNode`] | the node's bridge | hook server |
//! | [`hook`] envelopes | Metacontroller, hook server | hook server, Metacontroller |

#[cfg(feature = "crd")]
mod cel;
#[cfg(feature = "crd")]
pub mod crd;
pub mod fleet;
pub mod hook;
mod lenient;
pub mod line;
pub mod manifest;
pub mod meta;
pub mod names;
pub mod node;
pub mod ports;
mod quantity;
pub mod resolve;
mod rules;
mod scalar;
mod schema;
pub mod validate;
mod yaml;

use sha2::{Digest, Sha256};

/// The first four bytes of SHA-256, big-endian.
pub(crate) fn sha256_prefix(text: &str) -> u32 {
    let digest = Sha256::digest(text.as_bytes());
    u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]])
}
