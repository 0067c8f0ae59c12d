//! The load: so many connections, each with one call at a time, in a process of its own.
//!
//! Owner: the plan starts it. Like Metacontroller it sends the tag of the last answer along, where there was one.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use serde::{Deserialize, Serialize};

use crate::exchange::{Line, head};
use crate::figures::quantile;
use crate::fleet::{TTY, VERSION};

/// What is asked for.
#[derive(Debug, clap::Args)]
pub(crate) struct LoadArgs {
    /// The hook
    #[arg(long)]
    pub(crate) address: SocketAddr,
    /// The request's body
    #[arg(long)]
    pub(crate) body: PathBuf,
    #[arg(long)]
    pub(crate) connections: usize,
    /// A connection for each call
    #[arg(long)]
    pub(crate) close: bool,
    /// Every request differs from the last one, and so does its answer
    #[arg(long)]
    pub(crate) changed: bool,
    /// Measure for so long,
    #[arg(long)]
    pub(crate) milliseconds: u64,
    /// and until so many calls are over,
    #[arg(long)]
    pub(crate) calls: usize,
    /// but no longer than this many times as long
    #[arg(long, default_value_t = 3)]
    pub(crate) patience: u32,
}

/// What came of it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// Calls in a second, all connections together.
    pub(crate) rate: f64,
    /// Milliseconds.
    pub(crate) p50: f64,
    /// Milliseconds.
    pub(crate) p99: f64,
    /// All calls, those to warm up included.
    pub(crate) calls: u64,
    /// Those that were answered by 304.
    pub(crate) unchanged: u64,
    /// Size of the last answer that had a body.
    pub(crate) answer: usize,
}

/// One connection's part.
#[derive(Default)]
struct Part {
    milliseconds: Vec<f64>,
    counted: Duration,
    calls: u64,
    unchanged: u64,
    answer: usize,
}

/// Loads, and prints the outcome.
pub(crate) fn run(args: &LoadArgs) -> Result<()> {
    let body = std::fs::read(&args.body).context("the request")?;
    let start = Barrier::new(args.connections);
    let parts: Result<Vec<Part>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..args.connections)
            .map(|number| {
                scope.spawn({
                    let (body, start) = (&body, &start);
                    move || one(args, number, body, start)
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().map_err(|_| anyhow!("a connection panicked"))?)
            .collect()
    });
    let parts = parts?;
    let mut all: Vec<f64> = parts.iter().flat_map(|part| part.milliseconds.iter().copied()).collect();
    all.sort_unstable_by(f64::total_cmp);
    #[allow(clippy::cast_precision_loss, reason = "a count of calls")]
    let rate = |part: &Part| part.milliseconds.len() as f64 / part.counted.as_secs_f64();
    let outcome = Outcome {
        rate: parts.iter().map(rate).sum(),
        p50: quantile(&all, 0.5),
        p99: quantile(&all, 0.99),
        calls: parts.iter().map(|part| part.calls).sum(),
        unchanged: parts.iter().map(|part| part.unchanged).sum(),
        answer: parts.iter().map(|part| part.answer).max().unwrap_or_default(),
    };
    println!("{}", serde_json::to_string(&outcome)?);
    Ok(())
}

fn one(args: &LoadArgs, number: usize, body: &[u8], start: &Barrier) -> Result<Part> {
    let mut message = Message::new(body, !args.close)?;
    let mut line = Line::connect(args.address);
    // Whoever could not connect must not keep the others waiting.
    start.wait();
    let line = line.as_mut().map_err(|error| anyhow!("{error:#}"))?;
    let mut part = Part::default();
    let limit = Duration::from_millis(args.milliseconds);
    let enough = args.calls.div_ceil(args.connections);
    let begin = Instant::now();
    let warm = begin + limit / 5;
    let mut first = None;
    let mut tag = String::new();
    for turn in 0_u64.. {
        if args.changed {
            message.change(number as u64 * 1_000_000 + turn);
        }
        let bytes = message.with_tag(&tag)?;
        let sent = Instant::now();
        if args.close && turn > 0 {
            line.reconnect(args.address)?;
        }
        let code = line.call(bytes)?;
        let over = Instant::now();
        part.calls += 1;
        match code {
            200 => part.answer = line.body().len(),
            304 => part.unchanged += 1,
            code => anyhow::bail!("{code}: {}", String::from_utf8_lossy(line.body())),
        }
        line.header("etag").unwrap_or_default().clone_into(&mut tag);
        if sent >= warm {
            first.get_or_insert(sent);
            part.milliseconds.push((over - sent).as_secs_f64() * 1e3);
        }
        let took = over - begin;
        if (took >= limit && part.milliseconds.len() >= enough) || took >= limit * args.patience {
            part.counted = over - first.context("it took too long to warm up")?;
            break;
        }
    }
    Ok(part)
}

/// A request that is changed in place: head and body in one buffer, the head flush with the body.
struct Message {
    bytes: Vec<u8>,
    length: usize,
    keep: bool,
    /// Where digits are replaced, and how many.
    places: Vec<(usize, usize)>,
}

impl Message {
    fn new(body: &[u8], keep: bool) -> Result<Self> {
        let mut bytes = vec![b' '; ROOM];
        bytes.extend_from_slice(body);
        let mut places = Vec::new();
        for (text, prefix) in [(VERSION, 0), (TTY, "ttyUSB".len())] {
            let quoted = format!("\"{text}\"");
            let found = bytes.windows(quoted.len()).enumerate().filter(|(_, it)| *it == quoted.as_bytes());
            let found: Vec<_> = found.map(|(at, _)| (at + 1 + prefix, text.len() - prefix)).collect();
            ensure!(!found.is_empty(), "no {text} in the request");
            places.extend(found);
        }
        Ok(Self { bytes, length: body.len(), keep, places })
    }

    /// Makes it request number `number`: other versions, another tty.
    fn change(&mut self, number: u64) {
        for (at, digits) in &self.places {
            let value =
                if *digits == VERSION.len() { 70_000_000 + number % 10_000_000 } else { 10 + number % 90 };
            if let Some(place) = self.bytes.get_mut(*at..at + digits) {
                place.copy_from_slice(value.to_string().as_bytes());
            }
        }
    }

    fn with_tag(&mut self, tag: &str) -> Result<&[u8]> {
        let head = head(self.length, self.keep, tag);
        let from = ROOM.checked_sub(head.len()).context("a long tag")?;
        self.bytes.get_mut(from..ROOM).context("room for the head")?.copy_from_slice(head.as_bytes());
        self.bytes.get(from..).context("the message")
    }
}

/// For the head.
const ROOM: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_changed_request_differs_and_keeps_its_length() {
        let body = format!("{{\"a\":\"{VERSION}\",\"tty\":\"{TTY}\",\"b\":\"{VERSION}\"}}");
        let mut message = Message::new(body.as_bytes(), true).unwrap();
        message.change(12);
        let text = String::from_utf8(message.with_tag("\"x\"").unwrap().to_vec()).unwrap();
        assert!(
            text.starts_with("POST /sync?rev=bench HTTP/1.1\r\n")
                && text.contains("If-None-Match: \"x\"\r\n"),
            "{text}"
        );
        assert!(
            text.ends_with("\r\n\r\n{\"a\":\"70000012\",\"tty\":\"ttyUSB22\",\"b\":\"70000012\"}"),
            "{text}"
        );
    }
}
