//! Handshakes on a thread of their own, limited in time and number.
//!
//! A port lends a socket ([`Handshakes::begin`]) and gets back a connection or the reason why there is none. Nothing
//! here ever makes the data thread wait: both limits are counted without locks, and the place where a result goes is
//! reserved before the handshake begins. The thread ends with the last [`Handshaker`], and gives up a handshake whose
//! port has gone. Must not see a byte of the device.

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use rustls::{ServerConfig, ServerConnection};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::JoinSet,
    time::{Instant, timeout, timeout_at},
};
use tokio_rustls::TlsAcceptor;

/// How long a peer that was refused may take to read why. Closed with bytes unread, the connection would be reset and
/// the alert lost.
const PARTING: Duration = Duration::from_secs(1);

/// What handshakes may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// From the connection until the handshake is done.
    pub time: Duration,
    /// Under way at once, over all ports.
    pub at_once: usize,
    /// Under way at once, or done and not taken, for one port.
    pub per_port: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { time: Duration::from_secs(10), at_once: 32, per_port: 4 }
    }
}

/// A connection whose handshake is done.
pub struct Finished {
    /// Non-blocking, in no runtime.
    pub socket: std::net::TcpStream,
    /// It may hold bytes that the peer has sent along.
    pub session: ServerConnection,
}

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unfinished {
    /// The peer left without a byte: a health check.
    Silent,
    /// The handshake failed; for the log.
    Failed(String),
    /// It took longer than [`Limits::time`].
    TimedOut,
}

/// What became of a handshake.
pub struct Done {
    /// Whose.
    pub peer: SocketAddr,
    /// The connection.
    pub outcome: Result<Box<Finished>, Unfinished>,
}

struct Job {
    socket: std::net::TcpStream,
    peer: SocketAddr,
    config: Arc<ServerConfig>,
    deadline: Instant,
    place: mpsc::OwnedPermit<Done>,
    port: mpsc::Sender<Done>,
    seat: OwnedSemaphorePermit,
}

/// Handle of the thread.
#[derive(Clone)]
pub struct Handshaker {
    jobs: mpsc::Sender<Job>,
    seats: Arc<Semaphore>,
    limits: Limits,
}

impl Handshaker {
    /// Starts the thread.
    ///
    /// # Errors
    /// If no runtime or no thread can be made.
    pub fn start(limits: Limits) -> io::Result<Self> {
        let (jobs, queue) = mpsc::channel(limits.at_once.max(1));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        std::thread::Builder::new()
            .name("tls".into())
            .stack_size(256 * 1024)
            .spawn(move || runtime.block_on(work(queue)))?;
        Ok(Self { jobs, seats: Arc::new(Semaphore::new(limits.at_once)), limits })
    }
}

/// The handshakes of one port; dropped, those under way are given up and their connections closed.
pub struct Handshakes {
    handshaker: Handshaker,
    port: mpsc::Sender<Done>,
    done: mpsc::Receiver<Done>,
}

impl Handshakes {
    /// None yet.
    pub fn new(handshaker: Handshaker) -> Self {
        let (port, done) = mpsc::channel(handshaker.limits.per_port.max(1));
        Self { handshaker, port, done }
    }

    /// Takes the socket over.
    ///
    /// # Errors
    /// If too many are under way, or the thread has ended: the connection is closed.
    pub fn begin(
        &self,
        socket: TcpStream,
        peer: SocketAddr,
        config: Arc<ServerConfig>,
    ) -> Result<(), TooManyHandshakes> {
        let place = self.port.clone().try_reserve_owned().map_err(|_| TooManyHandshakes)?;
        let seat = Arc::clone(&self.handshaker.seats).try_acquire_owned().map_err(|_| TooManyHandshakes)?;
        // Fails only if this process is out of something.
        let socket = socket.into_std().map_err(|_| TooManyHandshakes)?;
        let deadline = Instant::now() + self.handshaker.limits.time;
        let port = self.port.clone();
        let job = Job { socket, peer, config, deadline, place, port, seat };
        // There is room for as many as there are seats.
        self.handshaker.jobs.try_send(job).map_err(|_| TooManyHandshakes)
    }

    /// How many are under way, or done and not taken.
    pub fn under_way(&self) -> usize {
        self.port.max_capacity() - self.port.capacity()
    }

    /// The next one that is done.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Done> {
        match self.done.poll_recv(cx) {
            Poll::Ready(Some(done)) => Poll::Ready(done),
            // We hold a sender ourselves: it never ends.
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }
}

/// More at once than [`Limits`] allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many TLS handshakes at once")]
pub struct TooManyHandshakes;

async fn work(mut queue: mpsc::Receiver<Job>) {
    let mut running = JoinSet::new();
    loop {
        tokio::select! {
            job = queue.recv() => match job {
                Some(job) => drop(running.spawn(job.run())),
                // Dropped, the set ends whatever is under way: nobody is left to take it.
                None => return,
            },
            Some(ended) = running.join_next(), if !running.is_empty() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "a handshake's task failed");
                }
            }
        }
    }
}

impl Job {
    async fn run(self) {
        let Self { socket, peer, config, deadline, place, port, seat } = self;
        let shaken = async {
            match timeout_at(deadline, shake(socket, config)).await {
                Ok(shaken) => shaken,
                Err(_) => Err((Unfinished::TimedOut, None)),
            }
        };
        let shaken = tokio::select! {
            shaken = shaken => shaken,
            () = port.closed() => return,
        };
        let (outcome, parting) = match shaken {
            Ok(finished) => (Ok(finished), None),
            Err((unfinished, stream)) => (Err(unfinished), stream),
        };
        // Who hears that a handshake is over finds its seat free, unless somebody still sits on it to say goodbye.
        let seat = parting.is_some().then_some(seat);
        drop(place.send(Done { peer, outcome }));
        if let Some(stream) = parting {
            // Whether it has listened or not, it is closed now.
            timeout(PARTING, part(stream)).await.ok();
        }
        drop(seat);
    }
}

type Shaken = Result<Box<Finished>, (Unfinished, Option<TcpStream>)>;

async fn shake(socket: std::net::TcpStream, config: Arc<ServerConfig>) -> Shaken {
    let failed = |error: io::Error| (Unfinished::Failed(error.to_string()), None);
    let stream = TcpStream::from_std(socket).map_err(failed)?;
    // Nothing is spent on a peer that says nothing.
    if stream.peek(&mut [0]).await.map_err(failed)? == 0 {
        return Err((Unfinished::Silent, None));
    }
    match TlsAcceptor::from(config).accept(stream).into_fallible().await {
        Ok(stream) => {
            let (stream, session) = stream.into_inner();
            let socket = stream.into_std().map_err(failed)?;
            Ok(Box::new(Finished { socket, session }))
        }
        Err((error, stream)) => Err((Unfinished::Failed(error.to_string()), Some(stream))),
    }
}

/// Sends FIN and reads on until the peer does, at most as much as fits into a few records.
async fn part(mut stream: TcpStream) -> io::Result<()> {
    stream.shutdown().await?;
    let mut bytes = [0; 1024];
    for _ in 0..64 {
        if stream.read(&mut bytes).await? == 0 {
            break;
        }
    }
    Ok(())
}
