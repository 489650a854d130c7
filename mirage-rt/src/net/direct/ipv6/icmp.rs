//! ICMP for IPv6 (RFC 4443): echo, and the errors that concern us. Neighbour discovery is elsewhere.

use core::net::{Ipv6Addr, SocketAddr};

use crate::net::direct::hash::Keyed;
use crate::net::direct::header::{self, HOP_LIMIT};
use crate::net::direct::icmp::Meaning;
use crate::net::direct::ip::{Ip, IpOut, TxMeta};
use crate::net::direct::tcp::segment::{FourTuple, Seq};
use crate::net::ipv6::packet::{self, HEADER, LEAST_MTU, Packet, protocol};
use crate::packet::PacketMut;

/// Bytes of an ICMP header with the word behind it.
const ICMP_HEADER: usize = 8;

/// The types of messages.
pub mod kind {
    pub const UNREACHABLE: u8 = 1;
    pub const PROBLEM: u8 = 4;
    pub const ECHO_REQUEST: u8 = 128;
    pub const ECHO_REPLY: u8 = 129;
}

/// The code of a message that nobody is at a port.
pub const NO_PORT: u8 = 4;

/// Reads a message that is not of neighbour discovery; its checksum is right.
pub fn read(key: &Keyed, message: &[u8]) -> Meaning {
    let Some(([kind, code, ..], quote)) = message.split_first_chunk::<ICMP_HEADER>() else { return Meaning::Nothing };
    match (*kind, *code) {
        (kind::ECHO_REQUEST, 0) => Meaning::Echo,
        (kind::UNREACHABLE, code) => read_quote(key, quote, code == NO_PORT).unwrap_or(Meaning::Nothing),
        // The protocol is not spoken there.
        (kind::PROBLEM, packet::UNKNOWN_HEADER) => read_quote(key, quote, true).unwrap_or(Meaning::Nothing),
        _ => Meaning::Nothing,
    }
}

/// The segment that an error quotes. Segments of ours have no extension headers.
fn read_quote(key: &Keyed, quote: &[u8], refused: bool) -> Option<Meaning> {
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
    Some(Meaning::TcpUnreachable {
        tuple: FourTuple::new(key, local, remote),
        seq: Seq(u32::from_be_bytes(*seq)),
        refused,
    })
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
