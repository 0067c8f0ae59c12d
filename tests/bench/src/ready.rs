//! Which of many files are ready, at a cost that does not grow with those that are not.
//!
//! Owner: the threads that are devices and clients. They share two cores with whoever is measured.

use std::fs::File;
use std::os::fd::OwnedFd;

use anyhow::Result;
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;

/// Files that are waited for, level-triggered.
pub(crate) struct Ready {
    epoll: OwnedFd,
    events: Vec<Event>,
}

impl Ready {
    /// `wanted`: [`EventFlags::IN`] or [`EventFlags::OUT`].
    pub(crate) fn new(files: &[&File], wanted: EventFlags) -> Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        for (index, file) in (0..).zip(files) {
            epoll::add(&epoll, file, EventData::new_u64(index), wanted)?;
        }
        Ok(Self { epoll, events: Vec::with_capacity(files.len()) })
    }

    /// Their indexes; none after [`TURN`] without any.
    pub(crate) fn wait(&mut self) -> Result<impl Iterator<Item = usize>> {
        self.events.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), Some(&TURN)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(self.events.iter().filter_map(|event| usize::try_from(event.data.u64()).ok()))
    }
}

/// How soon the end of a run is noticed while nothing moves.
const TURN: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
