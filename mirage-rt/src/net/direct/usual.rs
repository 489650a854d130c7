//! The short way of the usual segment, there and back: TCP over IPv4 in one piece, without options of IP and without flags that
//! ask for more than to be acknowledged. Over IPv6 it is the way in only, see [`ipv6`]. Everything is looked at once, in the order in which it stands there. What is
//! otherwise in the least goes [the long way](super::stack::Stack::receive), which gives the reasons for what it drops.

#[cfg(feature = "ipv6")]
mod ipv6;

use core::net::Ipv4Addr;

use super::checksum::Sum;
use super::ethernet::{self, Mac};
use super::hash::Keyed;
use super::ipv4;
use super::stack::Stack;
use super::tcp::emit::{ACK, Fields, HEADER as TCP_HEADER, PSH};
use super::tcp::segment::{FourTuple, Segment, Seq};
use crate::packet::{Checksum, PacketMut};
use crate::time::Instant;

/// Bytes of the headers of a frame without options.
const HEADERS: usize = ethernet::HEADER + ipv4::HEADER + TCP_HEADER;
/// Where the headers start.
const IP: usize = ethernet::HEADER;
const TCP: usize = IP + ipv4::HEADER;
/// The protocol's number.
const PROTOCOL: u8 = 6;
/// The place of the checksum in a segment's header.
const CHECKSUM: u16 = 16;

/// A usual segment, from an address that is an `A`.
#[derive(Clone, Copy, Debug)]
pub struct Usual<'a, A> {
    /// Who has sent the frame, on this link and at the other end.
    pub mac: Mac,
    pub source: A,
    /// The IP packet.
    pub packet: &'a [u8],
    pub segment: Segment,
}

impl<'a> Usual<'a, Ipv4Addr> {
    /// Reads a frame to the host with these addresses; `None` when it is not a usual one, or not a sound one. Whether there is
    /// such a connection is not known yet. `is_checked` says that the device has found the segment's checksum right.
    #[inline(always)]
    pub fn parse(key: &Keyed, frame: &'a [u8], own: Mac, address: Ipv4Addr, is_checked: bool) -> Option<Self> {
        let head = frame.first_chunk::<HEADERS>()?;
        let half = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
        let word = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let (mac, rest) = head[6..].split_first_chunk::<6>()?;
        let is_usual = head[..6] == own
            && ethernet::is_unicast(*mac)
            // IPv4 with a header of five words, whatever the service is, but not marked by a router.
            && rest[..3] == [0x08, 0x00, 0x45]
            && head[IP + 1] & 3 != 3
            // In one piece: neither more fragments nor an offset.
            && half(IP + 6) & 0x3fff == 0
            && head[IP + 9] == PROTOCOL
            && word(IP + 16) == address.to_bits()
            && head[TCP + 13] & !PSH == ACK;
        let packet = frame.get(IP..IP + usize::from(half(IP + 2))).filter(|_| is_usual)?;
        let payload = packet.get(ipv4::HEADER..)?;
        let header = 4 * usize::from(head[TCP + 12] >> 4);
        let length = payload.len().checked_sub(header).filter(|_| header >= TCP_HEADER)?;
        let ip = Sum::of_words(head[IP..TCP].first_chunk::<{ ipv4::HEADER }>()?);
        if !ip.is_right()
            || !is_checked && !pseudo_header(word(IP + 12), word(IP + 16), payload.len()).with(payload).is_right()
        {
            return None;
        }
        let ports = u32::from(half(TCP + 2)) << 16 | u32::from(half(TCP));
        let tuple = FourTuple::of_ipv4(key, word(IP + 16), word(IP + 12), ports);
        let (seq, ack) = (Seq(word(TCP + 4)), Seq(word(TCP + 8)));
        Some(Usual {
            mac: *mac,
            source: Ipv4Addr::from_bits(word(IP + 12)),
            packet,
            segment: Segment::usual(tuple, seq, ack, half(TCP + 14), header, length as u32),
        })
    }
}

impl Stack {
    /// A frame whose segment is what its connection expects; `false`, and nothing has happened, when it is not.
    #[inline(always)]
    pub(super) fn receive_usual(&mut self, now: Instant, frame: &[u8], checksum: Checksum) -> bool {
        let is_checked = checksum != Checksum::None;
        #[cfg(feature = "ipv6")]
        if frame.get(12..14) == Some(&[0x86, 0xdd]) {
            return self.receive_usual_ipv6(now, frame, is_checked);
        }
        let usual = Usual::parse(&self.key, frame, self.ip.mac(), self.ip.address(), is_checked);
        let Some(usual) = usual.filter(|usual| self.tcp.on_usual(now, usual.packet, &usual.segment)) else {
            return false;
        };
        self.ip.counters.ip_received.count(usual.packet.len());
        self.ip.heard(usual.source, usual.mac);
        true
    }

