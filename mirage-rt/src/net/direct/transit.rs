//! Packets that are for others: those that come in go to the router, and it sends them on (feature `forward`).

use alloc::vec::Vec;
use core::net::IpAddr;
#[cfg(feature = "ipv6")]
use core::net::Ipv6Addr;

use smoltcp::wire::{IpProtocol, checksum};

use super::Direct;
use super::ethernet::{self, EtherType};
use super::header;
use super::ip::{IpOut, Route};
use super::ipv4::{self, Ipv4};
use super::stack::Stack;
use crate::net::forward::Transit;
use crate::net::segments;
use crate::packet::{Checksum, Gso, MAX_HEAD, PacketMut};

/// Bytes of an error with what it quotes (RFC 1812, 4.3.2.3).
const MOST_ERROR: usize = 576;
/// Bytes of an ICMP header with the word behind it.
const ICMP_HEADER: usize = 8;

/// What is known of a packet on its way, besides its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// As it came in, in bytes of the frame.
    pub checksum: Checksum,
    pub gso: Gso,
}

/// What has become of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passed {
    Sent,
    NoRoute,
    /// The way takes packets of so many bytes, and this one must not be cut.
    TooBig(usize),
    Invalid,
    NoRoom,
}

/// What a sender is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    Unreachable,
    Prohibited,
    Expired,
    TooBig(usize),
}

impl Direct {
    /// Has what is for others go to a router, or to nobody.
    pub fn set_transit(&self, transit: Option<Transit>) {
        let mut stack = self.shared.stack.borrow_mut();
        #[cfg(feature = "ipv6")]
        stack.ip.set_router(transit.is_some());
        stack.transit = transit;
    }

    /// Whether what is for others goes to a router.
    pub fn is_router(&self) -> bool {
        self.shared.stack.borrow().transit.is_some()
    }

    /// Whether `address` is one of ours.
    pub fn has(&self, address: IpAddr) -> bool {
        self.shared.stack.borrow().ip.is_ours(address)
    }

    /// Sends a packet on to `destination`, with an IP header that is sound.
    pub fn pass(&self, destination: IpAddr, packet: &mut [u8], outgoing: Outgoing) -> Passed {
        let mut stack = self.shared.stack.borrow_mut();
        stack.ip.set_now(crate::runtime::now());
        let passed = stack.pass(destination, packet, outgoing);
        stack.kick();
        passed
    }

    /// Tells who has sent `packet` what is wrong with it, unless that is never told (RFC 1812, 4.3.2.7).
    pub fn tell_ipv4(&self, packet: &Ipv4<'_>, error: Error) {
        let is_error = packet.protocol == IpProtocol::Icmp
            && packet.payload().first().is_none_or(|kind| matches!(kind, 3 | 4 | 5 | 11 | 12));
        let is_later =
            packet.packet.get(6..8).is_none_or(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]) & 0x1fff != 0);
        let mut stack = self.shared.stack.borrow_mut();
        if !is_error && !is_later && stack.ip.has_ipv4() && stack.ip.is_source(packet.source) {
            stack.ip.set_now(crate::runtime::now());
            stack.tell_ipv4(packet, error);
            stack.kick();
        }
    }

    /// As [`tell_ipv4`](Direct::tell_ipv4), of a packet that is no error.
    #[cfg(feature = "ipv6")]
    pub fn tell_ipv6(&self, source: Ipv6Addr, packet: &[u8], error: Error) {
        let (kind, word) = match error {
            Error::Unreachable => ([1, 0], 0),
            Error::Prohibited => ([1, 1], 0),
            Error::Expired => ([3, 0], 0),
            Error::TooBig(mtu) => ([2, 0], mtu as u32),
        };
        let mut stack = self.shared.stack.borrow_mut();
        let now = crate::runtime::now();
        stack.ip.set_now(now);
        let from = stack.ip.ipv6.as_ref().and_then(|layer| layer.addresses.source_for(now, source));
        if let Some(from) = from {
            stack.send_error(now, packet, [from, source], kind, word);
            stack.kick();
        }
    }
}

impl Stack {
    /// Hands a frame that is for others to the router, if there is one; the others come back.
    pub(super) fn hand_on(&mut self, frame: PacketMut) -> Option<PacketMut> {
        let Some(transit) = &self.transit else { return Some(frame) };
        let mut start = [0; ethernet::HEADER + header::MOST];
        let length = frame.copy_to(&mut start);
        if !self.is_for_others(&start[..length]) {
            return Some(frame);
        }
        self.ip.counters.received.count(frame.len());
        transit.push(frame);
        None
    }

