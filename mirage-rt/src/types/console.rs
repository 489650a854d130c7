//! Consoles.

use core::fmt;
use core::task::{Context, Poll};

/// Where a program's lines go.
pub trait Console {
    /// Writes `bytes` in order. Never waits: what finds no room is dropped and counted. An empty slice does
    /// nothing.
    fn write(&self, bytes: &[u8]);
}

impl Console for crate::runtime::Runtime {
    fn write(&self, bytes: &[u8]) {
        self.write_console(bytes);
    }
}

/// A console that is read, too: two streams of bytes.
///
/// All methods return at once and keep the waker of the latest call only, one for reading and one for writing. One task
/// reads and one writes at a time.
pub trait ConsoleDevice {
    /// Takes bytes that have come. Ready with at least one, or with 0 at the end of a stream that ends, or when `buffer` is
    /// empty.
    ///
    /// # Errors
    ///
    /// [`ConsoleError`], for good.
    fn poll_read(&self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<Result<usize, ConsoleError>>;

    /// Gives as many of `bytes` as have room; ready with at least one, or when there are none.
    ///
    /// # Errors
    ///
    /// [`ConsoleError`], for good.
    fn poll_write(&self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize, ConsoleError>>;

    /// Ready when all bytes given have left this program, as far as the device can tell.
    ///
    /// # Errors
    ///
    /// [`ConsoleError`], for good.
    fn poll_flush(&self, context: &mut Context<'_>) -> Poll<Result<(), ConsoleError>>;
}

/// A console does not work any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConsoleError {
    /// Its backend broke the protocol.
    Broken,
    /// The host refused to read or write it.
    Io,
}

impl fmt::Display for ConsoleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ConsoleError::Broken => "the console was given up after its backend broke the protocol; the log says how",
            ConsoleError::Io => "the host can't read or write the console",
        })
    }
}

impl core::error::Error for ConsoleError {}

impl embedded_io_async::Error for ConsoleError {
    fn kind(&self) -> embedded_io_async::ErrorKind {
        embedded_io_async::ErrorKind::Other
    }
}
