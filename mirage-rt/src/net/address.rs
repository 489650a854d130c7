//! What a socket is bound to.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// Where a socket listens: a port on one of the network's addresses, or on all of them.
///
/// Made from a port alone (`80`), from an address and a port, or from a [`SocketAddr`]; an unspecified address (0.0.0.0)
/// means all. Port 0 means any that is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenAddr {
    /// The address, `None` for all.
    pub address: Option<IpAddr>,
    /// The port, 0 for any that is free.
    pub port: u16,
}

impl ListenAddr {
    /// As a socket address, with 0.0.0.0 for all addresses.
    pub fn to_socket_addr(self) -> SocketAddr {
        SocketAddr::new(self.address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)), self.port)
    }
}

impl fmt::Display for ListenAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_socket_addr().fmt(f)
    }
}

impl From<u16> for ListenAddr {
    fn from(port: u16) -> Self {
        ListenAddr { address: None, port }
    }
}

impl From<SocketAddr> for ListenAddr {
    fn from(address: SocketAddr) -> Self {
        let ip = address.ip();
        ListenAddr { address: (!ip.is_unspecified()).then_some(ip), port: address.port() }
    }
}

impl From<SocketAddrV4> for ListenAddr {
    fn from(address: SocketAddrV4) -> Self {
        SocketAddr::V4(address).into()
    }
}

impl From<SocketAddrV6> for ListenAddr {
    fn from(address: SocketAddrV6) -> Self {
        SocketAddr::V6(address).into()
    }
}

impl From<(IpAddr, u16)> for ListenAddr {
    fn from(address: (IpAddr, u16)) -> Self {
        SocketAddr::from(address).into()
    }
}

impl From<(Ipv4Addr, u16)> for ListenAddr {
    fn from(address: (Ipv4Addr, u16)) -> Self {
        SocketAddr::from(address).into()
    }
}

impl From<(Ipv6Addr, u16)> for ListenAddr {
    fn from(address: (Ipv6Addr, u16)) -> Self {
        SocketAddr::from(address).into()
    }
}
