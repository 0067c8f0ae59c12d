//! A client that talks to a stick all the time, as home automation does: what it notices is what a user notices.
//!
//! Owner: a scenario. It asks, waits for the echo and asks again; when its connection ends it makes a new one.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serialfleet_cluster::{node::Client, wait};

use super::lab::PATIENCE;

/// Ends with its owner.
pub(crate) struct Traffic {
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What the client has noticed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// When the last echo came.
    pub(crate) last: Option<Instant>,
    pub(crate) echoes: u64,
    /// Connections that were made.
    pub(crate) connections: u64,
    /// Those of them that it ended itself, as nothing came any more.
    pub(crate) given_up: u64,
    /// The longest time without an echo since [`Traffic::forget_gaps`].
    pub(crate) longest_gap: Duration,
}

impl Traffic {
    /// To a stick that echoes; returns after the first echo.
    pub(crate) async fn start(client: Client, to: SocketAddr) -> Result<Self> {
        let (seen, stop) = <(Arc<Mutex<Seen>>, Arc<AtomicBool>)>::default();
        let thread = {
            let (seen, stop) = (Arc::clone(&seen), Arc::clone(&stop));
            std::thread::Builder::new().name("traffic".to_owned()).spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    if let Ok(stream) = client.connect(to) {
                        lock(&seen).connections += 1;
                        // How it ended shows in the number of connections.
                        converse(stream, &seen, &stop).ok();
                    }
                }
            })?
        };
        let traffic = Self { seen, stop, thread: Some(thread) };
        traffic.goes_on().await.context("the first echo")?;
        Ok(traffic)
    }

    pub(crate) fn seen(&self) -> Seen {
        lock(&self.seen).clone()
    }

    pub(crate) fn forget_gaps(&self) {
        lock(&self.seen).longest_gap = Duration::ZERO;
    }

    /// Waits for an echo of what is asked from now on.
    pub(crate) async fn goes_on(&self) -> Result<()> {
        // One may be under way: only the second one was asked for afterwards.
        let before = self.seen().echoes;
        wait::until(
            "the stick echoes",
            PATIENCE,
            async || Ok((self.seen().echoes > before + 1).then_some(())),
        )
        .await
    }

    /// That the first connection is still the one in use.
    pub(crate) async fn never_dropped(&self, through: &str) -> Result<()> {
        self.goes_on().await?;
        let seen = self.seen();
        ensure!(seen.connections == 1, "the connection dropped through {through}: {seen:?}");
        Ok(())
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
            && !std::thread::panicking()
        {
            panic!("the traffic's thread failed");
        }
    }
}

fn converse(mut stream: TcpStream, seen: &Mutex<Seen>, stop: &AtomicBool) -> Result<()> {
    stream.set_nodelay(true)?;
    // So that the owner does not wait long for the end.
    stream.set_read_timeout(Some(Duration::from_millis(500)))?;
    while !stop.load(Ordering::Relaxed) {
        stream.write_all(b"?")?;
        let asked = Instant::now();
        loop {
            match stream.read(&mut [0]) {
                Ok(0) => return Ok(()),
                Ok(_) => break,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    // A node without power does not even say that it is gone.
                    if stop.load(Ordering::Relaxed) {
                        return Ok(());
                    }
                    if asked.elapsed() > GIVE_UP {
                        lock(seen).given_up += 1;
                        return Ok(());
                    }
                    // The question may have been lost with the stick.
                    stream.write_all(b"?")?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        let now = Instant::now();
        {
            let mut seen = lock(seen);
            seen.echoes += 1;
            let gap = seen.last.map_or(Duration::ZERO, |last| now - last);
            seen.longest_gap = seen.longest_gap.max(gap);
            seen.last = Some(now);
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().expect("no holder panics")
}

/// As home automation's drivers do.
const GIVE_UP: Duration = Duration::from_secs(4);

/// Between an answer and the next question: part of what it plays, nobody waits for it.
const PAUSE: Duration = Duration::from_millis(5);
