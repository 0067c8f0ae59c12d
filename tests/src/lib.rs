//! What needs more than one of SerialFleet's crates: the demo, rules about the dependencies, and (in `tests/`) tests of
//! bridge and hook server together. The simulated hardware is `serialfleet-sim`, in `sim/`.
//!
//! Never ships, and nothing that ships depends on it.

pub mod demo;
#[cfg(test)]
mod dependencies;
