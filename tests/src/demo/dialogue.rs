//! What to say to a device and what it must answer, for each kind of simulated firmware; as bytes, and as a command to
//! paste. Pure but for [`Client`].

use std::{env, net::SocketAddr, time::Duration};

use anyhow::{Context, Result, ensure};
use serialfleet_sim::{
    Mode,
    reply::{modbus_frame, zstack_frame},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// How long a device may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// A question and its answer.
pub(super) struct Dialogue {
    /// In words.
    pub(super) about: &'static str,
    question: Vec<u8>,
    answer: Vec<u8>,
}

impl Dialogue {
    pub(super) fn with(mode: Mode) -> Self {
        match mode {
            Mode::ZStack => Self {
                about: "Z-Stack SYS_PING",
                question: zstack_frame([0x21, 0x01], &[]),
                answer: zstack_frame([0x61, 0x01], &[0x79, 0x07]),
            },
            Mode::Modbus => Self {
                about: "Modbus RTU, registers 7 and 8",
                question: modbus_frame(&[1, 3, 0, 7, 0, 2]),
                answer: modbus_frame(&[1, 3, 4, 0, 7, 0, 8]),
            },
            Mode::Echo | Mode::Silent => {
                // Every value once: what a terminal or telnet would change comes back changed.
                let bytes: Vec<u8> = (0..=u8::MAX).collect();
                Self { about: "all 256 byte values", question: bytes.clone(), answer: bytes }
            }
        }
    }
}

/// A client that stays connected.
#[derive(Debug)]
pub(super) struct Client {
    stream: TcpStream,
    pub(super) address: SocketAddr,
}

impl Client {
    pub(super) async fn connect(server: SocketAddr) -> Result<Self> {
        let connected = timeout(PATIENCE, TcpStream::connect(server)).await;
        let stream = connected.context("in time")?.with_context(|| format!("cannot connect to {server}"))?;
        let address = stream.local_addr()?;
        Ok(Self { stream, address })
    }

    /// Asks, and compares the answer.
    pub(super) async fn ask(&mut self, dialogue: &Dialogue) -> Result<()> {
        self.stream.write_all(&dialogue.question).await.context("writing")?;
        let mut got = vec![0; dialogue.answer.len()];
        let mut filled = 0;
        let read = async {
            while let Some(rest) = got.get_mut(filled..).filter(|rest| !rest.is_empty()) {
                match self.stream.read(rest).await? {
                    0 => anyhow::bail!("the connection was closed"),
                    count => filled += count,
                }
            }
            Ok(())
        };
        let read = timeout(PATIENCE, read).await;
        got.truncate(filled);
        let so_far = || format!("{}: asked {}, got {}", dialogue.about, hex(&dialogue.question), hex(&got));
        read.map_err(|_| anyhow::anyhow!("no full answer in time")).flatten().with_context(so_far)?;
        ensure!(got == dialogue.answer, "{}, expected {}", so_far(), hex(&dialogue.answer));
        Ok(())
    }
}

/// A line for a shell that talks to the device, with what is installed here.
pub(super) fn command(mode: Option<Mode>, server: SocketAddr) -> String {
    let (host, port) = (server.ip(), server.port());
    match mode {
        Some(mode @ (Mode::ZStack | Mode::Modbus)) => {
            let Dialogue { question, answer, .. } = Dialogue::with(mode);
            if is_installed("python3") {
                let question: String = question.iter().map(|byte| format!("{byte:02x}")).collect();
                format!(
                    "python3 -c \"import socket; s = socket.create_connection(('{host}', {port})); \
                     s.send(bytes.fromhex('{question}')); print(s.recv(99).hex(' '))\""
                )
            } else {
                let question: String = question.iter().map(|byte| format!("\\x{byte:02x}")).collect();
                format!(
                    "bash -c 'exec 3<>/dev/tcp/{host}/{port}; printf \"{question}\" >&3; head -c {} <&3 | od -An -tx1'",
                    answer.len()
                )
            }
        }
        _ if is_installed("socat") => format!("socat - TCP:{host}:{port}"),
        _ if is_installed("nc") => format!("nc {host} {port}"),
        _ => format!("bash -c 'exec 3<>/dev/tcp/{host}/{port}; cat <&3 & cat >&3'"),
    }
}

fn is_installed(program: &str) -> bool {
    env::var_os("PATH")
        .is_some_and(|path| env::split_paths(&path).any(|directory| directory.join(program).is_file()))
}

fn hex(bytes: &[u8]) -> String {
    let shown: Vec<String> = bytes.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    let more = if bytes.len() > 16 { format!(" ... ({} bytes)", bytes.len()) } else { String::new() };
    format!("[{}{more}]", shown.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_simulated_firmware_answers_as_expected() {
        for mode in [Mode::Echo, Mode::ZStack, Mode::Modbus] {
            let Dialogue { question, answer, .. } = Dialogue::with(mode);
            assert_eq!(mode.answer(&mut question.clone()), answer, "{mode:?}");
        }
    }
}
