//! ICMP for IPv4: echo, and the errors that concern us.

use core::net::{Ipv4Addr, SocketAddr};

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    Icmpv4DstUnreachable, Icmpv4Message, Icmpv4Packet, Icmpv4Repr, IpProtocol, Ipv4Packet, Ipv4Repr, checksum,
};

use super::hash::Keyed;
use super::ip::{Ip, IpOut, Route, TxMeta};
use super::ipv4::{self, Ipv4};
use super::tcp::choice::EXTENDED;
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
    /// A segment of ours is longer than something on its way takes (RFC 1191, 4).
    TcpTooBig {
        tuple: FourTuple,
        seq: Seq,
        /// Bytes of the longest packet that can go on.
        mtu: u16,
    },
    /// Nothing.
    Nothing,
}

impl Meaning {
    /// Its place among the counters of received messages.
    pub fn kind(&self) -> usize {
        match self {
            Meaning::Echo => 0,
            Meaning::TcpUnreachable { .. } | Meaning::TcpTooBig { .. } => 1,
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
            read_quote(key, payload, icmp.data(), code).unwrap_or(Meaning::Nothing)
        }
        _ => Meaning::Nothing,
    }
}

fn read_quote(key: &Keyed, message: &[u8], quote: &[u8], code: Icmpv4DstUnreachable) -> Option<Meaning> {
    // The quoted packet is cut: only its headers can be read, and its total length means nothing.
    let header = Ipv4Packet::new_unchecked(quote.get(..ipv4::HEADER)?);
    let length = usize::from(header.header_len());
    if header.version() != 4 || length < ipv4::HEADER || header.next_header() != IpProtocol::Tcp {
        return None;
    }
    let (ports, rest) = quote.get(length..)?.split_first_chunk::<4>()?;
    let seq = rest.first_chunk::<4>()?;
    let port = |at: usize| u16::from_be_bytes([ports[at], ports[at + 1]]);
    let tuple = FourTuple::new(
        key,
        SocketAddr::new(header.src_addr().into(), port(0)),
        SocketAddr::new(header.dst_addr().into(), port(2)),
    );
    let seq = Seq(u32::from_be_bytes(*seq));
    if code == Icmpv4DstUnreachable::FragRequired {
        if !EXTENDED {
            return None;
        }
        let told = u16::from_be_bytes([*message.get(6)?, *message.get(7)?]);
        let mtu = if told > 0 { told } else { lower_mtu(header.total_len()) };
        // Nothing is told of a packet that is no longer than that.
        return (mtu < header.total_len()).then_some(Meaning::TcpTooBig { tuple, seq, mtu });
    }
    Some(Meaning::TcpUnreachable {
        tuple,
        seq,
        refused: matches!(code, Icmpv4DstUnreachable::PortUnreachable | Icmpv4DstUnreachable::ProtoUnreachable),
    })
}

/// What an old router takes that does not tell it of a packet of `length` bytes (RFC 1191, 7).
fn lower_mtu(length: u16) -> u16 {
    let plateaus = [32_000, 17_914, 8166, 4352, 2002, 1492, 1006, 508, 296];
    plateaus.into_iter().find(|plateau| *plateau < length).unwrap_or(68)
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

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    /// A router's message that a packet of `length` bytes was too big for a way of `mtu` bytes.
    fn too_big(length: u16, mtu: u16) -> Vec<u8> {
        let mut packet = alloc::vec![0; 2 * ipv4::HEADER + 16];
        let (router, ours, peers) =
            (Ipv4Addr::new(10, 0, 0, 9), Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 1, 2));
        let (header, message) = packet.split_first_chunk_mut::<{ ipv4::HEADER }>().expect("it is longer");
        ipv4::emit_header(header, router, ours, IpProtocol::Icmp, message.len());
        let (icmp, quote) = message.split_at_mut(8);
        icmp.copy_from_slice(&[3, 4, 0, 0, 0, 0, (mtu >> 8) as u8, mtu as u8]);
        let (header, segment) = quote.split_first_chunk_mut::<{ ipv4::HEADER }>().expect("it is longer");
        ipv4::emit_header(header, ours, peers, IpProtocol::Tcp, usize::from(length) - ipv4::HEADER);
        segment.copy_from_slice(&[0, 80, 0x0f, 0xa0, 0, 0, 0, 7]);
        let sum = !checksum::data(message);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        packet
    }

    fn meaning(packet: &[u8]) -> Meaning {
        read(&Keyed::new([1, 2]), &Ipv4::parse(packet).expect("it is sound"))
    }

    #[test]
    fn a_packet_that_is_too_big_tells_of_its_way() {
        let told = |length, mtu| match meaning(&too_big(length, mtu)) {
            Meaning::TcpTooBig { tuple, seq, mtu } => {
                assert_eq!((tuple.local().port(), tuple.remote().port(), seq), (80, 4000, Seq(7)));
                Some(mtu)
            }
            Meaning::Nothing => None,
            other => panic!("{other:?}"),
        };
        assert_eq!(told(1500, 1400), Some(1400));
        assert_eq!(told(1500, 1500), None, "it was not too big for that");
        // Routers from before RFC 1191.
        assert_eq!(told(1500, 0), Some(1492));
        assert_eq!(told(1492, 0), Some(1006));
        assert_eq!(told(100, 0), Some(68));
        let mut broken = too_big(1500, 1400);
        broken[ipv4::HEADER + 7] ^= 1;
        assert_eq!(meaning(&broken), Meaning::Nothing);
    }
}
