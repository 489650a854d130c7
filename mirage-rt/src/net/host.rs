//! What a platform implements when the host's own sockets are the network; [several networks as one](super::Network::joined)
//! are made of the same.
//!
//! All methods return at once. A poll that returns `Pending` has kept the context's waker and wakes it when the same call
//! may succeed. Each object keeps one waker for each kind of call (reading, writing, accepting, receiving, sending); when
//! a waker takes the place of one that would wake another task, the earlier one is woken, so that tasks that share a
//! socket take turns.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use core::task::{Context, Poll};

use super::address::ListenAddr;
use super::addressing::{Addressing, ConfigureError};
use super::error::{AcceptError, BindError, ConnectError, ReadError, ReceiveError, SendError, WriteError};
use super::icmp::PingError;
use super::names::{self, Family};
use super::tcp_info::TcpInfo;
use super::tcp_options::{OptionError, TcpOption};
use super::udp_options::{JoinError, UdpOption};
use super::{Link, Network, TcpListener, TcpStream, UdpSocket};
use crate::page::Page;

/// The host's sockets.
pub trait HostStack {
    /// The addresses by which others reach this network, as far as they are known.
    fn addresses(&self) -> Vec<IpAddr>;

    /// Listens at `local`, with at most `backlog` connections waiting to be accepted. The listener is made by
    /// [`TcpListener::of_host`].
    ///
    /// # Errors
    ///
    /// See [`BindError`].
    fn tcp_bind(&self, local: ListenAddr, backlog: usize) -> Result<TcpListener, BindError>;

    /// Starts a connection to `remote`; [`HostStream::poll_connected`] says when it is there. The stream is made by
    /// [`TcpStream::of_host`].
    ///
    /// # Errors
    ///
    /// See [`ConnectError`].
    fn tcp_connect(&self, remote: SocketAddr) -> Result<TcpStream, ConnectError>;

    /// Binds a UDP socket, made by [`UdpSocket::of_host`].
    ///
    /// # Errors
    ///
    /// See [`BindError`].
    fn udp_bind(&self, local: ListenAddr) -> Result<UdpSocket, BindError>;

    /// A socket for echo requests to `to`: messages of ICMP, whose identifiers and checksums the host fills in.
    ///
    /// # Errors
    ///
    /// See [`PingError`].
    fn icmp_bind(&self, to: IpAddr) -> Result<Box<dyn HostUdp>, PingError>;

    /// The name servers that the host is configured to ask, and how; `None` when that is not known.
    fn names(&self) -> Option<names::Options> {
        None
    }

    /// A page for the application to fill; `None` when there are too many already.
    fn page(&self) -> Option<Page>;

    /// The place for the name servers that the program or its keys name.
    fn name_slot(&self) -> &names::NameSlot;

    /// The kinds of addresses to which connections can be made, the preferred one first.
    fn families(&self) -> &'static [Family] {
        &[Family::V6, Family::V4]
    }

    /// The state of the link now; one that is not known is up.
    fn link(&self) -> Link {
        Link { up: true, mtu: None, changes: 0 }
    }

    /// Ready when the link has changed since it was as in `since`. A host's never does.
    fn poll_link_changed(&self, context: &mut Context<'_>, since: Link) -> Poll<Link> {
        let _ = (context, since);
        Poll::Pending
    }

    /// Ready when the addresses are others than `since`. A host's never are.
    fn poll_addresses_changed(&self, context: &mut Context<'_>, since: &[IpAddr]) -> Poll<Vec<IpAddr>> {
        let _ = (context, since);
        Poll::Pending
    }

    /// Gives the network another address.
    ///
    /// # Errors
    ///
    /// [`ConfigureError::Host`]: the host's sockets have the host's.
    fn configure(&self, addressing: Addressing) -> Result<(), ConfigureError> {
        let _ = addressing;
        Err(ConfigureError::Host)
    }

    /// The networks that this one is made of; none when it is one by itself.
    fn parts(&self) -> &[Network] {
        &[]
    }
}