    /// Whether a frame is for us as a router (RFC 1812, 5.3.4: not one to all stations), and its packet for somebody else.
    fn is_for_others(&self, start: &[u8]) -> bool {
        let Some((to, from, ethertype)) = ethernet::parse(start) else { return false };
        if to != self.ip.mac() || !ethernet::is_unicast(from) {
            return false;
        }
        let packet = start.get(ethernet::HEADER..).unwrap_or_default();
        match ethertype {
            EtherType::Ipv4 => packet.get(16..).and_then(|rest| rest.first_chunk::<4>()).is_some_and(|bytes| {
                let address = core::net::Ipv4Addr::from(*bytes);
                let ours = address == self.ip.address() || self.ip.is_broadcast(address);
                !ours && !address.is_multicast() && !address.is_unspecified()
            }),
            #[cfg(feature = "ipv6")]
            EtherType::Ipv6 => packet.get(24..).and_then(|rest| rest.first_chunk::<16>()).is_some_and(|bytes| {
                let address = Ipv6Addr::from(*bytes);
                let is_ours = |layer: &super::ipv6::Layer| layer.addresses.is_bindable(address);
                !address.is_multicast()
                    && !address.is_unicast_link_local()
                    && self.ip.ipv6.as_deref().is_some_and(|layer| !is_ours(layer))
            }),
            EtherType::Arp => false,
        }
    }

    fn pass(&mut self, destination: IpAddr, packet: &mut [u8], outgoing: Outgoing) -> Passed {
        let Some(route) = self.ip.route(destination) else { return Passed::NoRoute };
        // To all hosts of a network nobody sends from elsewhere (RFC 2644).
        if route.next_hop == IpAddr::V4(core::net::Ipv4Addr::BROADCAST) {
            return Passed::Invalid;
        }
        if self.ip.is_congested() {
            return Passed::NoRoom;
        }
        match outgoing.gso {
            Gso::None => self.pass_one(&route, destination, packet, outgoing.checksum),
            Gso::Ipv4 { mss } | Gso::Ipv6 { mss } => self.pass_many(&route, destination, packet, mss),
        }
    }

    /// A packet of many TCP segments.
    fn pass_many(&mut self, route: &Route, destination: IpAddr, packet: &mut [u8], mss: u16) -> Passed {
        let headers = header::length(destination);
        let tcp = packet.get(headers + 12).map_or(0, |field| usize::from(field >> 4) * 4);
        if header::length_in(packet) != headers || mss == 0 {
            return Passed::Invalid;
        }
        if headers + tcp + usize::from(mss) > route.mtu {
            return Passed::TooBig(route.mtu);
        }
        let most = self.ip.paths().to(destination).most;
        if packet.len() > most {
            let Some(packets) = segments::cut(packet, mss) else { return Passed::Invalid };
            return self.send_copies(route, &packets);
        }
        header::fill_transport(packet, true);
        let Some(mut copy) = self.copy(packet) else { return Passed::NoRoom };
        copy.set_checksum(Checksum::Partial { start: (ethernet::HEADER + headers) as u16, offset: 16 });
        copy.set_gso(if destination.is_ipv4() { Gso::Ipv4 { mss } } else { Gso::Ipv6 { mss } });
        self.ip.send_complete(route, copy);
        Passed::Sent
    }

    fn pass_one(&mut self, route: &Route, destination: IpAddr, packet: &mut [u8], checksum: Checksum) -> Passed {
        let fits = packet.len() <= route.mtu;
        let partial = matches!(checksum, Checksum::Partial { .. });
        if partial && !(fits && self.ip.completes(destination)) {
            complete(packet, checksum);
        }
        if fits {
            let Some(mut copy) = self.copy(packet) else { return Passed::NoRoom };
            if partial && self.ip.completes(destination) {
                copy.set_checksum(checksum);
            }
            self.ip.send_complete(route, copy);
            return Passed::Sent;
        }
        let may_cut = destination.is_ipv4()
            && header::length_in(packet) == ipv4::HEADER
            && packet.get(6).is_some_and(|flags| flags & 0x40 == 0);
        match may_cut.then(|| fragments(packet, route.mtu)).flatten() {
            Some(packets) => self.send_copies(route, &packets),
            None => Passed::TooBig(route.mtu),
        }
    }

    fn send_copies(&mut self, route: &Route, packets: &[Vec<u8>]) -> Passed {
        for packet in packets {
            let Some(copy) = self.copy(packet) else { return Passed::NoRoom };
            self.ip.send_complete(route, copy);
        }
        Passed::Sent
    }

