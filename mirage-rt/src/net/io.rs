//! `embedded-io-async` on streams.

use core::fmt;

use embedded_io_async::{Error, ErrorKind, ErrorType, Read, Write};

use super::error::{ReadError, WriteError};
use super::tcp::TcpStream;

/// An error of a stream used through `embedded-io-async`, whose readers and writers share one type.
#[derive(Debug)]
#[non_exhaustive]
pub enum StreamError {
    /// Of a read.
    Read(ReadError),
    /// Of a write.
    Write(WriteError),
}

impl From<ReadError> for StreamError {
    fn from(error: ReadError) -> Self {
        StreamError::Read(error)
    }
}

impl From<WriteError> for StreamError {
    fn from(error: WriteError) -> Self {
        StreamError::Write(error)
    }
}

impl fmt::Display for StreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StreamError::Read(error) => error.fmt(f),
            StreamError::Write(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for StreamError {}

impl Error for StreamError {
    fn kind(&self) -> ErrorKind {
        match self {
            StreamError::Read(ReadError::Reset) | StreamError::Write(WriteError::Reset) => ErrorKind::ConnectionReset,
            StreamError::Read(ReadError::TimedOut) | StreamError::Write(WriteError::TimedOut) => ErrorKind::TimedOut,
            StreamError::Read(ReadError::Aborted) => ErrorKind::ConnectionAborted,
            StreamError::Write(WriteError::Closed) => ErrorKind::BrokenPipe,
            _ => ErrorKind::Other,
        }
    }
}

impl ErrorType for TcpStream {
    type Error = StreamError;
}

impl Read for TcpStream {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, StreamError> {
        Ok(TcpStream::read(self, buffer).await?)
    }
}

impl Write for TcpStream {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, StreamError> {
        Ok(TcpStream::write(self, bytes).await?)
    }

    /// Ready at once: what was written is on its way without it.
    async fn flush(&mut self) -> Result<(), StreamError> {
        Ok(())
    }
}
