//! IPv6 of one interface: neighbour discovery as a host does it (RFC 4861), addresses (RFC 4862), and the way of packets.
//!
//! | file | subject |
//! |---|---|
//! | [addresses] | our addresses: duplicates, lifetimes, which one to send from |
//! | [routers] | what routers say |
//! | [discovery] | messages of neighbour discovery, in and out |
//! | [output] | routes and packets on their way out |
//! | [input] | packets that came in |
//! | [icmp] | echo and errors |
//!
//! The formats are those of [`crate::net::ipv6`]. A neighbour counts as reached when it answers, and when it sends a segment
//! of TCP that acknowledges something: datagrams and what it says without being asked prove nothing (RFC 4861, 7.3.1).

mod addresses;
mod discovery;
mod icmp;
mod input;
mod output;
mod routers;
#[cfg(test)]
mod tests;

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv6Addr};

use addresses::Addresses;
use routers::Routers;

pub use icmp::echo;

use super::ethernet::{self, Mac};
use super::hash::Keyed;
use super::ip::{Ip, Path};
use super::limit::{Answer, Limit};
use super::neighbours::Neighbours;
use crate::keys::Cidr6;
use crate::net::error::ConfigError;
use crate::net::ipv6::ndp::{ALL_NODES, address_of, group_mac, solicited_node};
use crate::net::ipv6::packet::LEAST_MTU;
use crate::net::ipv6::{Ipv6Config, is_unicast};
use crate::net::{ConfigureError, StaticRoute6};
use crate::time::{Duration, Instant};
use crate::types::network::NetworkInfo;

/// What all link-local addresses begin with.
const LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0);
/// Bits of that.
const LINK_LOCAL_PREFIX: u8 = 10;
/// The first message waits for up to so long, so that hosts that start together do not speak together. RFC 4862, 5.4.2, says
/// a second; a machine that is up in milliseconds on a link inside of a host does not wait for that.
const FIRST_DELAY: Duration = Duration::from_millis(50);
/// Routers are asked so often, with so much time between (RFC 4861, 6.3.7).
const ROUTER_TRIES: u8 = 3;
const ROUTER_PAUSE: Duration = Duration::from_secs(4);
/// Our address is defended no more often.
const DEFENCE_PAUSE: Duration = Duration::from_secs(1);

/// What an interface has for IPv6.
pub struct Layer {
    pub addresses: Addresses,
    routers: Routers,
    /// Ways to networks behind other routers than those.
    routes: Vec<StaticRoute6>,
    neighbours: Neighbours<Ipv6Addr>,
    /// Who has sent the latest segment, by way of whom, and when that neighbour was confirmed.
    latest: (Ipv6Addr, Mac, Instant),
    /// The prefix in which routers make no addresses, as there is one that was given.
    is_automatic: bool,
    /// Routers do not say that they lead elsewhere, as the one that does was given.
    has_gateway: bool,
    /// How often routers are still to be asked, and when.
    router_tries: u8,
    router_at: Instant,
    /// Groups of Ethernet addresses that the device is to hand on and does not know yet.
    joins: Vec<Mac>,
    /// Groups in which neighbours ask for our addresses, and of which nobody was told yet.
    #[cfg(feature = "datagrams")]
    pub solicited: Vec<Ipv6Addr>,
    /// Packets for others are handed on, and neighbours told so.
    #[cfg(feature = "forward")]
    is_router: bool,
    defended: Option<Instant>,
    errors: Limit,
    pub checksum_offload: bool,
    most: usize,
    /// A packet without its extension headers.
    scratch: Vec<u8>,
    /// Addresses that were ours and are not any more.
    gone: Vec<Ipv6Addr>,
    /// There are others than before.
    has_changed: bool,
}

