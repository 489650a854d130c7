//! UDP: datagrams.

use alloc::boxed::Box;
use alloc::rc::Rc;
use core::fmt;
use core::future::poll_fn;
#[cfg(feature = "datagrams")]
use core::net::IpAddr;
use core::net::SocketAddr;
use core::task::{Context, Poll};

use super::Stack;
use super::address::ListenAddr;
use super::direct;
use super::error::{BindError, ReceiveError, SendError};
use super::host::HostUdp;
#[cfg(feature = "datagrams")]
use super::udp_options::{JoinError, UdpOption};

/// The UDP side of a network.
#[derive(Clone)]
pub struct Udp {
    stack: Stack,
}

impl Udp {
    pub(super) fn new(stack: Stack) -> Udp {
        Udp { stack }
    }

    /// Binds a socket.
    ///
    /// # Errors
    ///
    /// See [`BindError`].
    pub async fn bind(&self, local: impl Into<ListenAddr>) -> Result<UdpSocket, BindError> {
        self.stack.udp_bind(local.into())
    }
}

impl Stack {
    /// See [`Udp::bind`].
    pub(super) fn udp_bind(&self, local: ListenAddr) -> Result<UdpSocket, BindError> {
        match self {
            Stack::Direct(stack) => Ok(UdpSocket { kind: Rc::new(SocketKind::Direct(stack.udp_bind(local)?)) }),
            Stack::Host(host) => host.udp_bind(local),
        }
    }
}

impl fmt::Debug for Udp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Udp")
    }
}

/// Sends and receives datagrams. Clones are handles to the same socket; it is closed when the last one is dropped.
///
/// Datagrams that nobody receives are kept up to a bound; later ones are dropped, as UDP may.
///
/// # Broadcast
///
/// Every socket may send to all hosts of its network: to 255.255.255.255, or to the last address of the network. What others send
/// there comes to sockets that are bound to a port alone; on the host's sockets only where the network's address is 0.0.0.0.
/// IPv6 has groups instead.
#[derive(Clone)]
pub struct UdpSocket {
    kind: Rc<SocketKind>,
}

enum SocketKind {
    Direct(direct::Socket),
    Host(Box<dyn HostUdp>),
}

impl UdpSocket {
    /// A socket of a [`HostStack`](super::host::HostStack).
    pub fn of_host(socket: Box<dyn HostUdp>) -> UdpSocket {
        UdpSocket { kind: Rc::new(SocketKind::Host(socket)) }
    }

    /// Receives a datagram into `buffer`: its length and its sender. Of a datagram longer than `buffer` the rest is lost,
    /// and the length says so.
    ///
    /// # Errors
    ///
    /// See [`ReceiveError`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no datagram.
    pub async fn receive_from(&self, buffer: &mut [u8]) -> Result<(usize, SocketAddr), ReceiveError> {
        poll_fn(|context| self.poll_receive_from(context, buffer)).await
    }

