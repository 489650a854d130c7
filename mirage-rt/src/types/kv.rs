//! Stores of values under names.

use alloc::borrow::Cow;
use core::fmt;
use core::future::Future;

/// What an [entry](KvRead::list) of a store is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EntryKind {
    /// It has a value.
    Value,
    /// It has entries below it.
    Folder,
}

/// A store that can be read.
///
/// Names are paths of UTF-8 segments with `/` between them, without one at the start or end; the root is the empty path.
/// `.` and `..` have no meaning. A name is either a value or a folder.
pub trait KvRead {
    /// The value of `name`.
    ///
    /// # Errors
    ///
    /// [`KvError::NotFound`], also for a folder.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future reads nothing.
    fn get(&self, name: &str) -> impl Future<Output = Result<Cow<'static, [u8]>, KvError>>;

    /// The entries right below the folder `name`, in order of their names, each without the folder's path.
    ///
    /// # Errors
    ///
    /// [`KvError::NotFound`], also for a value.
    fn list(
        &self,
        name: &str,
    ) -> impl Future<Output = Result<alloc::vec::Vec<(Cow<'static, str>, EntryKind)>, KvError>>;
}

/// A store could not give what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KvError {
    /// There is nothing, or the other kind of entry, under this name.
    NotFound,
    /// The device below failed.
    Io,
}

impl fmt::Display for KvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            KvError::NotFound => "the store has nothing under this name",
            KvError::Io => "the device below the store failed",
        })
    }
}

impl core::error::Error for KvError {}
