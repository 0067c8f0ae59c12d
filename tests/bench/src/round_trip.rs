//! One request, one answer, again and again: how long a client waits.
//!
//! Owner: the plan. A slow forwarder gets fewer iterations, never more time.

use std::fs::File;
use std::io::{Read, Write};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serialfleet_sim::Mode;
use serialfleet_sim::reply::{modbus_frame, zstack_frame};

use crate::echo::while_answering;
use crate::figures::quantile;
use crate::interrupt;

/// Half of all came within the first, 99 of 100 within the second; in microseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Latency {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    /// Those of the warm-up included.
    pub(crate) exchanges: usize,
}

impl Latency {
    pub(crate) fn of(mut samples: Vec<Duration>) -> Result<Self> {
        ensure!(!samples.is_empty(), "not one answer");
        samples.sort_unstable();
        let micros: Vec<f64> = samples.iter().map(|sample| sample.as_secs_f64() * 1e6).collect();
        Ok(Self { p50: quantile(&micros, 0.5), p99: quantile(&micros, 0.99), exchanges: micros.len() })
    }
}

/// What is asked, and what the device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exchange {
    /// One byte there and back: nothing but the path.
    Byte,
    /// Z-Stack's SYS_PING: 5 bytes, answered by 7.
    Ping,
    /// Modbus RTU, function 3, 10 to 110 registers.
    Modbus,
}

impl Exchange {
    pub(crate) const ALL: [Self; 3] = [Self::Byte, Self::Ping, Self::Modbus];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Byte => "round trip of a byte",
            Self::Ping => "5-byte request, reply",
            Self::Modbus => "Modbus RTU",
        }
    }

    fn device(self) -> Mode {
        match self {
            Self::Byte => Mode::Echo,
            Self::Ping => Mode::ZStack,
            Self::Modbus => Mode::Modbus,
        }
    }

    /// Requests and their answers, to be gone through in turn.
    fn frames(self) -> Vec<(Vec<u8>, Vec<u8>)> {
        match self {
            Self::Byte => vec![(b"x".to_vec(), b"x".to_vec())],
            Self::Ping => {
                let request = zstack_frame([0x21, 0x01], &[]);
                let answer = Mode::ZStack.answer(&mut request.clone());
                vec![(request, answer)]
            }
            Self::Modbus => (10..=110_u8).step_by(10).map(registers).collect(),
        }
    }

    /// Again and again, for `limit`.
    pub(crate) fn run(self, device: &File, client: &File, limit: Duration) -> Result<Latency> {
        let frames = self.frames();
        while_answering(device, self.device(), || repeat(client, limit, &frames))
    }
}

/// Request and answer for so many registers, each of which holds its own number.
fn registers(count: u8) -> (Vec<u8>, Vec<u8>) {
    let request = modbus_frame(&[1, 3, 0, 0, 0, count]);
    let values = (0..u16::from(count)).flat_map(u16::to_be_bytes);
    let answer: Vec<u8> = [1, 3, 2 * count].into_iter().chain(values).collect();
    (request, modbus_frame(&answer))
}

fn repeat(mut client: &File, limit: Duration, frames: &[(Vec<u8>, Vec<u8>)]) -> Result<Latency> {
    let mut samples = Vec::new();
    let mut answer = [0; 512];
    let mut exchanges = 0;
    let start = Instant::now();
    for (request, expected) in frames.iter().cycle() {
        interrupt::check()?;
        if start.elapsed() > limit {
            break;
        }
        let answer = answer.get_mut(..expected.len()).unwrap_or_default();
        let sent = Instant::now();
        client.write_all(request)?;
        client.read_exact(answer)?;
        let took = sent.elapsed();
        exchanges += 1;
        ensure!(answer == expected, "another answer than the device gave");
        // The first tenth warms up.
        if start.elapsed() > limit / 10 {
            samples.push(took);
        }
    }
    Ok(Latency { exchanges, ..Latency::of(samples)? })
}
