//! Echo requests: asking whether a host is there (feature `datagrams`).

use core::fmt;
use core::net::IpAddr;

use super::error::HostError;

#[cfg(feature = "datagrams")]
mod client;
#[cfg(feature = "datagrams")]
pub use client::Icmp;

/// A host did not answer.
#[derive(Debug)]
#[non_exhaustive]
pub enum PingError {
    /// Not in time.
    TimedOut(IpAddr),
    /// No route leads to it, or a router says that it can't be reached.
    Unreachable(IpAddr),
    /// The payload is longer than fits a packet of this network, or than what a router says that the way takes.
    TooLong {
        /// The most bytes that fit.
        most: usize,
    },
    /// Too many requests are under way.
    Busy,
    /// The host does not allow it to this process.
    NotPermitted,
    /// The network device was given up.
    Down,
    /// The host reports an error.
    Host(HostError),
}

impl fmt::Display for PingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PingError::TimedOut(to) => write!(f, "{to} did not answer in time"),
            PingError::Unreachable(to) => write!(f, "{to} can't be reached"),
            PingError::TooLong { most } => write!(f, "the payload is too long: send at most {most} bytes"),
            PingError::Busy => f.write_str("too many hosts are asked at once: wait for some"),
            PingError::NotPermitted => f.write_str(
                "the host does not let this process send echo requests: have its group in the sysctl \
                 net.ipv4.ping_group_range, or give the network a tap interface of its own",
            ),
            PingError::Down => f.write_str("the network device was given up; the log says why"),
            PingError::Host(error) => write!(f, "the host could not ask: {error}"),
        }
    }
}

impl core::error::Error for PingError {}
