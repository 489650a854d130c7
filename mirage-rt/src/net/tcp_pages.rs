//! Bytes that change hands without a copy: pages that the application gives to be sent, or takes as they were received.

use alloc::collections::VecDeque;
use core::future::poll_fn;
use core::task::{Context, Poll};

use super::error::{ReadError, WriteError};
use super::tcp::{HostSide, StreamKind, TcpStream};
use super::{Network, Stack};
use crate::packet::Fragment;
use crate::page::Page;

impl Network {
    /// A page to be filled and [given](TcpStream::give), with whatever content, and with bytes of nobody else's; `None` while
    /// there are only so few left that the device may need them. [`write`](TcpStream::write) needs none.
    pub fn page(&self) -> Option<Page> {
        match &self.stack {
            Stack::Direct(direct) => direct.page(),
            Stack::Host(host) => host.page(),
        }
    }
}

impl TcpStream {
    /// The next bytes, at least one, in the page that the device has put them into, without a copy where that is possible; `None`
    /// when the peer has shut its side down. They are the application's own: it can change them, [give](TcpStream::give)
    /// them to another stream, or keep them; the page goes back to where it came from when they are dropped.
    ///
    /// From the first call on, this connection keeps pages as they come, if they have at least 1024 bytes of its stream and
    /// no more wait than what its receive buffer may hold, as long as the device has enough others. What was
    /// received otherwise is copied into a page. [`read`](TcpStream::read) and [`peek`](TcpStream::peek) go on working as
    /// ever. On the host's sockets, and with smoltcp's machine, everything is copied.
    ///
    /// ```
    /// # use mirage_rt::net::TcpStream;
    /// /// Hands on what comes.
    /// async fn forward(from: &TcpStream, to: &TcpStream) -> Result<(), Box<dyn core::error::Error>> {
    ///     while let Some(bytes) = from.take().await? {
    ///         to.give(bytes).await?;
    ///     }
    ///     Ok(to.shutdown()?)
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// See [`ReadError`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no bytes.
    pub async fn take(&self) -> Result<Option<Fragment>, ReadError> {
        poll_fn(|context| self.poll_take(context)).await
    }

    /// As [`take`](TcpStream::take). Only the latest waker is kept, together with that of
    /// [`poll_read`](TcpStream::poll_read); the one before it is woken.
    ///
    /// # Errors
    ///
    /// See [`ReadError`].
    pub fn poll_take(&self, context: &mut Context<'_>) -> Poll<Result<Option<Fragment>, ReadError>> {
        match self.kind() {
            StreamKind::Direct(connection) => connection.poll_take(context),
            StreamKind::Host(host) => host.poll_take(context),
        }
    }

    /// As [`take`](TcpStream::take), but all that has come, behind the pages that are in `pages` already; how many there were, none
    /// when the peer has shut its side down. For those who move much: it costs less than taking page by page.
    ///
    /// ```
    /// # use mirage_rt::net::TcpStream;
    /// /// Hands on what comes.
    /// async fn forward(from: &TcpStream, to: &TcpStream) -> Result<(), Box<dyn core::error::Error>> {
    ///     let mut pages = Default::default();
    ///     while from.take_all(&mut pages).await? > 0 {
    ///         to.give_all(&mut pages).await?;
    ///     }
    ///     Ok(to.shutdown()?)
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// See [`ReadError`]; `pages` is as it was then.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no bytes.
    pub async fn take_all(&self, pages: &mut VecDeque<Fragment>) -> Result<usize, ReadError> {
        poll_fn(|context| match self.kind() {
            StreamKind::Direct(connection) => connection.poll_take_all(context, pages),
            StreamKind::Host(host) => host.poll_take(context).map_ok(|page| {
                let count = usize::from(page.is_some());
                pages.extend(page);
                count
            }),
        })
        .await
    }

    /// As [`give`](TcpStream::give), all of `pages` from the first on, until there are none left. For those who move much: it
    /// costs less than giving page by page.
    ///
    /// # Errors
    ///
    /// See [`WriteError`].
    ///
    /// # Cancel safety
    ///
    /// What was not taken over yet stays in `pages`.
    pub async fn give_all(&self, pages: &mut VecDeque<Fragment>) -> Result<(), WriteError> {
        poll_fn(|context| match self.kind() {
            StreamKind::Direct(connection) => connection.poll_give_all(context, pages),
            StreamKind::Host(host) => host.poll_give_all(context, pages),
        })
        .await
    }

