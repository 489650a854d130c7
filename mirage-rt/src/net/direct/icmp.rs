//! ICMP for IPv4: echo, and the errors that concern us.

use core::net::{Ipv4Addr, SocketAddr};

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    Icmpv4DstUnreachable, Icmpv4Message, Icmpv4Packet, Icmpv4Repr, IpProtocol, Ipv4Packet, Ipv4Repr, checksum,
};

use super::hash::Keyed;
use super::ip::{Ip, IpOut, Route, TxMeta};
use super::ipv4::{self, Ipv4};
use super::tcp::segment::{FourTuple, Seq};
use crate::packet::PacketMut;

/// Bytes of the packet that an error quotes behind its IP header (RFC 792).
const QUOTE: usize = 8;

/// What an ICMP packet means to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// Somebody asks whether we are here.
    Echo,
    /// A segment of ours got nowhere.
    TcpUnreachable {
        tuple: FourTuple,
        seq: Seq,
        /// Its host is there and does not want it.
        refused: bool,
    },
    /// Nothing.
    Nothing,
}

impl Meaning {
    /// Its place among the counters of received messages.
    pub fn kind(&self) -> usize {
        match self {
            Meaning::Echo => 0,
            Meaning::TcpUnreachable { .. } => 1,
            Meaning::Nothing => 2,
        }
    }
}

/// Reads an ICMP packet.
pub fn read(key: &Keyed, packet: &Ipv4<'_>) -> Meaning {
    let payload = packet.payload();
    let Ok(icmp) = Icmpv4Packet::new_checked(payload) else { return Meaning::Nothing };
    if checksum::data(payload) != !0 {
        return Meaning::Nothing;
    }
    match icmp.msg_type() {
        Icmpv4Message::EchoRequest if icmp.msg_code() == 0 => Meaning::Echo,
        Icmpv4Message::DstUnreachable => {
            let code = Icmpv4DstUnreachable::from(icmp.msg_code());
            read_quote(key, icmp.data(), code).unwrap_or(Meaning::Nothing)
        }
        _ => Meaning::Nothing,
    }
}

fn read_quote(key: &Keyed, quote: &[u8], code: Icmpv4DstUnreachable) -> Option<Meaning> {
    // The quoted packet is cut: only its headers can be read, and its total length means nothing.
    let header = Ipv4Packet::new_unchecked(quote.get(..ipv4::HEADER)?);
    let length = usize::from(header.header_len());
    if header.version() != 4 || length < ipv4::HEADER || header.next_header() != IpProtocol::Tcp {
        return None;
    }
    let (ports, rest) = quote.get(length..)?.split_first_chunk::<4>()?;
    let seq = rest.first_chunk::<4>()?;
    let port = |at: usize| u16::from_be_bytes([ports[at], ports[at + 1]]);
    // Too big a packet is no reason to give up.
    if code == Icmpv4DstUnreachable::FragRequired {
        return None;
    }
    Some(Meaning::TcpUnreachable {
        tuple: FourTuple::new(
            key,
            SocketAddr::new(header.src_addr().into(), port(0)),
            SocketAddr::new(header.dst_addr().into(), port(2)),
        ),
        seq: Seq(u32::from_be_bytes(*seq)),
        refused: matches!(code, Icmpv4DstUnreachable::PortUnreachable | Icmpv4DstUnreachable::ProtoUnreachable),
    })
}

/// Answers an echo request by way of its own packet: `reply` has room for an IP header in front of the request's ICMP
/// message of `length` bytes.
pub fn echo(ip: &mut Ip, route: &Route, source: Ipv4Addr, destination: Ipv4Addr, length: usize, mut reply: PacketMut) {
    reply.truncate(ipv4::HEADER + length);
    if reply.head().len() != ipv4::HEADER + length {
        return;
    }
    let Some((header, message)) = reply.head_mut().split_first_chunk_mut::<{ ipv4::HEADER }>() else { return };
    ipv4::emit_header(header, destination, source, IpProtocol::Icmp, length);
    let mut icmp = Icmpv4Packet::new_unchecked(message);
    icmp.set_msg_type(Icmpv4Message::EchoReply);
    icmp.fill_checksum();
    ip.counters.icmp_sent[0] += 1;
    ip.send(route, reply, TxMeta { fill_checksum: false, segment: None });
}

/// Tells the sender of `packet` that nobody is at the port, or that the protocol is not spoken here.
pub fn unreachable(ip: &mut Ip, route: &Route, packet: &Ipv4<'_>, reason: Icmpv4DstUnreachable) {
    let payload = packet.payload();
    let data = payload.get(..QUOTE.min(payload.len())).unwrap_or_default();
    let repr = Icmpv4Repr::DstUnreachable {
        reason,
        header: Ipv4Repr {
            src_addr: packet.source,
            dst_addr: packet.destination,
            next_header: packet.protocol,
            payload_len: payload.len(),
            hop_limit: 64,
        },
        data,
    };
    let length = repr.buffer_len();
    let Some(mut answer) = ip.alloc() else { return };
    let whole = answer.resize_head(ipv4::HEADER + length);
    if let Some((header, body)) = whole.split_first_chunk_mut::<{ ipv4::HEADER }>() {
        ipv4::emit_header(header, packet.destination, packet.source, IpProtocol::Icmp, length);
        repr.emit(&mut Icmpv4Packet::new_unchecked(body), &ChecksumCapabilities::default());
        ip.counters.icmp_sent[1] += 1;
        ip.send(route, answer, TxMeta { fill_checksum: false, segment: None });
    }
}
