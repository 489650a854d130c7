//! The disk frontend: a [`BlockDevice`] over the ring it shares with a backend, usually Linux's xen-blkback or QEMU.
//!
//! What is supported: indirect requests of up to 256 pages, rings of several pages, persistent grants, flush and barrier,
//! `fua` (a write and a flush), discard and secure erase, disks that are read-only, have sectors of 4096 bytes, are
//! resized while they are used, are detached and attached, and backends that go away and come back: requests that were
//! not answered are done again then, in their order. Requests of one round of the runtime cause one notification.
//!
//! The backend is not trusted. What it writes is copied once and checked; the first thing that makes no sense ends the
//! device ([`Broken`] lists what that can be), with a line in the log and without a panic. A page comes back to its user
//! only after the backend's access to it has ended.

mod connect;
mod device;
mod error;
mod flight;
mod jobs;
mod number;
mod supervisor;
pub mod wire;

use alloc::rc::Rc;
use alloc::vec::Vec;
use core::fmt;
use core::task::{Context, Poll};

use mirage_rt::page::PagePool;
use mirage_rt::time::Duration;
use mirage_rt::types::block::{BlockDevice, BlockError, BlockInfo, Completion, Request, Wanted};

use crate::attachment::Attachment;
use crate::xenbus::Frontend;
use crate::xenbus::wish::Wish;
use crate::xenstore::XenstoreError;
pub use error::{Broken, ConnectError};
pub use number::device_number;

use device::{Device, Link, State};

/// Pages of a request, at most: what Linux's backend takes, and a page of segments holds twice.
const MOST_SEGMENTS: usize = 256;
/// Pages of a ring, at most, as a power of two: what Linux's backend takes.
const MOST_RING_ORDER: u32 = 4;

/// How a disk is to be connected.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The ring has 2^`ring_order` pages, if the backend takes so many: 0 for 32 requests under way, 4 for 512.
    pub ring_order: u32,
    /// The most pages of one request on the ring, if the backend takes so many; longer ones are split. At least 11 and at
    /// most 256.
    pub segments: u32,
    /// Whether data is copied through pages that the backend keeps mapped, if it does so, instead of lending it the pages
    /// themselves. It costs this domain a copy, up to half of the pool and at most 1056 pages of it, and spares the backend
    /// the mapping, which is far dearer: with Linux's backend (a PV domain), 4 KiB reads with 32 under way are about three
    /// times as fast.
    pub persistent: bool,
    /// Requests that are taken before the device says [`BlockError::Full`]; those that do not fit the ring wait.
    pub requests: u32,
    /// Where the ring's indices start, which only a test wants to be elsewhere than at 0.
    pub first_index: u32,
    /// How long the backend has for each step of connecting and parting.
    pub limit: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            ring_order: 0,
            segments: 256,
            persistent: true,
            requests: 256,
            first_index: 0,
            limit: Duration::from_secs(20),
        }
    }
}

/// Counters of a disk since it was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Statistics {
    /// Requests written into the ring; of one call there may be several.
    pub requests: u64,
    /// Responses to them.
    pub responses: u64,
    /// Of those, how many were errors.
    pub errors: u64,
    /// Bytes that reads have filled.
    pub read_bytes: u64,
    /// Bytes that were written.
    pub written_bytes: u64,
    /// Events sent to the backend.
    pub notifications: u64,
    /// Events of the backend.
    pub events: u64,
    /// Requests that one backend did not answer and the next one was given again.
    pub replayed: u64,
    /// How often the device was connected.
    pub connections: u64,
}

/// A disk of this domain.
///
/// While the backend is away, requests wait. Dropping the device parts from the backend in the background, once it has
/// answered what it was given; what it was not given yet fails with [`BlockError::Detached`].
pub struct Blkfront {
    control: Control,
    pool: Rc<dyn PagePool>,
}

/// A handle to a disk beside the one that moves data. Cloning gives another one.
#[derive(Clone)]
pub struct Control {
    device: Rc<Device>,
}

impl Blkfront {
    /// Connects the disk with device number `number`, such as 51712 for `xvda`: see [`device_number`] and
    /// [`numbers`](Self::numbers). Its pages come from `pool`, which must be one of pages that can be granted; the device
    /// itself takes some for the ring and for what [`Options`] ask for.
    ///
    /// Not cancel safe: a dropped future may leave the backend waiting, until the device is connected again.
    ///
    /// # Errors
    ///
    /// When there is no such device, or its backend does not connect in time; see [`ConnectError`].
    ///
    /// # Panics
    ///
    /// Outside of a running [`Runtime`](mirage_rt::runtime::Runtime), which looks after the device from then on.
    pub async fn connect(
        attachment: &Attachment,
        number: u32,
        pool: Rc<dyn PagePool>,
        options: Options,
    ) -> Result<Self, ConnectError> {
        supervisor::start(attachment.clone(), number, pool, options).await
    }

