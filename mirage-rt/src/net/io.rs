//! `embedded-io-async` on streams.

use core::fmt;

use embedded_io_async::{Error, ErrorKind, ErrorType, Read, Write};

use super::error::{AcceptError, BindError, ConnectError, ReadError, ReceiveError, SendError, WriteError};
use super::tcp::TcpStream;
use super::udp_options::JoinError;

/// An error of a socket used through `embedded-io-async` or `edge-nal`, where all operations share one type.
#[derive(Debug)]
#[non_exhaustive]
pub enum SocketError {
    /// A socket was not bound.
    Bind(BindError),
    /// A listener gives no more connections.
    Accept(AcceptError),
    /// A connection was not made.
    Connect(ConnectError),
    /// Nothing can be read any more.
    Read(ReadError),
    /// Nothing can be written any more.
    Write(WriteError),
    /// A datagram was not sent.
    Send(SendError),
    /// No datagrams come any more.
    Receive(ReceiveError),
    /// A group was not joined or left.
    Join(JoinError),
}

macro_rules! from {
    ($($variant:ident($error:ident)),*) => {$(
        impl From<$error> for SocketError {
            fn from(error: $error) -> Self {
                SocketError::$variant(error)
            }
        }
    )*};
}

from!(
    Bind(BindError),
    Accept(AcceptError),
    Connect(ConnectError),
    Read(ReadError),
    Write(WriteError),
    Send(SendError),
    Receive(ReceiveError),
    Join(JoinError)
);

impl fmt::Display for SocketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SocketError::Bind(error) => error.fmt(f),
            SocketError::Accept(error) => error.fmt(f),
            SocketError::Connect(error) => error.fmt(f),
            SocketError::Read(error) => error.fmt(f),
            SocketError::Write(error) => error.fmt(f),
            SocketError::Send(error) => error.fmt(f),
            SocketError::Receive(error) => error.fmt(f),
            SocketError::Join(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for SocketError {}

impl Error for SocketError {
    fn kind(&self) -> ErrorKind {
        match self {
            SocketError::Read(ReadError::Reset) | SocketError::Write(WriteError::Reset) => ErrorKind::ConnectionReset,
            SocketError::Read(ReadError::TimedOut)
            | SocketError::Write(WriteError::TimedOut)
            | SocketError::Connect(ConnectError::TimedOut(_)) => ErrorKind::TimedOut,
            SocketError::Read(ReadError::Aborted) => ErrorKind::ConnectionAborted,
            SocketError::Write(WriteError::Closed) => ErrorKind::BrokenPipe,
            SocketError::Connect(ConnectError::Refused(_)) => ErrorKind::ConnectionRefused,
            SocketError::Bind(BindError::InUse { .. }) => ErrorKind::AddrInUse,
            SocketError::Bind(BindError::NotOurs(_)) => ErrorKind::AddrNotAvailable,
            SocketError::Bind(BindError::OutOfMemory) | SocketError::Connect(ConnectError::OutOfMemory) => {
                ErrorKind::OutOfMemory
            }
            SocketError::Join(JoinError::NotAGroup(_) | JoinError::NoFamily(_)) => ErrorKind::InvalidInput,
            _ => ErrorKind::Other,
        }
    }
}

impl ErrorType for TcpStream {
    type Error = SocketError;
}

impl Read for TcpStream {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, SocketError> {
        Ok(TcpStream::read(self, buffer).await?)
    }
}

impl Write for TcpStream {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, SocketError> {
        Ok(TcpStream::write(self, bytes).await?)
    }

    /// Ready at once: what was written is on its way without it.
    async fn flush(&mut self) -> Result<(), SocketError> {
        Ok(())
    }
}
