//! What can go wrong, one type for each operation.

use alloc::boxed::Box;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::direct::ethernet::Shown;
use crate::types::random::RandomError;

/// An error of the host's own socket calls, for what has no name here.
pub type HostError = Box<dyn core::error::Error + 'static>;

/// A network was not set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// No address was given.
    NoAddress,
    /// The address cannot be a host's: it is unspecified, multicast, broadcast or loopback, or the first or last of its network.
    NotAHost(Ipv4Addr),
    /// The gateway is not in the address's network, or is the address itself.
    Gateway {
        /// The gateway.
        gateway: Ipv4Addr,
        /// The network's own address.
        address: Ipv4Addr,
    },
    /// The device's Ethernet address is a group's or all zeros.
    Mac([u8; 6]),
    /// The device's MTU is below the 576 bytes that IPv4 needs.
    Mtu(u16),
    /// The address cannot be a host's: it is unspecified, multicast, loopback, link-local, or that of all routers of its
    /// network.
    #[cfg(feature = "ipv6")]
    NotAnIpv6Host(core::net::Ipv6Addr),
    /// The gateway is not in the address's network, or is the address itself.
    #[cfg(feature = "ipv6")]
    Ipv6Gateway(core::net::Ipv6Addr),
    /// The device's MTU is below the 1280 bytes that IPv6 needs.
    #[cfg(feature = "ipv6")]
    Ipv6Mtu(u16),
    /// There are no random numbers for sequence numbers and hash keys.
    Random(RandomError),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigError::NoAddress => f.write_str("the network has no address: give --ipv4 ADDRESS/PREFIX"),
            ConfigError::NotAHost(address) => {
                write!(f, "{address} cannot be the address of a host: give --ipv4 another one of its network")
            }
            ConfigError::Gateway { gateway, address } => write!(
                f,
                "the gateway {gateway} cannot be reached from {address}: give --ipv4-gateway an address of the same \
                 network, or --ipv4 another prefix length"
            ),
            ConfigError::Mac(mac) => {
                write!(f, "{} is not the Ethernet address of one device: give the device another one", Shown(*mac))
            }
            ConfigError::Mtu(mtu) => write!(f, "an MTU of {mtu} bytes is too small: IPv4 needs at least 576"),
            #[cfg(feature = "ipv6")]
            ConfigError::NotAnIpv6Host(address) => {
                write!(f, "{address} cannot be the address of a host: give --ipv6 another one of its network")
            }
            #[cfg(feature = "ipv6")]
            ConfigError::Ipv6Gateway(gateway) => write!(
                f,
                "the gateway {gateway} cannot be reached: give --ipv6-gateway another address of --ipv6's network, or a \
                 link-local one"
            ),
            #[cfg(feature = "ipv6")]
            ConfigError::Ipv6Mtu(mtu) => {
                write!(f, "an MTU of {mtu} bytes is too small for IPv6, which needs at least 1280: give --ipv4-only")
            }
            ConfigError::Random(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for ConfigError {}

/// A socket was not bound.
#[derive(Debug)]
#[non_exhaustive]
pub enum BindError {
    /// Another socket has the port.
    InUse {
        /// The port.
        port: u16,
    },
    /// The address is not one of this network's.
    NotOurs(IpAddr),
    /// All ports that are given out to sockets without one are in use.
    NoPort,
    /// No memory is left in the network's budget.
    OutOfMemory,
    /// The host refused.
    Host(HostError),
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BindError::InUse { port } => write!(f, "port {port} is in use: choose another one, or end what uses it"),
            BindError::NotOurs(address) => {
                write!(f, "{address} is not an address of this network: bind to one that is, or to a port alone")
            }
            BindError::NoPort => f.write_str("all ports for sockets without one of their own are in use: close some"),
            BindError::OutOfMemory => f.write_str(OUT_OF_MEMORY),
            BindError::Host(error) => write!(f, "the host did not bind the socket: {error}"),
        }
    }
}

impl core::error::Error for BindError {}

/// A listener gives no more connections.
#[derive(Debug)]
#[non_exhaustive]
pub enum AcceptError {
    /// The network device was given up.
    Down,
    /// The host refused.
    Host(HostError),
}

impl fmt::Display for AcceptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AcceptError::Down => f.write_str(DOWN),
            AcceptError::Host(error) => write!(f, "the host did not accept a connection: {error}"),
        }
    }
}

impl core::error::Error for AcceptError {}

