//! Any bytes from a client, and from a tty in PARMRK mode. The first byte of the input chooses where it is split.
//!
//! Takes the codec's files instead of the bridge's library: that would have a Kubernetes client built with a sanitizer.
#![no_main]

extern crate self as serialfleet_bridge;

#[path = "../../../bridge/src"]
mod bridge {
    pub mod rfc2217;
}
#[path = "../../../bridge/tests/support/rfc2217_replay.rs"]
mod replay;

pub use bridge::rfc2217;
use libfuzzer_sys::fuzz_target;
use replay::{Seen, pieces, replay, unmark};
use rfc2217::{Session, escape};

fuzz_target!(|input: &[u8]| {
    let Some((&seed, bytes)) = input.split_first() else { return };

    let whole = replay(&mut Session::new(), [bytes]);
    let split = replay(&mut Session::new(), pieces(bytes, seed));
    assert_eq!(whole, split, "splitting changed what was seen");

    let whole = unmark([bytes]);
    assert_eq!(whole, unmark(pieces(bytes, seed)), "splitting changed what was unmarked");

    let mut session = Session::new();
    replay(&mut session, [&b"\xff\xfb\x00"[..]]);
    let (seen, out) = replay(&mut session, escape(bytes));
    let expected = if bytes.is_empty() { vec![] } else { vec![Seen::Data(bytes.to_vec())] };
    assert_eq!((seen, out), (expected, vec![]), "what was escaped did not come back");
});
