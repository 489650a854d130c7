//! The short way out of a datagram that fits a packet over IPv4: its headers and their sums are made in one go.

use smoltcp::wire::UDP_HEADER_LEN;

use crate::net::direct::checksum::Sum;
use crate::net::direct::{ethernet, ipv4};
use crate::packet::{Checksum, PacketMut};

/// Bytes of both headers.
const HEADERS: usize = ipv4::HEADER + UDP_HEADER_LEN;
/// The protocol's number.
const PROTOCOL: u8 = 17;
/// The place of the checksum in the datagram's header.
const CHECKSUM: u16 = 6;

/// What a datagram's headers say.
#[derive(Clone, Copy, Debug)]
pub struct Leaving {
    /// The addresses of its ends, ours first.
    pub addresses: (u32, u32),
    /// Our port above, the other below.
    pub ports: u32,
    /// Tells its pieces from those of others, where a router cuts it (RFC 6864).
    pub number: u16,
}

impl Leaving {
    /// Makes it all of `packet`, which is empty, from the IP header on. With `offload` its checksum is left to the device. `None`
    /// when it does not fit the head.
    #[inline]
    pub fn write(&self, packet: &mut PacketMut, payload: &[u8], offload: bool) -> Option<()> {
        let (local, remote) = self.addresses;
        let length = (UDP_HEADER_LEN + payload.len()) as u32;
        let (head, body) = packet.resize_head(HEADERS + payload.len()).split_first_chunk_mut::<HEADERS>()?;
        body.get_mut(..payload.len())?.copy_from_slice(payload);
        let ip = [
            0x4500_0000 | (ipv4::HEADER as u32 + length),
            // Who sends datagrams does not look for what their way takes: routers may cut them.
            u32::from(self.number) << 16,
            u32::from(ipv4::HOP_LIMIT) << 24 | u32::from(PROTOCOL) << 16,
            local,
            remote,
        ];
        let pseudo = Sum::of_word(local).and(remote).and(u32::from(PROTOCOL) + length);
        let checksum = match offload {
            true => pseudo.partial(),
            false => match pseudo.and(self.ports).and(length << 16).with(body).checksum() {
                // One with 0 there would say that it has no checksum (RFC 768).
                0 => !0,
                checksum => checksum,
            },
        };
        let sum = ip[1..].iter().fold(Sum::of_word(ip[0]), |sum, word| sum.and(*word));
        let mut places = head.as_chunks_mut::<4>().0.iter_mut();
        for word in ip.into_iter().chain([self.ports, length << 16 | u32::from(checksum)]) {
            *places.next()? = word.to_be_bytes();
        }
        head[10..12].copy_from_slice(&sum.checksum().to_be_bytes());
        if offload {
            let start = (ethernet::HEADER + ipv4::HEADER) as u16;
            packet.set_checksum(Checksum::Partial { start, offset: CHECKSUM });
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;
    use core::net::Ipv4Addr;

    use proptest::prelude::*;
    use smoltcp::wire::{IpProtocol, UdpPacket};

    use super::*;
    use crate::net::direct::header;
    use crate::page::HeapPool;

    const LOCAL: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
    const REMOTE: Ipv4Addr = Ipv4Addr::new(192, 168, 7, 2);

    fn written(leaving: Leaving, payload: &[u8], offload: bool) -> Vec<u8> {
        let mut packet = PacketMut::new(&HeapPool::with_pages(1)).expect("a page");
        leaving.write(&mut packet, payload, offload).expect("it fits");
        assert_eq!(packet.checksum() != Checksum::None, offload);
        packet.head().to_vec()
    }

    /// What the long way makes of it.
    fn long(leaving: Leaving, payload: &[u8], partial: bool) -> Vec<u8> {
        let mut packet = alloc::vec![0; HEADERS + payload.len()];
        let body = header::emit(&mut packet, LOCAL.into(), REMOTE.into(), IpProtocol::Udp).expect("it fits");
        let mut datagram = UdpPacket::new_unchecked(body);
        datagram.set_src_port((leaving.ports >> 16) as u16);
        datagram.set_dst_port(leaving.ports as u16);
        datagram.set_len((UDP_HEADER_LEN + payload.len()) as u16);
        datagram.payload_mut().copy_from_slice(payload);
        header::permit_cutting(&mut packet, leaving.number);
        header::fill_transport(&mut packet, partial);
        packet
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn both_ways_are_the_same(
            ports: u32,
            number: u16,
            payload in prop::collection::vec(any::<u8>(), 0..1473),
            offload: bool,
        ) {
            let leaving = Leaving { addresses: (LOCAL.to_bits(), REMOTE.to_bits()), ports, number };
            prop_assert_eq!(written(leaving, &payload, offload), long(leaving, &payload, offload));
        }
    }

    #[test]
    fn no_sum_is_left_out() {
        let leaving = Leaving { addresses: (LOCAL.to_bits(), REMOTE.to_bits()), ports: 7 << 16 | 9, number: 1 };
        let zero = (0..=u16::MAX).filter(|word| {
            let packet = written(leaving, &word.to_be_bytes(), false);
            assert_ne!(packet[26..28], [0, 0], "{word}");
            packet[26..28] == [0xff, 0xff]
        });
        assert_eq!(zero.count(), 1, "one of them would have a sum of 0");
    }
}
