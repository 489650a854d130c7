//! Frames: what they are, and the answers that are the same frame with a few fields changed.

use core::net::{Ipv4Addr, Ipv6Addr};
use core::ops::Range;

use mirage_rt::packet::{Checksum, PacketMut};

/// Where the IP header starts. What the tests send has no options and no extension headers.
pub const IP: usize = 14;

/// Protocol numbers.
const ICMP: u8 = 1;
pub const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;

/// The ports of UDP that something is done for.
const ECHO: u16 = 7;
const GROUPS: u16 = 11;
const HEARD: u16 = 12;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    /// Where the transport header starts.
    pub fn transport(self) -> usize {
        match self {
            Family::V4 => IP + 20,
            Family::V6 => IP + 40,
        }
    }

    /// Both addresses, the source first.
    pub fn addresses(self) -> Range<usize> {
        match self {
            Family::V4 => 26..34,
            Family::V6 => 22..54,
        }
    }

    /// Where the protocol number stands.
    fn protocol(self) -> usize {
        match self {
            Family::V4 => 23,
            Family::V6 => 20,
        }
    }

    /// The bytes behind the IP header, as it says.
    pub fn payload(self, head: &[u8]) -> usize {
        match self {
            Family::V4 => usize::from(half(head, 16)).saturating_sub(20),
            Family::V6 => usize::from(half(head, 18)),
        }
    }

    /// Writes how many bytes are behind the IP header.
    pub fn set_payload(self, head: &mut [u8], length: usize) {
        match self {
            Family::V4 => {
                head[16..18].copy_from_slice(&(length as u16 + 20).to_be_bytes());
                head[24..26].fill(0);
                let sum = !fold((IP..IP + 20).step_by(2).map(|at| u32::from(half(head, at))).sum());
                head[24..26].copy_from_slice(&sum.to_be_bytes());
            }
            Family::V6 => head[18..20].copy_from_slice(&(length as u16).to_be_bytes()),
        }
    }
}

/// Who we are.
#[derive(Clone, Copy, Debug)]
pub struct Own {
    pub mac: [u8; 6],
    pub ipv4: Ipv4Addr,
}

impl Own {
    /// The IPv4 address behind fd00::/96.
    pub fn ipv6(&self) -> Ipv6Addr {
        let [a, b, c, d] = self.ipv4.octets();
        Ipv6Addr::from([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, a, b, c, d])
    }

    /// The Ethernet group of those that are asked for our IPv6 address (RFC 4861, 2.3, and RFC 2464, 7).
    pub fn solicited(&self) -> [u8; 6] {
        let [.., b, c, d] = self.ipv4.octets();
        [0x33, 0x33, 0xff, b, c, d]
    }
}

/// What a frame is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// An ARP request for our address.
    Arp,
    /// A question for the owner of our IPv6 address.
    Solicitation,
    /// An ICMP echo request to us.
    Echo(Family),
    /// UDP to our port 7.
    Udp(Family),
    /// UDP to our port 11: a group to be joined or left.
    Groups(Family),
    /// UDP to port 12 of a group.
    Heard(Family),
    /// TCP to us.
    Tcp(Family),
    /// Nothing to be answered.
    Other,
}

/// The 16-bit number at `at`.
pub fn half(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).map_or(0, |bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
}

/// What a frame is.
pub fn classify(packet: &PacketMut, own: &Own) -> Kind {
    let head = packet.head();
    let family = match half(head, 12) {
        0x0806 if half(head, 20) == 1 && head.get(38..42) == Some(&own.ipv4.octets()) => return Kind::Arp,
        0x0800 if head.get(IP) == Some(&0x45) => Family::V4,
        0x86dd => Family::V6,
        _ => return Kind::Other,
    };
    let transport = family.transport();
    if head.len() < transport + 8 {
        return Kind::Other;
    }
    let (protocol, port) = (head[family.protocol()], half(head, transport + 2));
    if head[0] & 1 == 1 {
        return match (protocol, head[transport]) {
            (ICMPV6, 135) if head.get(62..78) == Some(&own.ipv6().octets()) => Kind::Solicitation,
            (UDP, _) if port == HEARD => Kind::Heard(family),
            _ => Kind::Other,
        };
    }
    let ours = match family {
        Family::V4 => head[30..34] == own.ipv4.octets(),
        Family::V6 => head[38..54] == own.ipv6().octets(),
    };
    match (protocol, head[transport]) {
        _ if !ours => Kind::Other,
        (ICMP, 8) | (ICMPV6, 128) => Kind::Echo(family),
        (ICMPV6, 135) if head.get(62..78) == Some(&own.ipv6().octets()) => Kind::Solicitation,
        (TCP, _) if head.len() >= transport + 20 => Kind::Tcp(family),
        (UDP, _) if port == ECHO => Kind::Udp(family),
        (UDP, _) if port == GROUPS => Kind::Groups(family),
        _ => Kind::Other,
    }
}

