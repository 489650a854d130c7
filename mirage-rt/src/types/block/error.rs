//! Why a request to a disk was not done.

use core::fmt;

/// A request to a disk failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BlockError {
    /// The range is not on the device; nothing was done.
    OutOfRange,
    /// The length is not one of whole pages; nothing was done.
    Length,
    /// The device is read-only; nothing was done.
    ReadOnly,
    /// The device does not know this operation; nothing was done, but for the data of a write with `fua`, which may have been
    /// written and is not durable.
    Unsupported,
    /// The device reported an error; any part of the request may have been done.
    Io,
    /// The device's queue has no room; nothing was done.
    Full,
    /// The pages can't be lent to the device, or it has no memory to do so; nothing was done.
    Memory,
    /// The disk was detached. Requests work again when one is attached in its place.
    Detached,
    /// The device was given up for good; the log says why.
    Broken,
}

impl fmt::Display for BlockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BlockError::OutOfRange => "the range reaches beyond the end of the disk",
            BlockError::Length => "the length is not a multiple of 4096 bytes, which is what a disk moves",
            BlockError::ReadOnly => "the disk is read-only: attach it with mode 'w' to write",
            BlockError::Unsupported => "the disk does not know this operation: see its BlockInfo",
            BlockError::Io => "the disk reported an error: see the log of the domain that serves it",
            BlockError::Full => "too many requests are under way: wait until the device is ready",
            BlockError::Memory => "the pages can't be lent to the disk: take them from its own pool",
            BlockError::Detached => "the disk was detached: attach it again",
            BlockError::Broken => "the disk was given up after its backend broke the protocol; the log says how",
        })
    }
}

impl core::error::Error for BlockError {}