/// A listening socket of the host; dropping it closes it.
pub trait HostListener {
    /// Where it listens, with the port that was chosen when none was given.
    fn local_addr(&self) -> SocketAddr;

    /// The next connection and its peer's address.
    ///
    /// # Errors
    ///
    /// See [`AcceptError`]. What concerns one connection only (it was reset while it waited) is not an error: the next
    /// one is taken.
    fn poll_accept(&self, context: &mut Context<'_>) -> Poll<Result<Accepted, AcceptError>>;
}

/// A connection that a listener accepted, and its peer's address.
pub type Accepted = (TcpStream, SocketAddr);

/// A stream socket of the host. Dropping it closes it: what was written is still sent.
pub trait HostStream {
    /// This side's address.
    fn local_addr(&self) -> SocketAddr;

    /// The peer's address.
    fn peer_addr(&self) -> SocketAddr;

    /// Ready when the connection is made. Streams that were accepted are ready at once.
    ///
    /// # Errors
    ///
    /// See [`ConnectError`].
    fn poll_connected(&self, context: &mut Context<'_>) -> Poll<Result<(), ConnectError>>;

    /// Reads into `buffer`, which is not empty; 0 when the peer has shut its side down.
    ///
    /// # Errors
    ///
    /// See [`ReadError`].
    fn poll_read(&self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<Result<usize, ReadError>>;

    /// A page to read into; `None` when there are too many already.
    fn page(&self) -> Option<Page>;

    /// Writes some of `bytes`, which are not empty: at least one byte.
    ///
    /// # Errors
    ///
    /// See [`WriteError`].
    fn poll_write(&self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize, WriteError>>;

    /// Writes some of the bytes of `parts`, which are not all empty, one part after the other and all in one go: at least one byte.
    ///
    /// # Errors
    ///
    /// See [`WriteError`].
    fn poll_write_vectored(&self, context: &mut Context<'_>, parts: &[&[u8]]) -> Poll<Result<usize, WriteError>>;

    /// Shuts this side down: the peer reads what was written, then the end.
    ///
    /// # Errors
    ///
    /// See [`WriteError`].
    fn shutdown(&self) -> Result<(), WriteError>;

    /// Makes a choice for the connection. Times are between a millisecond and a day, a linger time can be zero; there is at least one probe.
    ///
    /// # Errors
    ///
    /// See [`OptionError`].
    fn set(&self, option: TcpOption) -> Result<(), OptionError>;

    /// How the connection is doing; `None` when the host does not say.
    fn info(&self) -> Option<TcpInfo> {
        None
    }

    /// Resets the connection: what was written and not yet sent is lost.
    fn abort(&self);
}

/// A datagram socket of the host; dropping it closes it.
pub trait HostUdp {
    /// Where it is bound, with the port that was chosen when none was given.
    fn local_addr(&self) -> SocketAddr;

    /// Receives a datagram into `buffer`: its whole length, even when only the part that fits was stored, and its sender.
    ///
    /// # Errors
    ///
    /// See [`ReceiveError`].
    fn poll_receive(
        &self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<Result<(usize, SocketAddr), ReceiveError>>;

    /// Ready when a datagram waits to be received, or there is an error to be.
    fn poll_readable(&self, context: &mut Context<'_>) -> Poll<()>;

    /// Receives datagrams for `group`, too.
    ///
    /// # Errors
    ///
    /// See [`JoinError`].
    fn join(&self, group: IpAddr) -> Result<(), JoinError>;

    /// Receives no more datagrams for `group`.
    ///
    /// # Errors
    ///
    /// See [`JoinError`].
    fn leave(&self, group: IpAddr) -> Result<(), JoinError>;

    /// Makes a choice.
    ///
    /// # Errors
    ///
    /// [`JoinError::Host`].
    fn set(&self, option: UdpOption) -> Result<(), JoinError>;

    /// Sends `bytes` to `remote` as one datagram; also to all hosts of a network.
    ///
    /// # Errors
    ///
    /// See [`SendError`].
    fn poll_send(&self, context: &mut Context<'_>, bytes: &[u8], remote: SocketAddr) -> Poll<Result<(), SendError>>;
}
