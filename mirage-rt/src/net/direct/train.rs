//! Trains of segments (R. Jain, S. Routhier, "Packet Trains", 1986): bulk data comes in segments of one connection, one behind the other,
//! that differ in hardly more than where their data stands. The first of a burst goes its way through the layers; those that follow
//! are compared with it, and all that is left to do is to take their data. What is otherwise in the least ends the train and goes
//! its own way. No packets are put together for it, as Linux's GRO does.

mod layout;

use super::checksum::Sum;
use super::ethernet;
use super::ipv4;
use super::stack::Stack;
use super::tcp::emit::HEADER as TCP_HEADER;
use super::tcp::machine::ConnId;
use super::tcp::segment::Seq;
use crate::packet::Checksum;
use crate::time::Instant;
use layout::{COMPARED, IPV4, IPV4_TCP, IPV6_HEADER, Layout, Words};
#[cfg(feature = "ipv6")]
use layout::{IPV6, IPV6_TCP};

/// Bytes of the options of a segment that has a timestamp and nothing else (RFC 7323, appendix A).
const STAMP: usize = 12;
/// The protocol's number.
const PROTOCOL: u32 = 6;
const IP: usize = ethernet::HEADER;

/// The bytes of `head` that are to be the same, and none of the others.
#[inline(always)]
fn masked(head: &[u8; COMPARED], mask: &Words) -> Words {
    let mut words = *mask;
    for (word, bytes) in words.iter_mut().zip(head.as_chunks::<8>().0) {
        *word &= u64::from_ne_bytes(*bytes);
    }
    words
}

/// What a frame has told of those that may follow it.
pub struct Train {
    id: ConnId,
    /// What is to be the same.
    head: Words,
    layout: &'static Layout,
    stamped: bool,
}

/// A segment that follows.
#[derive(Debug, PartialEq, Eq)]
pub struct Following<'a> {
    pub seq: Seq,
    /// The value of its timestamp.
    pub stamp: Option<u32>,
    pub data: &'a [u8],
    /// Bytes of its IP packet.
    pub length: usize,
}

impl Train {
    /// The train that a frame may be the first of, whose segment was what the connection `id` has expected.
    pub fn begin(id: ConnId, frame: &[u8]) -> Option<Train> {
        let head: &[u8; COMPARED] = frame.first_chunk()?;
        let layout = match head[12..IP] {
            // In one piece: what was put together of several may have been expected, too.
            [0x08, 0x00] if head[IP] == 0x45 && head[IP + 6] & 0x3f | head[IP + 7] == 0 => &IPV4,
            #[cfg(feature = "ipv6")]
            [0x86, 0xdd] if head[IP + 6] == PROTOCOL as u8 => &IPV6,
            _ => return None,
        };
        let stamped = match (4 * usize::from(head[layout.tcp + 12] >> 4)).checked_sub(TCP_HEADER)? {
            0 => false,
            STAMP => true,
            _ => return None,
        };
        Some(Train { id, head: masked(head, &layout.masks[usize::from(stamped)]), layout, stamped })
    }

