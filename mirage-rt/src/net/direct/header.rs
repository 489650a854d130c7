//! The IP headers of our own packets, of whichever family.

use core::net::IpAddr;

use smoltcp::wire::IpProtocol;

use super::{checksum, ipv4};
#[cfg(feature = "ipv6")]
use crate::net::ipv6::packet as ipv6;

/// Bytes of the longer header.
pub const MOST: usize = if cfg!(feature = "ipv6") { 40 } else { ipv4::HEADER };

/// Bytes of the header of a packet to `destination`.
#[inline(always)]
pub fn length(destination: IpAddr) -> usize {
    match destination {
        #[cfg(feature = "ipv6")]
        IpAddr::V6(_) => ipv6::HEADER,
        _ => ipv4::HEADER,
    }
}

/// Writes the header at the start of `packet`, which has the right length; what follows is for what it carries. `None` when
/// the addresses are of different families or the packet is too short.
pub fn emit(packet: &mut [u8], source: IpAddr, destination: IpAddr, protocol: IpProtocol) -> Option<&mut [u8]> {
    emit_before(packet, source, destination, protocol, 0)
}

/// As [`emit`], with `more` bytes that follow elsewhere.
pub fn emit_before(
    packet: &mut [u8],
    source: IpAddr,
    destination: IpAddr,
    protocol: IpProtocol,
    more: usize,
) -> Option<&mut [u8]> {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let (header, payload) = packet.split_first_chunk_mut::<{ ipv4::HEADER }>()?;
            ipv4::emit_header(header, source, destination, protocol, payload.len() + more);
            Some(payload)
        }
        #[cfg(feature = "ipv6")]
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let (header, payload) = packet.split_first_chunk_mut::<{ ipv6::HEADER }>()?;
            ipv6::emit_header(header, source, destination, protocol.into(), payload.len() + more, HOP_LIMIT);
            Some(payload)
        }
        _ => None,
    }
}

/// How many hops a packet may take if nobody says otherwise.
#[cfg(feature = "datagrams")]
pub const HOPS: u8 = 64;

/// Has a packet of ours take so many hops at most.
#[cfg(feature = "datagrams")]
pub fn set_hops(packet: &mut [u8], hops: u8) {
    if length_in(packet) != ipv4::HEADER {
        if let Some(field) = packet.get_mut(7) {
            *field = hops;
        }
        return;
    }
    if let Some(header) = packet.first_chunk_mut::<{ ipv4::HEADER }>() {
        header[8] = hops;
        ipv4::finish(header);
    }
}

/// Permits routers to cut a packet of ours over IPv4 where a link takes less: for who does not look for the MTU of its path,
/// and would lose all that is too long. `number` tells its pieces from those of others. Over IPv6, routers cut nothing.
pub fn permit_cutting(packet: &mut [u8], number: u16) {
    if length_in(packet) == ipv4::HEADER
        && let Some(header) = packet.first_chunk_mut::<{ ipv4::HEADER }>()
    {
        header[4..6].copy_from_slice(&number.to_be_bytes());
        header[6] = 0;
        ipv4::finish(header);
    }
}

/// How many hops a packet over IPv6 may take.
#[cfg(feature = "ipv6")]
pub const HOP_LIMIT: u8 = 64;

/// The bytes of the header at the start of a packet that has no extension headers.
#[inline(always)]
pub fn length_in(packet: &[u8]) -> usize {
    match packet.first() {
        #[cfg(feature = "ipv6")]
        Some(first) if first >> 4 == 6 => ipv6::HEADER,
        first => 4 * usize::from(first.copied().unwrap_or_default() & 15),
    }
}

/// What a packet without extension headers carries, its length being that of its header.
pub fn payload(packet: &[u8]) -> &[u8] {
    packet.get(length_in(packet)..).unwrap_or_default()
}

/// The protocol of a packet of ours.
#[inline(always)]
pub fn protocol(packet: &[u8]) -> Option<IpProtocol> {
    let at = match packet.first() {
        #[cfg(feature = "ipv6")]
        Some(first) if first >> 4 == 6 => 6,
        _ => 9,
    };
    packet.get(at).map(|protocol| IpProtocol::from(*protocol))
}

/// Completes the checksum of the TCP segment or UDP datagram in `packet` (header without options): all of it, or only
/// the sum of the pseudo header when `partial`, for a device that does the rest.
pub fn fill_transport(packet: &mut [u8], partial: bool) {
    let Some(protocol) = protocol(packet) else { return };
    let Some(at) = ipv4::checksum_offset(protocol).map(usize::from) else { return };
    let Some((header, payload)) = packet.split_at_mut_checked(length_in(packet)) else { return };
    if payload.len() < at + 2 {
        return;
    }
    let pseudo = pseudo_header(header, protocol);
    payload[at..at + 2].fill(0);
    let sum = if partial {
        pseudo
    } else {
        match !checksum::combine(&[pseudo, checksum::data(payload)]) {
            // A datagram with 0 there would say that it has no checksum (RFC 768).
            0 if protocol == IpProtocol::Udp => !0,
            sum => sum,
        }
    };
    payload[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}

/// The sum of the pseudo header of a packet of ours. Of a packet in several pieces only the first one is here, and only its
/// device sums up the others: so the length is that of the IP header.
#[inline(always)]
fn pseudo_header(header: &[u8], protocol: IpProtocol) -> u16 {
    #[cfg(feature = "ipv6")]
    if header.len() == ipv6::HEADER {
        let length = header.get(4..6).map_or(0, |bytes| u16::from_be_bytes([bytes[0], bytes[1]]));
        let [source, destination] = [8, 24].map(|at| header.get(at..).and_then(|rest| rest.first_chunk::<16>()));
        let [source, destination] = [source, destination].map(|bytes| bytes.copied().unwrap_or_default().into());
        return smoltcp::wire::checksum::pseudo_header_v6(&source, &destination, protocol, length.into());
    }
    ipv4::pseudo_header(header, protocol)
}

/// Completes the checksum of the ICMP message in `packet`, one over IPv6.
#[cfg(feature = "ipv6")]
pub fn fill_icmp(packet: &mut [u8]) {
    let Some((header, message)) = packet.split_at_mut_checked(ipv6::HEADER) else { return };
    let pseudo = pseudo_header(header, IpProtocol::Icmpv6);
    if let Some(field) = message.get_mut(2..4) {
        field.fill(0);
        let sum = !checksum::combine(&[pseudo, checksum::data(message)]);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
    }
}

/// Makes the length in the header at the start of `packet` that of the packet.
#[cfg(any(test, feature = "test-utils", feature = "smoltcp-tcp", feature = "forward"))]
pub fn set_length(packet: &mut [u8]) {
    #[cfg(feature = "ipv6")]
    if length_in(packet) == ipv6::HEADER && packet[0] >> 4 == 6 {
        let length = (packet.len() - ipv6::HEADER.min(packet.len())) as u16;
        if let Some(field) = packet.get_mut(4..6) {
            field.copy_from_slice(&length.to_be_bytes());
        }
        return;
    }
    let length = packet.len() as u16;
    if packet.len() >= ipv4::HEADER {
        let mut packet = smoltcp::wire::Ipv4Packet::new_unchecked(packet);
        packet.set_total_len(length);
        packet.fill_checksum();
    }
}
