//! Kernel uevents through libudev's kernel monitor, which hears them in any network namespace of the initial user
//! namespace (udevd's own events reach no pod).
//!
//! Owner: [`super::Hotplug`]. An event's content beyond its subsystem is not used: sysfs is complete when it arrives.

use std::{fmt, io};

use tokio::io::{Interest, unix::AsyncFd};
use tracing::debug;
use udev::{MonitorBuilder, MonitorSocket};

use super::{Hint, Source};

/// An open kernel monitor.
pub(super) struct Uevents {
    socket: AsyncFd<MonitorSocket>,
}

impl Uevents {
    #[allow(
        deprecated,
        reason = "its successor is unsafe for types whose descriptor may change; this one does not"
    )]
    pub(super) fn listen() -> io::Result<Self> {
        let monitor =
            MonitorBuilder::new_kernel()?.match_subsystem("tty")?.match_subsystem("usb")?.listen()?;
        Ok(Self { socket: AsyncFd::with_interest(monitor, Interest::READABLE)? })
    }

    /// Takes what is queued; whether the queue is known to be empty, and the most urgent of what it held.
    fn drain(socket: &MonitorSocket) -> Drained {
        let mut hint = None;
        let mut events = socket.iter();
        for _ in 0..MOST_AT_ONCE {
            let seen = match events.next() {
                Some(event) if event.subsystem().is_some_and(|subsystem| subsystem == "tty") => Hint::Urgent,
                Some(_) => Hint::Lazy,
                // The crate's `None` is anything that is no event; only errno tells what.
                None => match io::Error::last_os_error() {
                    error if error.kind() == io::ErrorKind::WouldBlock => return Drained::Empty(hint),
                    // The kernel dropped events that did not fit the buffer: what remains is behind this.
                    error if error.raw_os_error() == Some(libc::ENOBUFS) => Hint::Urgent,
                    // One message that libudev does not like; others may be behind it.
                    error if error.raw_os_error() == Some(libc::EINVAL) => Hint::Lazy,
                    error if error.kind() == io::ErrorKind::Interrupted => continue,
                    error => return Drained::Broken(error),
                },
            };
            hint = hint.max(Some(seen));
        }
        Drained::More(hint)
    }
}

impl Source for Uevents {
    async fn hint(&mut self) -> Option<Hint> {
        loop {
            let mut guard = self.socket.readable().await.ok()?;
            let hint = match Self::drain(guard.get_inner()) {
                Drained::Empty(hint) => {
                    guard.clear_ready();
                    hint
                }
                // Readiness stays: the next turn goes on, after others had theirs.
                Drained::More(hint) => hint,
                Drained::Broken(error) => {
                    debug!(%error, "kernel monitor");
                    return None;
                }
            };
            if hint.is_some() {
                return hint;
            }
        }
    }
}

impl fmt::Debug for Uevents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Uevents").finish_non_exhaustive()
    }
}

/// How reading the queue ended.
enum Drained {
    Empty(Option<Hint>),
    More(Option<Hint>),
    Broken(io::Error),
}

/// So many events are taken in one go, for the sake of the thread's other work.
const MOST_AT_ONCE: usize = 1024;

#[cfg(test)]
mod tests {
    use rustix::net::sockopt::set_socket_recv_buffer_size;
    use serialfleet_sim::{
        namespace,
        uevent::{Injector, Uevent},
    };

    use super::*;

    fn event(subsystem: &str, number: usize) -> Uevent {
        Uevent {
            action: "add".into(),
            devpath: format!("/devices/x/{subsystem}/ttyUSB{number}"),
            properties: vec![("SUBSYSTEM".into(), subsystem.into())],
        }
    }

    fn drain(uevents: &Uevents) -> Drained {
        Uevents::drain(uevents.socket.get_ref())
    }

    #[tokio::test]
    async fn a_full_queue_is_noticed_and_what_survived_is_taken() {
        const NAME: &str =
            "discovery::hotplug::uevents::tests::a_full_queue_is_noticed_and_what_survived_is_taken";
        if !namespace::enter(NAME) {
            return;
        }
        let mut uevents = Uevents::listen().unwrap();
        // libudev asked for as much as it may have.
        set_socket_recv_buffer_size(uevents.socket.get_ref(), 2304).unwrap();
        let mut injector = Injector::open().unwrap();
        for number in 0..3000 {
            injector.send(&event("usb", number)).unwrap();
        }
        // Lazy ones only were sent: the urgency is that of the loss.
        assert_eq!(uevents.hint().await, Some(Hint::Urgent));
        assert!(matches!(drain(&uevents), Drained::Empty(None)), "nothing lies there until the next event");
        injector.send(&event("tty", 0)).unwrap();
        assert_eq!(uevents.hint().await, Some(Hint::Urgent), "it still listens");
    }

    #[tokio::test]
    async fn events_are_weighed_by_subsystem_and_foreign_ones_ignored() {
        const NAME: &str =
            "discovery::hotplug::uevents::tests::events_are_weighed_by_subsystem_and_foreign_ones_ignored";
        if !namespace::enter(NAME) {
            return;
        }
        let uevents = Uevents::listen().unwrap();
        let mut injector = Injector::open().unwrap();
        assert!(matches!(drain(&uevents), Drained::Empty(None)));
        injector.send(&event("net", 0)).unwrap();
        assert!(matches!(drain(&uevents), Drained::Empty(None)));
        injector.send(&event("usb", 0)).unwrap();
        assert!(matches!(drain(&uevents), Drained::Empty(Some(Hint::Lazy))));
        injector.replay(&[event("tty", 0), event("usb", 0)]).unwrap();
        assert!(matches!(drain(&uevents), Drained::Empty(Some(Hint::Urgent))));
        injector.replay(&(0..3000).map(|number| event("tty", number)).collect::<Vec<_>>()).unwrap();
        assert!(matches!(drain(&uevents), Drained::More(Some(Hint::Urgent))), "others have their turn");
    }
}
