//! The data thread: a current-thread runtime that runs every port's task and nothing else, so that at rest it never
//! wakes. Discovery, the API client and HTTP live on the control thread.

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot},
    task::{JoinSet, unconstrained},
    time::Instant,
};

use crate::port::{Port, ledger};

/// Ports waiting to be started; the supervisor waits when it is full.
const QUEUE: usize = 64;

enum Job {
    Start(Box<Port>),
    Ping(Arc<AtomicBool>),
}

/// Handle of the data thread.
#[derive(Clone)]
pub struct DataThread {
    jobs: mpsc::Sender<Job>,
}

/// Ends with the last [`DataThread`], when every port has ended.
pub struct DataThreadJoin {
    ended: oneshot::Receiver<()>,
}

impl DataThread {
    /// Starts the thread. `queue_ceiling`: most bytes that may wait in the queues of all its ports together.
    ///
    /// # Errors
    /// If no runtime or no thread can be made.
    pub fn start(queue_ceiling: usize) -> io::Result<(Self, DataThreadJoin)> {
        let (jobs, queue) = mpsc::channel(QUEUE);
        let (ending, ended) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        std::thread::Builder::new().name("data".into()).stack_size(256 * 1024).spawn(move || {
            ledger::set_ceiling(queue_ceiling);
            runtime.block_on(work(queue));
            // Nobody need wait for it.
            ending.send(()).ok();
        })?;
        Ok((Self { jobs }, DataThreadJoin { ended }))
    }

    /// Runs a port's task until that ends by itself.
    ///
    /// # Errors
    /// If the thread is gone.
    pub async fn run(&self, port: Port) -> io::Result<()> {
        let gone = |_| io::Error::other("the data thread has ended");
        self.jobs.send(Job::Start(Box::new(port))).await.map_err(gone)
    }

    /// For asking after it; does not keep it running.
    pub fn pulse(&self) -> Pulse {
        Pulse { jobs: self.jobs.downgrade(), asked: Arc::default() }
    }
}

/// Since when, and whether it is answered.
type Question = (Instant, Arc<AtomicBool>);

/// Asks the data thread for signs of life. Without anybody who asks it is never woken for that.
#[derive(Clone)]
pub struct Pulse {
    jobs: mpsc::WeakSender<Job>,
    /// What the data thread was asked last.
    asked: Arc<Mutex<Option<Question>>>,
}

impl Pulse {
    /// How long the thread has left a question unanswered; asks the next one where there is none.
    pub fn silence(&self) -> Duration {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        match &*asked {
            Some((since, alive)) if !alive.load(Ordering::Acquire) => since.elapsed(),
            _ => {
                let alive = Arc::<AtomicBool>::default();
                let job = Job::Ping(Arc::clone(&alive));
                // A queue that stays full is silence as well.
                if self.jobs.upgrade().is_none_or(|jobs| jobs.try_send(job).is_err()) {
                    tracing::warn!("the data thread takes no work at the moment");
                }
                *asked = Some((Instant::now(), alive));
                Duration::ZERO
            }
        }
    }
}

impl DataThreadJoin {
    /// Waits until the thread has ended, at most `limit`; whether it has.
    pub async fn join(self, limit: Duration) -> bool {
        tokio::time::timeout(limit, self.ended).await.is_ok()
    }
}

async fn work(mut queue: mpsc::Receiver<Job>) {
    let mut ports = JoinSet::new();
    loop {
        tokio::select! {
            job = queue.recv() => match job {
                // A port ends its turns itself: the runtime's own limit would look to it like a socket that takes
                // nothing, and its client like one that does not read.
                Some(Job::Start(port)) => drop(ports.spawn(unconstrained(port.run()))),
                // Whoever asked may have stopped waiting.
                Some(Job::Ping(alive)) => alive.store(true, Ordering::Release),
                None => break,
            },
            Some(ended) = ports.join_next(), if !ports.is_empty() => report(ended),
        }
    }
    while let Some(ended) = ports.join_next().await {
        report(ended);
    }
}

/// A port's panic is a bug of ours; the other ports go on, and the supervisor starts this one anew.
fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a port's task failed");
    }
}
