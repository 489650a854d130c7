//! What is below the transports: routes, neighbours, and the frames on their way to the device.

use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr};
use core::num::NonZeroU16;

use smoltcp::wire::IpProtocol;

use super::counters::{Counters, ReceiveDrop, TransmitDrop};
use super::ethernet::{self, ARP_LENGTH, Arp, BROADCAST, EtherType, Mac};
use super::hash::Keyed;
use super::ipv4;
use super::neighbours::{Due, Neighbours, Resolution};
use crate::keys::Cidr;
use crate::net::StaticRoute;
use crate::packet::{Checksum, Gso, MAX_FRAGMENTS, MAX_HEAD, Packet, PacketMut};
use crate::page::PagePool;
use crate::time::Instant;
use crate::types::network::NetworkInfo;

/// Frames that may wait for the device beyond what it has room for, so that answers are not lost in a burst.
const OUT_RESERVE: usize = 64;

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

    /// Whether a packet may be sent that way now. Answers are sent without asking: they are few, and dropped when there
    /// is no room.
    fn ready(&self, route: &Route) -> Result<(), Blocked>;

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
}

/// The IPv4 layer of one interface.
pub struct Ip {
    mac: Mac,
    address: Cidr,
    gateway: Option<Ipv4Addr>,
    routes: Vec<StaticRoute>,
    /// The most bytes of a packet that the configuration allows.
    mtu_limit: u16,
    device_mtu: u16,
    mtu: usize,
    most: usize,
    checksum_offload: bool,
    pool: Rc<dyn PagePool>,
    neighbours: Neighbours,
    out: VecDeque<Packet>,
    room: usize,
    now: Instant,
    unblocked: Vec<IpAddr>,
    pub counters: Counters,
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
            out: VecDeque::new(),
            room: 0,
            now: Instant::ZERO,
            unblocked: Vec::new(),
            counters: Counters::default(),
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
            self.announce();
        }
    }

    /// The most bytes of a packet that the device can cut into segments; 0 when it can't.
    pub fn most(&self) -> usize {
        self.most
    }

    pub fn mac(&self) -> Mac {
        self.mac
    }

    pub fn address(&self) -> Ipv4Addr {
        self.address.address()
    }

    pub fn mtu(&self) -> usize {
        self.mtu
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
        if let Some(hop) = self.next_hop(source) {
            self.neighbours.confirm(self.now, hop, mac);
        }
    }

    /// An ARP packet came in.
    pub fn receive_arp(&mut self, packet: &[u8]) {
        let Some(arp) = Arp::parse(packet) else { return self.counters.drop_received(ReceiveDrop::Arp) };
        let ours = self.address.address();
        if arp.target != ours
            || !self.is_source(arp.source)
            || !self.address.contains(arp.source)
            || !ethernet::is_unicast(arp.source_mac)
        {
            return self.counters.drop_received(ReceiveDrop::Arp);
        }
        self.counters.arp_received[usize::from(!arp.request)] += 1;
        let held = self.neighbours.learn(self.now, arp.source, arp.source_mac, arp.request);
        for packet in held {
            self.queue(packet, arp.source_mac);
        }
        self.unblocked.push(IpAddr::V4(arp.source));
        if arp.request {
            self.send_arp(
                arp.source_mac,
                Arp {
                    request: false,
                    source_mac: self.mac,
                    source: ours,
                    target_mac: arp.source_mac,
                    target: arp.source,
                },
            );
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
    }

    /// When [`run`](Ip::run) has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        self.neighbours.deadline()
    }

    /// The next hop for which sending is worth another try.
    pub fn pop_unblocked(&mut self) -> Option<IpAddr> {
        self.unblocked.pop()
    }

    /// The next frame for the device.
    pub fn pop_frame(&mut self) -> Option<Packet> {
        self.out.pop_front()
    }

    /// Puts back a frame that the device had no room for.
    pub fn push_back(&mut self, frame: Packet) {
        self.out.push_front(frame);
    }

    /// Drops all frames: the device is away.
    pub fn drop_frames(&mut self) {
        self.counters.transmit_drops[TransmitDrop::Away as usize] += self.out.len() as u64;
        self.out.clear();
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
        if self.address != NO_ADDRESS {
            self.ask(self.address.address());
        }
    }

    fn ask(&mut self, address: Ipv4Addr) {
        self.send_arp(
            BROADCAST,
            Arp {
                request: true,
                source_mac: self.mac,
                source: self.address.address(),
                target_mac: [0; 6],
                target: address,
            },
        );
    }

    fn send_arp(&mut self, destination: Mac, arp: Arp) {
        let Some(mut packet) = self.alloc() else { return };
        self.counters.arp_sent[usize::from(!arp.request)] += 1;
        let frame = packet.resize_head(ethernet::HEADER + ARP_LENGTH);
        if let Some((header, body)) = frame.split_first_chunk_mut::<{ ethernet::HEADER }>()
            && let Some(body) = body.first_chunk_mut::<ARP_LENGTH>()
        {
            ethernet::emit(header, destination, self.mac, EtherType::Arp);
            arp.emit(body);
            self.push(packet);
        }
    }

    /// Queues an IP packet for the neighbour `mac`.
    fn queue(&mut self, mut packet: PacketMut, mac: Mac) {
        let own = self.mac;
        if let Some(frame) = packet.push_front(ethernet::HEADER)
            && let Some(header) = frame.first_chunk_mut::<{ ethernet::HEADER }>()
        {
            ethernet::emit(header, mac, own, EtherType::Ipv4);
            self.push(packet);
        }
    }

    fn push(&mut self, frame: PacketMut) {
        if self.is_congested() {
            self.counters.drop_sent(TransmitDrop::Congested);
        } else {
            self.out.push_back(frame.freeze());
        }
    }

    fn count_sent(&mut self, packet: &PacketMut) {
        self.counters.ip_sent.count(packet.len());
        match packet.head().get(9).map(|protocol| IpProtocol::from(*protocol)) {
            Some(IpProtocol::Tcp) => self.counters.segments_sent += 1,
            Some(IpProtocol::Udp) => self.counters.datagrams_sent += 1,
            _ => {}
        }
    }

    /// What was counted here and by the neighbours, and how many of those there are.
    pub fn counted(&self) -> (Counters, usize) {
        let mut counters = self.counters;
        counters.transmit_drops[TransmitDrop::Neighbour as usize] += self.neighbours.dropped();
        (counters, self.neighbours.len())
    }

    /// Completes the checksum, or leaves it to the device.
    fn finish_checksum(&self, packet: &mut PacketMut) {
        let Some(protocol) = packet.head().get(9) else { return };
        let offset = ipv4::checksum_offset(IpProtocol::from(*protocol));
        match offset {
            Some(offset) if self.checksum_offload => {
                ipv4::fill_transport(packet.head_mut(), true);
                let start = (ethernet::HEADER + ipv4::HEADER) as u16;
                packet.set_checksum(Checksum::Partial { start, offset });
            }
            _ => ipv4::fill_transport(packet.head_mut(), false),
        }
    }
}