impl Layer {
    /// Begins to make addresses at `now`.
    fn new(now: Instant, info: &NetworkInfo, config: &Ipv6Config, key: Keyed) -> Layer {
        let mut layer = Layer {
            addresses: Addresses::new(config.duplicate_probes),
            routers: Routers::default(),
            routes: Vec::new(),
            neighbours: Neighbours::new(key),
            latest: (Ipv6Addr::UNSPECIFIED, [0; 6], Instant::ZERO),
            is_automatic: config.address.is_none(),
            has_gateway: config.gateway.is_some(),
            router_tries: ROUTER_TRIES,
            router_at: now,
            joins: Vec::new(),
            #[cfg(feature = "datagrams")]
            solicited: Vec::new(),
            #[cfg(feature = "forward")]
            is_router: false,
            defended: None,
            errors: Limit::per_second(100, Answer::Error6, key),
            checksum_offload: false,
            most: 0,
            scratch: Vec::new(),
            gone: Vec::new(),
            has_changed: false,
        };
        layer.set_device(info);
        let spread = FIRST_DELAY.as_nanos() as u64;
        let start = now + Duration::from_nanos(key.hash(&info.mac) % spread);
        layer.router_at = start;
        layer.joins.push(group_mac(ALL_NODES));
        layer.add_address(address_of(LINK_LOCAL, info.mac), start);
        if let Some(network) = config.address {
            layer.add_address(network.address(), start);
            layer.routers.fix_prefix(network);
        }
        if let Some(gateway) = config.gateway {
            layer.routers.fix_router(gateway);
        }
        layer
    }

    fn add_address(&mut self, address: Ipv6Addr, at: Instant) {
        self.addresses.add(address, at);
        self.listen(address);
    }

    /// Neighbours that ask for `address` are to be heard.
    fn listen(&mut self, address: Ipv6Addr) {
        self.joins.push(group_mac(solicited_node(address)));
        #[cfg(feature = "datagrams")]
        self.solicited.push(solicited_node(address));
    }

    /// The device is a new one, or has a new backend.
    pub fn set_device(&mut self, info: &NetworkInfo) {
        self.checksum_offload = info.checksum_ipv6;
        // A device that cuts packets completes their checksums.
        self.most = if info.checksum_ipv6 { (info.gso_ipv6 as usize).saturating_sub(ethernet::HEADER) } else { 0 };
    }

    /// How long packets can be on a device with this MTU.
    pub fn path(&self, mtu: usize) -> Path {
        Path { mtu: self.routers.mtu.map_or(mtu, |told| mtu.min(usize::from(told))), most: self.most }
    }

    /// The router to `destination`, which is no neighbour: of the static routes that of the longest prefix, else the gateway.
    fn router_to(&self, now: Instant, destination: Ipv6Addr) -> Option<Ipv6Addr> {
        let fitting = self.routes.iter().filter(|route| route.to.contains(destination));
        let best = fitting.max_by_key(|route| route.to.prefix());
        best.map(|route| route.via).or_else(|| self.routers.default_router(now))
    }

    /// Bits of the longest prefix with which a route leads to `destination`, if one does.
    pub fn match_length(&self, now: Instant, destination: Ipv6Addr) -> u8 {
        if destination.is_unicast_link_local() {
            return LINK_LOCAL_PREFIX;
        }
        let fitting = self.routes.iter().filter(|route| route.to.contains(destination));
        let fitting = fitting.map(|route| route.to.prefix());
        self.routers.link_prefix(now, destination).or_else(|| fitting.max()).unwrap_or(0)
    }

    /// Sets the static routes; an error is the first one whose router can't be reached: it is neither a link-local address nor a
    /// neighbour by the address that was given.
    pub fn set_routes(&mut self, now: Instant, routes: Vec<StaticRoute6>) -> Result<(), StaticRoute6> {
        let is_near = |via: Ipv6Addr| {
            !self.addresses.is_bindable(via)
                && (via.is_unicast_link_local() || is_unicast(via) && self.routers.is_on_link(now, via))
        };
        if let Some(wrong) = routes.iter().find(|route| !is_near(route.via)) {
            return Err(*wrong);
        }
        self.routes = routes;
        Ok(())
    }

