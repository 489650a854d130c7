//! Putting packets together from their fragments (RFC 791, RFC 8200, 4.5), feature `datagrams`.
//!
//! Fragments come from anybody, and most of a flood never becomes whole. So there is a budget of packets, bytes and time, the
//! oldest packet goes when there is no room for another, and a packet whose fragments overlap is dropped, with all that still
//! comes of it (RFC 5722): nobody who is honest sends such. A fragment that comes twice is heard once.

use alloc::vec::Vec;
use core::net::IpAddr;

use crate::time::{Duration, Instant};

/// Packets that are incomplete at once.
pub const MOST_PACKETS: usize = 32;
/// Bytes of all their fragments, each of which counts for [`COST`] more.
pub const MOST_BYTES: usize = 256 * 1024;
/// What a fragment costs besides its bytes.
pub const COST: usize = 64;
/// Fragments of one packet: the longest one, over the shortest link of IPv4, has fewer.
pub const MOST_FRAGMENTS: usize = 128;
/// How long the fragments of a packet may take (RFC 791 proposes 15 s, RFC 8200 60 s).
pub const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes of the longest packet without its header.
const LONGEST: usize = u16::MAX as usize;
/// Bytes of a first fragment that are kept for its sender, should the others not come.
const QUOTE: usize = 128;

/// Which packet a fragment is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Its sender.
    pub source: IpAddr,
    /// Whom it is for.
    pub destination: IpAddr,
    /// What it carries; over IPv6 that is no part of the key, and 0.
    pub protocol: u8,
    /// Its number.
    pub identification: u32,
}

/// A part of a packet.
#[derive(Clone, Copy, Debug)]
pub struct Fragment<'a> {
    /// Its place in the packet, without the header.
    pub offset: usize,
    /// Others come behind it.
    pub more: bool,
    /// What it carries.
    pub payload: &'a [u8],
    /// What the packet carries, as the fragment says.
    pub protocol: u8,
    /// The fragment from its header on.
    pub packet: &'a [u8],
}

/// What a fragment has led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Others are missing.
    Incomplete,
    /// It is dropped, and with it perhaps what came before.
    Dropped,
    /// The packet is whole: what it carries, and of which protocol.
    Whole(u8, Vec<u8>),
}

/// A packet of which something has come.
struct Packet {
    key: Key,
    until: Instant,
    /// In the order of their places, without overlap.
    pieces: Vec<(usize, Vec<u8>)>,
    /// Bytes of the whole, once the last fragment is there.
    length: Option<usize>,
    /// What the first fragment says that it carries.
    protocol: u8,
    /// The beginning of the first fragment.
    quote: Vec<u8>,
    /// Its fragments overlap: nothing of it is heard any more.
    dead: bool,
}

impl Packet {
    fn cost(&self) -> usize {
        self.pieces.iter().map(|(_, bytes)| bytes.len() + COST).sum()
    }

    fn kill(&mut self) -> Outcome {
        self.dead = true;
        self.pieces = Vec::new();
        self.quote = Vec::new();
        Outcome::Dropped
    }

    /// Takes a fragment in that is sound by itself.
    fn add(&mut self, fragment: &Fragment<'_>) -> Outcome {
        let (start, end) = (fragment.offset, fragment.offset + fragment.payload.len());
        let place = self.pieces.partition_point(|(at, _)| *at < start);
        if let Some((at, bytes)) = self.pieces.get(place)
            && (*at, &bytes[..]) == (start, fragment.payload)
        {
            return Outcome::Incomplete;
        }
        let reaches_in = place > 0 && self.pieces.get(place - 1).is_some_and(|(at, bytes)| at + bytes.len() > start);
        let reaches_over = self.pieces.get(place).is_some_and(|(at, _)| *at < end);
        let ends_twice = !fragment.more && self.length.is_some_and(|length| length != end);
        let last_end = self.pieces.last().map_or(0, |(at, bytes)| at + bytes.len());
        let is_behind = self.length.is_some_and(|length| end > length) || !fragment.more && last_end > end;
        if reaches_in || reaches_over || ends_twice || is_behind || self.pieces.len() >= MOST_FRAGMENTS {
            return self.kill();
        }
        let mut bytes = Vec::new();
        if bytes.try_reserve_exact(fragment.payload.len()).is_err() || self.pieces.try_reserve(1).is_err() {
            return self.kill();
        }
        bytes.extend_from_slice(fragment.payload);
        self.pieces.insert(place, (start, bytes));
        if !fragment.more {
            self.length = Some(end);
        }
        if start == 0 {
            self.protocol = fragment.protocol;
            self.quote = fragment.packet[..fragment.packet.len().min(QUOTE)].to_vec();
        }
        Outcome::Incomplete
    }

    /// What the packet carries, if all of it is there.
    fn whole(&self) -> Option<Vec<u8>> {
        let length = self.length?;
        // They do not overlap and do not reach behind the end.
        if self.pieces.iter().map(|(_, bytes)| bytes.len()).sum::<usize>() != length {
            return None;
        }
        let mut whole = Vec::new();
        whole.try_reserve_exact(length).ok()?;
        self.pieces.iter().for_each(|(_, bytes)| whole.extend_from_slice(bytes));
        Some(whole)
    }
}

