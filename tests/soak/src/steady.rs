//! The client that is left in peace: whatever happens to the others, it must not lose, double or wait for a byte.
//!
//! Owner: one thread of `soak`. It goes on while all others are stopped for a look.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use crate::{
    gate::Gate,
    world::{Spread, World},
};

pub(crate) fn run(world: &World, gate: &Gate, spread: &Spread) -> Result<()> {
    let mut client =
        world.wait("the port that is left in peace", || TcpStream::connect(world.steady()).ok())?;
    client.set_nodelay(true)?;
    client.set_read_timeout(Some(LONGEST))?;
    let mut random = fastrand::Rng::with_seed(1);
    let mut slowest = Duration::ZERO;
    loop {
        let mut sent = vec![0; random.usize(1..=512)];
        random.fill(&mut sent);
        let start = Instant::now();
        let answered = client.write_all(&sent).and_then(|()| {
            let mut back = vec![0; sent.len()];
            client.read_exact(&mut back).map(|()| back)
        });
        match answered {
            Ok(back) if back == sent => spread.count("steady round trips"),
            Ok(_) => gate.fail("the client that is left in peace got other bytes than it sent".into()),
            Err(error) => gate.fail(format!("the client that is left in peace was lost: {error}")),
        }
        slowest = slowest.max(start.elapsed());
        if gate.has_ended() {
            println!("slowest round trip of the client that is left in peace: {slowest:?}");
            return client.shutdown(std::net::Shutdown::Both).context("closing");
        }
        std::thread::sleep(PACE);
    }
}

/// Between two round trips.
const PACE: Duration = Duration::from_millis(20);
/// Two shared cores may be busy, but not for so long.
const LONGEST: Duration = Duration::from_secs(10);
