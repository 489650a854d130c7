//! IPv6 on a network of our own: its configuration, and the formats that strangers send (feature `ipv6`).
//!
//! A network has IPv6 when its [`Config`](super::Config) says so:
//!
#![cfg_attr(feature = "test-utils", doc = "```")]
#![cfg_attr(not(feature = "test-utils"), doc = "```ignore")]
//! use mirage_rt::net::switch::{Impairments, Switch};
//! use mirage_rt::net::{Config, Network, ipv6::Ipv6Config};
//!
//! # mirage_rt::testing::run(1, async {
//! let switch = Switch::new(1, Impairments::NONE);
//! let mut config = Config::new();
//! config.ipv6 = Some(Ipv6Config::fixed("2001:db8::2/64".parse().expect("a network"), None));
//! let network = Network::direct(switch.port(), switch.pool(), config).expect("a host's address");
//! # drop(network);
//! # });
//! ```
//!
//! # What is done
//!
//! Each network has a link-local address and one that is given, or one of each prefix that routers announce (SLAAC, RFC
//! 4862). Their second halves are made of the Ethernet address (EUI-64, RFC 4291, appendix A): a machine without a disk has
//! no secret that lives longer than a boot, as the stable identifiers of RFC 7217 need, and whoever writes down the
//! `mac` of a domain knows the addresses too. An address is used once nobody has objected for a second (duplicate address
//! detection); it is kept whatever neighbours say later, and defended.
//!
//! Neighbours, routers, prefixes and name servers (RFC 4861, RFC 8106) are kept in bounded tables, for as long as routers
//! say. Redirects are ignored.

pub mod ndp;
pub mod packet;

use core::net::Ipv6Addr;

use crate::keys::Cidr6;

/// How a network has IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ipv6Config {
    /// The address, with the length of its network's prefix. Without, routers say in which networks this is (SLAAC).
    pub address: Option<Cidr6>,
    /// The gateway to everything outside of that network. Without, routers say that it is they.
    pub gateway: Option<Ipv6Addr>,
    /// How often others are asked, a second each, whether they have an address, before it is used: once, as RFC 4862 has it.
    /// With 0 addresses are used at once, for machines whose addresses somebody else keeps apart.
    pub duplicate_probes: u8,
}

impl Ipv6Config {
    /// Addresses as routers say.
    pub const fn automatic() -> Ipv6Config {
        Ipv6Config { address: None, gateway: None, duplicate_probes: 1 }
    }

    /// This address, and this gateway if there is one.
    pub const fn fixed(address: Cidr6, gateway: Option<Ipv6Addr>) -> Ipv6Config {
        Ipv6Config { address: Some(address), gateway, duplicate_probes: 1 }
    }
}

impl Default for Ipv6Config {
    fn default() -> Self {
        Ipv6Config::automatic()
    }
}

/// Whether `address` can be that of one host, here or elsewhere.
pub(crate) fn is_unicast(address: Ipv6Addr) -> bool {
    !(address.is_unspecified()
        || address.is_multicast()
        || address.is_loopback()
        // An IPv4 address in disguise: inside of the stack it would be taken for one.
        || address.to_ipv4_mapped().is_some())
}
