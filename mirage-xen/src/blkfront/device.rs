//! The state of a disk: what its users, its supervisor and its events share.

use alloc::boxed::Box;
use alloc::rc::{Rc, Weak};
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::Cell;
use core::task::{Context, Poll, Waker};

use mirage_rt::cell::RefCell;
use mirage_rt::types::block::{BlockError, BlockInfo, WriteCache};

use super::flight::{Flight, NotNow, Refused};
use super::jobs::{Jobs, remember};
use super::{Broken, ConnectError, Statistics};
use crate::attachment::Attachment;
use crate::events::{EventChannel, EventHandler};
use crate::warning::failed;
use crate::xenbus::wish::Wishes;

pub(super) struct Device {
    pub(super) name: String,
    pub(super) state: RefCell<State>,
    pub(super) wishes: Wishes,
    /// Of the task that gives requests to the backend, and whether there is something for it to do.
    pub(super) pump: RefCell<Option<Waker>>,
    pub(super) kicked: Cell<bool>,
}

pub(super) struct State {
    pub(super) link: Link,
    pub(super) jobs: Jobs,
    pub(super) info: BlockInfo,
    /// Counts the changes of what users see of the device, from 1.
    pub(super) version: u64,
    pub(super) changed: Vec<Waker>,
    pub(super) statistics: Statistics,
    /// The tools took the disk away.
    pub(super) detached: bool,
    /// Requests are to be answered, but no more be given to the backend.
    pub(super) draining: bool,
    /// The backend may still use a connection of before, or begin to use one.
    pub(super) busy: bool,
    /// Why the last attempt to connect failed.
    pub(super) failure: Option<ConnectError>,
}

pub(super) enum Link {
    Down,
    Up(Box<Connected>),
    /// Given up. What was lent stays so until the backend has let go of it.
    Broken(Broken, Option<Box<Connected>>),
}

/// A connection to a backend.
pub(super) struct Connected {
    pub(super) flight: Flight,
    pub(super) channel: EventChannel,
    /// The event channel knows its handler weakly.
    pub(super) _handler: Rc<Handler>,
    pub(super) attachment: Attachment,
    pub(super) generation: u64,
}

impl Connected {
    /// Whether it is of this attachment. What an earlier one has left in memory when the domain was moved is not to be looked at:
    /// its backend went on while pages were being copied, so that there may be answers without their data.
    pub(super) fn is_current(&self) -> bool {
        self.generation == self.attachment.generation()
    }
}

/// What is to be looked at after an event.
pub(super) struct Handler(pub(super) Weak<Device>);

impl State {
    pub(super) fn new(most: usize) -> Self {
        Self {
            link: Link::Down,
            jobs: Jobs::new(most),
            info: BlockInfo::new(512, 0, true),
            version: 1,
            changed: Vec::new(),
            statistics: Statistics::default(),
            detached: false,
            draining: false,
            busy: false,
            failure: None,
        }
    }

    /// What a request is answered at once, if the device takes none.
    pub(super) fn refuses(&self) -> Option<BlockError> {
        match self.link {
            Link::Broken(..) => Some(BlockError::Broken),
            Link::Down if self.detached => Some(BlockError::Detached),
            Link::Down | Link::Up(_) => None,
        }
    }

    /// Tells those who look at what the device is.
    pub(super) fn change(&mut self) {
        self.version += 1;
        self.changed.drain(..).for_each(Waker::wake);
    }

    /// Requests that the backend has not answered.
    pub(super) fn under_way(&self) -> usize {
        match &self.link {
            Link::Up(connected) | Link::Broken(_, Some(connected)) => connected.flight.under_way(),
            Link::Down | Link::Broken(_, None) => 0,
        }
    }

    pub(super) fn poll_changed(&mut self, seen: &mut u64, context: &Context<'_>) -> Poll<()> {
        if core::mem::replace(seen, self.version) != self.version {
            return Poll::Ready(());
        }
        remember(&mut self.changed, context);
        Poll::Pending
    }

