//! ICMP for IPv6 (RFC 4443): echo, and the errors that concern us. Neighbour discovery is elsewhere.

use core::net::{Ipv6Addr, SocketAddr};

use crate::net::direct::hash::Keyed;
use crate::net::direct::header::{self, HOP_LIMIT};
use crate::net::direct::icmp::Meaning;
use crate::net::direct::ip::{Ip, IpOut, TxMeta};
use crate::net::direct::tcp::choice::EXTENDED;
use crate::net::direct::tcp::segment::{FourTuple, Seq};
use crate::net::ipv6::packet::{self, HEADER, LEAST_MTU, Packet, protocol};
use crate::packet::PacketMut;

/// Bytes of an ICMP header with the word behind it.
const ICMP_HEADER: usize = 8;

/// The types of messages.
pub mod kind {
    pub const UNREACHABLE: u8 = 1;
    pub const TOO_BIG: u8 = 2;
    #[cfg(feature = "datagrams")]
    pub const TIME_EXCEEDED: u8 = 3;
    pub const PROBLEM: u8 = 4;
    pub const ECHO_REQUEST: u8 = 128;
    pub const ECHO_REPLY: u8 = 129;
}

/// The code of a message that nobody is at a port.
pub const NO_PORT: u8 = 4;

/// Reads a message that is not of neighbour discovery; its checksum is right.
pub fn read(key: &Keyed, message: &[u8]) -> Meaning {
    let Some(([kind, code, _, _, word @ ..], quote)) = message.split_first_chunk::<ICMP_HEADER>() else {
        return Meaning::Nothing;
    };
    let unreachable =
        |refused| read_quote(key, quote).map(|(tuple, seq, _)| Meaning::TcpUnreachable { tuple, seq, refused });
    let meaning = match (*kind, *code) {
        (kind::ECHO_REQUEST, 0) => Some(Meaning::Echo),
        (kind::UNREACHABLE, code) => unreachable(code == NO_PORT),
        // The protocol is not spoken there.
        (kind::PROBLEM, packet::UNKNOWN_HEADER) => unreachable(true),
        // Whatever its code is (RFC 4443, 3.2).
        (kind::TOO_BIG, _) if EXTENDED => too_big(key, quote, u32::from_be_bytes(*word)),
        _ => None,
    };
    meaning.unwrap_or(Meaning::Nothing)
}

/// What a router says of a packet that is too long for a way of `mtu` bytes. A way that takes less than IPv6 promises is not
/// believed in (RFC 8201, 4), nor that a packet was too long that is not.
fn too_big(key: &Keyed, quote: &[u8], mtu: u32) -> Option<Meaning> {
    let (tuple, seq, length) = read_quote(key, quote)?;
    let mtu = u16::try_from(mtu).ok().filter(|mtu| *mtu >= LEAST_MTU && usize::from(*mtu) < length)?;
    Some(Meaning::TcpTooBig { tuple, seq, mtu })
}

/// The segment that an error quotes, and how long its packet was. Segments of ours have no extension headers.
fn read_quote(key: &Keyed, quote: &[u8]) -> Option<(FourTuple, Seq, usize)> {
    let (head, rest) = quote.split_first_chunk::<HEADER>()?;
    if head[0] >> 4 != 6 || head[6] != protocol::TCP {
        return None;
    }
    let address = |at: usize| head.get(at..)?.first_chunk::<16>().map(|bytes| Ipv6Addr::from(*bytes));
    let (ports, rest) = rest.split_first_chunk::<4>()?;
    let seq = rest.first_chunk::<4>()?;
    let port = |at: usize| u16::from_be_bytes([ports[at], ports[at + 1]]);
    let local = SocketAddr::new(address(8)?.into(), port(0));
    let remote = SocketAddr::new(address(24)?.into(), port(2));
    let length = HEADER + usize::from(u16::from_be_bytes([head[4], head[5]]));
    Some((FourTuple::new(key, local, remote), Seq(u32::from_be_bytes(*seq)), length))
}