/// A connection was not made.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConnectError {
    /// The peer has no listener at the port.
    Refused(SocketAddr),
    /// The peer does not answer.
    TimedOut(SocketAddr),
    /// No route leads to the peer: it is not in the network and there is no gateway, or its address is no host's.
    Unreachable(SocketAddr),
    /// All local ports are in use.
    NoPort,
    /// No memory is left in the network's budget.
    OutOfMemory,
    /// The network device was given up.
    Down,
    /// The address on this side is not the network's any more.
    AddressGone,
    /// The host refused.
    Host(HostError),
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConnectError::Refused(peer) => write!(f, "{peer} refused the connection: nothing listens there"),
            ConnectError::TimedOut(peer) => write!(f, "{peer} did not answer"),
            ConnectError::Unreachable(peer) => {
                write!(f, "there is no route to {peer}: give the address of its network's gateway with --ipv4-gateway")
            }
            ConnectError::NoPort => f.write_str("all local ports are in use: close some connections"),
            ConnectError::OutOfMemory => f.write_str(OUT_OF_MEMORY),
            ConnectError::Down => f.write_str(DOWN),
            ConnectError::AddressGone => f.write_str(ADDRESS_GONE),
            ConnectError::Host(error) => write!(f, "the host did not make the connection: {error}"),
        }
    }
}

impl core::error::Error for ConnectError {}

/// Nothing can be read from a stream any more. Bytes that came before are read first.
#[derive(Debug)]
#[non_exhaustive]
pub enum ReadError {
    /// The peer reset the connection.
    Reset,
    /// The peer stopped answering.
    TimedOut,
    /// The connection was aborted here.
    Aborted,
    /// The network device was given up.
    Down,
    /// The address on this side is not the network's any more.
    AddressGone,
    /// [`take`](super::TcpStream::take) needs a page, and there is none that the device could do without. The connection
    /// goes on, and nothing is lost.
    NoPage,
    /// The host reports an error.
    Host(HostError),
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadError::Reset => f.write_str("the peer reset the connection"),
            ReadError::TimedOut => f.write_str("the peer stopped answering"),
            ReadError::Aborted => f.write_str("the connection was aborted on this side"),
            ReadError::Down => f.write_str(DOWN),
            ReadError::AddressGone => f.write_str(ADDRESS_GONE),
            ReadError::NoPage => {
                f.write_str("the device needs the pages that are left: give some back, or read into a buffer")
            }
            ReadError::Host(error) => write!(f, "the host could not read: {error}"),
        }
    }
}

impl core::error::Error for ReadError {}

/// Nothing can be written to a stream any more.
#[derive(Debug)]
#[non_exhaustive]
pub enum WriteError {
    /// The peer reset the connection.
    Reset,
    /// The peer stopped answering.
    TimedOut,
    /// The stream was shut down for writing, or aborted, on this side.
    Closed,
    /// The network device was given up.
    Down,
    /// The address on this side is not the network's any more.
    AddressGone,
    /// The host reports an error.
    Host(HostError),
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WriteError::Reset => f.write_str("the peer reset the connection"),
            WriteError::TimedOut => f.write_str("the peer stopped answering"),
            WriteError::Closed => {
                f.write_str("the stream was shut down on this side: write before shutdown() or abort()")
            }
            WriteError::Down => f.write_str(DOWN),
            WriteError::AddressGone => f.write_str(ADDRESS_GONE),
            WriteError::Host(error) => write!(f, "the host could not write: {error}"),
        }
    }
}

impl core::error::Error for WriteError {}

/// A datagram was not sent.
#[derive(Debug)]
#[non_exhaustive]
pub enum SendError {
    /// It is longer than fits a packet of this network.
    TooLong {
        /// The most bytes that fit.
        most: usize,
    },
    /// No route leads to the peer.
    Unreachable(SocketAddr),
    /// The network device was given up.
    Down,
    /// The host refused.
    Host(HostError),
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SendError::TooLong { most } => write!(f, "the datagram is too long: send at most {most} bytes"),
            SendError::Unreachable(peer) => {
                write!(f, "there is no route to {peer}: give the address of its network's gateway with --ipv4-gateway")
            }
            SendError::Down => f.write_str(DOWN),
            SendError::Host(error) => write!(f, "the host did not send the datagram: {error}"),
        }
    }
}

impl core::error::Error for SendError {}

/// No datagrams come any more.
#[derive(Debug)]
#[non_exhaustive]
pub enum ReceiveError {
    /// Nobody is at the port that a datagram of this socket was sent to. The socket goes on.
    Refused(SocketAddr),
    /// A datagram of this socket could not be delivered. The socket goes on.
    Unreachable(SocketAddr),
    /// The network device was given up.
    Down,
    /// The host reports an error.
    Host(HostError),
}

impl fmt::Display for ReceiveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReceiveError::Refused(peer) => write!(f, "nobody receives datagrams at {peer}"),
            ReceiveError::Unreachable(peer) => write!(f, "a router says that {peer} can't be reached"),
            ReceiveError::Down => f.write_str(DOWN),
            ReceiveError::Host(error) => write!(f, "the host could not receive: {error}"),
        }
    }
}

impl core::error::Error for ReceiveError {}

const OUT_OF_MEMORY: &str =
    "no memory is left for another socket: close some, give the network a larger budget, or the machine more memory";
const DOWN: &str = "the network device was given up; the log says why";
const ADDRESS_GONE: &str = "the address on this side is gone: connect again";
