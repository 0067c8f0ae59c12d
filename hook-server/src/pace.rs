//! A connection that does not wait for ever: not for the rest of a request's head once it has begun, and not for a
//! caller that does not take its answer. How long it may be idle between requests is hyper's to watch, and much longer:
//! hyper has one limit for both. Belongs to [`crate::serve`]; looks at no byte.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

/// Which requests of a connection have begun and ended, as its service sees it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Turns(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    begun: AtomicU64,
    ended: AtomicU64,
}

/// A request between its head and its answer.
#[derive(Debug)]
pub(crate) struct Turn(Turns);

impl Turns {
    /// A head is complete.
    pub(crate) fn begin(&self) -> Turn {
        self.0.begun.fetch_add(1, Ordering::Relaxed);
        Turn(self.clone())
    }

    fn begun(&self) -> u64 {
        self.0.begun.load(Ordering::Relaxed)
    }

    fn is_idle(&self) -> bool {
        self.begun() == self.0.ended.load(Ordering::Relaxed)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.0.ended.fetch_add(1, Ordering::Relaxed);
    }
}

/// A stream with limits.
pub(crate) struct Paced<S> {
    stream: S,
    turns: Turns,
    head: Duration,
    write: Duration,
    /// Since the first byte of a head, and which request that will be.
    reading: Option<(u64, Pin<Box<Sleep>>)>,
    /// Since the caller took nothing more.
    writing: Option<Pin<Box<Sleep>>>,
}

impl<S> Paced<S> {
    /// `head`: for a head from its first byte; `write`: without the caller taking a byte.
    pub(crate) fn new(stream: S, turns: Turns, head: Duration, write: Duration) -> Self {
        Self { stream, turns, head, write, reading: None, writing: None }
    }

    fn written<T>(&mut self, context: &mut Context<'_>, done: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if done.is_ready() {
            self.writing = None;
            return done;
        }
        let limit = self.write;
        ready!(self.writing.get_or_insert_with(|| Box::pin(sleep(limit))).as_mut().poll(context));
        Poll::Ready(Err(timed_out("the caller does not take its answer")))
    }
}

fn timed_out(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, what)
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(context, buffer);
        let begun = this.turns.begun();
        if this.reading.as_ref().is_some_and(|(turn, _)| *turn != begun) {
            this.reading = None;
        }
        if this.reading.is_none() && this.turns.is_idle() && buffer.filled().len() > before {
            this.reading = Some((begun, Box::pin(sleep(this.head))));
        }
        if read.is_pending()
            && let Some((_, limit)) = &mut this.reading
        {
            ready!(limit.as_mut().poll(context));
            return Poll::Ready(Err(timed_out("the head of a request does not arrive")));
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.written(context, done)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.written(context, done)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let done = Pin::new(&mut self.stream).poll_flush(context);
        self.written(context, done)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let done = Pin::new(&mut self.stream).poll_shutdown(context);
        self.written(context, done)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    const HEAD: Duration = Duration::from_secs(10);
    const WRITE: Duration = Duration::from_secs(30);
    const LONG: Duration = Duration::from_secs(100);

    #[tokio::test(start_paused = true)]
    async fn a_head_that_has_begun_is_waited_for_briefly_and_the_next_one_for_long() {
        let (mut caller, ours) = duplex(64);
        let turns = Turns::default();
        let mut paced = Paced::new(ours, turns.clone(), HEAD, WRITE);
        let mut buffer = [0; 64];
        for _ in 0..2 {
            caller.write_all(b"head").await.unwrap();
            paced.read_exact(&mut buffer[..4]).await.unwrap();
            let turn = turns.begin();
            // A body may take its time, and then nothing may come for long.
            let late = async {
                sleep(LONG).await;
                caller.write_all(b"body").await.unwrap();
            };
            let (read, ()) = tokio::join!(paced.read(&mut buffer), late);
            assert_eq!(read.unwrap(), 4);
            drop(turn);
            assert!(tokio::time::timeout(LONG, paced.read(&mut buffer)).await.is_err(), "idle");
        }
        // A whole request in one piece leaves no limit behind.
        caller.write_all(b"whole").await.unwrap();
        assert_eq!(paced.read(&mut buffer).await.unwrap(), 5);
        drop(turns.begin());
        assert!(tokio::time::timeout(LONG, paced.read(&mut buffer)).await.is_err(), "idle");
        caller.write_all(b"half").await.unwrap();
        assert_eq!(paced.read(&mut buffer).await.unwrap(), 4);
        let start = tokio::time::Instant::now();
        assert_eq!(paced.read(&mut buffer).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(start.elapsed(), HEAD);
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_takes_nothing_is_not_waited_for() {
        let (mut caller, ours) = duplex(4);
        let mut paced = Paced::new(ours, Turns::default(), HEAD, WRITE);
        let mut taken = [0; 4];
        let slow = async {
            for _ in 0..4 {
                sleep(WRITE / 2).await;
                caller.read_exact(&mut taken).await.unwrap();
            }
        };
        let (written, ()) = tokio::join!(paced.write_all(b"slow is no trouble"), slow);
        written.unwrap();
        assert_eq!(paced.write_all(b"never").await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
