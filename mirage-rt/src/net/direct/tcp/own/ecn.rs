//! Explicit congestion notification (RFC 3168): routers mark packets instead of dropping them.

use super::arrival::Arrival;
use super::connection::{Connection, Link};
use crate::net::direct::ipv4;

/// The bits of an IP header's service that say it, and their value when the packet was marked.
const CE: u8 = 3;

/// What both sides know of marks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ecn {
    /// Both sides have agreed on it.
    pub on: bool,
    /// A packet of the peer was marked and it has not yet said that it knows: all our segments tell it (6.1.3).
    pub echo: bool,
    /// A packet of ours was marked, and our next data tells that we know (6.1.2).
    pub reduced: bool,
}

/// Whether a router has marked the packet.
pub fn is_marked(packet: &[u8]) -> bool {
    match packet {
        [first, service, ..] if first >> 4 == 4 => service & CE == CE,
        // The traffic class of IPv6 starts in the middle of the first byte.
        [first, second, ..] if first >> 4 == 6 => second >> 4 & CE == CE,
        _ => false,
    }
}

/// Lets routers mark a packet that starts with this header, instead of dropping it (ECT(0) of RFC 3168, 5).
pub fn allow_marks(packet: &mut [u8]) {
    match packet {
        [first, service, ..] if *first >> 4 == 6 => *service |= 2 << 4,
        _ => {
            let Some(header) = packet.first_chunk_mut::<{ ipv4::HEADER }>() else { return };
            header[1] |= 2;
            // The sum without that bit, and the bit (RFC 1624).
            let sum = !u16::from_be_bytes([header[10], header[11]]);
            let (sum, carry) = sum.overflowing_add(2);
            header[10..12].copy_from_slice(&(!(sum + u16::from(carry))).to_be_bytes());
        }
    }
}

impl Connection {
    /// What an acceptable segment says of marks.
    #[cold]
    #[inline(never)]
    pub fn hear_marks(&mut self, arrival: &Arrival<'_>, link: &Link) {
        let segment = arrival.segment;
        if segment.cwr {
            self.ecn.echo = false;
        }
        if arrival.marked && segment.length > 0 {
            // The sooner the peer knows, the better.
            self.owed.now |= !self.ecn.echo;
            self.ecn.echo = true;
        }
        if segment.ece && !self.flight.is_empty() && !self.congestion.has_lost() {
            // As for a loss, once for each window (6.1.2); but nothing is to be sent again.
            let under_way = self.pipe(link);
            self.congestion.lose(self.una, self.next, under_way);
            self.ecn.reduced = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::Ipv4Addr;
    use smoltcp::wire::IpProtocol;

    #[test]
    fn a_header_that_may_be_marked_is_sound() {
        for length in 0..2000 {
            let mut header = [0; ipv4::HEADER];
            let (source, destination) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, (length >> 8) as u8, 2));
            ipv4::emit_header(&mut header, source, destination, IpProtocol::Tcp, length);
            allow_marks(&mut header);
            let mut packet = [header.as_slice(), &alloc::vec![0; length]].concat();
            assert!(ipv4::Ipv4::parse(&packet).is_some() && !is_marked(&packet), "{length}");
            packet[1] |= CE;
            assert!(is_marked(&packet));
        }
    }

    #[test]
    fn marks_of_ipv6_stand_in_the_traffic_class() {
        assert!(is_marked(&[0x60, 0x30]) && !is_marked(&[0x60, 0x20]) && !is_marked(&[0x63, 0x0f]) && !is_marked(&[]));
    }
}
