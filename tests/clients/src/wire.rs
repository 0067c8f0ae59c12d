//! A simulated stick whose firmware is played by another program: bytes go to and fro over a socket.
//!
//! Owner: the scenario. It uses what every test sees of a stick: a stick that is not plugged in neither hears nor says
//! anything, and what the other side says meanwhile is lost, as on a wire.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Result;
use serialfleet_sim::Stick;

/// Bytes on their way between sticks, or a stick and a socket, until dropped.
#[derive(Debug)]
pub struct Wire {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Wire {
    /// What one stick receives, the other one sends: a null modem. Both must be silent by themselves.
    #[must_use]
    pub fn between(one: &Arc<Stick>, other: &Arc<Stick>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let carry = |from: &Arc<Stick>, to: &Arc<Stick>| {
            let (from, to, stop) = (Arc::clone(from), Arc::clone(to), Arc::clone(&stop));
            std::thread::spawn(move || {
                // Nobody hears it on a stick that is unplugged.
                follow(&from, &stop, |bytes| drop(to.send(0, bytes)));
            })
        };
        let threads = vec![carry(one, other), carry(other, one)];
        Self { stop, threads }
    }

    /// Who connects to `path` plays the stick's firmware.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub fn to_socket(stick: &Arc<Stick>, path: &Path) -> Result<Self> {
        let listener = UnixListener::bind(path)?;
        listener.set_nonblocking(true)?;
        let stop = Arc::new(AtomicBool::new(false));
        let (stick, stopped) = (Arc::clone(stick), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((player, _)) => return play(&stick, &player, &stopped),
                    Err(_) => std::thread::sleep(LOOK),
                }
            }
        });
        Ok(Self { stop, threads: vec![thread] })
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().ok();
        }
    }
}

fn play(stick: &Stick, player: &UnixStream, stop: &AtomicBool) {
    let speaks = |player: &UnixStream| -> Result<()> {
        let mut player = player.try_clone()?;
        player.set_nonblocking(false)?;
        player.set_read_timeout(Some(LOOK))?;
        let mut buffer = [0; 4096];
        while !stop.load(Ordering::Relaxed) {
            match player.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => drop(stick.send(0, buffer.get(..read).unwrap_or_default())),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        scope.spawn(|| speaks(player).ok());
        let mut player = player;
        follow(stick, stop, |bytes| drop(player.write_all(bytes)));
    });
}

/// Gives what the stick receives, in order and complete, from now on.
fn follow(stick: &Stick, stop: &AtomicBool, mut give: impl FnMut(&[u8])) {
    let mut seen = 0;
    while !stop.load(Ordering::Relaxed) {
        let news = stick.wait_for(LOOK, |record| {
            let port = record.ports.first().filter(|port| port.received_bytes > seen)?;
            Some((port.received_bytes, port.received.clone()))
        });
        let Ok((total, received)) = news else { continue };
        let fresh = usize::try_from(total - seen).unwrap_or(usize::MAX);
        // More than is kept in one turn: the clients here are polite.
        let news = received.len().checked_sub(fresh).and_then(|start| received.get(start..));
        let Some(news) = news else {
            panic!("{fresh} bytes came at once, {} are kept", received.len());
        };
        give(news);
        seen = total;
    }
}

/// How soon the end of a wire is noticed.
const LOOK: Duration = Duration::from_millis(50);
