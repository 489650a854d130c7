//! What listeners, streams and datagram sockets hold of the stack.

use alloc::collections::VecDeque;
#[cfg(feature = "datagrams")]
use core::net::IpAddr;
use core::net::SocketAddr;
use core::task::{Context, Poll};

use super::Direct;
use super::stack::Stack;
use super::tcp::machine::ConnId;
use crate::net::error::{AcceptError, ConnectError, ReadError, ReceiveError, SendError, WriteError};
#[cfg(feature = "datagrams")]
use crate::net::udp_options::{JoinError, UdpOption};
use crate::net::{OptionError, TcpInfo, TcpOption};
use crate::packet::Fragment;
use crate::runtime::Runtime;

impl Direct {
    /// Uses the stack, and lets the driver see what came of it.
    fn with<R>(&self, use_stack: impl FnOnce(&mut Stack) -> R) -> R {
        let mut stack = self.shared.stack.borrow_mut();
        let result = use_stack(&mut stack);
        stack.kick();
        result
    }

    /// Uses the stack in a way that gives the driver nothing to do.
    fn look<R>(&self, use_stack: impl FnOnce(&mut Stack) -> R) -> R {
        use_stack(&mut self.shared.stack.borrow_mut())
    }
}

/// A listener; dropping it closes it.
pub struct Listener {
    direct: Direct,
    index: u32,
}

impl Listener {
    pub(super) fn new(direct: Direct, index: u32) -> Listener {
        Listener { direct, index }
    }

    pub fn poll_accept(&self, context: &mut Context<'_>) -> Poll<Result<(Connection, SocketAddr), AcceptError>> {
        self.direct
            .look(|stack| stack.tcp.poll_accept(self.index, context))
            .map_ok(|(id, peer)| (Connection::new(self.direct.clone(), id), peer))
    }

    pub fn local_addr(&self) -> SocketAddr {
        self.direct.look(|stack| stack.shown(stack.tcp.listener_addr(self.index)))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.direct.with(|stack| stack.tcp.close_listener(self.index, &mut stack.ip));
    }
}

/// A connection; dropping it closes it.
pub struct Connection {
    direct: Direct,
    id: ConnId,
}

impl Connection {
    pub(super) fn new(direct: Direct, id: ConnId) -> Connection {
        Connection { direct, id }
    }

    pub fn poll_connected(&self, context: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        self.direct.look(|stack| stack.tcp.poll_connected(self.id, context))
    }

