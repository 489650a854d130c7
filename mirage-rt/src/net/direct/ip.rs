//! What is below the transports: routes, neighbours, and the frames on their way to the device.

mod arp;
mod output;

#[cfg(feature = "ipv6")]
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr};
use core::num::NonZeroU16;

use super::counters::{Counters, TransmitDrop};
use super::ethernet::{self, Mac};
use super::hash::Keyed;
use super::header;
#[cfg(feature = "ipv6")]
use super::ipv6::Layer;
use super::known::KnownPaths;
use super::neighbours::{Due, Neighbours};
use crate::keys::Cidr;
use crate::net::StaticRoute;
#[cfg(feature = "ipv6")]
use crate::net::names::Family;
use crate::packet::{MAX_HEAD, PacketMut};
use crate::page::{Page, PagePool};
use crate::time::Instant;
use crate::types::network::NetworkInfo;

/// Frames that may wait for the device beyond what it has room for, so that answers are not lost in a burst.
const OUT_RESERVE: usize = 64;

/// Pages of a pool that applications leave for frames that come and go.
pub const PAGE_RESERVE: usize = 64;

/// Nanoseconds after which a neighbour that sends without end is confirmed again.
pub const SOON: u64 = 1_000_000_000;

/// Stands for the address of a host that has none: in no network, and the source of nothing but broadcasts.
pub const NO_ADDRESS: Cidr = Cidr::of(Ipv4Addr::UNSPECIFIED, 32);

/// The way to a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The address that packets come from.
    pub source: IpAddr,
    /// Who gets them first.
    pub next_hop: IpAddr,
    /// The most bytes of an IP packet.
    pub mtu: usize,
    /// The device completes the checksums of transports.
    pub offload: bool,
}

/// What usual packets carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usual {
    #[cfg(any(test, not(feature = "smoltcp-tcp")))]
    Segment,
    Datagram,
}

impl Route {
    /// Whether it leads over IPv4 to one host and not to all, or to a group.
    pub fn is_to_host(&self) -> bool {
        matches!(self.next_hop, IpAddr::V4(hop) if !hop.is_broadcast() && !hop.is_multicast())
    }
}

/// The most bytes of packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    /// Of a packet on the link.
    pub mtu: usize,
    /// Of a packet that the device cuts into segments; 0 when it cuts none.
    pub most: usize,
}

/// That for each family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paths {
    pub ipv4: Path,
    #[cfg(feature = "ipv6")]
    pub ipv6: Path,
}

impl Paths {
    /// Of both families the same.
    #[cfg(test)]
    pub const fn of(mtu: usize, most: usize) -> Paths {
        Paths {
            ipv4: Path { mtu, most },
            #[cfg(feature = "ipv6")]
            ipv6: Path { mtu, most },
        }
    }

    /// Those of packets to `remote`.
    #[inline(always)]
    pub fn to(&self, remote: IpAddr) -> Path {
        match remote {
            #[cfg(feature = "ipv6")]
            IpAddr::V6(_) => self.ipv6,
            _ => self.ipv4,
        }
    }

    /// The most bytes of a TCP segment to `remote`, without options.
    pub fn mss(&self, remote: IpAddr) -> u16 {
        u16::try_from(self.to(remote).mtu.saturating_sub(header::length(remote) + 20)).unwrap_or(u16::MAX)
    }
}

/// What a transport says of a packet that it sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TxMeta {
    /// The checksum of the transport header is still to be filled in, by the device if it can.
    pub fill_checksum: bool,
    /// The packet is one of TCP that the device is to cut into segments of so many bytes.
    pub segment: Option<NonZeroU16>,
}

/// Why nothing can be sent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocked {
    /// Enough packets wait for this neighbour's address.
    Neighbour(IpAddr),
    /// The device has no room, or there are no pages.
    Device,
}

/// What a TCP machine and the other transports send through.
pub trait IpOut {
    /// The way to `destination`.
    fn route(&self, destination: IpAddr) -> Option<Route>;

    /// Whether a packet may be sent that way now; a neighbour that is in the way of it is asked for. Answers are sent
    /// without asking: they are few, and dropped when there is no room.
    fn ready(&mut self, route: &Route) -> Result<(), Blocked>;