    /// Takes answers and gives out what waits, until there is nothing more to do and the backend knows when to send an event.
    fn serve(&mut self) -> Result<(), Broken> {
        let Link::Up(connected) = &mut self.link else { return Ok(()) };
        if !connected.is_current() {
            return Ok(());
        }
        let (Connected { flight, channel, .. }, jobs) = (&mut **connected, &mut self.jobs);
        loop {
            let refused = flight.reap(jobs, &mut self.statistics)?;
            if let Some(refused) = refused {
                match refused {
                    Refused::Flush => self.info.cache = WriteCache::Unflushed,
                    Refused::Discard => self.info.discard = None,
                    Refused::Erase => self.info.erase = false,
                }
                self.version += 1;
                self.changed.drain(..).for_each(Waker::wake);
            }
            while !self.draining {
                let flush = jobs.flush;
                let Some((piece, job)) = jobs.next() else { break };
                match flight.issue(piece, job, flush) {
                    Ok(count) => {
                        self.statistics.requests += 1;
                        jobs.taken(count);
                    }
                    Err(NotNow::Full) => break,
                    Err(NotNow::Memory) => jobs.refuse(BlockError::Memory),
                }
            }
            if flight.publish() {
                self.statistics.notifications += u64::from(channel.notify_soon());
            }
            if flight.under_way() == 0 || !flight.listen(1)? {
                return Ok(());
            }
        }
    }
}

impl Device {
    /// Has what waits given to the backend, once, after all tasks that are ready now.
    pub(super) fn kick(&self) {
        if !self.kicked.replace(true) {
            let waker = self.pump.borrow_mut().take();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    pub(super) async fn until_state(&self, mut wanted: impl FnMut(&State) -> bool) {
        self.wishes.until(|| wanted(&self.state.borrow())).await;
    }

    /// Changes the link, and wakes all who look at it. The connection of before.
    pub(super) fn set_link(&self, link: Link) -> Option<Box<Connected>> {
        let before = core::mem::replace(&mut self.state.borrow_mut().link, link);
        self.wishes.wake_watchers();
        match before {
            Link::Up(connected) | Link::Broken(_, Some(connected)) => Some(connected),
            Link::Down | Link::Broken(_, None) => None,
        }
    }

    /// Whether the connection is of an earlier attachment.
    pub(super) fn lost_generation(&self) -> bool {
        matches!(&self.state.borrow().link, Link::Up(connected) if !connected.is_current())
    }

    /// Takes answers and gives out requests. A backend found to be broken ends the device.
    pub(super) fn serve(&self) {
        let mut state = self.state.borrow_mut();
        let result = state.serve();
        let drained = state.draining && state.under_way() == 0;
        if let Err(reason) = result {
            self.break_down(&mut state, reason);
        }
        drop(state);
        if drained {
            self.wishes.wake_watchers();
        }
    }

    /// Gives the device up.
    fn break_down(&self, state: &mut State, reason: Broken) {
        if let Link::Up(connected) = core::mem::replace(&mut state.link, Link::Broken(reason, None)) {
            failed(format_args!("{}: given up, because the backend broke the protocol: {reason}", self.name));
            state.link = Link::Broken(reason, Some(connected));
        }
        // What the backend has pages of is answered when it has let go of them.
        state.jobs.fail_waiting(BlockError::Broken);
        state.jobs.wake_all();
        state.change();
        self.wishes.wake_supervisor();
        self.wishes.wake_watchers();
    }
}

impl EventHandler for Handler {
    fn on_event(&self) {
        let Some(device) = self.0.upgrade() else { return };
        device.state.borrow_mut().statistics.events += 1;
        device.serve();
    }

    fn on_refused(&self) {
        if let Some(device) = self.0.upgrade() {
            device.break_down(&mut device.state.borrow_mut(), Broken::EventChannel);
        }
    }
}