    /// Reads a frame; `None` when it does not follow, or is not sound. `is_checked` says that the device has found the segment's
    /// checksum right.
    #[inline(always)]
    pub fn read<'a>(&self, frame: &'a [u8], is_checked: bool) -> Option<Following<'a>> {
        #[cfg(feature = "ipv6")]
        if self.layout.tcp == IPV6_TCP {
            return self.read_at::<{ IPV6_TCP }>(frame, is_checked);
        }
        self.read_at::<{ IPV4_TCP }>(frame, is_checked)
    }

    /// Reads a frame whose TCP header is to stand at a place that tells its family, too.
    #[inline(always)]
    fn read_at<'a, const TCP: usize>(&self, frame: &'a [u8], is_checked: bool) -> Option<Following<'a>> {
        let head: &[u8; COMPARED] = frame.first_chunk()?;
        let others = masked(head, &self.layout.masks[usize::from(self.stamped)]);
        if others.iter().zip(&self.head).fold(0, |differs, (other, own)| differs | (other ^ own)) != 0 {
            return None;
        }
        let half = |at: usize| usize::from(u16::from_be_bytes([head[at], head[at + 1]]));
        let (length, addresses) = if TCP == IPV4_TCP {
            let header = head[IP..].first_chunk::<{ ipv4::HEADER }>()?;
            (Sum::of_words(header).is_right().then_some(half(IP + 2))?, IP + 12)
        } else {
            (IPV6_HEADER + half(IP + 4), IP + 8)
        };
        let payload = frame.get(TCP..IP + length)?;
        if !is_checked {
            let pseudo = Sum::of_word(PROTOCOL + payload.len() as u32).with(&head[addresses..TCP]);
            pseudo.with(payload).is_right().then_some(())?;
        }
        let (stamp, data) = match self.stamped {
            true => {
                let (stamp, data) = payload.split_first_chunk::<{ TCP_HEADER + STAMP }>()?;
                let value = stamp[TCP_HEADER + 4..].first_chunk()?;
                (Some(u32::from_be_bytes(*value)), data)
            }
            false => (None, payload.get(TCP_HEADER..)?),
        };
        let seq = Seq(u32::from_be_bytes([head[TCP + 4], head[TCP + 5], head[TCP + 6], head[TCP + 7]]));
        (!data.is_empty()).then_some(Following { seq, stamp, data, length })
    }
}

impl Stack {
    /// A frame that follows the last one of its train; `false`, and nothing has happened, when it does not.
    #[inline(always)]
    pub(super) fn follow(&mut self, now: Instant, frame: &[u8], checksum: Checksum) -> bool {
        let Some(train) = &self.train else { return false };
        let following = train.read(frame, checksum != Checksum::None);
        let Some(following) = following.filter(|following| self.tcp.follow(now, train.id, following)) else {
            self.train = None;
            return false;
        };
        self.ip.counters.ip_received.count(following.length);
        true
    }