    /// `route` to `destination`, with no more bytes at once than a router has said that the way takes: over IPv6 none cuts what is
    /// too long.
    #[cfg(all(feature = "ipv6", feature = "datagrams"))]
    fn narrowed(&self, route: Route, destination: IpAddr) -> Route {
        let _ = destination;
        route
    }

    /// Whether packets may come from `address`.
    fn may_send_from(&self, address: IpAddr) -> bool;

    /// Whether the device has room for one more packet.
    fn has_room(&self) -> bool;

    /// A packet to be filled; `None` when there are no pages.
    fn alloc(&mut self) -> Option<PacketMut>;

    /// Whether there are pages for a packet that the device is to cut.
    fn has_pages(&self) -> bool;

    /// Adds a copy of `bytes` behind a packet, which may need several pages; `None` when there are too few.
    fn append(&mut self, packet: &mut PacketMut, bytes: &[u8]) -> Option<()>;

    /// Sends a packet that starts with its IP header (without options).
    fn send(&mut self, route: &Route, packet: PacketMut, meta: TxMeta);

    /// Sends what is complete with its checksums, to [a host](Route::is_to_host): a [usual](super::usual) segment, or a datagram.
    fn send_usual(&mut self, route: &Route, packet: PacketMut, what: Usual);
}

/// The IP layer of one interface.
pub struct Ip {
    pub(super) mac: Mac,
    address: Cidr,
    gateway: Option<Ipv4Addr>,
    routes: Vec<StaticRoute>,
    /// The most bytes of a packet that the configuration allows.
    mtu_limit: u16,
    pub(super) device_mtu: u16,
    pub(super) mtu: usize,
    most: usize,
    checksum_offload: bool,
    pool: Rc<dyn PagePool>,
    neighbours: Neighbours<Ipv4Addr>,
    /// Who has sent the latest packet, by way of whom, and when that neighbour was confirmed.
    latest: (Ipv4Addr, Mac, Instant),
    /// Until when our address is not defended again.
    defended_until: Instant,
    out: VecDeque<PacketMut>,
    room: usize,
    pub(super) now: Instant,
    pub(super) unblocked: Vec<IpAddr>,
    pub counters: Counters,
    pub known: KnownPaths,
    #[cfg(feature = "ipv6")]
    pub(super) ipv6: Option<Box<Layer>>,
}

impl Ip {
    pub fn new(info: &NetworkInfo, address: Cidr, gateway: Option<Ipv4Addr>, pool: Rc<dyn PagePool>, key: Keyed) -> Ip {
        let mut ip = Ip {
            mac: info.mac,
            address,
            gateway,
            routes: Vec::new(),
            mtu_limit: u16::MAX,
            device_mtu: 0,
            mtu: 0,
            most: 0,
            checksum_offload: false,
            pool,
            neighbours: Neighbours::new(key),
            latest: (Ipv4Addr::UNSPECIFIED, [0; 6], Instant::ZERO),
            defended_until: Instant::ZERO,
            out: VecDeque::new(),
            room: 0,
            now: Instant::ZERO,
            unblocked: Vec::new(),
            counters: Counters::default(),
            known: KnownPaths::new(key),
            #[cfg(feature = "ipv6")]
            ipv6: None,
        };
        ip.set_device(info);
        ip
    }

    /// The device is a new one, or has a new backend.
    pub fn set_device(&mut self, info: &NetworkInfo) {
        self.mac = info.mac;
        self.device_mtu = info.mtu;
        self.set_mtu_limit(self.mtu_limit);
        self.checksum_offload = info.checksum_ipv4;
        // A device that cuts packets completes their checksums.
        self.most = if info.checksum_ipv4 { (info.gso_ipv4 as usize).saturating_sub(ethernet::HEADER) } else { 0 };
        #[cfg(feature = "ipv6")]
        if let Some(layer) = &mut self.ipv6 {
            layer.set_device(info);
        }
    }

    /// The MTU as others may see it: the least of what the device and the configuration allow.
    pub fn link_mtu(&self) -> u16 {
        self.device_mtu.min(self.mtu_limit)
    }