    /// The numbers of all disks of the domain, in order.
    ///
    /// # Errors
    ///
    /// When xenstore fails.
    pub async fn numbers(attachment: &Attachment) -> Result<Vec<u32>, XenstoreError> {
        Frontend::list(attachment.xenstore(), "vbd").await
    }

    /// A handle for everything but data.
    pub fn control(&self) -> Control {
        self.control.clone()
    }
}

impl Control {
    /// The device's counters.
    pub fn statistics(&self) -> Statistics {
        self.device.state.borrow().statistics
    }

    /// Parts from the backend: when this returns, no page is granted and no port is bound. Requests that the backend does
    /// not answer before wait, as do new ones, until [`connect`](Self::connect).
    pub async fn quiesce(&self) {
        self.device.wishes.set(Wish::Quiet);
        let quiet = |state: &State| matches!(state.link, Link::Down | Link::Broken(_, None)) && !state.busy;
        self.device.until_state(quiet).await;
    }

    /// Connects to the backend again, after [`quiesce`](Self::quiesce) or after the domain was attached to Xen anew. What
    /// waits is done then, first what an earlier backend had not answered.
    ///
    /// # Errors
    ///
    /// As [`Blkfront::connect`], of the first attempt; the device goes on trying when its backend moves.
    pub async fn connect(&self, attachment: &Attachment) -> Result<(), ConnectError> {
        self.device.state.borrow_mut().failure = None;
        self.device.wishes.set(Wish::Connected);
        let generation = attachment.generation();
        let mut failure = None;
        self.device
            .until_state(|state| {
                failure.clone_from(&state.failure);
                let up = matches!(&state.link, Link::Up(connected) if connected.generation == generation);
                up || matches!(state.link, Link::Broken(..)) || failure.is_some()
            })
            .await;
        failure.map_or(Ok(()), Err)
    }

    /// Whether the backend takes requests now.
    pub fn is_connected(&self) -> bool {
        matches!(self.device.state.borrow().link, Link::Up(_))
    }

    /// Whether the tools have taken the disk away, and no other one was attached in its place.
    pub fn is_detached(&self) -> bool {
        self.device.state.borrow().detached
    }

    /// Why the device was given up, if it was.
    pub fn broken(&self) -> Option<Broken> {
        match self.device.state.borrow().link {
            Link::Broken(reason, _) => Some(reason),
            Link::Up(_) | Link::Down => None,
        }
    }
}

impl fmt::Debug for Blkfront {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.control.fmt(f)
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let link = match self.device.state.borrow().link {
            Link::Down => "away",
            Link::Up(_) => "connected",
            Link::Broken(..) => "broken",
        };
        write!(f, "{}, {link}", self.device.name)
    }
}

impl Drop for Blkfront {
    fn drop(&mut self) {
        self.control.device.wishes.set(Wish::Gone);
    }
}

impl BlockDevice for Blkfront {
    fn info(&self) -> BlockInfo {
        self.control.device.state.borrow().info
    }

    fn pool(&self) -> Rc<dyn PagePool> {
        Rc::clone(&self.pool)
    }

    fn poll_ready(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.control.device.state.borrow_mut();
        if state.jobs.has_room() || state.refuses().is_some() {
            return Poll::Ready(());
        }
        state.jobs.wait(context);
        Poll::Pending
    }

    fn submit(&self, request: Request) -> Completion {
        let device = &self.control.device;
        let mut state = device.state.borrow_mut();
        let answer = match (state.refuses(), request.check(&state.info)) {
            (Some(error), _) | (None, Err(error)) => Err(error),
            (None, Ok(Wanted::Nothing)) => Ok(()),
            (None, Ok(Wanted::Device)) if state.jobs.has_room() => {
                let scale = u64::from(state.info.sector_size / wire::SECTOR);
                let completion = state.jobs.add(request, scale);
                drop(state);
                device.kick();
                return completion;
            }
            (None, Ok(Wanted::Device)) => Err(BlockError::Full),
        };
        Completion::ready(answer, request.pages)
    }

    fn poll_changed(&self, seen: &mut u64, context: &mut Context<'_>) -> Poll<()> {
        self.control.device.state.borrow_mut().poll_changed(seen, context)
    }
}

#[cfg(test)]
mod tests;
