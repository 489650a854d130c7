//! Frames: what they are, and the answers that are the same frame with a few fields changed.

use core::net::Ipv4Addr;

use mirage_rt::packet::{Checksum, PacketMut};

/// Where the IPv4 header starts; there are no options in what the tests send.
pub const IPV4: usize = 14;
/// Where the transport header starts.
pub const TRANSPORT: usize = IPV4 + 20;

/// What a frame is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// An ARP request for our address.
    Arp,
    /// An ICMP echo request to us.
    Echo,
    /// UDP to our port 7.
    Udp,
    /// TCP to us.
    Tcp,
    /// Nothing to be answered.
    Other,
}

/// The 16-bit number at `at`.
pub fn half(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).map_or(0, |bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
}

/// What a frame is, given our address.
pub fn classify(packet: &PacketMut, address: Ipv4Addr) -> Kind {
    let head = packet.head();
    let is_ours = |at: usize| head.get(at..at + 4) == Some(&address.octets());
    match half(head, 12) {
        0x0806 if half(head, 20) == 1 && is_ours(38) => Kind::Arp,
        0x0800 if is_ours(30) && head.len() >= TRANSPORT + 8 && head[IPV4] == 0x45 => match head[23] {
            1 if head[TRANSPORT] == 8 => Kind::Echo,
            6 if head.len() >= TRANSPORT + 20 => Kind::Tcp,
            17 if half(head, TRANSPORT + 2) == 7 => Kind::Udp,
            _ => Kind::Other,
        },
        _ => Kind::Other,
    }
}

/// Makes an ARP request its answer; whether it was long enough to be one.
pub fn answer_arp(packet: &mut PacketMut, mac: [u8; 6], address: Ipv4Addr) -> bool {
    let Some(head) = packet.head_mut().get_mut(..42) else { return false };
    head.copy_within(6..12, 0);
    head[6..12].copy_from_slice(&mac);
    head[21] = 2;
    head.copy_within(22..32, 32);
    head[22..28].copy_from_slice(&mac);
    head[28..32].copy_from_slice(&address.octets());
    true
}

/// Exchanges sender and receiver of a frame, in Ethernet and IPv4. Sums over both stay the same.
pub fn turn(head: &mut [u8]) {
    let (to, rest) = head.split_at_mut(6);
    to.swap_with_slice(&mut rest[..6]);
    let (from, to) = head[26..34].split_at_mut(4);
    from.swap_with_slice(to);
}

/// Makes an echo request its answer.
pub fn answer_echo(packet: &mut PacketMut) -> bool {
    packet.set_checksum(Checksum::None);
    let head = packet.head_mut();
    turn(head);
    head[TRANSPORT] = 0;
    // One field less by 0x0800 is a sum more by as much.
    let (sum, carry) = half(head, TRANSPORT + 2).overflowing_add(0x0800);
    head[TRANSPORT + 2..TRANSPORT + 4].copy_from_slice(&(sum + u16::from(carry)).to_be_bytes());
    true
}

/// Sends a datagram back, with a checksum for the backend to complete.
pub fn answer_udp(packet: &mut PacketMut) -> bool {
    packet.set_checksum(Checksum::Partial { start: TRANSPORT as u16, offset: 6 });
    let head = packet.head_mut();
    turn(head);
    let (from, to) = head[TRANSPORT..TRANSPORT + 4].split_at_mut(2);
    from.swap_with_slice(to);
    let sum = pseudo_sum(head, 17, half(head, TRANSPORT + 4));
    head[TRANSPORT + 6..TRANSPORT + 8].copy_from_slice(&sum.to_be_bytes());
    true
}

/// The sum of the pseudo header: what stands in a blank checksum field.
pub fn pseudo_sum(head: &[u8], protocol: u8, length: u16) -> u16 {
    let addresses = (26..34).step_by(2).map(|at| u32::from(half(head, at))).sum::<u32>();
    fold(addresses + u32::from(protocol) + u32::from(length))
}

/// The checksum of the IPv4 header, whose field is 0.
pub fn header_checksum(head: &[u8]) -> u16 {
    !fold((IPV4..TRANSPORT).step_by(2).map(|at| u32::from(half(head, at))).sum())
}

fn fold(mut sum: u32) -> u16 {
    while sum > 0xFFFF {
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    sum as u16
}
