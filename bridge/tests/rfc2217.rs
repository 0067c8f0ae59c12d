//! The telnet and RFC 2217 codec, byte for byte and with anything a client may send.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[path = "support/rfc2217_replay.rs"]
mod replay;

#[path = "rfc2217/commands.rs"]
mod commands;
#[path = "rfc2217/properties.rs"]
mod properties;
#[path = "rfc2217/telnet.rs"]
mod telnet;
#[path = "rfc2217/unmarking.rs"]
mod unmarking;

use serialfleet_bridge::rfc2217::Session;

use replay::{Seen, replay};

/// A session that was greeted, with a client that agreed to everything.
fn agreed() -> Session {
    let mut session = Session::new();
    session.greet(&mut Vec::new());
    let yes = b"\xff\xfd\x00\xff\xfb\x00\xff\xfd\x03\xff\xfb\x03\xff\xfd\x01\xff\xfb\x2c";
    replay(&mut session, [&yes[..]]);
    session
}

fn data(bytes: &[u8]) -> Seen {
    Seen::Data(bytes.to_vec())
}
