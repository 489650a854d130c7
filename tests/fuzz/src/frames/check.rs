//! Checksums and lengths, read and written without the code that is tested.

use super::hub::{MACS, MTU, SERVER};
use super::{OURS, OURS6};

/// Bytes of the headers.
pub const ETHERNET: usize = 14;
pub const IPV4: usize = 20;
pub const IPV6: usize = 40;
/// Numbers of protocols.
pub const ICMP: u8 = 1;
pub const IGMP: u8 = 2;
pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
pub const ICMPV6: u8 = 58;

/// The sum of the Internet checksum over these parts, of which only the last may have an odd length.
fn sum(parts: &[&[u8]]) -> u16 {
    let pairs = parts.iter().flat_map(|part| part.chunks(2));
    let mut sum: u32 = pairs.map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// The number at `at`, 0 behind the end.
pub fn half(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).map_or(0, |bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
}

/// The packet in a frame, cut to the length in its header: bytes of the header, protocol, the packet.
pub fn packet(frame: &[u8]) -> Option<(usize, u8, &[u8])> {
    let packet = frame.get(ETHERNET..)?;
    let (header, protocol, length) = match half(frame, 12) {
        0x0800 => (4 * usize::from(packet.first()? & 15), *packet.get(9)?, usize::from(half(packet, 2))),
        0x86dd => (IPV6, *packet.get(6)?, IPV6 + usize::from(half(packet, 4))),
        _ => return None,
    };
    let packet = &packet[..length.min(packet.len())];
    (packet.len() >= header && header >= IPV4).then_some((header, protocol, packet))
}

/// The sum over a transport's header, its data, and the pseudo header if the protocol has one.
fn transport_sum(is_ipv6: bool, header: usize, protocol: u8, packet: &[u8]) -> u16 {
    let payload = &packet[header..];
    let length = (payload.len() as u16).to_be_bytes();
    let addresses = if is_ipv6 { &packet[8..IPV6] } else { &packet[12..IPV4] };
    match protocol {
        ICMP | IGMP => sum(&[payload]),
        _ => sum(&[addresses, &length, &[0, protocol], payload]),
    }
}

/// Where a transport has its checksum.
fn checksum_at(protocol: u8) -> Option<usize> {
    match protocol {
        ICMP | IGMP | ICMPV6 => Some(2),
        TCP => Some(16),
        UDP => Some(6),
        _ => None,
    }
}

/// Fills the checksums of a frame in, as far as it has places for them.
pub fn fill(frame: &mut [u8]) {
    let Some((header, protocol, packet)) = packet(frame) else { return };
    let (end, is_ipv6) = (ETHERNET + packet.len(), half(frame, 12) == 0x86dd);
    if !is_ipv6 {
        frame[ETHERNET + 10..ETHERNET + 12].fill(0);
        let sum = !sum(&[&frame[ETHERNET..ETHERNET + header]]);
        frame[ETHERNET + 10..ETHERNET + 12].copy_from_slice(&sum.to_be_bytes());
    }
    let place = checksum_at(protocol).map(|at| ETHERNET + header + at).filter(|at| at + 2 <= end);
    if let Some(at) = place {
        frame[at..at + 2].fill(0);
        let sum = !transport_sum(is_ipv6, header, protocol, &frame[ETHERNET..end]);
        // A datagram with 0 there would have none.
        let sum = if sum == 0 && protocol == UDP { !0 } else { sum };
        frame[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    }
}

/// Completes a checksum as a device does: the sum from `start` on, in which the field has that of the pseudo header.
pub fn complete(frame: &mut [u8], start: usize, offset: usize) {
    let sum = !sum(&[&frame[start..]]);
    frame[start + offset..start + offset + 2].copy_from_slice(&sum.to_be_bytes());
}

/// A frame that the stack has sent is as it should be.
pub fn assert_sound(frame: &[u8]) {
    assert!(frame.len() <= ETHERNET + usize::from(MTU), "{} bytes: {frame:02x?}", frame.len());
    assert_eq!(frame[6..12], MACS[SERVER], "{frame:02x?}");
    if half(frame, 12) == 0x0806 {
        assert!(frame.len() == ETHERNET + 28 && frame[22..28] == MACS[SERVER], "{frame:02x?}");
        return;
    }
    let (header, protocol, packet) = packet(frame).unwrap_or_else(|| panic!("no packet: {frame:02x?}"));
    assert_eq!(packet.len(), frame.len() - ETHERNET, "its length is another one: {frame:02x?}");
    let is_fragment = match packet[0] >> 4 {
        4 => {
            assert!(packet[12..16] == OURS.octets() && packet[8] > 0, "{frame:02x?}");
            assert_eq!(sum(&[&packet[..header]]), 0xffff, "the header's checksum: {frame:02x?}");
            half(packet, 6) & 0x3fff != 0
        }
        version => {
            assert!(version == 6 && packet[7] > 0, "{frame:02x?}");
            let is_ours = packet[8..24] == OURS6.octets() || packet[8..10] == [0xfe, 0x80] || packet[8..24] == [0; 16];
            assert!(is_ours, "{frame:02x?}");
            // Of extension headers, those for groups have options in front.
            protocol == 44 || protocol == 0
        }
    };
    if !is_fragment {
        assert!(checksum_at(protocol).is_some(), "protocol {protocol}: {frame:02x?}");
        assert_eq!(
            transport_sum(packet[0] >> 4 == 6, header, protocol, packet),
            0xffff,
            "the transport's checksum: {frame:02x?}"
        );
        assert_errors_go_to_hosts(header, protocol, packet);
    }
}

/// Errors are told to single hosts, and never about errors or what was for all hosts (RFC 1122, 3.2.2; RFC 4443, 2.4).
fn assert_errors_go_to_hosts(header: usize, protocol: u8, packet: &[u8]) {
    let message = &packet[header..];
    let (is_error, to_group, quoted) = match protocol {
        ICMP => (matches!(message[0], 3 | 11 | 12), packet[16] >= 224, message.get(8 + 9)),
        ICMPV6 => (message[0] < 128, packet[24] == 0xff, message.get(8 + 6)),
        _ => return,
    };
    if is_error {
        assert!(!to_group, "{packet:02x?}");
        let to_all = protocol == ICMP && matches!(message.get(8 + 16..8 + 20), Some([224..=255, ..] | [10, 0, 0, 255]));
        assert!(!to_all, "an error about what was for all: {packet:02x?}");
        let at = if protocol == ICMP { 8 + 4 * usize::from(message[8] & 15) } else { 8 + IPV6 };
        let is_about_error = match message.get(at) {
            Some(kind) if protocol == ICMP => matches!(kind, 3 | 4 | 5 | 11 | 12),
            Some(kind) => *kind < 128,
            None => false,
        };
        assert!(quoted != Some(&protocol) || !is_about_error, "an error about an error: {packet:02x?}");
    }
}