/// What has become of packets whose fragments came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Those that became whole.
    pub whole: u64,
    /// Those of which something was missing when their time was over.
    pub late: u64,
    /// Those that gave way to others.
    pub pushed_out: u64,
}

/// Packets that are incomplete.
#[derive(Default)]
pub struct Reassembly {
    /// The oldest first.
    list: Vec<Packet>,
    counts: Counts,
}

impl Reassembly {
    /// A fragment came.
    pub fn add(&mut self, now: Instant, key: Key, fragment: &Fragment<'_>) -> Outcome {
        let length = fragment.payload.len();
        let is_sound = length > 0
            && fragment.offset + length <= LONGEST
            && fragment.offset.is_multiple_of(8)
            && (!fragment.more || length.is_multiple_of(8));
        if !is_sound {
            return Outcome::Dropped;
        }
        let index = match self.list.iter().position(|packet| packet.key == key && now < packet.until) {
            Some(index) => index,
            None => {
                while self.list.len() >= MOST_PACKETS {
                    self.push_out();
                }
                let (until, pieces, quote) = (now + PATIENCE, Vec::new(), Vec::new());
                self.list.push(Packet { key, until, pieces, length: None, protocol: 0, quote, dead: false });
                self.list.len() - 1
            }
        };
        let Some(packet) = self.list.get_mut(index) else { return Outcome::Dropped };
        if packet.dead || packet.add(fragment) == Outcome::Dropped {
            return Outcome::Dropped;
        }
        if let Some(whole) = packet.whole() {
            let protocol = packet.protocol;
            self.list.remove(index);
            self.counts.whole += 1;
            return Outcome::Whole(protocol, whole);
        }
        // The oldest ones go, and this one if it is alone too long.
        while self.bytes() > MOST_BYTES {
            self.push_out();
        }
        Outcome::Incomplete
    }

    /// Drops the oldest packet, of which there is one. Nobody misses one that was dead.
    fn push_out(&mut self) {
        self.counts.pushed_out += u64::from(!self.list.remove(0).dead);
    }

    /// What was counted so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Bytes that are kept, with what they cost.
    pub fn bytes(&self) -> usize {
        self.list.iter().map(Packet::cost).sum()
    }

    /// How many packets are incomplete.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// When [`expired`](Reassembly::expired) has something.
    pub fn deadline(&self) -> Option<Instant> {
        self.list.first().map(|packet| packet.until)
    }

    /// The next packet whose time is over: the beginning of its first fragment, if that has come.
    pub fn expired(&mut self, now: Instant) -> Option<(Key, Vec<u8>)> {
        let first = self.list.first()?;
        if now < first.until {
            return None;
        }
        let packet = self.list.remove(0);
        self.counts.late += u64::from(!packet.dead);
        Some((packet.key, packet.quote))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn key(identification: u32) -> Key {
        let address = IpAddr::V4(core::net::Ipv4Addr::new(10, 0, 0, 1));
        Key { source: address, destination: address, protocol: 17, identification }
    }

    fn at(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(seconds)
    }

    /// A part of what a packet carries.
    fn part(whole: &[u8], range: core::ops::Range<usize>) -> Fragment<'_> {
        let more = range.end < whole.len();
        Fragment { offset: range.start, more, payload: &whole[range], protocol: 17, packet: b"first" }
    }

    fn bytes(length: usize) -> Vec<u8> {
        (0..length).map(|at| at as u8).collect()
    }

