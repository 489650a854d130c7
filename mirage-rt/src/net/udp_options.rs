//! What an application can choose for a datagram socket, and the groups that it is in.

use core::fmt;
use core::net::IpAddr;

use super::error::HostError;

/// A choice for a [`UdpSocket`](super::UdpSocket), as its own methods make it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UdpOption {
    /// How many hops datagrams to groups may take; 1 at first: they stay on the link.
    MulticastHops(u8),
    /// Whether datagrams to groups come to this host's own sockets that are in them, as they do at first.
    MulticastLoop(bool),
    /// Whether it is told when a datagram that it has sent could not be delivered.
    Unreachable(bool),
}

/// A socket did not join or leave a group, or did not take a choice.
#[derive(Debug)]
#[non_exhaustive]
pub enum JoinError {
    /// The address is not that of a group.
    NotAGroup(IpAddr),
    /// The network has no addresses of that family.
    NoFamily(IpAddr),
    /// The socket is not in the group.
    NotJoined(IpAddr),
    /// The network can't do that.
    Unsupported,
    /// The network keeps no more groups apart.
    TooMany,
    /// The host refused.
    Host(HostError),
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JoinError::NotAGroup(address) => {
                write!(f, "{address} is not the address of a group: those are in 224.0.0.0/4 and in ff00::/8")
            }
            JoinError::NoFamily(address) => {
                write!(
                    f,
                    "{address} is of a family of addresses that this network or socket has not: join another group"
                )
            }
            JoinError::NotJoined(address) => write!(f, "the socket is not in the group {address}: join it first"),
            JoinError::Unsupported => {
                f.write_str("the host's sockets cannot do that: do without, or give the network a tap interface")
            }
            JoinError::TooMany => f.write_str("the network's sockets are in too many groups: leave some"),
            JoinError::Host(error) => write!(f, "the host refused: {error}"),
        }
    }
}

impl core::error::Error for JoinError {}