    /// The packet in pages of this network.
    fn copy(&mut self, packet: &[u8]) -> Option<PacketMut> {
        let (start, rest) = packet.split_at(packet.len().min(MAX_HEAD));
        let mut copy = self.ip.alloc()?;
        let head = copy.resize_head(start.len());
        if head.len() != start.len() {
            return None;
        }
        head.copy_from_slice(start);
        if !rest.is_empty() {
            self.ip.append(&mut copy, rest)?;
        }
        Some(copy)
    }

    fn tell_ipv4(&mut self, packet: &Ipv4<'_>, error: Error) {
        let (kind, word) = match error {
            Error::Unreachable => ([3, 0], 0),
            Error::Prohibited => ([3, 13], 0),
            Error::Expired => ([11, 0], 0),
            Error::TooBig(mtu) => ([3, 4], mtu as u32),
        };
        let (own, to) = (self.ip.address().into(), packet.source.into());
        let Some(route) = self.ip.route(to) else { return };
        let now = self.ip.now();
        if !self.allows_error(now) {
            return;
        }
        let quote = packet.packet.get(..MOST_ERROR - ipv4::HEADER - ICMP_HEADER).unwrap_or(packet.packet);
        let Some(mut answer) = self.ip.alloc() else { return };
        let whole = answer.resize_head(ipv4::HEADER + ICMP_HEADER + quote.len());
        let Some(message) = header::emit(whole, own, to, IpProtocol::Icmp) else { return };
        let Some((start, rest)) = message.split_first_chunk_mut::<ICMP_HEADER>() else { return };
        start[..4].copy_from_slice(&[kind[0], kind[1], 0, 0]);
        start[4..].copy_from_slice(&u32::to_be_bytes(word));
        rest.copy_from_slice(quote);
        let sum = !super::checksum::data(message);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        self.ip.counters.icmp_sent[1] += 1;
        self.ip.send_complete(&route, answer);
    }
}

/// Completes a checksum that was left to a device.
fn complete(packet: &mut [u8], checksum: Checksum) {
    let Checksum::Partial { start, offset } = checksum else { return };
    let Some(start) = usize::from(start).checked_sub(ethernet::HEADER) else { return };
    let at = start + usize::from(offset);
    let sum = match !checksum::data(packet.get(start..).unwrap_or_default()) {
        // A datagram with 0 there would say that it has no checksum (RFC 768).
        0 if header::protocol(packet) == Some(IpProtocol::Udp) => !0,
        sum => sum,
    };
    if let Some(field) = packet.get_mut(at..at + 2) {
        field.copy_from_slice(&sum.to_be_bytes());
    }
}

/// The fragments of a packet of IPv4 without options, or of one that is a fragment itself (RFC 791, 3.2), each `mtu` bytes at most.
fn fragments(packet: &[u8], mtu: usize) -> Option<Vec<Vec<u8>>> {
    let (head, data) = packet.split_first_chunk::<{ ipv4::HEADER }>()?;
    let place = u16::from_be_bytes([head[6], head[7]]);
    let (start, more) = (place & 0x1fff, place & 0x2000);
    let most = mtu.checked_sub(ipv4::HEADER)? & !7;
    if most == 0 {
        return None;
    }
    let count = data.len().div_ceil(most);
    let mut packets = Vec::new();
    for (number, part) in data.chunks(most).enumerate() {
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(head.len() + part.len()).ok()?;
        bytes.extend_from_slice(head);
        bytes.extend_from_slice(part);
        let last = number + 1 == count;
        let offset = start + (number * most / 8) as u16;
        let place = offset | if last { more } else { 0x2000 };
        bytes[6..8].copy_from_slice(&place.to_be_bytes());
        header::set_length(&mut bytes);
        packets.push(bytes);
    }
    Some(packets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fragments_of_fragments_keep_their_places() {
        let mut packet = alloc::vec![0; ipv4::HEADER + 100];
        packet[0] = 0x45;
        // More follow, and this one begins at 80.
        packet[6..8].copy_from_slice(&(0x2000_u16 | 10).to_be_bytes());
        for (at, byte) in packet[ipv4::HEADER..].iter_mut().enumerate() {
            *byte = at as u8;
        }
        header::set_length(&mut packet);
        let parts = fragments(&packet, 68).expect("it can be cut");
        let places: Vec<_> = parts.iter().map(|part| u16::from_be_bytes([part[6], part[7]])).collect();
        assert_eq!(places, [0x2000 | 10, 0x2000 | 16, 0x2000 | 22]);
        assert!(parts.iter().all(|part| Ipv4::parse(part).is_some() && part.len() <= 68));
        let data: Vec<u8> = parts.iter().flat_map(|part| part[ipv4::HEADER..].to_vec()).collect();
        assert_eq!(data, packet[ipv4::HEADER..]);
        assert_eq!(fragments(&packet, 27), None);
    }
}
