//! Probes: whether a container lives, and whether it can be used.
//!
//! Owner: the container's task, which acts on the verdict. Probes come from the node, as a kubelet's do.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::core::v1::{Container, HTTPGetAction, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::process::Command;
use tokio::time::{sleep, timeout};

use crate::network::enter;

/// Looks at one life of a container.
pub(super) struct Prober<'a> {
    pub(super) container: &'a Container,
    pub(super) node: &'a Path,
    pub(super) address: IpAddr,
    pub(super) pid: i32,
}

/// What the probes have to say.
pub(super) enum Verdict {
    Started,
    Ready(bool),
    /// One attempt, not yet a verdict.
    Failed(&'static str, String),
}

impl Prober<'_> {
    /// Looks again and again; returns the reason when the container has to be killed.
    pub(super) async fn watch(&self, tell: &(dyn Fn(Verdict) + Sync)) -> String {
        let container = self.container;
        if let Some(probe) = &container.startup_probe {
            let mut failures = 0;
            self.delay(probe).await;
            loop {
                match self.attempt(probe).await {
                    Ok(()) => break,
                    Err(error) => {
                        failures += 1;
                        tell(Verdict::Failed("startup", format!("{error:#}")));
                        if failures >= probe.failure_threshold.unwrap_or(3) {
                            return format!("failed its startup probe: {error:#}");
                        }
                    }
                }
                sleep(period(probe)).await;
            }
        }
        tell(Verdict::Started);
        tokio::select! {
            () = self.readiness(tell) => String::new(),
            reason = self.liveness(tell) => reason,
        }
    }

    /// Never returns. It goes on while a container is being stopped.
    pub(super) async fn readiness(&self, tell: &(dyn Fn(Verdict) + Sync)) {
        let Some(probe) = &self.container.readiness_probe else {
            tell(Verdict::Ready(true));
            return std::future::pending().await;
        };
        let (mut successes, mut failures) = (0, 0);
        self.delay(probe).await;
        loop {
            match self.attempt(probe).await {
                Ok(()) => (successes, failures) = (successes + 1, 0),
                Err(error) => {
                    (successes, failures) = (0, failures + 1);
                    tell(Verdict::Failed("readiness", format!("{error:#}")));
                }
            }
            if successes >= probe.success_threshold.unwrap_or(1) {
                tell(Verdict::Ready(true));
            } else if failures >= probe.failure_threshold.unwrap_or(3) {
                tell(Verdict::Ready(false));
            }
            sleep(period(probe)).await;
        }
    }

    /// Asks the container for a page, as probes and hooks do.
    pub(super) async fn http(&self, action: &HTTPGetAction) -> Result<()> {
        ensure!(action.scheme.as_deref().unwrap_or("HTTP") == "HTTP", "this lab probes HTTP only");
        let host = action.host.as_ref().map_or(Ok(self.address), |host| host.parse()).context("host")?;
        let address = SocketAddr::new(host, self.port(&action.port)?);
        let path = action.path.as_deref().filter(|path| !path.is_empty()).unwrap_or("/");
        let mut stream = self.connect(address).await?;
        let mut request = format!(
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: kube-probe/1.36\r\nAccept: */*\r\n"
        );
        for header in action.http_headers.iter().flatten() {
            request.push_str(&format!("{}: {}\r\n", header.name, header.value));
        }
        stream.write_all(format!("{request}Connection: close\r\n\r\n").as_bytes()).await?;
        let mut answer = Vec::new();
        while answer.len() < 12 && stream.read_buf(&mut answer).await? > 0 {}
        let answer = String::from_utf8_lossy(&answer);
        let code = answer.split(' ').nth(1).and_then(|code| code.get(..3)?.parse::<u16>().ok());
        match code {
            Some(200..400) => Ok(()),
            Some(code) => bail!("HTTP probe failed with statuscode: {code}"),
            None => bail!("no HTTP answer: {:?}", answer.chars().take(40).collect::<String>()),
        }
    }

    /// Runs something inside the container.
    pub(super) async fn exec(&self, command: &[String]) -> Result<()> {
        let output = Command::new("nsenter")
            .args(["--target", &self.pid.to_string(), "--mount", "--uts", "--net", "--root", "--wd", "--"])
            .args(command)
            .kill_on_drop(true)
            .output()
            .await?;
        ensure!(output.status.success(), "{command:?}: {}", output.status);
        Ok(())
    }

    async fn liveness(&self, tell: &(dyn Fn(Verdict) + Sync)) -> String {
        let Some(probe) = &self.container.liveness_probe else {
            return std::future::pending().await;
        };
        let mut failures = 0;
        self.delay(probe).await;
        loop {
            match self.attempt(probe).await {
                Ok(()) => failures = 0,
                Err(error) => {
                    failures += 1;
                    tell(Verdict::Failed("liveness", format!("{error:#}")));
                    if failures >= probe.failure_threshold.unwrap_or(3) {
                        return format!("failed its liveness probe: {error:#}");
                    }
                }
            }
            sleep(period(probe)).await;
        }
    }

    async fn delay(&self, probe: &Probe) {
        sleep(seconds(probe.initial_delay_seconds, 0)).await;
    }

    async fn attempt(&self, probe: &Probe) -> Result<()> {
        timeout(seconds(probe.timeout_seconds, 1), async {
            if let Some(action) = &probe.http_get {
                self.http(action).await
            } else if let Some(action) = &probe.tcp_socket {
                self.connect(SocketAddr::new(self.address, self.port(&action.port)?)).await.map(drop)
            } else if let Some(action) = &probe.exec {
                self.exec(action.command.as_deref().unwrap_or_default()).await
            } else {
                bail!("this lab knows no such probe")
            }
        })
        .await
        .context("timed out")?
    }

    /// The socket belongs to the namespace in which it was made, whoever uses it.
    async fn connect(&self, address: SocketAddr) -> Result<TcpStream> {
        let socket = enter(self.node, || match address {
            SocketAddr::V4(_) => TcpSocket::new_v4(),
            SocketAddr::V6(_) => TcpSocket::new_v6(),
        })??;
        socket.connect(address).await.with_context(|| format!("dial tcp {address}"))
    }

    fn port(&self, port: &IntOrString) -> Result<u16> {
        let number = match port {
            IntOrString::Int(number) => *number,
            IntOrString::String(name) => {
                let mut ports = self.container.ports.iter().flatten();
                let named = ports.find(|port| port.name.as_ref() == Some(name));
                named.with_context(|| format!("no port is called {name}"))?.container_port
            }
        };
        Ok(u16::try_from(number)?)
    }
}

fn period(probe: &Probe) -> Duration {
    seconds(probe.period_seconds, 10)
}

fn seconds(value: Option<i32>, default: u64) -> Duration {
    Duration::from_secs(value.and_then(|value| u64::try_from(value).ok()).unwrap_or(default))
}
