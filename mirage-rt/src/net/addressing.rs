//! How a network of our own is reached, and what it reaches: what may change while a program runs.

use alloc::vec::Vec;
use core::fmt;
use core::net::{Ipv4Addr, Ipv6Addr};
use core::str::FromStr;

use super::error::ConfigError;
use crate::keys::{Cidr, Cidr6};

/// A way to hosts behind a router other than the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StaticRoute {
    /// The network behind it. Of several that fit, the one with the longest prefix is taken.
    pub to: Cidr,
    /// The router, in the network's own prefix.
    pub via: Ipv4Addr,
}

impl FromStr for StaticRoute {
    type Err = RouteError;

    /// Reads the form of the key `routes`: `10.1.0.0/16=10.0.2.9`.
    fn from_str(text: &str) -> Result<StaticRoute, RouteError> {
        let (to, via) = text.split_once('=').ok_or(RouteError)?;
        Ok(StaticRoute { to: to.parse().map_err(|_| RouteError)?, via: via.parse().map_err(|_| RouteError)? })
    }
}

/// As [`StaticRoute`], of IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StaticRoute6 {
    /// The network behind it. Of several that fit, the one with the longest prefix is taken.
    pub to: Cidr6,
    /// The router: a link-local address, or one in the network's own prefix.
    pub via: Ipv6Addr,
}

impl FromStr for StaticRoute6 {
    type Err = Route6Error;

    /// Reads the form of the key `ipv6-routes`: `2001:db8:1::/48=fe80::9`.
    fn from_str(text: &str) -> Result<StaticRoute6, Route6Error> {
        let (to, via) = text.split_once('=').ok_or(Route6Error)?;
        Ok(StaticRoute6 { to: to.parse().map_err(|_| Route6Error)?, via: via.parse().map_err(|_| Route6Error)? })
    }
}

/// A text is no [`StaticRoute6`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route6Error;

impl fmt::Display for Route6Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("write a network and the router to it, as 2001:db8:1::/48=fe80::9")
    }
}

impl core::error::Error for Route6Error {}

/// A text is no [`StaticRoute`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteError;

impl fmt::Display for RouteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("write a network and the router to it, as 10.1.0.0/16=10.0.2.9")
    }
}

impl core::error::Error for RouteError {}

/// The addresses and routes of a network on a device of its own; see [`Network::configure`](super::Network::configure).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Addressing {
    /// The address, with the length of its network's prefix; `None` for a network that has none.
    pub ipv4: Option<Cidr>,
    /// The gateway to everything that no route leads to.
    pub gateway: Option<Ipv4Addr>,
    /// Further routes, no more than [`MOST_ROUTES`](Addressing::MOST_ROUTES).
    pub routes: Vec<StaticRoute>,
    /// The same for IPv6, as many; a network without IPv6 has none.
    #[cfg(feature = "ipv6")]
    pub ipv6_routes: Vec<StaticRoute6>,
    /// The most bytes of an IP packet, 576 at least; what the device allows when it is less, or when this is `None`.
    pub mtu: Option<u16>,
}

impl Addressing {
    /// Routes at most: they are looked through for each packet that leaves the network.
    pub const MOST_ROUTES: usize = 16;

    /// An address and a gateway, nothing else.
    pub fn new(ipv4: Option<Cidr>, gateway: Option<Ipv4Addr>) -> Addressing {
        Addressing { ipv4, gateway, ..Addressing::default() }
    }
}

/// A network was not configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigureError {
    /// The address or the gateway is of no use.
    Config(ConfigError),
    /// The router of a route is not in the address's network, or is the address itself.
    Route {
        /// The route.
        route: StaticRoute,
        /// The network's own address.
        address: Ipv4Addr,
    },
    /// The router of a route cannot be reached: it is neither a link-local address nor in the network of the address that was
    /// given, or it is the network's own, or the network has no IPv6.
    #[cfg(feature = "ipv6")]
    Ipv6Route(StaticRoute6),
    /// There is a gateway or a route, but no address.
    NoAddress,
    /// There are more than [`Addressing::MOST_ROUTES`].
    TooManyRoutes,
    /// The network is the host's sockets.
    Host,
    /// The network is [several as one](super::Network::joined).
    Joined,
}

impl fmt::Display for ConfigureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigureError::Config(error) => error.fmt(f),
            ConfigureError::Route { route: StaticRoute { to, via }, address } => write!(
                f,
                "the router {via} of the route to {to} cannot be reached from {address}: name one of the same network"
            ),
            #[cfg(feature = "ipv6")]
            ConfigureError::Ipv6Route(StaticRoute6 { to, via }) => write!(
                f,
                "the router {via} of the route to {to} cannot be reached: give its link-local address, as fe80::9, or one in \
                 the network of --ipv6"
            ),
            ConfigureError::NoAddress => {
                f.write_str("a network without an address has no use for a gateway or routes: give it an address, too")
            }
            ConfigureError::TooManyRoutes => {
                write!(f, "there are too many routes: give {} at most", Addressing::MOST_ROUTES)
            }
            ConfigureError::Host => {
                f.write_str("the host's sockets have the host's addresses and routes: change them there")
            }
            ConfigureError::Joined => f.write_str("several networks as one have their own: configure each of them"),
        }
    }
}

impl core::error::Error for ConfigureError {}
