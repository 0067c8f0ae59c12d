//! SerialFleet's hook server: a SerialFleet and what is observed in, its children and status out.
//!
//! The way of a sync through the modules, each a pure function of the one before:
//!
//! | module | question |
//! |---|---|
//! | [`request`] | what does Metacontroller say? (or a [`request::Refusal`]) |
//! | [`observed`] | which bridges are ready, whose reports are believed, what exists? |
//! | [`services`] | which Services are wanted, and what stands in their way? |
//! | [`arbitrate`], [`outcome`] | who gets each one's endpoint, and what to say about it? |
//! | [`children`] | what is to exist? |
//! | [`status`] | what to tell people? |
//! | [`merge`] | what will Metacontroller make of a child? |
//!
//! [`sync`] and [`customize`] put them together, [`app`] puts HTTP around that, [`render`] YAML. The library does no
//! I/O and reads no clock and no environment; [`serve`] owns the sockets, the program the rest.

pub mod app;
pub mod arbitrate;
pub mod children;
pub mod config;
pub mod customize;
pub mod merge;
pub mod metrics;
pub mod observed;
pub mod outcome;
pub mod quantity;
pub mod render;
pub mod request;
pub mod serve;
pub mod services;
pub mod status;
pub mod sync;
