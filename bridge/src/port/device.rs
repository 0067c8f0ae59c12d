//! The tty as the data thread sees it: readiness, reads and writes that never block.
//!
//! Registered for reading only. A registration for writing exists only while the kernel's queue is full, because
//! each byte that drains from it would wake the thread otherwise.
#![allow(unsafe_code, reason = "AsyncFd must be promised that its descriptor stays open")]

use std::{
    io,
    os::fd::OwnedFd,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::io::{Interest, unix::AsyncFd};

pub(super) use crate::tty::Gone;
use crate::tty::Tty;

pub(super) struct Device {
    /// Duplicates of the tty's descriptor. They stand before the tty, so that they are closed before it: whoever
    /// closes last may have to wait, and that is the tty's closing thread.
    room: Option<AsyncFd<OwnedFd>>,
    spare: Option<OwnedFd>,
    tty: AsyncFd<Arc<Tty>>,
}

impl Device {
    pub(super) fn new(tty: Arc<Tty>) -> io::Result<Self> {
        // SAFETY: a Tty's descriptor is open and the same for as long as the Tty lives, which the AsyncFd owns.
        let tty = unsafe { AsyncFd::register_with_interest(tty, Interest::READABLE) };
        Ok(Self { room: None, spare: None, tty: tty.map_err(io::Error::from)? })
    }

    /// Reads what is there, at least one byte.
    pub(super) fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<Result<usize, Gone>> {
        let _inside = ready!(self.tty.get_ref().poll_enter(cx));
        loop {
            let Ok(mut guard) = ready!(self.tty.poll_read_ready(cx)) else { return Poll::Ready(Err(Gone)) };
            match self.tty.get_ref().read(buffer) {
                // A hang-up; with VMIN=1 "nothing now" is EAGAIN, never 0.
                Ok(0) => return Poll::Ready(Err(Gone)),
                Ok(read) => {
                    // The queue was drained: what comes later raises a new edge (n_tty wakes readers on each
                    // receive), so the read that would only answer EAGAIN is saved.
                    if read < buffer.len() {
                        guard.clear_ready();
                    }
                    return Poll::Ready(Ok(read));
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => guard.clear_ready(),
                    io::ErrorKind::Interrupted => {}
                    _ => return Poll::Ready(Err(Gone)),
                },
            }
        }
    }

    /// Writes what the kernel takes now, at least one byte.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize, Gone>> {
        loop {
            let guard = match &self.room {
                None => None,
                Some(room) => match ready!(room.poll_write_ready(cx)) {
                    Ok(guard) => Some(guard),
                    Err(_) => return Poll::Ready(Err(Gone)),
                },
            };
            let result = {
                let tty = self.tty.get_ref();
                let _inside = ready!(tty.poll_enter(cx));
                tty.write(bytes)
            };
            match result {
                Ok(written) => {
                    if written == bytes.len() {
                        self.ask_anew();
                    } else if self.wait_for_room().is_err() {
                        // A short write means a full queue: the write that would only answer EAGAIN is saved.
                        return Poll::Ready(Err(Gone));
                    }
                    return Poll::Ready(Ok(written));
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => {
                        if let Some(mut guard) = guard {
                            guard.clear_ready();
                        } else if self.wait_for_room().is_err() {
                            return Poll::Ready(Err(Gone));
                        }
                    }
                    io::ErrorKind::Interrupted => {}
                    _ => return Poll::Ready(Err(Gone)),
                },
            }
        }
    }

    /// The kernel's queue was dropped, which need wake nobody: the next write asks it anew.
    pub(super) fn ask_anew(&mut self) {
        if let Some(room) = self.room.take() {
            self.spare = Some(room.into_inner());
        }
    }

    /// For whoever sets the line.
    pub(super) fn tty(&self) -> &Arc<Tty> {
        self.tty.get_ref()
    }

    /// Bytes that the kernel holds for the device (TIOCOUTQ, which poll(2) of a tty looks at too: it never waits).
    pub(super) fn queued(&self) -> u32 {
        self.tty.get_ref().queued().unwrap_or(0)
    }

    fn wait_for_room(&mut self) -> io::Result<()> {
        if self.room.is_none() {
            let fd = match self.spare.take() {
                Some(fd) => fd,
                None => self.tty.get_ref().duplicate()?,
            };
            // SAFETY: the AsyncFd owns the descriptor, which is open until it is dropped.
            self.room = Some(unsafe { AsyncFd::register_with_interest(fd, Interest::WRITABLE) }?);
        }
        Ok(())
    }
}
