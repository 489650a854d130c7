//! Bytes that stand in several places and leave together.

use core::future::poll_fn;
use core::task::{Context, Poll};

use super::error::WriteError;
use super::tcp::{StreamKind, TcpStream};

impl TcpStream {
    /// Writes some of the bytes of `parts`, one part after the other, as if they stood in one place: at least one byte, unless there
    /// are none; how many. What is written by one call leaves together, so that a head and a short body are one segment, which wakes
    /// the peer once; on the host's sockets it is one system call.
    ///
    /// It may end anywhere, also within a part or between two, and the host's sockets take up to 16 parts at a time:
    /// [`write_all_vectored`](TcpStream::write_all_vectored) goes on from there.
    ///
    /// # Errors
    ///
    /// See [`WriteError`].
    ///
    /// # Cancel safety
    ///
    /// A future that is dropped has written nothing.
    pub async fn write_vectored(&self, parts: &[&[u8]]) -> Result<usize, WriteError> {
        poll_fn(|context| self.poll_write_vectored(context, parts)).await
    }

    /// As [`write_vectored`](TcpStream::write_vectored). Only the latest waker is kept, together with that of
    /// [`poll_write`](TcpStream::poll_write); the one before it is woken.
    ///
    /// # Errors
    ///
    /// See [`WriteError`].
    pub fn poll_write_vectored(&self, context: &mut Context<'_>, parts: &[&[u8]]) -> Poll<Result<usize, WriteError>> {
        if parts.iter().all(|part| part.is_empty()) {
            return Poll::Ready(Ok(0));
        }
        match self.kind() {
            StreamKind::Direct(connection) => connection.poll_write_vectored(context, parts),
            StreamKind::Host(host) => host.stream.poll_write_vectored(context, parts),
        }
    }

    /// Writes all bytes of `parts`, one part after the other. Parts are shortened from the front by what was written; in the end
    /// all of them are empty.
    ///
    /// ```
    /// # use mirage_rt::net::{TcpStream, WriteError};
    /// /// Answers without putting the two parts together first.
    /// async fn answer(stream: &TcpStream, page: &[u8]) -> Result<(), WriteError> {
    ///     let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", page.len());
    ///     stream.write_all_vectored(&mut [head.as_bytes(), page]).await
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// See [`WriteError`].
    ///
    /// # Cancel safety
    ///
    /// What was not written yet stays in `parts`, also after an error: who calls it again with them goes on.
    pub async fn write_all_vectored(&self, parts: &mut [&[u8]]) -> Result<(), WriteError> {
        poll_fn(|context| {
            while parts.iter().any(|part| !part.is_empty()) {
                let Poll::Ready(length) = self.poll_write_vectored(context, parts)? else { return Poll::Pending };
                advance(parts, length);
            }
            Poll::Ready(Ok(()))
        })
        .await
    }
}

/// Takes the first `length` bytes away.
fn advance(parts: &mut [&[u8]], mut length: usize) {
    for part in parts {
        let taken = length.min(part.len());
        *part = part.get(taken..).unwrap_or_default();
        length -= taken;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_taken_from_the_front() {
        let mut parts: [&[u8]; 4] = [b"ab", b"", b"cde", b"f"];
        advance(&mut parts, 0);
        assert_eq!(parts.concat(), b"abcdef");
        advance(&mut parts, 3);
        assert_eq!(parts, [&b""[..], b"", b"de", b"f"]);
        advance(&mut parts, 2);
        assert_eq!(parts, [&b""[..], b"", b"", b"f"]);
        advance(&mut parts, 100);
        assert!(parts.iter().all(|part| part.is_empty()));
        advance(&mut [], 1);
    }
}