    /// Writes the bytes of a page, all of them, without a copy where that is possible: the device reads them from the page,
    /// once more if they were lost, and the page goes back to where it came from when the peer has acknowledged them. One
    /// that is [shared](Fragment::shared) can be given often, to the same peer or to others: a server has its files in such
    /// pages.
    ///
    /// The page must be [the network's](Network::page), another one's, or one that was taken from a stream: no other can be
    /// lent to a device. It waits for room as [`write`](TcpStream::write) does, but for room for the first byte only.
    ///
    /// Bytes are copied all the same when there are fewer than 1024, when they leave alone in one short packet, as on a
    /// device that can't cut long ones, on the host's sockets, and by smoltcp's machine.
    ///
    /// ```
    /// # use mirage_rt::net::{Network, TcpStream, WriteError};
    /// # use mirage_rt::packet::Fragment;
    /// /// Sends a thousand numbers.
    /// async fn count(network: &Network, stream: &TcpStream) -> Result<(), WriteError> {
    ///     let Some(mut page) = network.page() else {
    ///         let bytes: Vec<u8> = (0..1000u32).flat_map(u32::to_be_bytes).collect();
    ///         return stream.write_all(&bytes).await;
    ///     };
    ///     for (number, place) in (0..1000u32).zip(page.chunks_exact_mut(4)) {
    ///         place.copy_from_slice(&number.to_be_bytes());
    ///     }
    ///     let Ok(bytes) = Fragment::new(page, 0..4000) else { unreachable!("a page has 4096 bytes") };
    ///     stream.give(bytes).await
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// See [`WriteError`].
    ///
    /// # Cancel safety
    ///
    /// None: where bytes are copied, a future that is dropped may have written some of them. The page is gone with it.
    pub async fn give(&self, bytes: Fragment) -> Result<(), WriteError> {
        let mut bytes = Some(bytes);
        poll_fn(|context| self.poll_give(context, &mut bytes)).await
    }

    /// As [`give`](TcpStream::give). While it is pending, `bytes` has what there was no room for; when it is ready without an
    /// error, nothing. Only the latest waker is kept, together with that of [`poll_write`](TcpStream::poll_write); the one
    /// before it is woken.
    ///
    /// # Errors
    ///
    /// See [`WriteError`].
    pub fn poll_give(&self, context: &mut Context<'_>, bytes: &mut Option<Fragment>) -> Poll<Result<(), WriteError>> {
        match self.kind() {
            StreamKind::Direct(connection) => connection.poll_give(context, bytes),
            StreamKind::Host(host) => host.poll_give(context, bytes),
        }
    }
}

impl HostSide {
    fn poll_take(&self, context: &mut Context<'_>) -> Poll<Result<Option<Fragment>, ReadError>> {
        let Some(mut page) = self.stream.page() else { return Poll::Ready(Err(ReadError::NoPage)) };
        let Poll::Ready(length) = self.poll_read(context, &mut page[..])? else { return Poll::Pending };
        Poll::Ready(Ok(Fragment::new(page, 0..length).ok().filter(|bytes| !bytes.is_empty())))
    }

    fn poll_give_all(&self, context: &mut Context<'_>, pages: &mut VecDeque<Fragment>) -> Poll<Result<(), WriteError>> {
        while let Some(page) = pages.pop_front() {
            let mut left = Some(page);
            let given = self.poll_give(context, &mut left);
            if let Some(page) = left {
                pages.push_front(page);
            }
            if !matches!(given, Poll::Ready(Ok(()))) {
                return given;
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_give(&self, context: &mut Context<'_>, bytes: &mut Option<Fragment>) -> Poll<Result<(), WriteError>> {
        while let Some(left) = bytes.as_mut().filter(|left| !left.is_empty()) {
            let Poll::Ready(length) = self.stream.poll_write(context, left.bytes())? else { return Poll::Pending };
            left.pull_front(length);
        }
        *bytes = None;
        Poll::Ready(Ok(()))
    }
}