    fn set_mtu_limit(&mut self, limit: u16) {
        self.mtu_limit = limit;
        self.mtu = usize::from(self.link_mtu()).min(MAX_HEAD);
    }

    /// Another configuration. What was to leave from an address that is gone is dropped.
    pub fn configure(&mut self, address: Cidr, gateway: Option<Ipv4Addr>, routes: Vec<StaticRoute>, mtu_limit: u16) {
        let before = core::mem::replace(&mut self.address, address);
        (self.gateway, self.routes) = (gateway, routes);
        self.set_mtu_limit(mtu_limit);
        if before.address() != address.address() {
            self.drop_frames();
            self.neighbours.clear();
            self.latest.0 = Ipv4Addr::UNSPECIFIED;
            self.announce_ipv4();
        }
    }

    /// How long packets can be.
    pub fn paths(&self) -> Paths {
        Paths {
            ipv4: Path { mtu: self.mtu, most: self.most },
            #[cfg(feature = "ipv6")]
            ipv6: self.ipv6.as_ref().map_or(Path { mtu: self.mtu, most: 0 }, |layer| layer.path(self.ipv6_mtu())),
        }
    }

    /// Whether there is an IPv4 address.
    #[inline(always)]
    pub fn has_ipv4(&self) -> bool {
        self.address != NO_ADDRESS
    }

