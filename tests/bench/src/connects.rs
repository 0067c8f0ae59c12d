//! A thousand clients one after another: each connects, is heard by the device, gets an answer, closes.
//!
//! Owner: the measures. A client that is turned away counts as failed and is not tried again.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::ioctl_fionread;

use crate::interrupt;

/// One run.
pub(crate) struct Connects {
    /// Clients served in a second.
    pub(crate) rate: f64,
    /// Of 1,000.
    pub(crate) failed: f64,
}

/// Connects `most` times, for at most `limit`.
#[allow(clippy::cast_precision_loss, reason = "at most some thousand")]
pub(crate) fn run(address: SocketAddr, device: &File, most: usize, limit: Duration) -> Result<Connects> {
    let (start, mut served, mut tried) = (Instant::now(), 0, 0);
    while tried < most && start.elapsed() < limit {
        interrupt::check()?;
        tried += 1;
        let [mark, ..] = tried.to_le_bytes();
        if visit(address, device, mark).unwrap_or(false) {
            served += 1;
        } else {
            // What the device still has belongs to nobody.
            discard(device)?;
        }
    }
    Ok(Connects {
        rate: served as f64 / start.elapsed().as_secs_f64(),
        failed: (tried - served) as f64 * 1e3 / tried as f64,
    })
}

fn visit(address: SocketAddr, mut device: &File, mark: u8) -> Result<bool> {
    let mut client = TcpStream::connect(address)?;
    client.set_nodelay(true)?;
    client.write_all(&[mark])?;
    // Whoever turns a client away says so or closes.
    let mut watched = [PollFd::new(device, PollFlags::IN), PollFd::new(&client, PollFlags::IN)];
    poll(&mut watched, Some(&PATIENCE))?;
    let [heard, ended] = watched.map(|it| !it.revents().is_empty());
    ensure!(heard && !ended, "not served");
    let mut byte = [0];
    device.read_exact(&mut byte)?;
    device.write_all(&byte)?;
    ensure!(poll(&mut [PollFd::new(&client, PollFlags::IN)], Some(&PATIENCE))? == 1, "no answer");
    client.read_exact(&mut byte)?;
    Ok(byte == [mark])
}

fn discard(mut device: &File) -> Result<()> {
    let waiting = usize::try_from(ioctl_fionread(device)?)?;
    device.read_exact(&mut vec![0; waiting])?;
    Ok(())
}

const PATIENCE: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };
