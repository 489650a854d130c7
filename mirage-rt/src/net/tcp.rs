//! TCP: listeners and streams.

use crate::cell::RefCell;
use alloc::boxed::Box;
use alloc::rc::Rc;
use core::fmt;
use core::future::poll_fn;
use core::net::SocketAddr;
use core::task::{Context, Poll};

use super::address::ListenAddr;
use super::direct;
use super::error::{AcceptError, BindError, ConnectError, ReadError, WriteError};
use super::host::{HostListener, HostStream};
use super::names::NamedConnectError;
use super::tcp_info::TcpInfo;
use super::tcp_options::{CongestionControl, KeepAlive, OptionError, TcpOption};
use super::{Network, Stack};
use crate::time::Duration;

/// Connections that wait to be accepted, at most, when [`Tcp::bind`] makes the listener.
pub const DEFAULT_BACKLOG: usize = 128;

/// The TCP side of a network.
#[derive(Clone)]
pub struct Tcp {
    stack: Stack,
}

impl Tcp {
    pub(super) fn new(stack: Stack) -> Tcp {
        Tcp { stack }
    }

    /// Listens at `local`, with room for [`DEFAULT_BACKLOG`] connections that wait to be accepted.
    ///
    /// # Errors
    ///
    /// See [`BindError`].
    pub async fn bind(&self, local: impl Into<ListenAddr>) -> Result<TcpListener, BindError> {
        self.bind_with_backlog(local, DEFAULT_BACKLOG).await
    }

    /// Listens at `local`, with room for `backlog` (at least one) connections that wait to be accepted.
    ///
    /// # Errors
    ///
    /// See [`BindError`].
    pub async fn bind_with_backlog(
        &self,
        local: impl Into<ListenAddr>,
        backlog: usize,
    ) -> Result<TcpListener, BindError> {
        self.stack.tcp_bind(local.into(), backlog.max(1))
    }

    /// Connects to `remote`.
    ///
    /// # Errors
    ///
    /// See [`ConnectError`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives the attempt up.
    pub async fn connect(&self, remote: impl Into<SocketAddr>) -> Result<TcpStream, ConnectError> {
        let stream = self.stack.tcp_connect(remote.into())?;
        poll_fn(|context| match &*stream.kind {
            StreamKind::Direct(connection) => connection.poll_connected(context),
            StreamKind::Host(host) => host.stream.poll_connected(context),
        })
        .await?;
        Ok(stream)
    }

    /// Connects to a host by its name and port, as `example.org:443`, asking the name servers of this network: see
    /// [`Network::names`] and [`Resolver::connect`](super::names::Resolver::connect).
    ///
    /// # Errors
    ///
    /// See [`NamedConnectError`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives all attempts up.
    pub async fn connect_to(&self, target: &str) -> Result<TcpStream, NamedConnectError> {
        Network { stack: self.stack.clone() }.names().connect(target).await
    }
}

impl Stack {
    /// See [`Tcp::bind_with_backlog`].
    pub(super) fn tcp_bind(&self, local: ListenAddr, backlog: usize) -> Result<TcpListener, BindError> {
        match self {
            Stack::Direct(stack) => Ok(TcpListener { kind: ListenerKind::Direct(stack.tcp_bind(local, backlog)?) }),
            Stack::Host(host) => host.tcp_bind(local, backlog),
        }
    }

    /// Starts a connection.
    pub(super) fn tcp_connect(&self, remote: SocketAddr) -> Result<TcpStream, ConnectError> {
        match self {
            Stack::Direct(stack) => Ok(TcpStream::new(StreamKind::Direct(stack.tcp_connect(remote)?))),
            Stack::Host(host) => host.tcp_connect(remote),
        }
    }
}

impl fmt::Debug for Tcp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tcp")
    }
}

/// Waits for connections. Dropping it closes the port; connections that wait to be accepted are reset.
pub struct TcpListener {
    kind: ListenerKind,
}

enum ListenerKind {
    Direct(direct::Listener),
    Host(Box<dyn HostListener>),
}

impl TcpListener {
    /// The listener of a [`HostStack`](super::host::HostStack).
    pub fn of_host(listener: Box<dyn HostListener>) -> TcpListener {
        TcpListener { kind: ListenerKind::Host(listener) }
    }

    /// The next connection and its peer's address.
    ///
    /// # Errors
    ///
    /// See [`AcceptError`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no connection.
    pub async fn accept(&mut self) -> Result<(TcpStream, SocketAddr), AcceptError> {
        poll_fn(|context| self.poll_accept(context)).await
    }

    /// As [`accept`](TcpListener::accept). Only the latest waker is kept; the one before it is woken.
    ///
    /// # Errors
    ///
    /// See [`AcceptError`].
    pub fn poll_accept(&self, context: &mut Context<'_>) -> Poll<Result<(TcpStream, SocketAddr), AcceptError>> {
        match &self.kind {
            ListenerKind::Direct(listener) => listener
                .poll_accept(context)
                .map_ok(|(connection, peer)| (TcpStream::new(StreamKind::Direct(connection)), peer)),
            ListenerKind::Host(listener) => listener.poll_accept(context),
        }
    }

    /// Where it listens, with the port that was chosen when none was given.
    pub fn local_addr(&self) -> SocketAddr {
        match &self.kind {
            ListenerKind::Direct(listener) => listener.local_addr(),
            ListenerKind::Host(listener) => listener.local_addr(),
        }
    }
}

impl fmt::Debug for TcpListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpListener").field("local_addr", &self.local_addr()).finish()
    }
}

/// A connection. Clones are handles to the same connection: one task can read while another writes. When two tasks do the
/// same on one connection, they take turns in no order.
///
/// When the last clone is dropped, what was written is still sent and the connection is then closed; when there are bytes
/// that nobody read, it is reset instead, so that the peer learns that they were lost. [`set_linger`](TcpStream::set_linger) changes
/// for how long that may go on.
#[derive(Clone)]
pub struct TcpStream {
    kind: Rc<StreamKind>,
}

pub(super) enum StreamKind {
    Direct(direct::Connection),
    /// In a box, so that a connection of a network of our own takes no more than it needs.
    Host(Box<HostSide>),
}

impl TcpStream {
    /// A stream of a [`HostStack`](super::host::HostStack).
    pub fn of_host(stream: Box<dyn HostStream>) -> TcpStream {
        TcpStream::new(StreamKind::Host(HostSide::new(stream)))
    }

    fn new(kind: StreamKind) -> TcpStream {
        TcpStream { kind: Rc::new(kind) }
    }

    pub(super) fn kind(&self) -> &StreamKind {
        &self.kind
    }

    /// Reads what is there into `buffer`, waiting for at least one byte; 0 when the peer has shut its side down, or
    /// `buffer` is empty.
    ///
    /// # Errors
    ///
    /// See [`ReadError`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no bytes.
    pub async fn read(&self, buffer: &mut [u8]) -> Result<usize, ReadError> {
        poll_fn(|context| self.poll_read(context, buffer)).await
    }

    /// As [`read`](TcpStream::read). Only the latest waker is kept; the one before it is woken.
    ///
    /// # Errors
    ///
    /// See [`ReadError`].
    pub fn poll_read(&self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<Result<usize, ReadError>> {
        if buffer.is_empty() {
            return Poll::Ready(Ok(0));
        }
        match &*self.kind {
            StreamKind::Direct(connection) => connection.poll_read(context, buffer),
            StreamKind::Host(host) => host.poll_read(context, buffer),
        }
    }

    /// Waits for at least one byte, shows what is there to `look`, and takes nothing away. `look` gets no bytes when the
    /// peer has shut its side down, and not always all that have arrived: call [`consume`](TcpStream::consume) for those it
    /// has used and peek again. It must not use the network.
    ///
    /// # Errors
    ///
    /// See [`ReadError`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no bytes.
    pub async fn peek<R>(&self, look: impl FnOnce(&[u8]) -> R) -> Result<R, ReadError> {
        let mut look = Some(look);
        let mut result = None;
        poll_fn(|context| {
            let mut once = |bytes: &[u8]| {
                if let Some(look) = look.take() {
                    result = Some(look(bytes));
                }
            };
            match &*self.kind {
                StreamKind::Direct(connection) => connection.poll_peek(context, &mut once),
                StreamKind::Host(host) => host.poll_peek(context, &mut once),
            }
        })
        .await?;
        match result {
            Some(result) => Ok(result),
            None => unreachable!("a peek that is ready has called its function"),
        }
    }

    /// Takes away the first `length` bytes of what was [peeked](TcpStream::peek) at; no more than were there.
    pub fn consume(&self, length: usize) {
        match &*self.kind {
            StreamKind::Direct(connection) => connection.consume(length),
            StreamKind::Host(host) => host.consume(length),
        }
    }

    /// Waits until [`read`](TcpStream::read) would not wait.
    ///
    /// # Errors
    ///
    /// See [`ReadError`].
    ///
    /// # Cancel safety
    ///
    /// Nothing happens but waiting.
    pub async fn readable(&self) -> Result<(), ReadError> {
        poll_fn(|context| match &*self.kind {
            StreamKind::Direct(connection) => connection.poll_readable(context),
            StreamKind::Host(host) => host.poll_peek(context, &mut |_| {}),
        })
        .await
    }

    /// Waits until the peer has acknowledged what was written, and the end when this side was shut down. It says nothing
    /// about what the peer's application has read. On the host's sockets it is ready at once.
    ///
    /// # Errors
    ///
    /// See [`WriteError`].
    ///
    /// # Cancel safety
    ///
    /// Nothing happens but waiting.
    pub async fn acknowledged(&self) -> Result<(), WriteError> {
        poll_fn(|context| match &*self.kind {
            StreamKind::Direct(connection) => connection.poll_sent(context),
            StreamKind::Host(_) => Poll::Ready(Ok(())),
        })
        .await
    }

    /// Writes some of `bytes`: at least one byte, unless there are none. They are sent without further ado; nothing needs
    /// to be flushed.
    ///
    /// # Errors
    ///
    /// See [`WriteError`].
    ///
    /// # Cancel safety
    ///
    /// A future that is dropped has written nothing.
    pub async fn write(&self, bytes: &[u8]) -> Result<usize, WriteError> {
        poll_fn(|context| self.poll_write(context, bytes)).await
    }

    /// As [`write`](TcpStream::write). Only the latest waker is kept; the one before it is woken.
    ///
    /// # Errors
    ///
    /// See [`WriteError`].
    pub fn poll_write(&self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize, WriteError>> {
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        match &*self.kind {
            StreamKind::Direct(connection) => connection.poll_write(context, bytes),
            StreamKind::Host(host) => host.stream.poll_write(context, bytes),
        }
    }

    /// Writes all of `bytes`.
    ///
    /// # Errors
    ///
    /// See [`WriteError`]. How much was written before is not known then.
    ///
    /// # Cancel safety
    ///
    /// None: a future that is dropped may have written some of the bytes.
    pub async fn write_all(&self, mut bytes: &[u8]) -> Result<(), WriteError> {
        while !bytes.is_empty() {
            let length = self.write(bytes).await?;
            bytes = bytes.get(length..).unwrap_or_default();
        }
        Ok(())
    }

    /// Shuts this side down: the peer reads what was written, then the end. Reading goes on. A second call does nothing.
    ///
    /// # Errors
    ///
    /// See [`WriteError`].
    pub fn shutdown(&self) -> Result<(), WriteError> {
        match &*self.kind {
            StreamKind::Direct(connection) => connection.shutdown(),
            StreamKind::Host(host) => host.stream.shutdown(),
        }
    }

    /// Resets the connection: what was written and not yet sent, and what was not yet read, is lost.
    pub fn abort(&self) {
        match &*self.kind {
            StreamKind::Direct(connection) => connection.abort(),
            StreamKind::Host(host) => host.stream.abort(),
        }
    }

    /// Whether small segments leave at once, as they do from the beginning. When not, bytes that do not fill a segment wait
    /// while others are under way (Nagle's algorithm; RFC 9293, 3.7.4): for programs that write a few bytes at a time.
    ///
    /// # Errors
    ///
    /// See [`OptionError`].
    pub fn set_nodelay(&self, nodelay: bool) -> Result<(), OptionError> {
        self.set(TcpOption::NoDelay(nodelay))
    }

    /// Asks a peer that says nothing whether it is still there, and gives the connection up when it does not answer (RFC 9293,
    /// 3.8.4); `None`, as in the beginning, waits for ever. Whoever waits learns of the end by [`ReadError::TimedOut`]. On the
    /// host's sockets times are rounded up to whole seconds.
    ///
    /// # Errors
    ///
    /// See [`OptionError`]. smoltcp's machine can't.
    pub fn set_keep_alive(&self, keep_alive: Option<KeepAlive>) -> Result<(), OptionError> {
        self.set(TcpOption::KeepAlive(keep_alive))
    }

    /// For how long the peer may leave bytes without an acknowledgement before the connection is given up (RFC 5482, the local
    /// part of it: the peer is told nothing). `None` is two minutes, on the host's sockets what the host does.
    ///
    /// # Errors
    ///
    /// See [`OptionError`].
    pub fn set_user_timeout(&self, most: Option<Duration>) -> Result<(), OptionError> {
        self.set(TcpOption::UserTimeout(most))
    }

    /// For how long unsent bytes are still sent when the last handle was dropped, before the connection is reset. With zero it
    /// is reset at once ("hard close"); `None` is up to three minutes, one when the peer is silent.
    ///
    /// # Errors
    ///
    /// See [`OptionError`]. On the host's sockets only zero and `None` are supported: for others, dropping would wait.
    pub fn set_linger(&self, most: Option<Duration>) -> Result<(), OptionError> {
        self.set(TcpOption::Linger(most))
    }

    /// How much is sent at a time when the network loses packets; [`CongestionControl::Cubic`] until then, on the host's sockets
    /// what the host does. What is under way, and the losses that are being made good, stay as they are.
    ///
    /// # Errors
    ///
    /// See [`OptionError`]. smoltcp's machine can't; a host may lack one of them.
    pub fn set_congestion_control(&self, algorithm: CongestionControl) -> Result<(), OptionError> {
        self.set(TcpOption::CongestionControl(algorithm))
    }

    /// Makes a choice for this connection, at any time.
    ///
    /// # Errors
    ///
    /// See [`OptionError`].
    pub fn set(&self, option: TcpOption) -> Result<(), OptionError> {
        let option = option.check()?;
        match &*self.kind {
            StreamKind::Direct(connection) => connection.set(option),
            StreamKind::Host(host) => host.stream.set(option),
        }
    }

    /// How the connection is doing now: what the stack knows of it, as Linux tells by `TCP_INFO`. `None` when a host does
    /// not say.
    pub fn info(&self) -> Option<TcpInfo> {
        match &*self.kind {
            StreamKind::Direct(connection) => Some(connection.info()),
            StreamKind::Host(host) => host.info(),
        }
    }

    /// This side's address.
    pub fn local_addr(&self) -> SocketAddr {
        match &*self.kind {
            StreamKind::Direct(connection) => connection.local_addr(),
            StreamKind::Host(host) => host.stream.local_addr(),
        }
    }

    /// The peer's address.
    pub fn peer_addr(&self) -> SocketAddr {
        match &*self.kind {
            StreamKind::Direct(connection) => connection.peer_addr(),
            StreamKind::Host(host) => host.stream.peer_addr(),
        }
    }
}

impl fmt::Debug for TcpStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpStream")
            .field("local_addr", &self.local_addr())
            .field("peer_addr", &self.peer_addr())
            .finish()
    }
}

/// Bytes of a host stream that were read to be peeked at.
const STAGE: usize = 4096;

/// A stream of the host, and what was read from it in order to be peeked at.
pub(super) struct HostSide {
    pub(super) stream: Box<dyn HostStream>,
    staged: RefCell<Staged>,
}

/// `bytes[start..end]` waits to be consumed or read. Without memory until the first peek.
#[derive(Default)]
struct Staged {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
}

/// The host does not know that what was staged was not read.
impl Drop for HostSide {
    fn drop(&mut self) {
        let staged = self.staged.get_mut();
        if staged.start < staged.end {
            self.stream.abort();
        }
    }
}

impl HostSide {
    fn new(stream: Box<dyn HostStream>) -> Box<HostSide> {
        Box::new(HostSide { stream, staged: RefCell::default() })
    }

    pub(super) fn poll_read(&self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<Result<usize, ReadError>> {
        let mut staged = self.staged.borrow_mut();
        let waiting = staged.bytes.get(staged.start..staged.end).unwrap_or_default();
        if waiting.is_empty() {
            return self.stream.poll_read(context, buffer);
        }
        let length = waiting.len().min(buffer.len());
        buffer[..length].copy_from_slice(&waiting[..length]);
        staged.start += length;
        Poll::Ready(Ok(length))
    }

    fn poll_peek(&self, context: &mut Context<'_>, look: &mut dyn FnMut(&[u8])) -> Poll<Result<(), ReadError>> {
        let mut staged = self.staged.borrow_mut();
        if staged.start == staged.end {
            if staged.bytes.is_empty() {
                staged.bytes = alloc::vec![0; STAGE].into_boxed_slice();
            }
            let Poll::Ready(length) = self.stream.poll_read(context, &mut staged.bytes)? else {
                return Poll::Pending;
            };
            (staged.start, staged.end) = (0, length);
        }
        look(staged.bytes.get(staged.start..staged.end).unwrap_or_default());
        Poll::Ready(Ok(()))
    }

    /// What was staged has been read from the host, not by the application.
    fn info(&self) -> Option<TcpInfo> {
        let mut info = self.stream.info()?;
        let staged = self.staged.borrow();
        info.readable += staged.end - staged.start;
        Some(info)
    }

    fn consume(&self, length: usize) {
        let mut staged = self.staged.borrow_mut();
        staged.start = staged.start.saturating_add(length).min(staged.end);
    }
}
