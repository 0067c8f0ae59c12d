//! The project's stand-in for Metacontroller in the cluster tests: the same calls of hooks, the same merge, the same
//! queue, back-off and error rules for CompositeControllers. Everything in it is there only to be as Metacontroller
//! 4.17.2 is; where that is surprising a comment names the file there. It must not be better.
//!
//! | module | owns |
//! |---|---|
//! | [`args`], [`duration`] | flags in Go's spelling |
//! | [`request`], [`controller_json`], [`response`] | what hooks are sent and what they answer |
//! | [`spec`], [`selector`], [`rules`], [`claim`], [`parent`] | what is decided about objects |
//! | [`children`], [`apply_server_side`] | what is written to children |
//! | [`cache`], [`queue`], [`limits`], [`timed`] | state, as data; time is an argument |
//! | [`api`], [`discovery`], [`informers`], [`webhook`], [`events`], [`metrics`], [`serve`] | the world |
//! | [`manager`], [`controller`], `watches`, `customize`, `sync`, `writes` | who runs what, in which order |
//!
//! The first five rows are pure.

pub mod api;
pub mod apply_server_side;
pub mod args;
pub mod cache;
pub mod children;
pub mod claim;
pub mod controller;
pub mod controller_json;
mod customize;
pub mod discovery;
pub mod duration;
pub mod events;
pub mod informers;
pub mod limits;
pub mod manager;
pub mod metrics;
pub mod object;
pub mod parent;
pub mod queue;
pub mod request;
pub mod response;
pub mod rules;
pub mod selector;
pub mod serve;
pub mod spec;
mod sync;
pub mod timed;
mod watches;
pub mod webhook;
mod writes;
