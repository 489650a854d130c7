//! How well an interface's routes fit a destination: for a program that has several interfaces.

#[cfg(feature = "ipv6")]
use core::net::Ipv6Addr;
use core::net::{IpAddr, Ipv4Addr};

use super::ip::{Ip, IpOut};

impl Ip {
    /// Bits of the longest prefix with which a route leads to `destination`: that of a network of ours, of a static route, or 0 of
    /// the gateway, and for all hosts and groups of a link; `None` when none leads there.
    pub fn match_length(&self, destination: IpAddr) -> Option<u8> {
        self.route(destination)?;
        match destination {
            IpAddr::V4(destination) => Some(self.match_length_ipv4(destination)),
            #[cfg(feature = "ipv6")]
            IpAddr::V6(destination) => Some(self.match_length_ipv6(destination)),
            #[cfg(not(feature = "ipv6"))]
            IpAddr::V6(_) => None,
        }
    }

    fn match_length_ipv4(&self, destination: Ipv4Addr) -> u8 {
        if self.has_ipv4() && self.network().contains(destination) {
            return self.network().prefix();
        }
        let fitting = self.static_routes().iter().filter(|route| route.to.contains(destination));
        fitting.map(|route| route.to.prefix()).max().unwrap_or(0)
    }

    #[cfg(feature = "ipv6")]
    fn match_length_ipv6(&self, destination: Ipv6Addr) -> u8 {
        self.ipv6.as_ref().map_or(0, |layer| layer.match_length(self.now(), destination))
    }
}
