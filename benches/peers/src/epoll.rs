//! Sockets that epoll watches, level-triggered, by a number.

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;

/// Events taken from the kernel at once.
const BATCH: usize = 256;

/// What is watched.
pub struct Epoll {
    descriptor: OwnedFd,
    events: Vec<Event>,
}

impl Epoll {
    /// Watches nothing yet.
    ///
    /// # Errors
    ///
    /// When there is no descriptor left.
    pub fn new() -> Result<Epoll, Errno> {
        let empty = Event { flags: EventFlags::empty(), data: EventData::new_u64(0) };
        Ok(Epoll { descriptor: epoll::create(CreateFlags::CLOEXEC)?, events: vec![empty; BATCH] })
    }

    /// Watches `socket` for something to read.
    ///
    /// # Errors
    ///
    /// When it is watched already, or the kernel has no memory.
    pub fn add(&self, socket: impl AsFd, number: usize) -> Result<(), Errno> {
        epoll::add(&self.descriptor, socket, EventData::new_u64(number as u64), EventFlags::IN)
    }

    /// Waits until there is something to read, for at most so many seconds; where.
    ///
    /// # Errors
    ///
    /// [`Errno::TIMEDOUT`] when there was nothing.
    pub fn wait(&mut self, seconds: Option<i64>) -> Result<impl Iterator<Item = usize>, Errno> {
        let limit = seconds.map(|tv_sec| Timespec { tv_sec, tv_nsec: 0 });
        let count = match epoll::wait(&self.descriptor, &mut self.events[..], limit.as_ref()) {
            Ok(0) => return Err(Errno::TIMEDOUT),
            Err(Errno::INTR) => 0,
            count => count?,
        };
        Ok(self.events[..count].iter().map(|event| event.data.u64() as usize))
    }
}
