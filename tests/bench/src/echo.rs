//! A device that answers, on a thread that does nothing else.
//!
//! Owner: the measures of latency. Its own time is part of every figure, also of `PTY direct`.

use std::fs::File;
use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serialfleet_sim::Mode;

/// Runs `client` while the device answers as `mode` says.
pub(crate) fn while_answering<T>(device: &File, mode: Mode, client: impl FnOnce() -> Result<T>) -> Result<T> {
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let device = scope.spawn(|| answer(device, mode, &ended));
        let result = client();
        ended.store(true, Ordering::Release);
        device.join().ok().context("the device's thread has failed")??;
        result
    })
}

fn answer(mut device: &File, mode: Mode, ended: &AtomicBool) -> Result<()> {
    let mut buffer = [0; 4096];
    let mut received = Vec::new();
    while !ended.load(Ordering::Acquire) {
        if poll(&mut [PollFd::new(device, PollFlags::IN)], Some(&TURN))? == 0 {
            continue;
        }
        let read = device.read(&mut buffer)?;
        received.extend_from_slice(buffer.get(..read).unwrap_or_default());
        let answer = mode.answer(&mut received);
        if !answer.is_empty() {
            device.write_all(&answer)?;
        }
    }
    Ok(())
}

/// How soon the end is noticed.
const TURN: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