    /// When there is something to do.
    pub fn deadline(&self) -> Option<Instant> {
        let routers = (self.router_tries > 0).then_some(self.router_at);
        [self.neighbours.deadline(), self.addresses.deadline(), routers].into_iter().flatten().min()
    }

    /// What was counted by the neighbours: packets dropped, and how many there are.
    pub fn counted(&self) -> (u64, usize) {
        (self.neighbours.dropped(), self.neighbours.len())
    }
}

impl Ip {
    /// Begins to use IPv6.
    pub fn start_ipv6(&mut self, now: Instant, info: &NetworkInfo, config: &Ipv6Config, key: Keyed) {
        self.ipv6 = Some(Box::new(Layer::new(now, info, config, key)));
    }

    /// The most bytes of a packet on the link. A configured MTU below what IPv6 promises, that of a lease for instance, is one
    /// for IPv4.
    pub(super) fn ipv6_mtu(&self) -> usize {
        self.mtu.max(self.device_mtu.min(LEAST_MTU).into())
    }

    /// Whether packets for others are handed on.
    #[cfg(feature = "forward")]
    pub fn set_router(&mut self, is_router: bool) {
        if let Some(layer) = &mut self.ipv6 {
            layer.is_router = is_router;
        }
    }

    /// Sets the static routes, if their routers can be reached.
    pub fn set_ipv6_routes(&mut self, routes: &[StaticRoute6]) -> Result<(), ConfigureError> {
        match (&mut self.ipv6, routes.first()) {
            (Some(layer), _) => layer.set_routes(self.now, routes.to_vec()).map_err(ConfigureError::Ipv6Route),
            (None, Some(route)) => Err(ConfigureError::Ipv6Route(*route)),
            (None, None) => Ok(()),
        }
    }

    /// The name servers that routers told of.
    pub fn name_servers(&self) -> Vec<IpAddr> {
        let servers = self.ipv6.as_ref().map(|layer| layer.routers.servers(self.now)).unwrap_or_default();
        servers.into_iter().map(IpAddr::V6).collect()
    }

    /// The next address that is not ours any more.
    pub fn pop_gone(&mut self) -> Option<IpAddr> {
        self.ipv6.as_mut()?.gone.pop().map(IpAddr::V6)
    }

    /// Whether there are other addresses than when this was asked last.
    pub fn has_new_addresses(&mut self) -> bool {
        self.ipv6.as_mut().is_some_and(|layer| core::mem::take(&mut layer.has_changed))
    }

    /// The next group of Ethernet addresses whose frames the device is to hand on.
    pub fn pop_join(&mut self) -> Option<Mac> {
        self.ipv6.as_mut()?.joins.pop()
    }
}

/// Whether an interface with this MTU can have this address and this gateway.
pub fn check(config: &Ipv6Config, mtu: u16) -> Result<(), ConfigError> {
    if mtu < LEAST_MTU {
        return Err(ConfigError::Ipv6Mtu(mtu));
    }
    if let Some(network) = config.address
        && (!is_unicast(network.address()) || network.address().is_unicast_link_local() || is_anycast(network))
    {
        return Err(ConfigError::NotAnIpv6Host(network.address()));
    }
    let Some(gateway) = config.gateway else { return Ok(()) };
    let is_near = |network: Cidr6| gateway != network.address() && network.contains(gateway);
    if gateway.is_unicast_link_local() || is_unicast(gateway) && config.address.is_some_and(is_near) {
        Ok(())
    } else {
        Err(ConfigError::Ipv6Gateway(gateway))
    }
}

/// Whether the address is that of all routers of its network (RFC 4291, 2.6.1); networks of one or two addresses have none
/// (RFC 6164).
fn is_anycast(network: Cidr6) -> bool {
    let host = u128::MAX.checked_shr(network.prefix().into()).unwrap_or(0);
    network.prefix() < 127 && network.address().to_bits() & host == 0
}
