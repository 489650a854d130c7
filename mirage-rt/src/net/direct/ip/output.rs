//! Packets on their way out: their routes, their checksums, the neighbours they go to, and the queue for the device.

use core::net::{IpAddr, Ipv4Addr};

use smoltcp::wire::IpProtocol;

use super::{Blocked, Ip, IpOut, Route, TxMeta, Usual, broadcast};
use crate::net::direct::counters::TransmitDrop;
use crate::net::direct::ethernet::{self, BROADCAST, EtherType, Mac};
use crate::net::direct::header;
use crate::net::direct::ipv4;
use crate::net::direct::neighbours::Resolution;
use crate::packet::{Checksum, Gso, MAX_FRAGMENTS, PacketMut};

impl Ip {
    /// Sends a packet that is complete to a neighbour.
    #[inline(always)]
    pub(super) fn send_resolved(&mut self, hop: Ipv4Addr, packet: PacketMut) {
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

    /// Asks for a neighbour for which no packet can be held, unless that was done: who waits for it is woken by the answer.
    #[cold]
    #[inline(never)]
    fn ask_first(&mut self, hop: Ipv4Addr) {
        if self.neighbours.resolve(self.now, hop) == Resolution::Unknown {
            self.ask(hop);
        }
    }

    /// Sends a packet to one host as it is.
    #[cfg(feature = "forward")]
    pub fn send_complete(&mut self, route: &Route, packet: PacketMut) {
        match route.next_hop {
            IpAddr::V4(hop) => self.send_resolved(hop, packet),
            #[cfg(feature = "ipv6")]
            IpAddr::V6(hop) => self.send_resolved_ipv6(hop, packet),
            #[cfg(not(feature = "ipv6"))]
            IpAddr::V6(_) => {}
        }
    }

    /// Whether the device completes checksums of packets to `destination`.
    #[cfg(feature = "forward")]
    pub fn completes(&self, destination: IpAddr) -> bool {
        match destination {
            IpAddr::V4(_) => self.checksum_offload,
            #[cfg(feature = "ipv6")]
            IpAddr::V6(_) => self.ipv6.as_ref().is_some_and(|layer| layer.checksum_offload),
            #[cfg(not(feature = "ipv6"))]
            IpAddr::V6(_) => false,
        }
    }

    /// Queues an IP packet for the neighbour `mac`.
    pub(in crate::net::direct) fn queue(&mut self, mut packet: PacketMut, mac: Mac) {
        let own = self.mac;
        let ethertype = match packet.head().first() {
            #[cfg(feature = "ipv6")]
            Some(first) if first >> 4 == 6 => EtherType::Ipv6,
            _ => EtherType::Ipv4,
        };
        if let Some(frame) = packet.push_front(ethernet::HEADER)
            && let Some(header) = frame.first_chunk_mut::<{ ethernet::HEADER }>()
        {
            ethernet::emit(header, mac, own, ethertype);
            self.push(packet);
        }
    }

    pub(super) fn push(&mut self, frame: PacketMut) {
        if self.is_congested() {
            self.counters.drop_sent(TransmitDrop::Congested);
        } else {
            self.out.push_back(frame);
        }
    }

    pub(in crate::net::direct) fn count_sent(&mut self, packet: &PacketMut) {
        self.counters.ip_sent.count(packet.len());
        match header::protocol(packet.head()) {
            Some(IpProtocol::Tcp) => self.counters.segments_sent += 1,
            Some(IpProtocol::Udp) => self.counters.datagrams_sent += 1,
            _ => {}
        }
    }

    /// Completes the checksum, or leaves it to the device.
    pub(in crate::net::direct) fn finish_checksum(&self, packet: &mut PacketMut) {
        let Some(protocol) = header::protocol(packet.head()) else { return };
        let length = header::length_in(packet.head());
        let offload = match length {
            ipv4::HEADER => self.checksum_offload,
            #[cfg(feature = "ipv6")]
            _ => self.ipv6.as_ref().is_some_and(|layer| layer.checksum_offload),
            #[cfg(not(feature = "ipv6"))]
            _ => false,
        };
        match ipv4::checksum_offset(protocol) {
            Some(offset) if offload => {
                header::fill_transport(packet.head_mut(), true);
                let start = (ethernet::HEADER + length) as u16;
                packet.set_checksum(Checksum::Partial { start, offset });
            }
            _ => header::fill_transport(packet.head_mut(), false),
        }
    }
}

impl IpOut for Ip {
    fn route(&self, destination: IpAddr) -> Option<Route> {
        let destination = match destination {
            IpAddr::V4(destination) => destination,
            #[cfg(feature = "ipv6")]
            IpAddr::V6(destination) => return self.route_ipv6(destination),
            #[cfg(not(feature = "ipv6"))]
            IpAddr::V6(_) => return None,
        };
        let own = self.address.address();
        if !is_plain_host(destination) || destination == own {
            return self.unusual_route(destination);
        }
        let is_broadcast = Some(destination) == broadcast(self.address);
        let next_hop = if is_broadcast { Ipv4Addr::BROADCAST } else { self.next_hop(destination)? };
        let offload = self.checksum_offload;
        Some(Route { source: IpAddr::V4(own), next_hop: IpAddr::V4(next_hop), mtu: self.mtu, offload })
    }

