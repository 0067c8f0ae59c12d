//! One HTTP/1.1 call after the other over one plain socket: write, wait for the whole answer.
//!
//! Owner: the load, and whoever asks once. No pipelining, no allocation for each call.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

/// What the hook server's `--rev` and the CompositeController's URLs say.
pub(crate) const REVISION: &str = "bench";

/// A connection.
pub(crate) struct Line {
    stream: TcpStream,
    buffer: Vec<u8>,
    head: usize,
    end: usize,
}

impl Line {
    pub(crate) fn connect(address: SocketAddr) -> Result<Self> {
        Ok(Self { stream: open(address)?, buffer: vec![0; 1 << 20], head: 0, end: 0 })
    }

    /// A new connection in place of the old one.
    pub(crate) fn reconnect(&mut self, address: SocketAddr) -> Result<()> {
        self.stream = open(address)?;
        Ok(())
    }

    /// Sends a message, reads the answer, returns its code.
    pub(crate) fn call(&mut self, message: &[u8]) -> Result<u16> {
        self.stream.write_all(message).context("sending")?;
        (self.head, self.end) = (0, 0);
        loop {
            self.read()?;
            let Some(head) = self.buffer.get(..self.end).and_then(end_of_head) else { continue };
            self.head = head;
            let code = self.code()?;
            let length = match self.header("content-length") {
                Some(length) => length.parse().context("Content-Length")?,
                None if code == 304 => 0,
                None => bail!("an answer without Content-Length"),
            };
            let whole = head + length;
            if self.buffer.len() <= whole {
                self.buffer.resize(whole + 1, 0);
            }
            while self.end < whole {
                self.read()?;
            }
            ensure!(self.end == whole, "more than the answer");
            return Ok(code);
        }
    }

    /// Posts a body to the sync hook and returns the answer to it.
    pub(crate) fn post(&mut self, body: &[u8]) -> Result<Vec<u8>> {
        let mut message = head(body.len(), true, "").into_bytes();
        message.extend_from_slice(body);
        let code = self.call(&message)?;
        let answer = self.body().to_vec();
        ensure!(code == 200, "{code}: {}", String::from_utf8_lossy(&answer));
        Ok(answer)
    }

    /// The body of the last answer.
    pub(crate) fn body(&self) -> &[u8] {
        self.buffer.get(self.head..self.end).unwrap_or_default()
    }

    /// A header of the last answer; `name` in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let head = std::str::from_utf8(self.buffer.get(..self.head)?).ok()?;
        head.lines()
            .skip(1)
            .filter_map(|line| line.split_once(':'))
            .find_map(|(key, value)| key.eq_ignore_ascii_case(name).then(|| value.trim()))
    }

    fn code(&self) -> Result<u16> {
        let head = self.buffer.get(..self.head).unwrap_or_default();
        let code = head.split(|byte| *byte == b' ').nth(1).and_then(|code| std::str::from_utf8(code).ok());
        code.and_then(|code| code.parse().ok()).context("no HTTP answer")
    }

    fn read(&mut self) -> Result<()> {
        if self.end == self.buffer.len() {
            self.buffer.resize(2 * self.end, 0);
        }
        let room = self.buffer.get_mut(self.end..).unwrap_or_default();
        match self.stream.read(room) {
            Ok(0) => bail!("the connection was closed"),
            Ok(read) => self.end += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error).context("reading"),
        }
        Ok(())
    }
}

/// As Metacontroller's client sends it.
pub(crate) fn head(length: usize, keep: bool, tag: &str) -> String {
    let tag = if tag.is_empty() { String::new() } else { format!("If-None-Match: {tag}\r\n") };
    let close = if keep { "" } else { "Connection: close\r\n" };
    format!(
        "POST /sync?rev={REVISION} HTTP/1.1\r\nHost: serialfleet-hook.serialfleet-system.svc:8080\r\n\
         User-Agent: Go-http-client/1.1\r\nContent-Length: {length}\r\n{close}Content-Type: application/json\r\n{tag}\
         Accept-Encoding: gzip\r\n\r\n"
    )
}

fn open(address: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    // A hook that hangs must not hang the bench.
    stream.set_read_timeout(Some(SILENCE))?;
    stream.set_write_timeout(Some(SILENCE))?;
    Ok(stream)
}

fn end_of_head(bytes: &[u8]) -> Option<usize> {
    // Heads are short: no search through a large body that came with it.
    let first = bytes.get(..bytes.len().min(LONGEST_HEAD))?;
    first.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4)
}

const SILENCE: Duration = Duration::from_secs(30);
const LONGEST_HEAD: usize = 4096;