/// Answers an echo request by way of its own packet: `reply` has room for an IP header in front of the request's message
/// of `length` bytes. The answer goes from `source` to `destination`.
pub fn echo(ip: &mut Ip, source: Ipv6Addr, destination: Ipv6Addr, length: usize, mut reply: PacketMut) {
    reply.truncate(HEADER + length);
    let Some(route) = ip.route(destination.into()) else { return };
    if reply.head().len() != HEADER + length {
        return;
    }
    let whole = reply.head_mut();
    let Some((head, message)) = whole.split_first_chunk_mut::<HEADER>() else { return };
    packet::emit_header(head, source, destination, protocol::ICMP, length, HOP_LIMIT);
    if let Some(kind) = message.first_mut() {
        *kind = kind::ECHO_REPLY;
    }
    header::fill_icmp(whole);
    ip.counters.icmp_sent[0] += 1;
    ip.send(&route, reply, TxMeta { fill_checksum: false, segment: None });
}

/// Tells `destination`, who has sent the packet `quoted` to one of our addresses, what is wrong with it.
pub fn error(ip: &mut Ip, quoted: &[u8], source: Ipv6Addr, destination: Ipv6Addr, [kind, code]: [u8; 2], word: u32) {
    let Some(route) = ip.route(destination.into()) else { return };
    // As much of the packet as fits without being cut (RFC 4443, 2.4).
    let quote = &quoted[..quoted.len().min(usize::from(LEAST_MTU) - HEADER - ICMP_HEADER)];
    let Some(mut answer) = ip.alloc() else { return };
    let whole = answer.resize_head(HEADER + ICMP_HEADER + quote.len());
    let Some((head, message)) = whole.split_first_chunk_mut::<HEADER>() else { return };
    packet::emit_header(head, source, destination, protocol::ICMP, ICMP_HEADER + quote.len(), HOP_LIMIT);
    let Some((start, rest)) = message.split_first_chunk_mut::<ICMP_HEADER>() else { return };
    start[..4].copy_from_slice(&[kind, code, 0, 0]);
    start[4..].copy_from_slice(&word.to_be_bytes());
    rest.copy_from_slice(quote);
    header::fill_icmp(whole);
    ip.counters.icmp_sent[1] += 1;
    ip.send(&route, answer, TxMeta { fill_checksum: false, segment: None });
}

/// Whether a message is an error, which is never answered with one.
pub fn is_error(packet: &Packet<'_>) -> bool {
    packet.protocol == protocol::ICMP && packet.payload().first().is_none_or(|kind| *kind < 128)
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    /// A router's message that our segment at 7, in a packet of `length` bytes, is too long for `mtu` bytes.
    fn message(length: u16, mtu: u32) -> Vec<u8> {
        let mut message = Vec::from([kind::TOO_BIG, 0, 0, 0]);
        message.extend_from_slice(&mtu.to_be_bytes());
        let mut head = [0; HEADER];
        let [ours, theirs] = [1, 2].map(|host| Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, host));
        packet::emit_header(&mut head, ours, theirs, protocol::TCP, usize::from(length) - HEADER, HOP_LIMIT);
        message.extend_from_slice(&head);
        message.extend_from_slice(&[0, 80, 0x0f, 0xa0, 0, 0, 0, 7]);
        message
    }

    fn told(message: &[u8]) -> Option<u16> {
        match read(&Keyed::new([1, 2]), message) {
            Meaning::TcpTooBig { tuple, seq, mtu } => {
                assert_eq!((tuple.local().port(), tuple.remote().port(), seq), (80, 4000, Seq(7)));
                Some(mtu)
            }
            Meaning::Nothing => None,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_packet_that_is_too_big_tells_of_its_way() {
        assert_eq!(told(&message(1500, 1400)), Some(1400));
        assert_eq!(told(&message(1500, 1280)), Some(1280));
        assert_eq!(told(&message(1500, 1279)), None, "that is no way for IPv6");
        assert_eq!(told(&message(1500, 0)), None);
        assert_eq!(told(&message(1500, 1500)), None, "it was not too big for that");
        assert_eq!(told(&message(1500, 1400 + 0x1_0000)), None);
        let whole = message(1500, 1400);
        for length in 0..whole.len() {
            assert_eq!(told(&whole[..length]), None, "{length} bytes");
        }
        for (at, value) in [(8, 0x45), (14, protocol::UDP), (14, protocol::FRAGMENT)] {
            let mut other = whole.clone();
            other[at] = value;
            assert_eq!(told(&other), None);
        }
    }
}
