//! IPv4 packets in and out: checks, headers, checksums.

use core::net::Ipv4Addr;

use smoltcp::wire::{IPV4_HEADER_LEN, IpProtocol, Ipv4Packet};

use super::checksum;

/// Bytes of a header without options.
pub const HEADER: usize = IPV4_HEADER_LEN;

/// How many hops a packet of ours may take.
pub const HOP_LIMIT: u8 = 64;

/// A received packet whose header is sound.
#[derive(Clone, Copy)]
pub struct Ipv4<'a> {
    /// The packet, header first, without what may stand behind it in the frame.
    pub packet: &'a [u8],
    pub header_length: usize,
    pub source: Ipv4Addr,
    pub destination: Ipv4Addr,
    pub protocol: IpProtocol,
    /// It is one part of a packet.
    pub fragment: bool,
}

impl<'a> Ipv4<'a> {
    /// Reads a packet; `None` when its header is not sound.
    pub fn parse(bytes: &'a [u8]) -> Option<Ipv4<'a>> {
        let fixed = bytes.first_chunk::<HEADER>()?;
        let half = |at: usize| u16::from_be_bytes([fixed[at], fixed[at + 1]]);
        let address = |at: usize| Ipv4Addr::new(fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]);
        let (header_length, length) = (4 * usize::from(fixed[0] & 15), usize::from(half(2)));
        if fixed[0] >> 4 != 4 || header_length < HEADER || length < header_length {
            return None;
        }
        let packet = bytes.get(..length)?;
        if packet.get(..header_length).map(checksum::data) != Some(!0) {
            return None;
        }
        Some(Ipv4 {
            packet,
            header_length,
            source: address(12),
            destination: address(16),
            protocol: IpProtocol::from(fixed[9]),
            // More fragments, or an offset.
            fragment: half(6) & 0x3fff != 0,
        })
    }

    /// What the packet carries.
    pub fn payload(&self) -> &'a [u8] {
        self.packet.get(self.header_length..).unwrap_or_default()
    }

    /// Whether the checksum of a TCP segment or a UDP datagram with its pseudo header is right.
    pub fn verify_transport(&self) -> bool {
        let payload = self.payload();
        let pseudo = checksum::pseudo_header_v4(&self.source, &self.destination, self.protocol, payload.len() as u32);
        checksum::combine(&[pseudo, checksum::data(payload)]) == !0
    }
}

/// Writes the header of a packet of ours that carries `length` bytes. It may not be fragmented.
pub fn emit_header(
    header: &mut [u8; HEADER],
    source: Ipv4Addr,
    destination: Ipv4Addr,
    protocol: IpProtocol,
    length: usize,
) {
    let [high, low] = ((HEADER + length) as u16).to_be_bytes();
    // Version and length, service, total length, identification, flags, time to live, protocol, checksum.
    header[..12].copy_from_slice(&[0x45, 0, high, low, 0, 0, 0x40, 0, HOP_LIMIT, protocol.into(), 0, 0]);
    header[12..16].copy_from_slice(&source.octets());
    header[16..].copy_from_slice(&destination.octets());
    finish(header);
}

/// Completes the checksum of a header without options that has changed.
pub fn finish(header: &mut [u8; HEADER]) {
    header[10..12].fill(0);
    let sum = !checksum::data(header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
}

/// Where the checksum stands in a transport header.
pub fn checksum_offset(protocol: IpProtocol) -> Option<u16> {
    match protocol {
        IpProtocol::Tcp => Some(16),
        IpProtocol::Udp => Some(6),
        _ => None,
    }
}

/// The sum of the pseudo header of a packet with this header, which has no options.
pub fn pseudo_header(header: &[u8], protocol: IpProtocol) -> u16 {
    let header = Ipv4Packet::new_unchecked(header);
    let length = u32::from(header.total_len()).saturating_sub(HEADER as u32);
    checksum::pseudo_header_v4(&header.src_addr(), &header.dst_addr(), protocol, length)
}

/// Completes the checksum of the header of `packet`.
#[cfg(feature = "forward")]
pub fn fill_checksum(packet: &mut [u8]) {
    let length = packet.first().map_or(0, |first| 4 * usize::from(first & 15));
    if let Some(header) = packet.get_mut(..length).filter(|header| header.len() >= HEADER) {
        header[10..12].fill(0);
        let sum = !checksum::data(header);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
    }
}
