//! Block devices.

use alloc::vec::Vec;
use core::fmt;
use core::future::Future;

use crate::page::Page;

/// What a block device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BlockInfo {
    /// Bytes of a sector: 512 or 4096.
    pub sector_size: u32,
    /// How many sectors there are.
    pub sectors: u64,
    /// Writes are refused.
    pub read_only: bool,
}

impl BlockInfo {
    /// A device of `sectors` sectors of `sector_size` bytes.
    pub fn new(sector_size: u32, sectors: u64, read_only: bool) -> Self {
        BlockInfo { sector_size, sectors, read_only }
    }
}

/// A disk that moves owned pages.
///
/// A transfer is a whole number of sectors: `pages.len() * 4096` bytes starting at `sector`. An empty list of pages is done
/// at once. A read or write beyond the end does nothing and is [`BlockError::OutOfRange`]. Requests that overlap in time
/// may be done in any order.
///
/// *Durable means flushed*: a write whose future is ready has reached the device, not yet the medium; it survives a crash
/// of the host after a later [`flush`](Block::flush) is ready, or when it was written with `fua`.
///
/// # Cancel safety
///
/// A dropped future leaves its request running and its pages with the driver until the answer comes; a write may or may
/// not happen.
pub trait Block {
    /// Geometry.
    fn info(&self) -> BlockInfo;

    /// Reads into `pages`, which come back in any case.
    fn read(&self, sector: u64, pages: Vec<Page>) -> impl Future<Output = (Result<(), BlockError>, Vec<Page>)>;

    /// Writes `pages`, which come back in any case. With `fua` the data is durable when the future is ready.
    fn write(
        &self,
        sector: u64,
        pages: Vec<Page>,
        fua: bool,
    ) -> impl Future<Output = (Result<(), BlockError>, Vec<Page>)>;

    /// Makes all writes that were ready before this call durable.
    fn flush(&self) -> impl Future<Output = Result<(), BlockError>>;

    /// Says that the content of `count` sectors from `sector` is not needed; what they hold afterwards is unspecified.
    fn discard(&self, sector: u64, count: u64) -> impl Future<Output = Result<(), BlockError>>;
}

/// A request to a disk failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BlockError {
    /// The range is not on the device; nothing was done.
    OutOfRange,
    /// The device is read-only.
    ReadOnly,
    /// The device does not know this operation.
    Unsupported,
    /// The device reported an error.
    Io,
    /// The device is away or was given up.
    Disconnected,
}

impl fmt::Display for BlockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BlockError::OutOfRange => "the range reaches beyond the end of the disk",
            BlockError::ReadOnly => "the disk is read-only: attach it with mode 'w' to write",
            BlockError::Unsupported => "the disk does not know this operation",
            BlockError::Io => "the disk reported an error: see the log of the domain that serves it",
            BlockError::Disconnected => "the disk is away",
        })
    }
}

impl core::error::Error for BlockError {}
