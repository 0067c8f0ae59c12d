//! Other people's serial clients, and their own test suites, against the real bridge.
//!
//! Owner: `make test-clients`. What is proven here is that programs which nobody of us wrote get along with the bridge as
//! users start it: command line, file, sockets. It must know nothing of the bridge's inside, and never ships.

pub mod admin;
pub mod bridge;
pub mod environment;
pub mod program;
pub mod pyserial;
pub mod visitor;
pub mod wire;
