//! Packets of ours that errors of ICMP quote, other than segments of TCP: datagrams and echo requests.
//!
//! Anybody can make up an error. A quoted datagram must be one of a socket that has asked for errors and has just sent to that
//! destination; a quoted echo request must have the numbers of one that is under way. That a datagram is too long for its way is
//! believed of any socket's port, as little can be done with it.

use core::net::{IpAddr, Ipv4Addr, SocketAddr};

use smoltcp::wire::checksum;

use super::ip::IpOut;
use super::ipv4::{self, Ipv4};
use super::stack::Stack;

/// Bytes of an ICMP header with the word behind it.
const ICMP_HEADER: usize = 8;

/// Protocols of quoted packets.
mod protocol {
    pub const ICMP_V4: u8 = 1;
    pub const UDP: u8 = 17;
    #[cfg(feature = "ipv6")]
    pub const ICMP_V6: u8 = 58;
}

/// What has become of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Its host is there and nobody wants it.
    Refused,
    /// It could not be delivered.
    Unreachable,
}

/// The start of a packet of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quote<'a> {
    pub source: IpAddr,
    pub destination: IpAddr,
    pub protocol: u8,
    /// What it carries, as much as is quoted.
    pub payload: &'a [u8],
}

/// Reads an error over IPv4 whose checksum is right (RFC 792, RFC 1122, 3.2.2.1).
fn read_v4(message: &[u8]) -> Option<(Fate, Quote<'_>)> {
    let ([kind, code, ..], quote) = message.split_first_chunk::<ICMP_HEADER>()?;
    let fate = match (*kind, *code) {
        (3, 2 | 3) => Fate::Refused,
        // What is too long is another matter.
        (3, 4) => return None,
        (3, _) => Fate::Unreachable,
        _ => return None,
    };
    // The quoted packet is cut, so that its total length means nothing.
    let head = quote.first_chunk::<{ ipv4::HEADER }>()?;
    let length = 4 * usize::from(head[0] & 15);
    // Of a packet in fragments only the first has ports.
    if head[0] >> 4 != 4 || length < ipv4::HEADER || u16::from_be_bytes([head[6], head[7]]) & 0x1fff != 0 {
        return None;
    }
    let address = |at: usize| IpAddr::V4(Ipv4Addr::new(head[at], head[at + 1], head[at + 2], head[at + 3]));
    let payload = quote.get(length..)?;
    Some((fate, Quote { source: address(12), destination: address(16), protocol: head[9], payload }))
}

/// Reads an error over IPv6 whose checksum is right (RFC 4443, 3.1 and 3.4).
#[cfg(feature = "ipv6")]
fn read_v6(message: &[u8]) -> Option<(Fate, Quote<'_>)> {
    use crate::net::ipv6::packet::UNKNOWN_HEADER;
    let ([kind, code, ..], quoted) = message.split_first_chunk::<ICMP_HEADER>()?;
    let fate = match (*kind, *code) {
        (1, 4) | (4, UNKNOWN_HEADER) => Fate::Refused,
        (1, _) => Fate::Unreachable,
        _ => return None,
    };
    Some((fate, quoted_v6(quoted)?))
}

/// The packet over IPv6 that an error quotes.
#[cfg(feature = "ipv6")]
fn quoted_v6(quoted: &[u8]) -> Option<Quote<'_>> {
    use crate::net::ipv6::packet::{FRAGMENT_HEADER, HEADER, protocol::FRAGMENT};
    let (head, mut payload) = quoted.split_first_chunk::<HEADER>()?;
    let address = |at: usize| head.get(at..)?.first_chunk::<16>().map(|bytes| IpAddr::V6((*bytes).into()));
    let mut protocol = head[6];
    if protocol == FRAGMENT {
        let (fragment, rest) = payload.split_first_chunk::<FRAGMENT_HEADER>()?;
        // Only the first has ports.
        if u16::from_be_bytes([fragment[2], fragment[3]]) & !7 != 0 {
            return None;
        }
        (protocol, payload) = (fragment[0], rest);
    }
    (head[0] >> 4 == 6).then_some(Quote { source: address(8)?, destination: address(24)?, protocol, payload })
}

impl Stack {
    /// A message of ICMP over IPv4 that is neither an echo request nor of TCP.
    pub(super) fn receive_other_icmp(&mut self, packet: &Ipv4<'_>) {
        let message = packet.payload();
        if checksum::data(message) != !0 {
            return;
        }
        match message.first() {
            Some(0) => self.echoes.answered(self.ip.now(), packet.source.into(), message),
            _ => self.receive_quote(read_v4(message)),
        }
    }

    /// The same over IPv6; its checksum is right.
    #[cfg(feature = "ipv6")]
    pub(super) fn receive_other_icmp_ipv6(&mut self, packet: &crate::net::ipv6::packet::Packet<'_>) {
        let message = packet.payload();
        match message.first() {
            Some(129) => self.echoes.answered(self.ip.now(), packet.source.into(), message),
            Some(2) => self.receive_datagram_too_big(message),
            _ => self.receive_quote(read_v6(message)),
        }
    }