impl IpOut for Ip {
    fn route(&self, destination: IpAddr) -> Option<Route> {
        let IpAddr::V4(destination) = destination else { return None };
        let own = self.address.address();
        if destination.is_unspecified() || destination.is_multicast() || destination.is_loopback() || destination == own
        {
            return None;
        }
        let next_hop = if self.is_broadcast(destination) { Ipv4Addr::BROADCAST } else { self.next_hop(destination)? };
        Some(Route { source: IpAddr::V4(own), next_hop: IpAddr::V4(next_hop), mtu: self.mtu })
    }

    fn ready(&self, route: &Route) -> Result<(), Blocked> {
        if !self.has_room() {
            return Err(Blocked::Device);
        }
        match route.next_hop {
            IpAddr::V4(hop) if self.neighbours.is_full(hop) => Err(Blocked::Neighbour(route.next_hop)),
            _ => Ok(()),
        }
    }

    fn has_room(&self) -> bool {
        self.out.len() < self.room
    }

    fn alloc(&mut self) -> Option<PacketMut> {
        let packet = PacketMut::new(&self.pool);
        if packet.is_none() {
            self.counters.drop_sent(TransmitDrop::Memory);
        }
        packet
    }

    fn has_pages(&self) -> bool {
        self.pool.available() > MAX_FRAGMENTS
    }

    fn append(&mut self, packet: &mut PacketMut, bytes: &[u8]) -> Option<()> {
        packet.append(&self.pool, bytes)
    }

    fn send(&mut self, route: &Route, mut packet: PacketMut, meta: TxMeta) {
        let IpAddr::V4(hop) = route.next_hop else { return };
        self.count_sent(&packet);
        packet.set_checksum(Checksum::None);
        packet.set_gso(meta.segment.map_or(Gso::None, |mss| Gso::Ipv4 { mss: mss.get() }));
        if meta.fill_checksum {
            self.finish_checksum(&mut packet);
        }
        if hop == Ipv4Addr::BROADCAST {
            return self.queue(packet, BROADCAST);
        }
        match self.neighbours.resolve(self.now, hop) {
            Resolution::Known(mac) => self.queue(packet, mac),
            Resolution::Stale(mac) => {
                self.ask(hop);
                self.queue(packet, mac);
            }
            Resolution::Unknown => {
                self.neighbours.hold(hop, packet);
                self.ask(hop);
            }
            Resolution::Asked => self.neighbours.hold(hop, packet),
        }
    }
}

/// The address of all hosts of a network; networks of one or two addresses have none (RFC 3021).
pub fn broadcast(network: Cidr) -> Option<Ipv4Addr> {
    (network.prefix() < 31).then(|| Ipv4Addr::from(u32::from(network.address()) | (u32::MAX >> network.prefix())))
}