    /// The segment in this frame was what a connection has expected, or none is known.
    #[inline(always)]
    pub(super) fn may_begin(&mut self, frame: &[u8]) {
        if let Some(id) = self.tcp.take_bulk() {
            self.train = Train::begin(id, frame);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::direct::checksum;
    use crate::net::direct::hash::Keyed;
    use crate::net::direct::tcp::emit::PSH;
    use crate::net::direct::tcp::segment::Segment;
    use alloc::vec::Vec;
    use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
    use proptest::prelude::*;

    const ID: ConnId = ConnId { index: 3, generation: 4 };
    const V4: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), IpAddr::V4(Ipv4Addr::new(192, 168, 7, 2))];
    const V6: [IpAddr; 2] = [
        IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
        IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2)),
    ];

    /// A frame with a segment that acknowledges.
    fn frame([source, destination]: [IpAddr; 2], seq: u32, stamp: Option<u32>, name: u16, data: &[u8]) -> Vec<u8> {
        let push = if name.is_multiple_of(3) { PSH } else { 0 };
        let words = if stamp.is_some() { 8 } else { 5 };
        let mut tcp = [&[0x9c, 0x40, 0, 80][..], &seq.to_be_bytes(), &[0, 0, 0, 77]].concat();
        tcp.extend([words << 4, 16 | push, 1, 0xf4, 0, 0, 0, 0]);
        stamp.inspect(|stamp| tcp.extend([&[1, 1, 8, 10][..], &stamp.to_be_bytes(), &[9; 4]].concat()));
        tcp.extend_from_slice(data);
        let length = (tcp.len() as u16).to_be_bytes();
        let addresses = match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => [source.octets(), destination.octets()].concat(),
            (IpAddr::V6(source), IpAddr::V6(destination)) => [source.octets(), destination.octets()].concat(),
            _ => panic!("both are of one family"),
        };
        let sum = !checksum::data(&[&addresses[..], &[0, 6], &length, &tcp].concat());
        tcp[16..18].copy_from_slice(&sum.to_be_bytes());
        let ethernet = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        if source.is_ipv6() {
            let ip = [&[0x86, 0xdd, 0x60, 0, 0, 0][..], &length, &[6, 64], &addresses].concat();
            return [&ethernet[..], &ip, &tcp].concat();
        }
        let total = (ipv4::HEADER as u16 + tcp.len() as u16).to_be_bytes();
        let mut ip = [&[0x45, 0][..], &total, &name.to_be_bytes(), &[0x40, 0, 64, 6, 0, 0], &addresses].concat();
        let sum = !checksum::data(&ip);
        ip[10..12].copy_from_slice(&sum.to_be_bytes());
        [&ethernet[..], &[0x08, 0x00], &ip, &tcp].concat()
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// What follows is read as the long way reads it, and nothing that was changed on its way follows.
        #[test]
        fn what_follows_is_the_same_segment(
            is_v6: bool,
            seqs: [u32; 2],
            stamps in prop::option::of(any::<[u32; 2]>()),
            data in prop::collection::vec(any::<u8>(), 27..1500),
            (at, flip) in (any::<usize>(), 1..=u8::MAX),
        ) {
            let addresses = if is_v6 { V6 } else { V4 };
            let stamp = |number: usize| stamps.map(|stamps| stamps[number]);
            let first = frame(addresses, seqs[0], stamp(0), 1, &[7; 300]);
            let mut second = frame(addresses, seqs[1], stamp(1), 2 + at as u16 % 9, &data);
            let train = Train::begin(ID, &first);
            if is_v6 && !cfg!(feature = "ipv6") {
                prop_assert!(train.is_none());
                return Ok(());
            }
            let train = train.expect("it may be the first one");
            let following = train.read(&second, false).expect("it follows");
            let payload = &second[train.layout.tcp..];
            let [source, destination] = addresses;
            let long = Segment::parse(&Keyed::new([1, 2]), source, destination, payload).expect("a segment");
            prop_assert_eq!((following.seq, following.stamp, following.data), (long.seq, stamp(1), &data[..]));
            prop_assert_eq!(following.length, second.len() - IP);
            let padded = [&second[..], &[0; 5]].concat();
            prop_assert_eq!(train.read(&padded, false), Some(following));

            let place = at % second.len();
            second[place] ^= flip;
            prop_assert_eq!(train.read(&second, false), None);
            second[place] ^= flip;
            second.truncate(place);
            prop_assert_eq!(train.read(&second, true), None);
        }
    }

    #[test]
    fn another_segment_does_not_follow() {
        let first = frame(V4, 1, Some(1), 1, &[7; 300]);
        let train = Train::begin(ID, &first).expect("it may be the first one");
        let checked = |at: usize, value: u8| {
            let mut frame = first.clone();
            frame[at] = value;
            let sum = !checksum::data(&[&frame[14..24], &[0, 0], &frame[26..34]].concat());
            frame[24..26].copy_from_slice(&sum.to_be_bytes());
            train.read(&frame, true).is_some()
        };
        assert!(checked(0, 2));
        // Another host, a mark, a fragment, another hop, port, acknowledgement, header, flag, window, option.
        for at in [0, 6, 12, 14, 15, 20, 21, 22, 23, 29, 33, 35, 37, 45, 46, 49, 54, 57] {
            assert!(!checked(at, !first[at]), "{at}");
        }
        assert!([0, 1, 2, 4, 32, 64, 128].iter().all(|flag| !checked(47, 16 ^ if *flag == 0 { 16 } else { *flag })));
        // Its number, its position, whether it is the last of several, what its data is.
        assert!([19, 41, 47, 60, 100].iter().all(|at| checked(*at, first[*at] ^ 8)));
        assert!(Train::begin(ID, &first[..79]).is_none());
    }

    #[test]
    fn not_every_segment_begins_a_train() {
        let first = frame(V4, 1, Some(1), 1, &[7; 300]);
        // Another protocol, options of IP, part of a packet, other options of TCP.
        for (at, value) in [(12, 0x86), (14, 0x46), (20, 0x20), (20, 1), (21, 1), (46, 0x60), (46, 0x40)] {
            let mut frame = first.clone();
            frame[at] = value;
            assert!(Train::begin(ID, &frame).is_none(), "{at}");
        }
    }
}
