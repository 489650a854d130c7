//! Disks, as applications use them: [`Block`].
//!
//! A [`Block`] is what an application gets for each `.block("name")` of its build.rs:
//!
//! ```text
//! let pages = devices.data.pages(1).ok_or(BlockError::Memory)?;
//! let (result, pages) = devices.data.read(0, pages).await;
//! ```
//!
//! Pages are moved, not copied, and come back with the result. [`read_bytes`](Block::read_bytes) and
//! [`write_bytes`](Block::write_bytes) copy, for what is read or written seldom. What a disk promises, above all about
//! durability and order, is said in [`types::block`](crate::types::block).
//!
//! For tests there is a disk in memory, `MemoryDisk` (feature `test-utils`), which loses what was not flushed when its power
//! fails.

#![forbid(unsafe_code)]

mod bounce;
#[cfg(any(test, feature = "test-utils"))]
mod memory;

use alloc::rc::Rc;
use alloc::vec::Vec;
use core::fmt;
use core::future::poll_fn;
use core::task::{Context, Waker};

#[cfg(any(test, feature = "test-utils"))]
pub use memory::MemoryDisk;

pub use crate::types::block::{BlockDevice, BlockError, BlockInfo, Completion, Discard, Done, Request, WriteCache};

use crate::page::{PAGE_SIZE, Page, PagePool};
use bounce::Bounce;

/// A disk that an application uses. Cloning gives another handle to the same disk.
///
/// Every method can be called by any number of tasks at once. A request waits until the device has room for it, in no
/// particular order.
///
/// # Cancel safety
///
/// A future that is dropped before it was polled to the point of submitting did nothing. After that the request goes on,
/// and nobody learns how it ended: see [`types::block`](crate::types::block#cancel-safety).
#[derive(Clone)]
pub struct Block {
    device: Rc<dyn BlockDevice>,
    bounce: Rc<Bounce>,
}

impl Block {
    /// The disk on `device`.
    pub fn new(device: Rc<dyn BlockDevice>) -> Block {
        Block { device, bounce: Rc::default() }
    }

    /// Geometry and abilities, now.
    pub fn info(&self) -> BlockInfo {
        self.device.info()
    }

    /// Where the pages come from that this disk takes.
    pub fn pool(&self) -> Rc<dyn PagePool> {
        self.device.pool()
    }

    /// `count` pages of the disk's pool, or `None` when it has not so many. Their content is unspecified.
    pub fn pages(&self, count: usize) -> Option<Vec<Page>> {
        let pool = self.pool();
        (0..count).map(|_| Page::take(&pool)).collect()
    }

    /// Fills `pages`, from sector `sector` on. They come back in any case but [`BlockError::Broken`].
    pub async fn read(&self, sector: u64, pages: Vec<Page>) -> Done {
        self.request(Request::read(sector, pages)).await
    }

    /// Writes `pages`, from sector `sector` on. The data is durable after a [`flush`](Block::flush).
    pub async fn write(&self, sector: u64, pages: Vec<Page>) -> Done {
        self.request(Request::write(sector, pages, false)).await
    }

    /// Writes `pages`; they are durable when this is ready, without a flush of what else was written (FUA).
    pub async fn write_durable(&self, sector: u64, pages: Vec<Page>) -> Done {
        self.request(Request::write(sector, pages, true)).await
    }

    /// Makes all writes durable that were ready before this was called.
    ///
    /// # Errors
    ///
    /// [`BlockError`]. Then nothing is known of any write since the last flush that succeeded: a second flush that succeeds
    /// does not say that they are there.
    pub async fn flush(&self) -> Result<(), BlockError> {
        self.request(Request::flush()).await.0
    }

    /// Lets `count` sectors from `sector` on be forgotten; what they hold afterwards is unspecified.
    ///
    /// # Errors
    ///
    /// [`BlockError::Unsupported`] where [`BlockInfo::discard`] is `None`, and others.
    pub async fn discard(&self, sector: u64, count: u64) -> Result<(), BlockError> {
        self.request(Request::discard(sector, count)).await.0
    }

    /// Has `count` sectors from `sector` on forgotten for certain.
    ///
    /// # Errors
    ///
    /// [`BlockError::Unsupported`] where [`BlockInfo::erase`] is false, and others.
    pub async fn erase(&self, sector: u64, count: u64) -> Result<(), BlockError> {
        self.request(Request::erase(sector, count)).await.0
    }

