//! A plain TCP client of a stick that echoes.
//!
//! Owner: a scenario.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::admin::SOON;
use anyhow::{Context, Result, bail, ensure};

/// A connection.
#[derive(Debug)]
pub struct Visitor(TcpStream);

impl Visitor {
    /// Connects.
    ///
    /// # Errors
    /// Nobody answers.
    pub fn to(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&address, SOON)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SOON))?;
        Ok(Self(stream))
    }

    /// Says something.
    ///
    /// # Errors
    /// The connection has ended.
    pub fn say(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.0.write_all(bytes)?)
    }

    /// Says something, and hears it come back.
    ///
    /// # Errors
    /// It does not, or something else does.
    pub fn echo(&mut self, bytes: &[u8]) -> Result<()> {
        self.say(bytes)?;
        let mut back = vec![0; bytes.len()];
        self.0.read_exact(&mut back).with_context(|| format!("waiting for {} bytes", bytes.len()))?;
        ensure!(back == bytes, "other bytes came back");
        Ok(())
    }

    /// Reads until these bytes have come, whatever comes before them.
    ///
    /// # Errors
    /// They do not come soon.
    pub fn hear(&mut self, bytes: &[u8]) -> Result<()> {
        let mut heard = Vec::new();
        let mut one = [0];
        while !heard.ends_with(bytes) {
            self.0.read_exact(&mut one).with_context(|| format!("waiting for {bytes:?} after {heard:?}"))?;
            heard.extend(one);
        }
        Ok(())
    }

    /// Has the other side agree to RFC 2217: its option is 44, and the words are IAC WILL and IAC DO.
    ///
    /// # Errors
    /// It does not.
    pub fn agree_on_com_port(&mut self) -> Result<()> {
        self.say(&[255, 251, 44])?;
        self.hear(&[255, 253, 44])
    }

    /// Orders DTR (SET-CONTROL, RFC 2217 section 3), and waits for the answer.
    ///
    /// # Errors
    /// Another answer comes, or none.
    pub fn set_dtr(&mut self, on: bool) -> Result<()> {
        let value = if on { 8 } else { 9 };
        self.say(&[255, 250, 44, 5, value, 255, 240])?;
        self.hear(&[255, 250, 44, 105, value, 255, 240])
    }

    /// Orders a baud rate (SET-BAUDRATE, four bytes), and waits for the answer that it is in force.
    ///
    /// # Errors
    /// Another rate is, or no answer comes.
    pub fn set_baud_rate(&mut self, rate: u32) -> Result<()> {
        let [a, b, c, d] = rate.to_be_bytes();
        ensure!(![a, b, c, d].contains(&255), "{rate} would have to be escaped");
        self.say(&[255, 250, 44, 1, a, b, c, d, 255, 240])?;
        self.hear(&[255, 250, 44, 101, a, b, c, d, 255, 240])
    }

    /// Says one byte again and again until one comes back; how long that took. For a line that is to come back: what is said
    /// before is lost.
    ///
    /// # Errors
    /// None came back soon, or the connection has ended.
    pub fn call_until_heard(&mut self) -> Result<Duration> {
        let start = Instant::now();
        self.0.set_read_timeout(Some(Duration::from_millis(20)))?;
        let mut heard = [0; 256];
        while start.elapsed() < SOON {
            self.0.write_all(b"?")?;
            match self.0.read(&mut heard) {
                Ok(0) => bail!("the connection has ended"),
                Ok(_) => {
                    let taken = start.elapsed();
                    // The last of what comes back: before it, what is still on its way of what was called.
                    self.0.set_read_timeout(Some(SOON))?;
                    self.say(b"!")?;
                    self.hear(b"!")?;
                    return Ok(taken);
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => return Err(error.into()),
            }
        }
        bail!("nothing was heard for {SOON:?}")
    }
}