/// The group that a datagram to port 11 names behind what is to be done about it.
pub fn group(packet: &PacketMut, family: Family) -> Option<(u8, [u8; 6])> {
    let data = packet.head().get(family.transport() + 8..)?;
    let group = *data.get(1..)?.first_chunk()?;
    Some((data[0], group))
}

/// Makes a datagram over IPv4 one to port 12 of an Ethernet group. Its IP addresses stay: nobody looks at them.
pub fn pass_on(packet: &mut PacketMut, own: &Own, group: [u8; 6]) {
    packet.set_checksum(Checksum::None);
    let head = packet.head_mut();
    head[..6].copy_from_slice(&group);
    head[6..12].copy_from_slice(&own.mac);
    let transport = Family::V4.transport();
    head[transport + 2..transport + 4].copy_from_slice(&HEARD.to_be_bytes());
    // None: allowed over IPv4.
    head[transport + 6..transport + 8].fill(0);
}

/// Makes an ARP request its answer; whether it was long enough to be one.
pub fn answer_arp(packet: &mut PacketMut, own: &Own) -> bool {
    let Some(head) = packet.head_mut().get_mut(..42) else { return false };
    head.copy_within(6..12, 0);
    head[6..12].copy_from_slice(&own.mac);
    head[21] = 2;
    head.copy_within(22..32, 32);
    head[22..28].copy_from_slice(&own.mac);
    head[28..32].copy_from_slice(&own.ipv4.octets());
    true
}

/// Makes a neighbour solicitation its answer (RFC 4861, 4.4); whether there is room for it.
pub fn answer_solicitation(packet: &mut PacketMut, own: &Own) -> bool {
    packet.set_checksum(Checksum::None);
    if packet.resize_head(86).len() < 86 {
        return false;
    }
    let head = packet.head_mut();
    head.copy_within(6..12, 0);
    head[6..12].copy_from_slice(&own.mac);
    head.copy_within(22..38, 38);
    head[22..38].copy_from_slice(&own.ipv6().octets());
    Family::V6.set_payload(head, 32);
    head[54..62].copy_from_slice(&[136, 0, 0, 0, 0x60, 0, 0, 0]);
    head[78..80].copy_from_slice(&[2, 1]);
    head[80..].copy_from_slice(&own.mac);
    let sum = (54..86).step_by(2).map(|at| u32::from(half(head, at))).sum::<u32>();
    let sum = !fold(sum + u32::from(pseudo_sum(head, Family::V6, ICMPV6, 32)));
    head[56..58].copy_from_slice(&sum.to_be_bytes());
    true
}

/// Exchanges sender and receiver of a frame, in Ethernet and IP. Sums over both stay the same.
pub fn turn(head: &mut [u8], family: Family) {
    let (to, rest) = head.split_at_mut(6);
    to.swap_with_slice(&mut rest[..6]);
    let addresses = &mut head[family.addresses()];
    let (from, to) = addresses.split_at_mut(addresses.len() / 2);
    from.swap_with_slice(to);
}

/// Makes an echo request its answer.
pub fn answer_echo(packet: &mut PacketMut, family: Family) -> bool {
    packet.set_checksum(Checksum::None);
    let head = packet.head_mut();
    turn(head, family);
    let transport = family.transport();
    // The sum grows by as much as the field gets less, and the other way round.
    let (kind, growth) = match family {
        Family::V4 => (0, 0x0800),
        Family::V6 => (129, 0xFEFF),
    };
    head[transport] = kind;
    let sum = fold(u32::from(half(head, transport + 2)) + growth);
    head[transport + 2..transport + 4].copy_from_slice(&sum.to_be_bytes());
    true
}

/// Sends a datagram back, with a checksum for the backend to complete.
pub fn answer_udp(packet: &mut PacketMut, family: Family) -> bool {
    let transport = family.transport();
    packet.set_checksum(Checksum::Partial { start: transport as u16, offset: 6 });
    let head = packet.head_mut();
    turn(head, family);
    let (from, to) = head[transport..transport + 4].split_at_mut(2);
    from.swap_with_slice(to);
    let sum = pseudo_sum(head, family, UDP, usize::from(half(head, transport + 4)));
    head[transport + 6..transport + 8].copy_from_slice(&sum.to_be_bytes());
    true
}

/// The sum of the pseudo header: what stands in a blank checksum field.
pub fn pseudo_sum(head: &[u8], family: Family, protocol: u8, length: usize) -> u16 {
    let addresses = family.addresses().step_by(2).map(|at| u32::from(half(head, at))).sum::<u32>();
    fold(addresses + u32::from(protocol) + length as u32)
}

fn fold(mut sum: u32) -> u16 {
    while sum > 0xFFFF {
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    sum as u16
}
