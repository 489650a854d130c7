//! Block devices: sectors on a disk, moved as whole pages.
//!
//! A driver is a [`BlockDevice`], an object-safe trait of requests: [`submit`](BlockDevice::submit) takes a [`Request`]
//! with the pages it moves and gives a [`Completion`], the future of its end. What an application holds is
//! `mirage_rt::block::Block`, whose methods make the requests.
//!
//! # What moves
//!
//! A read or write moves whole pages, `pages.len() * 4096` bytes, to or from the sectors that start at
//! [`Request::sector`]. It may start at any sector, so the last sectors of a disk are reached by a page that ends there; a
//! disk smaller than a page can't be read or written at all. Sectors are counted in units of
//! [`BlockInfo::sector_size`], which is at most a page. A transfer larger than the device takes in one go is split by the
//! driver, and is then not atomic: after an error, or a crash, any part of it may have been done.
//!
//! A read or write of no pages, and a discard or erase of no sectors, is done at once and moves nothing, wherever it
//! starts. One that reaches beyond the end does nothing and is [`BlockError::OutOfRange`].
//!
//! # Order and durability
//!
//! Requests that are under way at the same time may be done in any order, also those that overlap: to have one after
//! another, await the first. A read that is submitted after a write was ready gives what was written.
//!
//! *Durable means flushed.* A write that is ready has reached the device, not yet the medium. It survives a crash of the
//! host once a [`Flush`](Operation::Flush) is ready that was submitted after the write was, or when it was written with
//! `fua` and is ready. What was written and not flushed is, after a crash, there or not there, sector by sector and in
//! any order. When a flush fails, nothing is known of any write since the last one that succeeded.
//! [`BlockInfo::cache`] says whether the device can keep this promise.
//!
//! # When the device is away
//!
//! While a driver has lost its backend for a time (it restarts, or this domain is saved and restored), requests wait and are
//! done when it is back; each is reported once. A request may be done twice on the medium, with the same data. When the
//! disk was detached, all requests fail with [`BlockError::Detached`], new ones too, until another one is attached
//! in its place.
//!
//! # Cancel safety
//!
//! Dropping a [`Completion`] does not take its request back: the pages stay with the driver until the device has answered,
//! and then go to their pool. Whether a write whose completion was dropped has happened is not known; one that is
//! submitted later and overlaps it may be done before it.

mod completion;
mod error;
mod request;

use alloc::rc::Rc;
use core::task::{Context, Poll};

pub use completion::{Completion, Done, Responder};
pub use error::BlockError;
pub use request::{Operation, Request, Wanted};

use crate::page::PagePool;

/// What a block device is, now: a disk may grow while it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BlockInfo {
    /// Bytes of a sector, the smallest unit to address: a power of two from 512 to 4096.
    pub sector_size: u32,
    /// How many sectors there are.
    pub sectors: u64,
    /// Writes, discards and erasures are refused.
    pub read_only: bool,
    /// Bytes that the medium writes in one go, a multiple of `sector_size`: smaller writes, or those that do not start at
    /// a multiple of it, cost a read as well.
    pub physical_sector_size: u32,
    /// Whether writes may stay in a cache.
    pub cache: WriteCache,
    /// Writes with `fua` cost the device less than a write and a flush.
    pub fua: bool,
    /// What [`Operation::Discard`] does; `None` when the device does not know it.
    pub discard: Option<Discard>,
    /// [`Operation::Erase`] works.
    pub erase: bool,
}

impl BlockInfo {
    /// A device of `sectors` sectors of `sector_size` bytes, without a cache and without anything that is optional.
    pub fn new(sector_size: u32, sectors: u64, read_only: bool) -> Self {
        BlockInfo {
            sector_size,
            sectors,
            read_only,
            physical_sector_size: sector_size,
            cache: WriteCache::None,
            fua: false,
            discard: None,
            erase: false,
        }
    }

    /// Bytes of the device; `None` when they do not fit a `u64`.
    pub fn bytes(&self) -> Option<u64> {
        self.sectors.checked_mul(self.sector_size.into())
    }

    /// Sectors of a page.
    pub fn sectors_per_page(&self) -> u64 {
        crate::page::PAGE_SIZE as u64 / u64::from(self.sector_size.max(1))
    }
}

/// What a device does with writes before they are on the medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WriteCache {
    /// It keeps none back: a write is durable when it is ready, and a flush is done at once.
    None,
    /// It may keep them until a flush.
    Flushed,
    /// It may keep them, and can't be told to flush: flushes and writes with `fua` are [`BlockError::Unsupported`], and
    /// nothing is known to be durable.
    Unflushed,
}

/// How a device discards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Discard {
    /// Sectors that are discarded together, at least one. Parts of such an extent may keep what they hold.
    pub granularity: u32,
    /// The first sector of the first whole extent, less than `granularity`.
    pub alignment: u32,
}

impl Discard {
    /// Extents of `granularity` sectors, the first at `alignment`.
    pub fn new(granularity: u32, alignment: u32) -> Self {
        let granularity = granularity.max(1);
        Discard { granularity, alignment: alignment % granularity }
    }
}

/// A disk, driven by requests. The [module](self) says what holds for them.
///
/// All methods return at once, and take `&self`: any number of tasks may have requests under way.
pub trait BlockDevice {
    /// Geometry and abilities.
    fn info(&self) -> BlockInfo;

    /// Where pages come from that this device takes. Pages of another pool may be refused with [`BlockError::Memory`].
    fn pool(&self) -> Rc<dyn PagePool>;

    /// Ready when a request can be submitted: the device's queue has room. The waker is woken when there is room again;
    /// those of any number of tasks are kept. Room is not reserved: submit before the next `await`, or ask again. Also
    /// ready when the device is detached or broken, as requests are then answered at once.
    fn poll_ready(&self, context: &mut Context<'_>) -> Poll<()>;

    /// Starts a request. It is told to the device together with those that other tasks submit in the same round, with one
    /// notification for all.
    ///
    /// The completion's result is as [`Request::check`] says when the request can't be done, and
    ///
    /// - [`BlockError::Full`] when there was no room: see [`poll_ready`](Self::poll_ready),
    /// - [`BlockError::Unsupported`], [`BlockError::Io`], [`BlockError::Memory`], [`BlockError::Detached`],
    ///   [`BlockError::Broken`] as they say.
    ///
    /// The pages come back with it in any case, in their order, but for those that a broken device would not let go of.
    /// After an error of a read their content is unspecified (never another domain's memory).
    fn submit(&self, request: Request) -> Completion;

    /// Ready when [`info`](Self::info) may have changed since `seen` was set, and sets `seen`: a disk was resized, detached,
    /// attached again. `seen` starts as 0, which is ready at once. The wakers of any number of tasks are kept.
    fn poll_changed(&self, seen: &mut u64, context: &mut Context<'_>) -> Poll<()>;
}

#[cfg(test)]
mod tests;