    /// As [`receive_from`](UdpSocket::receive_from). Only the latest waker is kept; the one before it is woken.
    ///
    /// # Errors
    ///
    /// See [`ReceiveError`].
    pub fn poll_receive_from(
        &self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<Result<(usize, SocketAddr), ReceiveError>> {
        match &*self.kind {
            SocketKind::Direct(socket) => socket.poll_receive(context, buffer),
            SocketKind::Host(socket) => socket.poll_receive(context, buffer),
        }
    }

    /// Waits until [`receive_from`](UdpSocket::receive_from) would not wait.
    ///
    /// # Cancel safety
    ///
    /// Nothing happens but waiting.
    pub async fn readable(&self) {
        poll_fn(|context| self.poll_readable(context)).await;
    }

    pub(super) fn poll_readable(&self, context: &mut Context<'_>) -> Poll<()> {
        match &*self.kind {
            SocketKind::Direct(socket) => socket.poll_readable(context),
            SocketKind::Host(socket) => socket.poll_readable(context),
        }
    }

    /// Sends `bytes` to `remote` as one datagram, in fragments when it is longer than packets may be (65507 bytes at most; on a
    /// network of our own with the feature `datagrams`, else what fits a packet is the most).
    ///
    /// It waits only while the device has no room; the datagram may still be
    /// lost on its way.
    ///
    /// # Errors
    ///
    /// See [`SendError`].
    ///
    /// # Cancel safety
    ///
    /// A future that is dropped has sent nothing.
    pub async fn send_to(&self, bytes: &[u8], remote: impl Into<SocketAddr>) -> Result<(), SendError> {
        let remote = remote.into();
        poll_fn(|context| self.poll_send_to(context, bytes, remote)).await
    }

    pub(super) fn poll_send_to(
        &self,
        context: &mut Context<'_>,
        bytes: &[u8],
        remote: SocketAddr,
    ) -> Poll<Result<(), SendError>> {
        match &*self.kind {
            SocketKind::Direct(socket) => socket.poll_send(context, bytes, remote),
            SocketKind::Host(socket) => socket.poll_send(context, bytes, remote),
        }
    }

    /// Receives datagrams for `group` from now on, too: they come to the socket's port, whoever sends them. The network is told
    /// (IGMP, MLD), so that switches and routers that look hand them on. On the host's sockets the host chooses the interface
    /// that has the network's address, and for IPv6 the one to which its routes lead.
    ///
    /// A socket that is in the group already stays in it. It leaves by [`leave`](UdpSocket::leave), and with its last handle.
    ///
    /// # Errors
    ///
    /// See [`JoinError`].
    #[cfg(feature = "datagrams")]
    pub fn join(&self, group: impl Into<IpAddr>) -> Result<(), JoinError> {
        let group = group.into();
        match &*self.kind {
            SocketKind::Direct(socket) => socket.join(group),
            SocketKind::Host(socket) => socket.join(group),
        }
    }

    /// Receives no more datagrams for `group`, which the socket has joined.
    ///
    /// # Errors
    ///
    /// See [`JoinError`].
    #[cfg(feature = "datagrams")]
    pub fn leave(&self, group: impl Into<IpAddr>) -> Result<(), JoinError> {
        let group = group.into();
        match &*self.kind {
            SocketKind::Direct(socket) => socket.leave(group),
            SocketKind::Host(socket) => socket.leave(group),
        }
    }

    /// How many hops datagrams to groups may take from now on: 1 at first, so that they stay on the link.
    ///
    /// # Errors
    ///
    /// [`JoinError::Host`], when the host refuses.
    #[cfg(feature = "datagrams")]
    pub fn set_multicast_hops(&self, hops: u8) -> Result<(), JoinError> {
        self.set(UdpOption::MulticastHops(hops))
    }

    /// Whether datagrams to groups come to this network's own sockets that are in them, this one too; they do at first.
    /// On a host's loopback interface they do in any case.
    ///
    /// # Errors
    ///
    /// [`JoinError::Host`], when the host refuses.
    #[cfg(feature = "datagrams")]
    pub fn set_multicast_loop(&self, loops: bool) -> Result<(), JoinError> {
        self.set(UdpOption::MulticastLoop(loops))
    }

    /// Whether [`receive_from`](UdpSocket::receive_from) tells of datagrams that this socket has sent and that could not be
    /// delivered: [`ReceiveError::Refused`] when nobody is at the port, [`ReceiveError::Unreachable`] when a router says that the
    /// host can't be reached. It does not at first: a socket that serves many would stop for one that is gone. The socket goes
    /// on after such an error. Routers and hosts need not say anything, and an error may be made up by somebody who knows or
    /// guesses both ports and the address.
    ///
    /// On the host's sockets the host itself also says so: of its own link, when nobody there has the address.
    ///
    /// # Errors
    ///
    /// [`JoinError::Host`], when the host refuses.
    #[cfg(feature = "datagrams")]
    pub fn tell_unreachable(&self, tell: bool) -> Result<(), JoinError> {
        self.set(UdpOption::Unreachable(tell))
    }

    #[cfg(feature = "datagrams")]
    pub(super) fn set(&self, option: UdpOption) -> Result<(), JoinError> {
        match &*self.kind {
            SocketKind::Direct(socket) => {
                socket.set(option);
                Ok(())
            }
            SocketKind::Host(socket) => socket.set(option),
        }
    }

    /// Where it is bound, with the port that was chosen when none was given.
    pub fn local_addr(&self) -> SocketAddr {
        match &*self.kind {
            SocketKind::Direct(socket) => socket.local_addr(),
            SocketKind::Host(socket) => socket.local_addr(),
        }
    }
}

impl fmt::Debug for UdpSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UdpSocket").field("local_addr", &self.local_addr()).finish()
    }
}