    fn ready(&mut self, route: &Route) -> Result<(), Blocked> {
        if !self.has_room() {
            return Err(Blocked::Device);
        }
        match route.next_hop {
            IpAddr::V4(hop) if self.neighbours.is_full(hop) => self.ask_first(hop),
            #[cfg(feature = "ipv6")]
            IpAddr::V6(hop) if self.is_full_ipv6(hop) => self.ask_first_ipv6(hop),
            _ => return Ok(()),
        }
        Err(Blocked::Neighbour(route.next_hop))
    }

    #[cfg(all(feature = "ipv6", feature = "datagrams"))]
    fn narrowed(&self, route: Route, destination: IpAddr) -> Route {
        let known = if destination.is_ipv6() { self.known.get(self.now, destination) } else { None };
        Route { mtu: known.map_or(route.mtu, |known| route.mtu.min(known.into())), ..route }
    }

    fn may_send_from(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => address == self.address.address(),
            #[cfg(feature = "ipv6")]
            IpAddr::V6(address) => self.ipv6.as_ref().is_some_and(|layer| layer.addresses.is_ours(address)),
            #[cfg(not(feature = "ipv6"))]
            IpAddr::V6(_) => false,
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
        let hop = match route.next_hop {
            IpAddr::V4(hop) => hop,
            #[cfg(feature = "ipv6")]
            IpAddr::V6(hop) => return self.send_ipv6(hop, packet, meta),
            #[cfg(not(feature = "ipv6"))]
            IpAddr::V6(_) => return,
        };
        self.count_sent(&packet);
        packet.set_checksum(Checksum::None);
        packet.set_gso(meta.segment.map_or(Gso::None, |mss| Gso::Ipv4 { mss: mss.get() }));
        if meta.fill_checksum {
            self.finish_checksum(&mut packet);
        }
        if hop == Ipv4Addr::BROADCAST {
            return self.queue(packet, BROADCAST);
        }
        #[cfg(feature = "datagrams")]
        if hop.is_multicast() {
            return self.queue(packet, crate::net::direct::groups::mac_of(hop.into()));
        }
        self.send_resolved(hop, packet);
    }

    fn send_usual(&mut self, route: &Route, packet: PacketMut, what: Usual) {
        self.counters.ip_sent.count(packet.head().len());
        match what {
            #[cfg(any(test, not(feature = "smoltcp-tcp")))]
            Usual::Segment => self.counters.segments_sent += 1,
            Usual::Datagram => self.counters.datagrams_sent += 1,
        }
        if let IpAddr::V4(hop) = route.next_hop {
            self.send_resolved(hop, packet);
        }
    }
}

impl Ip {
    /// The way to a destination that is no host's address, or may be none.
    #[cold]
    #[inline(never)]
    fn unusual_route(&self, destination: Ipv4Addr) -> Option<Route> {
        let own = self.address.address();
        let to = |next_hop: Ipv4Addr| Route {
            source: IpAddr::V4(own),
            next_hop: IpAddr::V4(next_hop),
            mtu: self.mtu,
            offload: self.checksum_offload,
        };
        #[cfg(feature = "datagrams")]
        if destination.is_multicast() && self.has_ipv4() {
            return Some(to(destination));
        }
        if destination.is_unspecified() || destination.is_multicast() || destination.is_loopback() || destination == own
        {
            return None;
        }
        if self.is_broadcast(destination) { Some(to(Ipv4Addr::BROADCAST)) } else { self.next_hop(destination).map(to) }
    }
}

/// Whether `address` can only be that of a host, or of all hosts of its network.
#[inline(always)]
fn is_plain_host(address: Ipv4Addr) -> bool {
    matches!(address.octets()[0], 1..=126 | 128..=223)
}