    /// As [`receive_usual`](Self::receive_usual), over IPv6.
    #[cfg(feature = "ipv6")]
    fn receive_usual_ipv6(&mut self, now: Instant, frame: &[u8], is_checked: bool) -> bool {
        let Some(layer) = &self.ip.ipv6 else { return false };
        let is_ours = |address| layer.addresses.is_ours(address);
        let usual = Usual::parse_ipv6(&self.key, frame, self.ip.mac(), is_ours, is_checked);
        let Some(usual) = usual.filter(|usual| self.tcp.on_usual(now, usual.packet, &usual.segment)) else {
            return false;
        };
        self.ip.counters.ip_received.count(usual.packet.len());
        self.ip.heard_ipv6(usual.source, usual.mac);
        true
    }
}

/// A segment that leaves.
#[derive(Clone, Copy, Debug)]
pub struct Leaving<'a> {
    /// The addresses of its ends, ours first.
    pub addresses: (u32, u32),
    /// Our port above, the other below.
    pub ports: u32,
    pub fields: Fields,
    /// A multiple of four bytes, at most 40.
    pub options: &'a [u8],
    pub data: [&'a [u8]; 2],
    /// Routers may mark the packet (ECT(0) of RFC 3168, 5).
    pub ect: bool,
}

impl Leaving<'_> {
    /// Makes it all of `packet`, which is empty, from the IP header on. With `offload` its checksum is left to the device. `None`
    /// when it does not fit the head.
    #[inline(always)]
    pub fn write(&self, packet: &mut PacketMut, offload: bool) -> Option<()> {
        const HEADERS: usize = ipv4::HEADER + TCP_HEADER;
        let (local, remote) = self.addresses;
        let [first, second] = self.data;
        let length = TCP_HEADER + self.options.len() + first.len() + second.len();
        let (head, body) = packet.resize_head(ipv4::HEADER + length).split_first_chunk_mut::<HEADERS>()?;
        let (place, data) = body.split_at_mut_checked(self.options.len())?;
        place.copy_from_slice(self.options);
        let (place, rest) = data.split_at_mut_checked(first.len())?;
        place.copy_from_slice(first);
        if !second.is_empty() {
            rest.get_mut(..second.len())?.copy_from_slice(second);
        }
        let service = if self.ect { 2 << 16 } else { 0 };
        let ip = [
            0x4500_0000 | service | (ipv4::HEADER + length) as u32,
            // It may not be fragmented.
            0x4000,
            u32::from(ipv4::HOP_LIMIT) << 24 | u32::from(PROTOCOL) << 16,
            local,
            remote,
        ];
        let Fields { seq, ack, flags, window } = self.fields;
        let words = (TCP_HEADER + self.options.len()) as u32 / 4;
        let tcp = [self.ports, seq.0, ack.0, words << 28 | u32::from(flags) << 16 | u32::from(window)];
        let sum = |words: &[u32], sum: Sum| words.iter().fold(sum, |sum, word| sum.and(*word));
        let pseudo = pseudo_header(local, remote, length);
        let checksum = if offload { pseudo.partial() } else { sum(&tcp, pseudo).with(body).checksum() };
        let ip_checksum = sum(&ip[1..], Sum::of_word(ip[0])).checksum();
        let mut places = head.as_chunks_mut::<4>().0.iter_mut();
        for word in ip.into_iter().chain(tcp).chain([u32::from(checksum) << 16]) {
            *places.next()? = word.to_be_bytes();
        }
        head[10..12].copy_from_slice(&ip_checksum.to_be_bytes());
        if offload {
            packet.set_checksum(Checksum::Partial { start: TCP as u16, offset: CHECKSUM });
        }
        Some(())
    }
}

