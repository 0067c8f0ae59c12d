//! Who opens and closes a device node: inotify, which sees everybody, through links, mounts and namespaces.
//!
//! Owner: `stick`. Counts nothing itself.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::inotify::{CreateFlags, ReadFlags, Reader, WatchFlags, add_watch, init};
use rustix::io::Errno;

/// What happened to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Open,
    Close,
    /// Nobody holds it any more and it is unlinked: the kernel has dropped the watch.
    Gone,
}

/// One inotify instance for all nodes of a stick.
#[derive(Debug)]
pub(crate) struct Opens {
    inotify: OwnedFd,
}

impl Opens {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { inotify: init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)? })
    }

    /// Starts to watch a node; the number is in [`Opens::drain`]'s answers.
    ///
    /// Two equal events in a row that nobody has read yet become one, so two quick opens would count as one. The
    /// directory is watched as well: each access then gives two events, which keeps equal ones apart.
    /// Only opens within the same microsecond, on two processors, can still count as one.
    pub(crate) fn watch(&self, node: &Path) -> io::Result<i32> {
        if let Some(directory) = node.parent() {
            add_watch(&self.inotify, directory, WatchFlags::OPEN | WatchFlags::CLOSE)?;
        }
        Ok(add_watch(&self.inotify, node, WatchFlags::OPEN | WatchFlags::CLOSE)?)
    }

    /// What happened since the last call, oldest first.
    pub(crate) fn drain(&self) -> io::Result<Vec<(i32, Access)>> {
        let mut accesses = Vec::new();
        let mut buffer = [MaybeUninit::uninit(); 8192];
        let mut reader = Reader::new(&self.inotify, &mut buffer);
        loop {
            let event = match reader.next() {
                Ok(event) => event,
                Err(Errno::WOULDBLOCK) => return Ok(accesses),
                Err(error) => return Err(error.into()),
            };
            let flags = event.events();
            let access = if flags.contains(ReadFlags::IGNORED) {
                Access::Gone
            } else if flags.contains(ReadFlags::OPEN) {
                Access::Open
            } else if flags.intersects(ReadFlags::CLOSE_WRITE | ReadFlags::CLOSE_NOWRITE) {
                Access::Close
            } else {
                continue;
            };
            accesses.push((event.wd(), access));
        }
    }
}

impl AsFd for Opens {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}
