//! One request, one answer, again and again: how long a client waits.
//!
//! Owner: the plan. A slow forwarder gets fewer iterations, never more time.

use std::fs::File;
use std::io::{Read, Write};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serialfleet_sim::reply::modbus_frame;

use crate::figures::quantile;
use crate::interrupt;

/// Half of all answers came within the first, 99 of 100 within the second; in microseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Latency {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

impl Latency {
    pub(crate) fn of(mut samples: Vec<Duration>) -> Result<Self> {
        ensure!(!samples.is_empty(), "not one answer");
        samples.sort_unstable();
        let micros: Vec<f64> = samples.iter().map(|sample| sample.as_secs_f64() * 1e6).collect();
        Ok(Self { p50: quantile(&micros, 0.5), p99: quantile(&micros, 0.99) })
    }
}

/// Eight bytes there and back; the device echoes.
pub(crate) fn ping(client: &File, iterations: usize, limit: Duration) -> Result<Latency> {
    let request = *b"ping8888";
    exchange(client, iterations, limit, |_| (request.to_vec(), request.to_vec()))
}

/// Modbus RTU, function 3, 10 to 110 registers; the device answers as a Modbus unit.
pub(crate) fn modbus(client: &File, iterations: usize, limit: Duration) -> Result<Latency> {
    let frames: Vec<_> = (10..=110_u8).step_by(10).map(registers).collect();
    exchange(client, iterations, limit, |at| frames.get(at % frames.len()).cloned().unwrap_or_default())
}

/// Request and answer for so many registers, each of which holds its own number.
fn registers(count: u8) -> (Vec<u8>, Vec<u8>) {
    let request = modbus_frame(&[1, 3, 0, 0, 0, count]);
    let values = (0..u16::from(count)).flat_map(u16::to_be_bytes);
    let answer: Vec<u8> = [1, 3, 2 * count].into_iter().chain(values).collect();
    (request, modbus_frame(&answer))
}

fn exchange(
    mut client: &File,
    iterations: usize,
    limit: Duration,
    frames: impl Fn(usize) -> (Vec<u8>, Vec<u8>),
) -> Result<Latency> {
    let mut samples = Vec::with_capacity(iterations);
    let mut answer = [0; 512];
    let warm_up = iterations / 20;
    let start = Instant::now();
    for at in 0..iterations + warm_up {
        interrupt::check()?;
        if start.elapsed() > limit {
            break;
        }
        let (request, expected) = frames(at);
        let answer = answer.get_mut(..expected.len()).unwrap_or_default();
        let sent = Instant::now();
        client.write_all(&request)?;
        client.read_exact(answer)?;
        let took = sent.elapsed();
        ensure!(*answer == *expected, "another answer than the device gave");
        // A slow forwarder would not get beyond a warm-up of so many iterations.
        if at >= warm_up || start.elapsed() > limit / 10 {
            samples.push(took);
        }
    }
    Latency::of(samples)
}
