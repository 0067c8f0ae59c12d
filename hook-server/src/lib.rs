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
//! [`sync`] and [`customize`] put them together, [`app`] puts HTTP around that ([`access`], [`admission`], [`etag`],
//! [`recall`], [`calls`], [`metrics`]), [`render`] YAML, [`explain`] and [`doctor`] words, [`predict`] what Metacontroller does next;
//! [`journal`], [`foresight`] and [`debug`] look on, and never have a part in an answer. All that reads no clock and no
//! environment and does no I/O; [`serve`] owns
//! the sockets, [`reload`] reads certificates and tokens, the program does the rest.

pub mod access;
pub mod admission;
pub mod app;
pub mod arbitrate;
pub mod calls;
pub mod children;
pub mod config;
pub mod customize;
pub mod debug;
pub mod doctor;
pub mod etag;
pub mod explain;
pub mod foresight;
pub mod journal;
pub mod merge;
pub mod metrics;
pub mod observed;
pub mod outcome;
mod pace;
pub mod predict;
pub mod quantity;
pub mod recall;
pub mod reload;
pub mod render;
pub mod request;
pub mod serve;
pub mod services;
pub mod status;
pub mod sync;
pub mod tls;
pub mod visible;