    pub fn poll_read(&self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<Result<usize, ReadError>> {
        self.poll(|stack| stack.tcp.poll_read(self.id, context, buffer))
    }

    pub fn poll_readable(&self, context: &mut Context<'_>) -> Poll<Result<(), ReadError>> {
        self.direct.look(|stack| stack.tcp.poll_peek(self.id, context, &mut |_| {}))
    }

    pub fn poll_peek(&self, context: &mut Context<'_>, look: &mut dyn FnMut(&[u8])) -> Poll<Result<(), ReadError>> {
        self.direct.look(|stack| stack.tcp.poll_peek(self.id, context, look))
    }

    pub fn poll_take(&self, context: &mut Context<'_>) -> Poll<Result<Option<Fragment>, ReadError>> {
        self.poll(|stack| {
            stack.keep_pages();
            stack.tcp.poll_take(self.id, context, || stack.ip.page())
        })
    }

    pub fn poll_take_all(
        &self,
        context: &mut Context<'_>,
        pages: &mut VecDeque<Fragment>,
    ) -> Poll<Result<usize, ReadError>> {
        self.poll(|stack| {
            stack.keep_pages();
            stack.tcp.poll_take_all(self.id, context, pages, || stack.ip.page())
        })
    }

    pub fn consume(&self, length: usize) {
        self.direct.with(|stack| stack.tcp.consume(self.id, length));
    }

    pub fn poll_write(&self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize, WriteError>> {
        self.poll(|stack| stack.tcp.poll_write(self.id, context, bytes))
    }

    pub fn poll_write_vectored(&self, context: &mut Context<'_>, parts: &[&[u8]]) -> Poll<Result<usize, WriteError>> {
        self.poll(|stack| stack.tcp.poll_write_vectored(self.id, context, parts))
    }

    pub fn poll_give(&self, context: &mut Context<'_>, bytes: &mut Option<Fragment>) -> Poll<Result<(), WriteError>> {
        // Some of them may have been taken although there are more.
        self.direct.with(|stack| stack.tcp.poll_give(self.id, context, bytes))
    }

    pub fn poll_give_all(
        &self,
        context: &mut Context<'_>,
        pages: &mut VecDeque<Fragment>,
    ) -> Poll<Result<(), WriteError>> {
        self.direct.with(|stack| stack.tcp.poll_give_all(self.id, context, pages))
    }

    pub fn shutdown(&self) -> Result<(), WriteError> {
        self.direct.with(|stack| stack.tcp.shutdown(self.id))
    }

    pub fn poll_sent(&self, context: &mut Context<'_>) -> Poll<Result<(), WriteError>> {
        self.direct.look(|stack| stack.tcp.poll_sent(self.id, context))
    }

    pub fn set(&self, option: TcpOption) -> Result<(), OptionError> {
        self.direct.with(|stack| {
            let now = stack.ip.now();
            stack.tcp.set(now, self.id, option)
        })
    }

    pub fn abort(&self) {
        self.direct.with(|stack| stack.tcp.abort(self.id, &mut stack.ip));
    }

    pub fn info(&self) -> TcpInfo {
        let now = Runtime::with_current(Runtime::now);
        self.direct.look(|stack| stack.tcp.info(now.unwrap_or(stack.ip.now()), self.id))
    }

    pub fn local_addr(&self) -> SocketAddr {
        self.direct.look(|stack| stack.tcp.addresses(self.id).0)
    }

    pub fn peer_addr(&self) -> SocketAddr {
        self.direct.look(|stack| stack.tcp.addresses(self.id).1)
    }

    /// Uses the stack; the driver has something to do only when that was ready.
    fn poll<R>(&self, use_stack: impl FnOnce(&mut Stack) -> Poll<R>) -> Poll<R> {
        let mut stack = self.direct.shared.stack.borrow_mut();
        let result = use_stack(&mut stack);
        if result.is_ready() {
            stack.kick();
        }
        result
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.direct.with(|stack| stack.tcp.drop_handle(self.id, &mut stack.ip));
    }
}

/// A datagram socket; dropping it closes it.
pub struct Socket {
    direct: Direct,
    index: usize,
}

impl Socket {
    pub(super) fn new(direct: Direct, index: usize) -> Socket {
        Socket { direct, index }
    }

    pub fn poll_receive(
        &self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<Result<(usize, SocketAddr), ReceiveError>> {
        self.direct.look(|stack| stack.udp.poll_receive(self.index, context, buffer))
    }

    pub fn poll_readable(&self, context: &mut Context<'_>) -> Poll<()> {
        self.direct.look(|stack| stack.udp.poll_readable(self.index, context))
    }

    pub fn poll_send(
        &self,
        context: &mut Context<'_>,
        bytes: &[u8],
        remote: SocketAddr,
    ) -> Poll<Result<(), SendError>> {
        self.direct.with(|stack| {
            stack.update_now();
            let sent = stack.udp.poll_send(self.index, context, bytes, remote, &mut stack.ip);
            #[cfg(feature = "datagrams")]
            if remote.ip().is_multicast() && matches!(sent, Poll::Ready(Ok(()))) {
                stack.loop_back(self.index, bytes, remote);
            }
            sent
        })
    }

    #[cfg(feature = "datagrams")]
    pub fn join(&self, group: IpAddr) -> Result<(), JoinError> {
        self.direct.look(|stack| stack.join(self.index, group))
    }

    #[cfg(feature = "datagrams")]
    pub fn leave(&self, group: IpAddr) -> Result<(), JoinError> {
        self.direct.look(|stack| stack.leave(self.index, group))
    }

    #[cfg(feature = "datagrams")]
    pub fn set(&self, option: UdpOption) {
        self.direct.look(|stack| stack.udp.set(self.index, option));
    }

    pub fn local_addr(&self) -> SocketAddr {
        self.direct.look(|stack| stack.shown(stack.udp.local_addr(self.index)))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.direct.look(|stack| {
            stack.udp.close(self.index);
            #[cfg(feature = "datagrams")]
            stack.leave_all(self.index);
        });
    }
}
