//! The usual segment over IPv6, on its way in: without extension headers.

use core::net::Ipv6Addr;

use super::{PROTOCOL, Usual};
use crate::net::direct::checksum::Sum;
use crate::net::direct::ethernet::{self, Mac};
use crate::net::direct::hash::Keyed;
use crate::net::direct::tcp::emit::{ACK, HEADER as TCP_HEADER, PSH};
use crate::net::direct::tcp::segment::{FourTuple, Segment, Seq};
use crate::net::ipv6::packet::HEADER;

/// Where the headers start, and what follows those without options.
const IP: usize = ethernet::HEADER;
const TCP: usize = IP + HEADER;
const HEADERS: usize = TCP + TCP_HEADER;
/// Where the addresses start.
const ADDRESSES: usize = IP + 8;

impl<'a> Usual<'a, Ipv6Addr> {
    /// As [`parse`](Usual::parse), for a host of whose addresses `is_ours` knows. Nobody has a connection with one that is not a
    /// host's address.
    #[inline(always)]
    pub fn parse_ipv6(
        key: &Keyed,
        frame: &'a [u8],
        own: Mac,
        is_ours: impl FnOnce(Ipv6Addr) -> bool,
        is_checked: bool,
    ) -> Option<Self> {
        let head = frame.first_chunk::<HEADERS>()?;
        let half = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
        let word = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let address = |at: usize| head[at..].first_chunk().map(|bytes| u128::from_be_bytes(*bytes));
        let (source, local) = (address(ADDRESSES)?, address(ADDRESSES + 16)?);
        let (mac, rest) = head[6..].split_first_chunk::<6>()?;
        let is_usual = head[..6] == own
            && ethernet::is_unicast(*mac)
            && rest[..2] == [0x86, 0xdd]
            // Whatever the class is, but not marked by a router.
            && head[IP] >> 4 == 6
            && head[IP + 1] >> 4 & 3 != 3
            && head[IP + 6] == PROTOCOL
            && head[TCP + 13] & !PSH == ACK
            && is_ours(Ipv6Addr::from_bits(local));
        let packet = frame.get(IP..TCP + usize::from(half(IP + 4))).filter(|_| is_usual)?;
        let payload = packet.get(HEADER..)?;
        let header = 4 * usize::from(head[TCP + 12] >> 4);
        let length = payload.len().checked_sub(header).filter(|_| header >= TCP_HEADER)?;
        if !is_checked {
            let pseudo = Sum::of_word(u32::from(PROTOCOL) + payload.len() as u32).with(&head[ADDRESSES..TCP]);
            pseudo.with(payload).is_right().then_some(())?;
        }
        let ports = u32::from(half(TCP + 2)) << 16 | u32::from(half(TCP));
        let tuple = FourTuple::of_ipv6(key, local, source, ports);
        let (seq, ack) = (Seq(word(TCP + 4)), Seq(word(TCP + 8)));
        Some(Usual {
            mac: *mac,
            source: Ipv6Addr::from_bits(source),
            packet,
            segment: Segment::usual(tuple, seq, ack, half(TCP + 14), header, length as u32),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::direct::checksum;
    use crate::net::ipv6::packet;
    use alloc::vec::Vec;
    use core::net::IpAddr;
    use proptest::prelude::*;

    const KEY: Keyed = Keyed::new([1, 2]);
    const OWN: Mac = [2, 0, 0, 0, 0, 1];
    const PEER: Mac = [2, 0, 0, 0, 0, 2];
    const LOCAL: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2);
    const REMOTE: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);

    /// A frame with a segment whose flags are these.
    fn frame(fields: (u32, u32, u8, u16), options: usize, data: &[u8]) -> Vec<u8> {
        let (seq, ack, flags, window) = fields;
        let mut tcp = [&[0x9c, 0x40, 0, 80][..], &seq.to_be_bytes(), &ack.to_be_bytes()].concat();
        tcp.extend([(5 + options as u8) << 4, flags]);
        tcp.extend_from_slice(&[&window.to_be_bytes()[..], &[0; 4], &alloc::vec![1; 4 * options], data].concat());
        let length = tcp.len() as u16;
        let addresses = [REMOTE.octets(), LOCAL.octets()].concat();
        let sum = !checksum::data(&[&addresses[..], &[0, 6], &length.to_be_bytes(), &tcp].concat());
        tcp[16..18].copy_from_slice(&sum.to_be_bytes());
        let ip = [&[0x60, 0, 0, 0][..], &length.to_be_bytes(), &[6, 64], &addresses].concat();
        [&OWN[..], &PEER, &[0x86, 0xdd], &ip, &tcp].concat()
    }

    fn read(frame: &[u8], is_checked: bool) -> Option<Usual<'_, Ipv6Addr>> {
        Usual::parse_ipv6(&KEY, frame, OWN, |address| address == LOCAL, is_checked)
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// What is read is what the long way reads; and what was changed on its way goes the long way.
        #[test]
        fn both_ways_are_the_same(
            fields in (any::<u32>(), any::<u32>(), prop_oneof![Just(ACK), Just(ACK | PSH)], any::<u16>()),
            options in 0..=10_usize,
            data in prop::collection::vec(any::<u8>(), 0..1500),
            (at, flip) in (any::<usize>(), 1..=u8::MAX),
        ) {
            let mut frame = frame(fields, options, &data);
            let packet = frame[IP..].to_vec();
            let long = packet::read(&packet).expect("it is sound");
            let segment = Segment::parse(&KEY, IpAddr::V6(REMOTE), IpAddr::V6(LOCAL), long.payload());
            let short = read(&frame, false).expect("it is usual");
            prop_assert_eq!((short.source, short.mac, short.packet), (REMOTE, PEER, &packet[..]));
            prop_assert_eq!(alloc::format!("{:?}", Some(short.segment)), alloc::format!("{segment:?}"));

            let place = at % frame.len();
            frame[place] ^= flip;
            // Who has sent the frame, the class and the label of its flow, and the hops that are left are in no checksum.
            let in_no_checksum = (6..12).contains(&place) || (IP..IP + 4).contains(&place) || place == IP + 7;
            prop_assert!(read(&frame, false).is_none() || in_no_checksum);
        }
    }

    #[test]
    fn whatever_is_not_usual_goes_the_long_way() {
        let usual = |flags| frame((1, 2, flags, 3), 0, b"a");
        let is_usual = |frame: &[u8]| read(frame, true).is_some();
        assert!(is_usual(&usual(ACK)));
        for flags in [0, ACK | 1, ACK | 2, ACK | 4, ACK | 32, ACK | 64, ACK | 128] {
            assert!(!is_usual(&usual(flags)), "{flags:#x}");
        }
        // Another station, a group, another protocol of Ethernet, another version, a mark, an extension header, another host.
        for (at, value) in [(0, 3), (6, 1), (13, 0), (14, 0x40), (15, 0x30), (20, 44), (53, 9)] {
            let mut frame = usual(ACK);
            frame[at] = value;
            assert!(!is_usual(&frame), "{at}");
        }
        let frame = usual(ACK);
        assert!(read(&frame, false).is_some());
        (0..frame.len()).for_each(|length| assert!(!is_usual(&frame[..length]), "{length}"));
        assert!(is_usual(&[&frame[..], &[0; 5]].concat()), "Ethernet fills short frames up");
    }
}