    #[test]
    fn fragments_in_any_order_make_the_packet_and_no_other_bytes() {
        let whole = bytes(3001);
        let ranges = [0..1000, 1000..2000, 2000..3000, 3000..3001];
        for order in [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1], [1, 3, 0, 2]] {
            let mut reassembly = Reassembly::default();
            for (number, index) in order.into_iter().enumerate() {
                let range: core::ops::Range<usize> = ranges[index].clone();
                let outcome = reassembly.add(at(0), key(1), &part(&whole, range.clone()));
                if number < 3 {
                    assert_eq!(outcome, Outcome::Incomplete);
                    // Once more, which changes nothing.
                    assert_eq!(reassembly.add(at(0), key(1), &part(&whole, range)), Outcome::Incomplete);
                } else {
                    assert_eq!(outcome, Outcome::Whole(17, whole.clone()));
                }
            }
            assert!(reassembly.is_empty() && reassembly.bytes() == 0);
        }
    }

    #[test]
    fn overlapping_fragments_end_the_packet() {
        let whole = bytes(200);
        let other = bytes(201);
        for wrong in [
            part(&whole, 8..24),
            part(&whole, 0..8),
            part(&whole, 0..24),
            // Another end, before what is there and behind.
            Fragment { more: false, ..part(&whole, 24..32) },
            Fragment { more: false, ..part(&other, 192..201) },
            // The same place with other bytes.
            Fragment { payload: &[9; 16], ..part(&whole, 0..16) },
        ] {
            let mut reassembly = Reassembly::default();
            assert_eq!(reassembly.add(at(0), key(1), &part(&whole, 0..16)), Outcome::Incomplete);
            assert_eq!(reassembly.add(at(0), key(1), &part(&whole, 96..200)), Outcome::Incomplete);
            assert_eq!(reassembly.add(at(0), key(1), &wrong), Outcome::Dropped, "{wrong:?}");
            assert_eq!(reassembly.bytes(), 0);
            assert_eq!(reassembly.add(at(1), key(1), &part(&whole, 16..96)), Outcome::Dropped, "nothing of it counts");
            assert_eq!(reassembly.add(at(1), key(2), &part(&whole, 16..96)), Outcome::Incomplete);
            // Until somebody else may have the number.
            assert_eq!(
                reassembly.expired(at(30)).map(|(key, quote)| (key.identification, quote)),
                Some((1, Vec::new()))
            );
        }
    }

    #[test]
    fn fragments_that_are_not_sound_are_nothing() {
        let mut reassembly = Reassembly::default();
        let whole = bytes(100);
        for wrong in [
            Fragment { payload: &[], ..part(&whole, 0..8) },
            part(&whole, 0..7),
            part(&whole, 4..12),
            Fragment { offset: 65_528, payload: &[0; 8], ..part(&whole, 0..8) },
        ] {
            assert_eq!(reassembly.add(at(0), key(1), &wrong), Outcome::Dropped);
        }
        assert!(reassembly.is_empty());
        let last = Fragment { offset: 65_528, more: false, payload: &[0; 7], ..part(&whole, 0..8) };
        assert_eq!(reassembly.add(at(0), key(1), &last), Outcome::Incomplete);
    }

    #[test]
    fn what_does_not_come_whole_in_time_is_told_and_forgotten() {
        let mut reassembly = Reassembly::default();
        let whole = bytes(100);
        reassembly.add(at(0), key(1), &part(&whole, 0..8));
        reassembly.add(at(5), key(2), &part(&whole, 8..16));
        assert_eq!((reassembly.deadline(), reassembly.expired(at(29))), (Some(at(30)), None));
        assert_eq!(reassembly.expired(at(30)), Some((key(1), b"first".to_vec())));
        assert_eq!((reassembly.len(), reassembly.expired(at(34))), (1, None));
        assert_eq!(reassembly.expired(at(35)), Some((key(2), Vec::new())), "its first fragment never came");
        assert_eq!((reassembly.deadline(), reassembly.expired(at(99))), (None, None));
        assert_eq!(reassembly.counts(), Counts { late: 2, ..Counts::default() });
    }

    #[test]
    fn a_flood_has_a_bound_and_others_are_still_served() {
        let mut reassembly = Reassembly::default();
        let (long, whole) = (bytes(60_000), bytes(3000));
        for number in 0..10_000 {
            reassembly.add(at(0), key(number), &part(&long, 0..40_000));
            assert!(reassembly.bytes() <= MOST_BYTES && reassembly.len() <= MOST_PACKETS);
        }
        for number in 0..10_000 {
            reassembly.add(at(0), key(number), &part(&long, 0..8));
            assert!(reassembly.bytes() <= MOST_BYTES && reassembly.len() <= MOST_PACKETS);
        }
        // Fragments of eight bytes: more of them than any link makes.
        for number in 0..1000 {
            let outcome = reassembly.add(at(0), key(7), &part(&long, 16 * number..16 * number + 8));
            assert_eq!(outcome == Outcome::Dropped, number >= MOST_FRAGMENTS);
        }
        assert_eq!(reassembly.add(at(0), key(1 << 20), &part(&whole, 0..1000)), Outcome::Incomplete);
        assert_eq!(reassembly.add(at(0), key(1 << 20), &part(&whole, 1000..3000)), Outcome::Whole(17, whole));
        // All but those that are left have given way; the one with the many pieces is dead, and not one of the 20,000.
        let left = reassembly.len() as u64;
        let counts = Counts { whole: 1, late: 0, pushed_out: 20_000 - left + 1 };
        assert_eq!(reassembly.counts(), counts);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// However a packet is cut and shuffled, it comes out as it was, or not at all.
        #[test]
        fn a_packet_is_itself(length in 1_usize..2000, cuts in prop::collection::vec(1_usize..250, 0..6), seed: u64) {
            let whole = bytes(length);
            let mut bounds: Vec<usize> = cuts.into_iter().map(|cut| cut * 8).filter(|cut| *cut < length).collect();
            bounds.extend([0, length]);
            bounds.sort_unstable();
            bounds.dedup();
            let mut parts: Vec<_> = bounds.windows(2).map(|pair| part(&whole, pair[0]..pair[1])).collect();
            let mut state = seed | 1;
            for index in (1..parts.len()).rev() {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                parts.swap(index, (state >> 33) as usize % (index + 1));
            }
            let mut reassembly = Reassembly::default();
            let last = parts.pop().expect("there is one");
            for part in &parts {
                prop_assert_eq!(reassembly.add(at(0), key(1), part), Outcome::Incomplete);
            }
            prop_assert_eq!(reassembly.add(at(0), key(1), &last), Outcome::Whole(17, whole.clone()));
        }
    }
}
