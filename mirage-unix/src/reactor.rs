//! Descriptors and their wakers, on epoll.
//!
//! A descriptor is registered once, edge-triggered, for both directions. Whoever wants to use it tries the system call
//! first; only when that would block is the waker kept ([`Source::poll_io`]). The reactor runs on the same thread, so what
//! happens between the call and the keeping of the waker is still in epoll's queue at the next [`Reactor::park`]. The call after
//! one that has emptied a stream is spared ([`Source::poll_stream`]), and so is a look right after a sleep ([`Reactor::poll`]).

mod slots;
mod unpark;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use mirage_rt::platform::Unpark;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;

use slots::{Happened, Slots, Token};
use unpark::Unparker;

/// Events taken from the kernel at once.
const BATCH: usize = 256;

/// Names the unparker's descriptor; no token has this value.
const UNPARK: u64 = u64::MAX;

/// The longest sleep: longer ones would not fit epoll's milliseconds. Whoever sleeps looks again and goes on.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// What a task waits for on a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// Something to read or accept.
    Read,
    /// Room to write, or a connection that is made.
    Write,
}

pub(crate) struct Reactor {
    epoll: OwnedFd,
    unparker: Arc<Unparker>,
    slots: RefCell<Slots>,
    events: RefCell<Vec<Event>>,
    /// The last look was a park's, and no poll has come since.
    parked: Cell<bool>,
}

impl Reactor {
    pub(crate) fn new() -> Result<Reactor, Errno> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let unparker = Arc::new(Unparker::new()?);
        epoll::add(&epoll, unparker.descriptor(), EventData::new_u64(UNPARK), EventFlags::IN | EventFlags::ET)?;
        let empty = Event { flags: EventFlags::empty(), data: EventData::new_u64(UNPARK) };
        let (slots, events) = (RefCell::default(), RefCell::new(vec![empty; BATCH]));
        Ok(Reactor { epoll, unparker, slots, events, parked: Cell::new(false) })
    }

    pub(crate) fn unparker(&self) -> Arc<dyn Unpark> {
        self.unparker.clone()
    }

    /// Sleeps until an event, an unpark or the end of `timeout`, and wakes the wakers of what happened.
    pub(crate) fn park(&self, timeout: Option<Duration>) {
        if self.unparker.begin_sleep() {
            let count = self.wait(timeout.map(|timeout| timeout.min(LONGEST)));
            // Before anyone is woken: an unpark by this thread, which is awake, is to write no eventfd.
            self.unparker.end_sleep();
            self.parked.set(true);
            self.wake(count);
        }
    }

    /// Wakes the wakers of what has happened. The first call after a [`park`](Reactor::park) does nothing: most of the time, what the
    /// park has woken runs in one batch and the next look is a park again, so that this one would be a system call more for each
    /// request. Where there is more to run, the next batch is followed by a look.
    pub(crate) fn poll(&self) {
        if self.parked.take() {
            return;
        }
        // An unpark is left for the next park: it may have been meant for another runtime of this thread.
        let count = self.wait(Some(Duration::ZERO));
        self.wake(count);
    }

    /// Wakes every waker that is kept.
    pub(crate) fn wake_all(&self) {
        let wakers = self.slots.borrow_mut().take_all();
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Takes events from the kernel; how many.
    fn wait(&self, timeout: Option<Duration>) -> usize {
        let timeout = timeout.map(|timeout| Timespec {
            // At most a day.
            tv_sec: timeout.as_secs() as i64,
            tv_nsec: timeout.subsec_nanos().into(),
        });
        // The only errors that epoll_wait has for a good descriptor are an interrupting signal and a lack of memory in the
        // kernel. The caller looks again after either.
        epoll::wait(&self.epoll, &mut self.events.borrow_mut()[..], timeout.as_ref()).unwrap_or(0)
    }

    /// Wakes the wakers of the first `count` events.
    fn wake(&self, count: usize) {
        let events = self.events.borrow();
        for event in events.iter().take(count) {
            let (flags, data) = (event.flags, event.data.u64());
            if data == UNPARK {
                self.unparker.drain();
                continue;
            }
            let failed = flags.intersects(EventFlags::ERR | EventFlags::HUP);
            let ended = failed || flags.intersects(EventFlags::RDHUP);
            let happened = Happened {
                readable: ended || flags.intersects(EventFlags::IN),
                writable: failed || flags.intersects(EventFlags::OUT),
                ended,
            };
            let wakers = self.slots.borrow_mut().take(Token::from_u64(data), happened);
            // Woken while nothing is borrowed: a waker is foreign code.
            wakers.into_iter().flatten().for_each(Waker::wake);
        }
    }
}

