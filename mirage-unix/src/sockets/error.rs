//! The errors of socket calls, in the words of mirage-rt.

use std::error::Error;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use mirage_rt::net::{
    AcceptError, BindError, ConnectError, HostError, JoinError, OptionError, PingError, ReadError, ReceiveError,
    SendError, WriteError,
};
use rustix::io::Errno;

use super::undelivered::is_news;
use crate::platform::host_error;

/// The host refused something for a reason that this process's user can change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HostRefusal {
    /// Ports below 1024 are for root.
    PrivilegedPort(u16),
    /// The process has as many descriptors open as it may.
    Descriptors,
}

impl fmt::Display for HostRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostRefusal::PrivilegedPort(port) => {
                write!(f, "port {port} is for privileged users only: choose one from 1024 on")
            }
            HostRefusal::Descriptors => {
                f.write_str("the process has as many descriptors open as it may: raise the limit with `ulimit -n`")
            }
        }
    }
}

impl Error for HostRefusal {}

/// The address given for a network on the host's sockets can't be used.
#[derive(Debug)]
#[non_exhaustive]
pub enum HostAddressError {
    /// It is not one of this host's.
    NotOurs(IpAddr),
    /// The host's error.
    Host(std::io::Error),
}

impl HostAddressError {
    pub(super) fn new(address: IpAddr, errno: Errno) -> HostAddressError {
        match errno {
            Errno::ADDRNOTAVAIL => HostAddressError::NotOurs(address),
            errno => HostAddressError::Host(host_error(errno)),
        }
    }
}

impl fmt::Display for HostAddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostAddressError::NotOurs(address) => write!(f, "{address} is not an address of this host"),
            HostAddressError::Host(error) => write!(f, "the host gives no sockets: {error}"),
        }
    }
}

impl Error for HostAddressError {}

fn other(errno: Errno) -> HostError {
    match errno {
        Errno::MFILE | Errno::NFILE => Box::new(HostRefusal::Descriptors),
        errno => Box::new(host_error(errno)),
    }
}

pub(super) fn bind(errno: Errno, local: SocketAddr) -> BindError {
    match errno {
        Errno::ADDRINUSE if local.port() == 0 => BindError::NoPort,
        Errno::ADDRINUSE => BindError::InUse { port: local.port() },
        Errno::ADDRNOTAVAIL => BindError::NotOurs(local.ip()),
        Errno::ACCESS if local.port() < 1024 => BindError::Host(Box::new(HostRefusal::PrivilegedPort(local.port()))),
        Errno::NOMEM | Errno::NOBUFS => BindError::OutOfMemory,
        errno => BindError::Host(other(errno)),
    }
}

pub(super) fn accept(errno: Errno) -> AcceptError {
    AcceptError::Host(other(errno))
}

/// Whether a call says by `errno` that no way leads to a peer: no route does, this host's configuration forbids it, or no address of
/// its own is fit for one of the peer's kind.
fn leads_nowhere(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::NETUNREACH
            | Errno::HOSTUNREACH
            | Errno::HOSTDOWN
            | Errno::NONET
            | Errno::ACCESS
            | Errno::INVAL
            | Errno::AFNOSUPPORT
    )
}

pub(super) fn connect(errno: Errno, remote: SocketAddr) -> ConnectError {
    match errno {
        // The second: the peer has no TCP.
        Errno::CONNREFUSED | Errno::NOPROTOOPT => ConnectError::Refused(remote),
        Errno::TIMEDOUT => ConnectError::TimedOut(remote),
        errno if leads_nowhere(errno) => ConnectError::Unreachable(remote),
        Errno::ADDRNOTAVAIL | Errno::ADDRINUSE => ConnectError::NoPort,
        Errno::NOMEM | Errno::NOBUFS => ConnectError::OutOfMemory,
        errno => ConnectError::Host(other(errno)),
    }
}

/// The address from which a connection was to come was not bound.
pub(super) fn connect_from(errno: Errno, remote: SocketAddr) -> ConnectError {
    match errno {
        Errno::ADDRNOTAVAIL => ConnectError::AddressGone,
        errno => connect(errno, remote),
    }
}

/// Why a connection has ended, which each later call tells again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Reset,
    TimedOut,
}

impl End {
    /// The end that `errno` of reading or writing tells. When Linux gives a peer up, it says what ICMP had told of it before, if
    /// anything.
    pub(super) fn of(errno: Errno) -> Option<End> {
        match errno {
            Errno::CONNRESET | Errno::PIPE => Some(End::Reset),
            Errno::TIMEDOUT => Some(End::TimedOut),
            errno if is_news(errno) => Some(End::TimedOut),
            _ => None,
        }
    }

    pub(super) fn of_read(self) -> ReadError {
        match self {
            End::Reset => ReadError::Reset,
            End::TimedOut => ReadError::TimedOut,
        }
    }

    pub(super) fn of_write(self) -> WriteError {
        match self {
            End::Reset => WriteError::Reset,
            End::TimedOut => WriteError::TimedOut,
        }
    }
}

pub(super) fn read(errno: Errno) -> ReadError {
    End::of(errno).map_or_else(|| ReadError::Host(other(errno)), End::of_read)
}

pub(super) fn write(errno: Errno) -> WriteError {
    End::of(errno).map_or_else(|| WriteError::Host(other(errno)), End::of_write)
}

pub(super) fn option(errno: Errno) -> OptionError {
    match errno {
        // A congestion control that the host does not have, or not for everybody.
        Errno::OPNOTSUPP | Errno::NOPROTOOPT | Errno::NOENT | Errno::PERM => OptionError::Unsupported,
        // Linux has limits of its own for probes and their times.
        Errno::INVAL => OptionError::OutOfRange,
        errno => OptionError::Host(other(errno)),
    }
}

pub(super) fn join(errno: Errno) -> JoinError {
    match errno {
        Errno::NOBUFS | Errno::NOMEM => JoinError::TooMany,
        errno => JoinError::Host(other(errno)),
    }
}

pub(super) fn ping(errno: Errno) -> PingError {
    match errno {
        Errno::ACCESS | Errno::PERM => PingError::NotPermitted,
        errno => PingError::Host(other(errno)),
    }
}

pub(super) fn send(errno: Errno, remote: SocketAddr) -> SendError {
    /// The most bytes of a datagram: 65535 less the headers of IPv4 and UDP.
    const MOST: usize = 65_507;
    match errno {
        Errno::MSGSIZE => SendError::TooLong { most: MOST },
        Errno::ADDRNOTAVAIL => SendError::Unreachable(remote),
        errno if leads_nowhere(errno) => SendError::Unreachable(remote),
        errno => SendError::Host(other(errno)),
    }
}

pub(super) fn receive(errno: Errno) -> ReceiveError {
    ReceiveError::Host(other(errno))
}