    /// Whether there are addresses of the family of `address`.
    #[cfg(feature = "datagrams")]
    pub fn has_family(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(_) => self.has_ipv4(),
            #[cfg(feature = "ipv6")]
            IpAddr::V6(_) => self.ipv6.is_some(),
            #[cfg(not(feature = "ipv6"))]
            IpAddr::V6(_) => false,
        }
    }

    /// The addresses of this interface.
    pub fn addresses(&self) -> Vec<IpAddr> {
        let mut addresses = Vec::new();
        if self.has_ipv4() {
            addresses.push(IpAddr::V4(self.address.address()));
        }
        #[cfg(feature = "ipv6")]
        if let Some(layer) = &self.ipv6 {
            addresses.extend(layer.addresses.usable().map(IpAddr::V6));
        }
        addresses
    }

    /// The families that can be used, the preferred one first: IPv6 only once there is an address that leads further than
    /// this link.
    #[cfg(feature = "ipv6")]
    pub fn families(&self) -> &'static [Family] {
        let is_ready = |layer: &Layer| layer.addresses.usable().any(|address| !address.is_unicast_link_local());
        match (self.has_ipv4(), self.ipv6.as_deref().is_some_and(is_ready)) {
            (true, true) => &[Family::V6, Family::V4],
            (false, _) => &[Family::V6],
            (true, false) => &[Family::V4],
        }
    }

    /// Whether a socket can be bound to `address`.
    pub fn is_ours(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => address == self.address.address() && self.has_ipv4(),
            #[cfg(feature = "ipv6")]
            IpAddr::V6(address) => self.ipv6.as_ref().is_some_and(|layer| layer.addresses.is_bindable(address)),
            #[cfg(not(feature = "ipv6"))]
            IpAddr::V6(_) => false,
        }
    }

    /// The address that a socket bound to all of them shows.
    pub fn primary(&self) -> IpAddr {
        #[cfg(feature = "ipv6")]
        if !self.has_ipv4() {
            return self.addresses().pop().unwrap_or(core::net::Ipv6Addr::UNSPECIFIED.into());
        }
        IpAddr::V4(self.address.address())
    }

    /// The IPv4 address with its network.
    pub fn network(&self) -> Cidr {
        self.address
    }

    /// The routes to networks behind others than the gateway.
    pub fn static_routes(&self) -> &[StaticRoute] {
        &self.routes
    }

    pub fn mac(&self) -> Mac {
        self.mac
    }

    pub fn address(&self) -> Ipv4Addr {
        self.address.address()
    }

    /// Sets the time of what follows.
    pub fn set_now(&mut self, now: Instant) {
        self.now = now;
    }

    /// The time of what happens.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Sets how many frames the device has room for, those that wait here included.
    pub fn set_room(&mut self, room: usize) {
        self.room = room;
    }

    /// Whether `address` is that of all hosts of the network.
    pub fn is_broadcast(&self, address: Ipv4Addr) -> bool {
        address == Ipv4Addr::BROADCAST || Some(address) == broadcast(self.address)
    }

    /// Whether a packet may come from `address`.
    pub fn is_source(&self, address: Ipv4Addr) -> bool {
        !(address.is_unspecified()
            || address.is_multicast()
            || address.is_loopback()
            || self.is_broadcast(address)
            || address == self.address.address())
    }

    /// Notes that a packet came from `source` by way of `mac`.
    pub fn heard(&mut self, source: Ipv4Addr, mac: Mac) {
        // Many packets in a row come from one host, of which it is enough to know once in a second.
        let (host, at, since) = self.latest;
        if host == source && at == mac && self.now.as_nanos().saturating_sub(since.as_nanos()) < SOON {
            return;
        }
        self.latest = (source, mac, self.now);
        if let Some(hop) = self.next_hop(source) {
            self.neighbours.confirm(self.now, hop, mac);
        }
    }

    /// Repeats questions that were not answered.
    pub fn run(&mut self) {
        while let Some(due) = self.neighbours.next_due(self.now) {
            match due {
                Due::Ask(address) => self.ask(address),
                Due::GivenUp(address) => self.unblocked.push(IpAddr::V4(address)),
            }
        }
        #[cfg(feature = "ipv6")]
        self.run_ipv6();
    }

    /// When [`run`](Ip::run) has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        #[cfg(feature = "ipv6")]
        if let Some(layer) = &self.ipv6 {
            return self.neighbours.deadline().into_iter().chain(layer.deadline()).min();
        }
        self.neighbours.deadline()
    }

    /// The next hop for which sending is worth another try.
    pub fn pop_unblocked(&mut self) -> Option<IpAddr> {
        self.unblocked.pop()
    }

    /// The next frame for the device.
    pub fn pop_frame(&mut self) -> Option<PacketMut> {
        self.out.pop_front()
    }

    /// Puts back a frame that the device had no room for.
    pub fn push_back(&mut self, frame: PacketMut) {
        self.out.push_front(frame);
    }

    /// Drops all frames: the device is away.
    pub fn drop_frames(&mut self) {
        self.counters.transmit_drops[TransmitDrop::Away as usize] += self.out.len() as u64;
        self.out.clear();
    }

    /// A page for an application: some always stay for frames.
    pub fn page(&self) -> Option<Page> {
        if self.pool.available() > PAGE_RESERVE { Page::take(&self.pool) } else { None }
    }

    /// Whether answers would be dropped.
    pub fn is_congested(&self) -> bool {
        self.out.len() >= self.room + OUT_RESERVE
    }

    /// The neighbour that packets for `destination` go to.
    fn next_hop(&self, destination: Ipv4Addr) -> Option<Ipv4Addr> {
        if self.address.contains(destination) {
            return Some(destination);
        }
        // The longest prefix is the best one.
        let fitting = self.routes.iter().filter(|route| route.to.contains(destination));
        let best = fitting.max_by_key(|route| route.to.prefix());
        best.map(|route| route.via).or(self.gateway)
    }

    /// Tells everybody on the link which Ethernet address ours has now (RFC 5227, 3: an ARP announcement).
    pub fn announce(&mut self) {
        self.announce_ipv4();
        #[cfg(feature = "ipv6")]
        self.announce_ipv6();
    }

    /// What was counted here and by the neighbours, and how many of those there are.
    pub fn counted(&self) -> (Counters, usize) {
        let mut counters = self.counters;
        counters.transmit_drops[TransmitDrop::Neighbour as usize] += self.neighbours.dropped();
        #[cfg(feature = "ipv6")]
        if let Some(layer) = &self.ipv6 {
            let (dropped, neighbours) = layer.counted();
            counters.transmit_drops[TransmitDrop::Neighbour as usize] += dropped;
            return (counters, self.neighbours.len() + neighbours);
        }
        (counters, self.neighbours.len())
    }
}

/// The address of all hosts of a network; networks of one or two addresses have none (RFC 3021).
pub fn broadcast(network: Cidr) -> Option<Ipv4Addr> {
    (network.prefix() < 31).then(|| Ipv4Addr::from(u32::from(network.address()) | (u32::MAX >> network.prefix())))
}