/// A descriptor that its reactor watches. It must be in non-blocking mode. Dropping it closes it.
pub(crate) struct Source {
    descriptor: OwnedFd,
    token: Token,
    reactor: Rc<Reactor>,
}

impl Source {
    pub(crate) fn new(reactor: &Rc<Reactor>, descriptor: OwnedFd) -> Result<Source, Errno> {
        let token = reactor.slots.borrow_mut().add().ok_or(Errno::NOMEM)?;
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        match epoll::add(&reactor.epoll, &descriptor, EventData::new_u64(token.to_u64()), flags) {
            Ok(()) => Ok(Source { descriptor, token, reactor: Rc::clone(reactor) }),
            Err(errno) => {
                drop(reactor.slots.borrow_mut().remove(token));
                Err(errno)
            }
        }
    }

    /// Calls `operation` until it does anything but be interrupted. When it would block, the context's waker is kept for
    /// `direction` and the result is `Pending`; a waker of another task that it replaces is woken.
    pub(crate) fn poll_io<T>(
        &self,
        direction: Direction,
        context: &mut Context<'_>,
        mut operation: impl FnMut(BorrowedFd<'_>) -> Result<T, Errno>,
    ) -> Poll<Result<T, Errno>> {
        loop {
            match operation(self.descriptor.as_fd()) {
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                result => return Poll::Ready(result),
            }
        }
        self.keep(direction, context);
        Poll::Pending
    }

    /// As [`poll_io`](Source::poll_io), for `operation` that reads up to `room` bytes of a stream and gives their number. When it
    /// has read some, but fewer, the stream is empty, and the next try waits at once: what has come since is an event (epoll(7), its
    /// questions and answers). An end that was seen coming is read without waiting: it is no event for a second time.
    pub(crate) fn poll_stream(
        &self,
        context: &mut Context<'_>,
        room: usize,
        operation: impl FnMut(BorrowedFd<'_>) -> Result<usize, Errno>,
    ) -> Poll<Result<usize, Errno>> {
        if self.reactor.slots.borrow_mut().take_empty(self.token) {
            self.keep(Direction::Read, context);
            return Poll::Pending;
        }
        let result = ready!(self.poll_io(Direction::Read, context, operation));
        if matches!(result, Ok(length) if 0 < length && length < room) {
            self.reactor.slots.borrow_mut().set_empty(self.token);
        }
        Poll::Ready(result)
    }

    /// As [`poll_io`](Source::poll_io), for an `operation` that reads one of many messages and is tried often: once it would
    /// block, none is tried before an event.
    pub(crate) fn poll_message<T>(
        &self,
        context: &mut Context<'_>,
        operation: impl FnMut(BorrowedFd<'_>) -> Result<T, Errno>,
    ) -> Poll<Result<T, Errno>> {
        if self.reactor.slots.borrow_mut().is_empty(self.token) {
            self.keep(Direction::Read, context);
            return Poll::Pending;
        }
        let polled = self.poll_io(Direction::Read, context, operation);
        if polled.is_pending() {
            self.reactor.slots.borrow_mut().set_empty(self.token);
        }
        polled
    }

    fn keep(&self, direction: Direction, context: &mut Context<'_>) {
        let replaced = self.reactor.slots.borrow_mut().keep(self.token, direction, context.waker());
        if let Some(waker) = replaced {
            waker.wake();
        }
    }
}

impl AsFd for Source {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        // The descriptor may be shared with a child process, then closing it does not unregister it.
        let _ = epoll::delete(&self.reactor.epoll, &self.descriptor);
        let wakers = self.reactor.slots.borrow_mut().remove(self.token);
        // A task that still waits on it learns by its next poll that it is gone.
        wakers.into_iter().flatten().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests;