/// The sum of the pseudo header of a segment of `length` bytes between two addresses.
#[inline(always)]
fn pseudo_header(source: u32, destination: u32, length: usize) -> Sum {
    Sum::of_word(source).and(destination).and(u32::from(PROTOCOL) + length as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::direct::ipv4::Ipv4;
    use crate::net::direct::tcp::emit::CWR;
    use crate::page::HeapPool;
    use alloc::vec::Vec;
    use core::net::IpAddr;
    use proptest::prelude::*;
    use smoltcp::wire::IpProtocol;

    const KEY: Keyed = Keyed::new([1, 2]);
    const OWN: Mac = [2, 0, 0, 0, 0, 1];
    const PEER: Mac = [2, 0, 0, 0, 0, 2];
    const ADDRESSES: (u32, u32) = (0x0a00_0001, 0xc0a8_0702);

    /// The frame in which the other side gets it.
    fn frame(leaving: &Leaving<'_>, offload: bool) -> Vec<u8> {
        let mut packet = PacketMut::new(&HeapPool::with_pages(1)).expect("a page");
        leaving.write(&mut packet, offload).expect("it fits");
        assert_eq!(packet.checksum() != Checksum::None, offload);
        [&PEER[..], &OWN, &[8, 0], packet.head()].concat()
    }

    fn leaving() -> impl Strategy<Value = (Fields, usize, Vec<u8>, usize, bool)> {
        let flags = prop_oneof![Just(ACK), Just(ACK | PSH)];
        let fields = (any::<u32>(), any::<u32>(), flags, any::<u16>()).prop_map(|(seq, ack, flags, window)| Fields {
            seq: Seq(seq),
            ack: Seq(ack),
            flags,
            window,
        });
        let data = prop::collection::vec(any::<u8>(), 0..1500);
        (fields, 0..=10_usize, data, any::<usize>(), any::<bool>())
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// What is written is what the long way writes and reads; and what was changed on its way goes the long way.
        #[test]
        fn both_ways_are_the_same((fields, options, data, cut, ect) in leaving(), at: usize, flip in 1..=u8::MAX) {
            let options = alloc::vec![1; 4 * options];
            let (first, second) = data.split_at(cut % (data.len() + 1));
            let (addresses, ports) = (ADDRESSES, 80 << 16 | 40_000);
            let leaving = Leaving { addresses, ports, fields, options: &options, data: [first, second], ect };
            let mut frame = frame(&leaving, false);
            let [local, remote] = [addresses.0, addresses.1].map(Ipv4Addr::from_bits);
            let tuple = FourTuple::of_ipv4(&KEY, addresses.0, addresses.1, ports);
            let mut headers = alloc::vec![0; ipv4::HEADER + TCP_HEADER + options.len()];
            fields.write(&tuple, &mut headers, &options, data.len()).expect("it fits");
            let (packet, checksum) = (frame[IP..].to_vec(), TCP - IP + usize::from(CHECKSUM));
            let mut without = packet.clone();
            without[checksum..checksum + 2].fill(0);
            if ect {
                // The bit and its sum, which the long way adds behind.
                without[1..2].fill(0);
                without[10..12].copy_from_slice(&headers[10..12]);
            }
            prop_assert_eq!(&without[..headers.len()], &headers[..]);
            prop_assert_eq!(&without[headers.len()..], &data[..]);

            let read = Ipv4::parse(&packet).filter(Ipv4::verify_transport).expect("it is sound");
            prop_assert!(read.protocol == IpProtocol::Tcp && !read.fragment);
            let long = Segment::parse(&KEY, IpAddr::V4(local), IpAddr::V4(remote), read.payload()).expect("a segment");
            let short = Usual::parse(&KEY, &frame, PEER, remote, false).expect("it is usual");
            prop_assert_eq!((short.source, short.mac, short.packet), (local, OWN, &packet[..]));
            prop_assert_eq!(alloc::format!("{:?}", short.segment), alloc::format!("{long:?}"));

            let place = at % frame.len();
            frame[place] ^= flip;
            let changed = Usual::parse(&KEY, &frame, PEER, remote, false);
            // Only who has sent the frame may be another one, and no checksum is of that.
            prop_assert!(changed.is_none_or(|_| (6..12).contains(&place)));
        }
    }

    #[test]
    fn a_device_that_completes_checksums_gets_the_sum_of_the_pseudo_header() {
        let fields = Fields { seq: Seq(1), ack: Seq(2), flags: ACK, window: 3 };
        let leaving = Leaving { addresses: ADDRESSES, ports: 1, fields, options: &[], data: [b"abc", b""], ect: false };
        let frame = frame(&leaving, true);
        let field = TCP + usize::from(CHECKSUM);
        let sum = pseudo_header(ADDRESSES.0, ADDRESSES.1, 23).partial();
        assert_eq!(frame[field..field + 2], sum.to_be_bytes());
        let own = Ipv4Addr::from_bits(ADDRESSES.1);
        assert!(Usual::parse(&KEY, &frame, PEER, own, true).is_some(), "the device vouches for it");
        assert!(Usual::parse(&KEY, &frame, PEER, own, false).is_none());
    }

    #[test]
    fn whatever_is_not_usual_goes_the_long_way() {
        let fields = |flags| Fields { seq: Seq(1), ack: Seq(2), flags, window: 3 };
        let usual = |flags| {
            let fields = fields(flags);
            let leaving =
                Leaving { addresses: ADDRESSES, ports: 1, fields, options: &[], data: [b"a", b""], ect: true };
            frame(&leaving, false)
        };
        let own = Ipv4Addr::from_bits(ADDRESSES.1);
        let is_usual = |frame: &[u8]| Usual::parse(&KEY, frame, PEER, own, true).is_some();
        assert!(is_usual(&usual(ACK)));
        for flags in [0, ACK | 1, ACK | 2, ACK | 4, ACK | 32, ACK | 64, ACK | CWR] {
            assert!(!is_usual(&usual(flags)), "{flags:#x}");
        }
        // Another protocol of Ethernet, options of IP, a mark, fragments, another protocol, another host, a group.
        for (at, value) in [(12, 0x86), (14, 0x46), (15, 3), (20, 0x20), (21, 1), (23, 17), (33, 9), (0, 3), (6, 1)] {
            let mut frame = usual(ACK);
            frame[at] = value;
            let sum = !crate::net::direct::checksum::data(&[&frame[14..24], &[0, 0], &frame[26..34]].concat());
            frame[24..26].copy_from_slice(&sum.to_be_bytes());
            assert!(!is_usual(&frame), "{at}");
        }
        let frame = usual(ACK);
        (0..frame.len()).for_each(|length| assert!(!is_usual(&frame[..length]), "{length}"));
        assert!(is_usual(&[&frame[..], &[0; 5]].concat()), "Ethernet fills short frames up");
    }
}
