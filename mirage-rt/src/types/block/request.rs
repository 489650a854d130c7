//! What a disk is asked to do.

use alloc::vec::Vec;

use super::{BlockError, BlockInfo, WriteCache};
use crate::page::Page;

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Fills the pages from the disk.
    Read,
    /// Writes the pages to the disk. They are only read, and come back as they were.
    Write {
        /// The data is durable when the request is ready, whatever becomes of later flushes.
        fua: bool,
    },
    /// Makes all writes durable that were ready before this was submitted.
    Flush,
    /// Says that what `count` sectors hold is not needed any more; what they hold afterwards is unspecified, but nothing that
    /// was never written to them. Parts that are not whole extents of [`Discard`](super::Discard) may be left as they are.
    Discard {
        /// How many sectors.
        count: u64,
    },
    /// As discard, and no copy of what the sectors held can be recovered afterwards, also not from the medium itself.
    Erase {
        /// How many sectors.
        count: u64,
    },
}

/// A request to a disk.
#[derive(Debug)]
pub struct Request {
    /// What to do.
    pub operation: Operation,
    /// The first sector; not looked at by a flush.
    pub sector: u64,
    /// The pages to fill or to write; of no use to the other operations, which give them back.
    pub pages: Vec<Page>,
}

impl Request {
    /// Fills `pages` from `sector` on.
    pub fn read(sector: u64, pages: Vec<Page>) -> Self {
        Self { operation: Operation::Read, sector, pages }
    }

    /// Writes `pages` from `sector` on; durable when ready with `fua`.
    pub fn write(sector: u64, pages: Vec<Page>, fua: bool) -> Self {
        Self { operation: Operation::Write { fua }, sector, pages }
    }

    /// Makes what was written durable.
    pub fn flush() -> Self {
        Self { operation: Operation::Flush, sector: 0, pages: Vec::new() }
    }

    /// Lets `count` sectors from `sector` on be forgotten.
    pub fn discard(sector: u64, count: u64) -> Self {
        Self { operation: Operation::Discard { count }, sector, pages: Vec::new() }
    }

    /// Has `count` sectors from `sector` on forgotten for certain.
    pub fn erase(sector: u64, count: u64) -> Self {
        Self { operation: Operation::Erase { count }, sector, pages: Vec::new() }
    }

    /// What every driver looks at first: whether a device that is as `info` says has anything to do for this request.
    ///
    /// # Errors
    ///
    /// In this order: [`BlockError::ReadOnly`] for anything that would change a read-only device,
    /// [`BlockError::Unsupported`] for what the device does not know, [`BlockError::OutOfRange`] for a range that reaches beyond
    /// the end, unless it is empty.
    pub fn check(&self, info: &BlockInfo) -> Result<Wanted, BlockError> {
        let flushes = info.cache != WriteCache::Unflushed;
        let (changes, known, count) = match self.operation {
            Operation::Read => (false, true, self.page_sectors(info)),
            Operation::Write { fua } => (true, flushes || !fua, self.page_sectors(info)),
            Operation::Flush => {
                let wanted = if info.cache == WriteCache::None { Wanted::Nothing } else { Wanted::Device };
                return if flushes { Ok(wanted) } else { Err(BlockError::Unsupported) };
            }
            Operation::Discard { count } => (true, info.discard.is_some(), Some(count)),
            Operation::Erase { count } => (true, info.erase, Some(count)),
        };
        if changes && info.read_only {
            return Err(BlockError::ReadOnly);
        }
        if !known {
            return Err(BlockError::Unsupported);
        }
        match count.map(|count| (count, self.sector.checked_add(count))) {
            Some((0, _)) => Ok(Wanted::Nothing),
            Some((_, Some(end))) if end <= info.sectors => Ok(Wanted::Device),
            _ => Err(BlockError::OutOfRange),
        }
    }

    /// Sectors that the pages hold; `None` when they are too many to count.
    fn page_sectors(&self, info: &BlockInfo) -> Option<u64> {
        (self.pages.len() as u64).checked_mul(info.sectors_per_page())
    }
}

/// What [`Request::check`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The device has to do it.
    Device,
    /// There is nothing to do: the request is done.
    Nothing,
}
