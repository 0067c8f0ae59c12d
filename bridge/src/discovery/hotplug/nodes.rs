//! Changes in the device directory through inotify: the second source, for where no uevents arrive (a pod with a
//! user namespace of its own). It also tells when udevd has set the mode of a new node.
//!
//! Owner: [`super::Hotplug`]. Only names are looked at: no node is touched.

use std::{io, mem::MaybeUninit, os::fd::OwnedFd, path::Path};

use rustix::{
    fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags},
    io::Errno,
};
use tokio::io::{Interest, unix::AsyncFd};
use tracing::debug;

use super::{Hint, Source};

/// A watched directory.
#[derive(Debug)]
pub(super) struct Nodes {
    inotify: AsyncFd<OwnedFd>,
}

impl Nodes {
    #[allow(
        deprecated,
        reason = "its successor is unsafe for types whose descriptor may change; this one does not"
    )]
    pub(super) fn watch(directory: &Path) -> io::Result<Self> {
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        let changes = WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVED_FROM
            | WatchFlags::MOVED_TO
            | WatchFlags::ATTRIB
            | WatchFlags::ONLYDIR;
        inotify::add_watch(&inotify, directory, changes)?;
        Ok(Self { inotify: AsyncFd::with_interest(inotify, Interest::READABLE)? })
    }

    fn drain(inotify: &OwnedFd) -> Drained {
        let mut buffer = [MaybeUninit::uninit(); BUFFER];
        let mut events = inotify::Reader::new(inotify, &mut buffer);
        let mut hint = None;
        loop {
            let event = match events.next() {
                Ok(event) => event,
                Err(Errno::WOULDBLOCK) => return Drained::Empty(hint),
                Err(Errno::INTR) => continue,
                Err(error) => return Drained::Broken(error.into()),
            };
            // The directory itself is gone.
            if event.events().contains(ReadFlags::IGNORED) {
                return Drained::Broken(io::ErrorKind::NotFound.into());
            }
            let serial = event.file_name().is_some_and(|name| {
                let name = name.to_bytes();
                name.starts_with(b"tty") || name.starts_with(b"rfcomm")
            });
            let lost = event.events().contains(ReadFlags::QUEUE_OVERFLOW);
            // Other names are disks and the like coming and going, or the directory's own attributes.
            hint = hint.max(Some(if serial || lost { Hint::Urgent } else { Hint::Lazy }));
        }
    }
}

impl Source for Nodes {
    async fn hint(&mut self) -> Option<Hint> {
        loop {
            let mut guard = self.inotify.readable().await.ok()?;
            match Self::drain(guard.get_inner()) {
                Drained::Empty(hint) => {
                    guard.clear_ready();
                    if hint.is_some() {
                        return hint;
                    }
                }
                Drained::Broken(error) => {
                    debug!(%error, "watch on the device directory");
                    return None;
                }
            }
        }
    }
}

/// How reading the queue ended.
enum Drained {
    Empty(Option<Hint>),
    Broken(io::Error),
}

/// Room for some dozens of events.
const BUFFER: usize = 4096;

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    #[tokio::test]
    async fn nodes_that_come_and_go_and_change_their_mode_are_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let mut nodes = Nodes::watch(directory.path()).unwrap();
        let node = directory.path().join("ttyUSB0");
        fs::write(&node, "").unwrap();
        assert_eq!(nodes.hint().await, Some(Hint::Urgent));
        fs::set_permissions(&node, fs::Permissions::from_mode(0o660)).unwrap();
        assert_eq!(nodes.hint().await, Some(Hint::Urgent));
        fs::remove_file(&node).unwrap();
        assert_eq!(nodes.hint().await, Some(Hint::Urgent));
        fs::write(directory.path().join("sda"), "").unwrap();
        assert_eq!(nodes.hint().await, Some(Hint::Lazy));
        drop(directory);
        assert_eq!(nodes.hint().await, None, "the directory is gone");
    }

    #[tokio::test]
    async fn more_changes_than_the_buffer_holds_are_taken_in_one_go() {
        let directory = tempfile::tempdir().unwrap();
        let mut nodes = Nodes::watch(directory.path()).unwrap();
        for number in 0..1000 {
            fs::write(directory.path().join(format!("ttyUSB{number}")), "").unwrap();
        }
        assert_eq!(nodes.hint().await, Some(Hint::Urgent));
        assert!(matches!(Nodes::drain(nodes.inotify.get_ref()), Drained::Empty(None)));
    }

    #[tokio::test]
    async fn what_is_no_directory_cannot_be_watched() {
        Nodes::watch(Path::new("/nonexistent")).unwrap_err();
        Nodes::watch(Path::new("/proc/self/status")).unwrap_err();
    }
}