    /// Fills `buffer`, whose length is a multiple of 4096, from sector `sector` on. Copies; long buffers are read in parts of
    /// at most 128 KiB, one after another.
    ///
    /// # Errors
    ///
    /// [`BlockError::Length`] for another length, [`BlockError::OutOfRange`] before anything is read, and others. After an error
    /// the content of `buffer` is unspecified.
    pub async fn read_bytes(&self, sector: u64, buffer: &mut [u8]) -> Result<(), BlockError> {
        let mut sector = sector;
        let mut rest = self.whole_pages(sector, buffer.len())?;
        let mut buffer = buffer;
        while rest > 0 {
            let permit = self.bounce.acquire(rest).await;
            let pages = self.pages(permit.count()).ok_or(BlockError::Memory)?;
            let (result, pages) = self.read(sector, pages).await;
            result?;
            let (part, more) = core::mem::take(&mut buffer).split_at_mut(permit.count() * PAGE_SIZE);
            for (part, page) in part.chunks_exact_mut(PAGE_SIZE).zip(&pages) {
                part.copy_from_slice(&page[..]);
            }
            buffer = more;
            rest -= permit.count();
            sector += self.sectors_of(permit.count());
        }
        Ok(())
    }

    /// Writes `bytes`, whose length is a multiple of 4096, from sector `sector` on. Copies; long ones are written in parts of
    /// at most 128 KiB, one after another and in order. Durable after a [`flush`](Block::flush).
    ///
    /// # Errors
    ///
    /// [`BlockError::Length`] for another length, [`BlockError::OutOfRange`] before anything is written, and others. After an
    /// error any part may have been written.
    pub async fn write_bytes(&self, sector: u64, bytes: &[u8]) -> Result<(), BlockError> {
        let mut sector = sector;
        let mut rest = self.whole_pages(sector, bytes.len())?;
        let mut bytes = bytes;
        while rest > 0 {
            let permit = self.bounce.acquire(rest).await;
            let mut pages = self.pages(permit.count()).ok_or(BlockError::Memory)?;
            let (part, more) = bytes.split_at(permit.count() * PAGE_SIZE);
            for (part, page) in part.chunks_exact(PAGE_SIZE).zip(&mut pages) {
                page.copy_from_slice(part);
            }
            self.write(sector, pages).await.0?;
            bytes = more;
            rest -= permit.count();
            sector += self.sectors_of(permit.count());
        }
        Ok(())
    }

    /// Follows changes of the disk: of its size, or that it was detached or attached again.
    pub fn changes(&self) -> Changes {
        let mut changes = Changes { device: Rc::clone(&self.device), seen: 0 };
        // Only what happens from now on.
        let _ = changes.device.poll_changed(&mut changes.seen, &mut Context::from_waker(Waker::noop()));
        changes
    }

    async fn request(&self, request: Request) -> Done {
        poll_fn(|context| self.device.poll_ready(context)).await;
        self.device.submit(request).await
    }

    /// The number of pages that `length` bytes are.
    fn whole_pages(&self, sector: u64, length: usize) -> Result<usize, BlockError> {
        if !length.is_multiple_of(PAGE_SIZE) {
            return Err(BlockError::Length);
        }
        let pages = length / PAGE_SIZE;
        if pages == 0 {
            return Ok(0);
        }
        let end = sector.checked_add(self.sectors_of(pages)).ok_or(BlockError::OutOfRange)?;
        if end > self.info().sectors { Err(BlockError::OutOfRange) } else { Ok(pages) }
    }

    fn sectors_of(&self, pages: usize) -> u64 {
        (pages as u64).saturating_mul(self.info().sectors_per_page())
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BlockInfo { sectors, sector_size, read_only, .. } = self.info();
        let read_only = if read_only { ", read-only" } else { "" };
        write!(f, "disk of {sectors} sectors of {sector_size} bytes{read_only}")
    }
}

/// Tells when a disk changes; made by [`Block::changes`].
#[derive(Clone)]
pub struct Changes {
    device: Rc<dyn BlockDevice>,
    seen: u64,
}

impl Changes {
    /// Waits for a change since this was made or the last call was ready; what the disk is then. Changes that follow each other
    /// quickly may be told as one.
    ///
    /// # Cancel safety
    ///
    /// A future that is dropped loses nothing.
    pub async fn next(&mut self) -> BlockInfo {
        poll_fn(|context| self.device.poll_changed(&mut self.seen, context)).await;
        self.device.info()
    }
}

impl fmt::Debug for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("changes of a disk")
    }
}

#[cfg(test)]
mod tests;