    /// A router says that a datagram or an echo request is longer than its way takes (RFC 4443, 3.2): datagrams that follow are cut,
    /// and longer requests refused. It may be the invention of a stranger who knows a port of ours; then they are cut in vain, and new
    /// connections to that host have short segments, but no shorter than every way over IPv6 takes them.
    #[cfg(feature = "ipv6")]
    fn receive_datagram_too_big(&mut self, message: &[u8]) {
        let Some(([_, _, _, _, mtu @ ..], quoted)) = message.split_first_chunk::<ICMP_HEADER>() else { return };
        let Some(quote) = quoted_v6(quoted).filter(|quote| self.ip.may_send_from(quote.source)) else { return };
        let mtu = u16::try_from(u32::from_be_bytes(*mtu)).unwrap_or(u16::MAX);
        let is_ours = match quote.protocol {
            protocol::UDP => {
                let own = quote.payload.first_chunk::<2>().map(|port| u16::from_be_bytes(*port));
                own.is_some_and(|own| self.udp.is_bound(own))
            }
            protocol::ICMP_V6 => {
                self.echoes.too_long(quote.destination, quote.payload, mtu.max(super::known::LEAST_MTU_IPV6))
            }
            _ => false,
        };
        if is_ours {
            self.ip.known.note(self.ip.now(), quote.destination, mtu);
        }
    }

    fn receive_quote(&mut self, found: Option<(Fate, Quote<'_>)>) {
        let Some((fate, quote)) = found.filter(|(_, quote)| self.ip.may_send_from(quote.source)) else { return };
        let half = |at: usize| quote.payload.get(at..at + 2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]));
        match quote.protocol {
            protocol::UDP => {
                if let (Some(own), Some(port)) = (half(0), half(2)) {
                    self.udp.on_unreachable(own, SocketAddr::new(quote.destination, port), fate);
                }
            }
            protocol::ICMP_V4 => self.echoes.failed(quote.destination, quote.payload),
            #[cfg(feature = "ipv6")]
            protocol::ICMP_V6 => self.echoes.failed(quote.destination, quote.payload),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    #[test]
    fn errors_say_what_has_become_of_which_packet() {
        let mut message = Vec::from([3, 3, 0, 0, 0, 0, 0, 0]);
        let quoted = [0x46, 0, 0, 100, 0, 0, 0x20, 0, 9, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 0x94, 4, 0, 0, 1, 2, 3, 4];
        message.extend_from_slice(&quoted);
        let address = |number| IpAddr::V4([10, 0, 0, number].into());
        let quote =
            Quote { source: address(1), destination: address(2), protocol: protocol::UDP, payload: &[1, 2, 3, 4] };
        assert_eq!(read_v4(&message), Some((Fate::Refused, quote)));
        for (kind, code, fate) in [
            (3, 2, Some(Fate::Refused)),
            (3, 0, Some(Fate::Unreachable)),
            (3, 13, Some(Fate::Unreachable)),
            (3, 4, None),
            (11, 0, None),
            (5, 1, None),
        ] {
            message[..2].copy_from_slice(&[kind, code]);
            assert_eq!(read_v4(&message).map(|(fate, _)| fate), fate, "{kind} {code}");
        }
        message[..2].copy_from_slice(&[3, 3]);
        // A later fragment, another version, a header that is too short or goes on behind the end.
        for (at, value) in [(8 + 7, 1), (8, 0x66), (8, 0x44), (8, 0x4f)] {
            let mut wrong = message.clone();
            wrong[at] = value;
            assert_eq!(read_v4(&wrong), None);
        }
        for length in 0..message.len() - 4 {
            assert_eq!(read_v4(&message[..length]), None);
        }
    }

    #[test]
    #[cfg(feature = "ipv6")]
    fn so_do_those_of_ipv6() {
        use crate::net::ipv6::packet::{HEADER, emit_header};
        let [own, peer] = [1, 2].map(|number| core::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, number));
        let message = |kind: u8, code: u8, next: u8, payload: &[u8]| {
            let mut head = [0; HEADER];
            emit_header(&mut head, own, peer, next, payload.len(), 9);
            [&[kind, code, 0, 0, 0, 0, 0, 0], &head[..], payload].concat()
        };
        let told =
            |message: &[u8]| read_v6(message).map(|(fate, quote)| (fate, quote.protocol, quote.payload.to_vec()));
        let datagram = Vec::from([1, 2, 3, 4]);
        assert_eq!(told(&message(1, 4, 17, &datagram)), Some((Fate::Refused, 17, datagram.clone())));
        assert_eq!(told(&message(1, 0, 17, &datagram)), Some((Fate::Unreachable, 17, datagram.clone())));
        assert_eq!(told(&message(4, 1, 17, &datagram)), Some((Fate::Refused, 17, datagram.clone())));
        assert_eq!(told(&message(4, 0, 17, &datagram)), None);
        assert_eq!(told(&message(2, 0, 17, &datagram)), None);
        let first = [&[17, 0, 0, 1, 0, 0, 0, 7], &datagram[..]].concat();
        assert_eq!(told(&message(1, 4, 44, &first)), Some((Fate::Refused, 17, datagram.clone())));
        let later = [&[17, 0, 0, 9, 0, 0, 0, 7], &datagram[..]].concat();
        assert_eq!(told(&message(1, 4, 44, &later)), None);
        let whole = message(1, 4, 44, &first[..8]);
        for length in 0..whole.len() {
            assert_eq!(told(&whole[..length]), None);
        }
    }
}
