//! The errors of socket calls, in the words of mirage-rt.

use std::error::Error;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use mirage_rt::net::{
    AcceptError, BindError, ConnectError, HostError, JoinError, OptionError, PingError, ReadError, ReceiveError,
    SendError, WriteError,
};
use rustix::io::Errno;

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

pub(super) fn connect(errno: Errno, remote: SocketAddr) -> ConnectError {
    match errno {
        Errno::CONNREFUSED => ConnectError::Refused(remote),
        Errno::TIMEDOUT => ConnectError::TimedOut(remote),
        Errno::NETUNREACH | Errno::HOSTUNREACH => ConnectError::Unreachable(remote),
        Errno::ADDRNOTAVAIL | Errno::ADDRINUSE => ConnectError::NoPort,
        Errno::NOMEM | Errno::NOBUFS => ConnectError::OutOfMemory,
        errno => ConnectError::Host(other(errno)),
    }
}

pub(super) fn read(errno: Errno) -> ReadError {
    match errno {
        Errno::CONNRESET => ReadError::Reset,
        Errno::TIMEDOUT => ReadError::TimedOut,
        errno => ReadError::Host(other(errno)),
    }
}

/// `shut_down`: this side has ended its writing itself.
pub(super) fn write(errno: Errno, shut_down: bool) -> WriteError {
    match errno {
        Errno::PIPE if shut_down => WriteError::Closed,
        Errno::PIPE | Errno::CONNRESET => WriteError::Reset,
        Errno::TIMEDOUT => WriteError::TimedOut,
        errno => WriteError::Host(other(errno)),
    }
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
        Errno::NETUNREACH | Errno::HOSTUNREACH => SendError::Unreachable(remote),
        errno => SendError::Host(other(errno)),
    }
}

pub(super) fn receive(errno: Errno) -> ReceiveError {
    ReceiveError::Host(other(errno))
}
