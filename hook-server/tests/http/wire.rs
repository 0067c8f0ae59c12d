//! A server on a real socket, and a client that writes what it is told, byte by byte.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use serialfleet_hook::{
    access::Access,
    app::{Readiness, Surface},
    config::{Config, Limits},
    metrics::Metrics,
    serve::{Timing, Tls, bind, serve_with},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    sync::oneshot,
    task::JoinSet,
    time::timeout,
};

/// Longest wait for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Options {
    pub(crate) limits: Limits,
    pub(crate) timing: Timing,
    pub(crate) tls: Option<Tls>,
    pub(crate) access: Access,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) clock: fn() -> SystemTime,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            timing: Timing {
                drain_delay: Duration::ZERO,
                drain_limit: Duration::from_millis(200),
                ..Timing::default()
            },
            tls: None,
            access: Access::default(),
            metrics: Arc::default(),
            clock: || SystemTime::UNIX_EPOCH,
        }
    }
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    tasks: JoinSet<()>,
}

impl Server {
    pub(crate) async fn start(options: Options) -> Self {
        let Options { limits, timing, tls, access, metrics, clock } = options;
        let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let ready = Readiness::default();
        let config = Config::with_image("example/serialfleet:test");
        let surface = Surface { config, limits, clock, ready: ready.clone(), access, metrics, witness: None };
        let (stop, stopped) = oneshot::channel();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            serve_with(listener, tls, surface.router(), ready, timing, async {
                stopped.await.unwrap_or_default();
            })
            .await;
        });
        Self { address, stop: Some(stop), tasks }
    }

    pub(crate) async fn connect(&self) -> Wire<TcpStream> {
        Wire::new(TcpStream::connect(self.address).await.unwrap())
    }

    /// What a probe or a scrape gets on a connection of its own.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.connect().await.call(&format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"), "").await
    }

    /// The word to end.
    pub(crate) fn stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    pub(crate) async fn ended(&mut self) {
        timeout(PATIENCE, self.tasks.join_next()).await.expect("the server ends by itself").unwrap().unwrap();
    }
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(it, _)| *it == name)
            .map(|(_, it)| it)
    }
}

/// One connection.
pub(crate) struct Wire<S> {
    stream: S,
    read: Vec<u8>,
}

pub(crate) fn post(path: &str, more: &str, length: usize) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n{more}\r\n"
    )
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, read: Vec::new() }
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// Sends all of it before anything is read, as a simple client does.
    pub(crate) async fn call(&mut self, head: &str, body: &str) -> Answer {
        self.send(head).await;
        self.send(body).await;
        self.answer().await
    }

    pub(crate) async fn post(&mut self, path: &str, more: &str, body: &str) -> Answer {
        self.call(&post(path, more, body.len()), body).await
    }

    /// The next answer.
    pub(crate) async fn answer(&mut self) -> Answer {
        self.try_answer().await.expect("an answer before the connection ends")
    }

    /// The next answer, or nothing where the connection ends first.
    pub(crate) async fn try_answer(&mut self) -> Option<Answer> {
        let end = loop {
            if let Some(end) = self.read.windows(4).position(|it| it == b"\r\n\r\n") {
                break end + 4;
            }
            self.more().await?;
        };
        let head = String::from_utf8(self.read.drain(..end).collect()).unwrap().to_lowercase();
        let code = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut answer = Answer { code, head, body: String::new() };
        let length = answer.header("content-length").map_or(0, |it| it.parse::<usize>().unwrap());
        while self.read.len() < length {
            self.more().await?;
        }
        answer.body = String::from_utf8(self.read.drain(..length).collect()).unwrap();
        Some(answer)
    }

    async fn more(&mut self) -> Option<()> {
        let mut buffer = vec![0; 64 << 10];
        let read = timeout(PATIENCE, self.stream.read(&mut buffer)).await.expect("bytes or an end");
        match read {
            Ok(0) | Err(_) => None,
            Ok(n) => {
                self.read.extend_from_slice(&buffer[..n]);
                Some(())
            }
        }
    }

    /// Whatever comes back, if anything: to a client that speaks the wrong protocol it need not be HTTP.
    pub(crate) async fn whatever(&mut self) {
        self.more().await;
    }

    /// Whether the other side has ended the connection, without a word.
    pub(crate) async fn ends(&mut self) -> bool {
        self.more().await.is_none()
    }
}
