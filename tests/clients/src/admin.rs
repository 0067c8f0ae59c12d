//! What anybody may ask a running bridge: its ports, and its metrics.
//!
//! Owner: scenarios, here and in the hardware tier. It changes nothing.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// The admin address of a bridge.
#[derive(Clone, Copy, Debug)]
pub struct Admin(pub SocketAddr);

impl Admin {
    /// Waits until the device is in this state; returns the port as `/ports` shows it.
    ///
    /// # Errors
    /// It is not within [`SOON`]; says what it is instead.
    pub fn wait(self, device: &str, state: &str) -> Result<Value> {
        let deadline = Instant::now() + SOON;
        loop {
            let seen = self.ports();
            let found = seen.iter().flatten().find(|port| port["name"] == device && port["state"] == state);
            if let Some(port) = found {
                return Ok(port.clone());
            }
            if Instant::now() > deadline {
                bail!("{device} is not {state}: {seen:#?}");
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Waits until the bridge answers at all.
    ///
    /// # Errors
    /// It does not within [`SOON`].
    pub fn wait_for_answer(self) -> Result<()> {
        let deadline = Instant::now() + SOON;
        while let Err(error) = self.ports() {
            if Instant::now() > deadline {
                return Err(error);
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    /// The sum of a metric of a device, over all its other labels.
    ///
    /// # Errors
    /// The bridge does not answer.
    pub fn metric(self, name: &str, device: &str) -> Result<f64> {
        let (start, label) = (format!("{name}{{"), format!("port=\"{device}\""));
        let text = self.get("/metrics")?;
        let lines = text.lines().filter(|line| line.starts_with(&start) && line.contains(&label));
        Ok(lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
    }

    /// What became of a device's TCP connections until now.
    ///
    /// # Errors
    /// The bridge does not answer.
    pub fn connections(self, device: &str) -> Result<Connections> {
        Ok(Connections {
            accepted: self.metric("serialfleet_port_connections_total", device)?,
            ended: self.metric("serialfleet_port_clients_ended_total", device)?,
        })
    }

    fn ports(self) -> Result<Vec<Value>> {
        Ok(serde_json::from_str(&self.get("/ports")?)?)
    }

    fn get(self, path: &str) -> Result<String> {
        let mut stream = TcpStream::connect_timeout(&self.0, SOON)?;
        stream.set_read_timeout(Some(SOON))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.0)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no end of the head")?;
        ensure!(head.starts_with("HTTP/1.1 200"), "{path}: {head}");
        ensure!(!head.to_ascii_lowercase().contains("transfer-encoding"), "{path} comes in chunks");
        Ok(body.to_owned())
    }
}

/// How many TCP connections there were, and how many of them have ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Connections {
    /// Ever accepted.
    pub accepted: f64,
    /// Ended, for whatever reason.
    pub ended: f64,
}

/// Longer than anything takes that only the machine's speed delays.
pub const SOON: Duration = Duration::from_secs(20);

/// Between two looks at a state that is awaited.
const LOOK: Duration = Duration::from_millis(10);
