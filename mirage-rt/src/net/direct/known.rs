//! What routers have said of how long packets may be on their way to a host, for the connections and datagrams that come after
//! those that were told of it (RFC 1191, 6.3; RFC 8201, 5.2).
//!
//! A new connection begins with it as if its peer had said that it takes no more: so what a peer's SYN offers is lowered, as
//! routers do that know of a tunnel, and stays so for that connection. No TCP machine has to know of the table.

use core::net::IpAddr;

use super::hash::Keyed;
use super::header;
use super::stack::Stack;
use super::tcp::choice::EXTENDED;
use super::tcp::segment::{FourTuple, Segment, Seq};
use crate::time::{Duration, Instant};

/// Hosts that are known. Each has one place, by a hash that nobody can foresee, and takes it from whoever has it.
const MOST: usize = 64;
/// For so long a way is believed to take no more (RFC 1191, 6.3).
const PATIENCE: Duration = Duration::from_secs(600);
/// No way is believed to take less (RFC 5927, 7.2), and none over IPv6 takes less (RFC 8200, 5).
const LEAST_MTU: u16 = 296;
pub const LEAST_MTU_IPV6: u16 = 1280;
/// Bytes of the longest header of TCP, and where its options begin.
const LONGEST_HEADER: usize = 60;
const OPTIONS: usize = 20;

#[derive(Clone, Copy)]
struct Known {
    /// Another half of its hash.
    host: u32,
    mtu: u16,
    until: Instant,
}

/// The ways.
pub struct KnownPaths {
    key: Keyed,
    ways: [Known; MOST],
}

impl KnownPaths {
    /// The key must be random.
    pub fn new(key: Keyed) -> KnownPaths {
        KnownPaths { key, ways: [Known { host: 0, mtu: 0, until: Instant::ZERO }; MOST] }
    }

    /// The place of a host, and what it is known by there.
    fn place(&self, to: IpAddr) -> (usize, u32) {
        let hash = match to {
            IpAddr::V4(to) => self.key.hash_words([to.to_bits().into()]),
            IpAddr::V6(to) => self.key.hash_words([(to.to_bits() >> 64) as u64, to.to_bits() as u64]),
        };
        (hash as usize % MOST, (hash >> 32) as u32)
    }

    /// The most bytes of a packet to `to`, if anything is known.
    pub fn get(&self, now: Instant, to: IpAddr) -> Option<u16> {
        let (place, host) = self.place(to);
        Some(self.ways[place]).filter(|known| known.host == host && known.until > now).map(|known| known.mtu)
    }

    /// Who says so must have quoted a packet of ours.
    #[cold]
    pub fn note(&mut self, now: Instant, to: IpAddr, mtu: u16) {
        let least = if to.is_ipv4() { LEAST_MTU } else { LEAST_MTU_IPV6 };
        // Somebody further away may have said less.
        let mtu = self.get(now, to).unwrap_or(u16::MAX).min(mtu.max(least));
        let (place, host) = self.place(to);
        self.ways[place] = Known { host, mtu, until: now + PATIENCE };
    }
}

impl Stack {
    /// A segment came in; its checksum is right.
    pub(super) fn receive_segment(&mut self, now: Instant, packet: &[u8], segment: &Segment) {
        let mut copy = [0; header::MOST + LONGEST_HEADER];
        let known = if EXTENDED && segment.syn { self.ip.known.get(now, segment.tuple.remote().ip()) } else { None };
        let packet = known.and_then(|mtu| lowered(packet, mtu, &mut copy)).unwrap_or(packet);
        self.tcp.on_segment(now, packet, segment, &mut self.ip);
    }

    /// A router says that a segment is too long.
    pub(super) fn receive_too_big(&mut self, tuple: &FourTuple, seq: Seq, mtu: u16) {
        let now = self.ip.now();
        if self.tcp.on_too_big(now, tuple, seq, mtu) {
            self.ip.known.note(now, tuple.remote().ip(), mtu);
        }
    }
}

/// A copy of a SYN that offers no more than fits packets of `mtu` bytes; `None` when it does not begin its options with what
/// it offers, as all do that are known of.
#[cold]
fn lowered<'a>(packet: &[u8], mtu: u16, copy: &'a mut [u8]) -> Option<&'a [u8]> {
    let copy = copy.get_mut(..packet.len())?;
    copy.copy_from_slice(packet);
    let start = header::length_in(copy) + OPTIONS;
    if let [2, 4, high, low, ..] = copy.get_mut(start..)? {
        let mss = u16::from_be_bytes([*high, *low]).min(mtu.saturating_sub(start as u16));
        [*high, *low] = mss.to_be_bytes();
    }
    Some(copy)
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::from_nanos(seconds * 1_000_000_000)
    }

    fn host(number: u8) -> IpAddr {
        IpAddr::from([10, 0, 1, number])
    }

    #[test]
    fn ways_are_known_for_ten_minutes_and_never_get_longer() {
        let mut known = KnownPaths::new(Keyed::new([0x9e37_79b9_7f4a_7c15, 0xbf58_476d_1ce4_e5b9]));
        assert_eq!(known.get(at(0), host(1)), None);
        known.note(at(0), host(1), 1300);
        known.note(at(100), host(2), 1400);
        assert_eq!((known.get(at(100), host(1)), known.get(at(100), host(2))), (Some(1300), Some(1400)));
        known.note(at(200), host(1), 1400);
        assert_eq!(known.get(at(799), host(1)), Some(1300), "a router further away has said less");
        assert_eq!((known.get(at(800), host(1)), known.get(at(700), host(2))), (None, None));
        known.note(at(800), host(1), 1400);
        assert_eq!(known.get(at(800), host(1)), Some(1400), "what has ended counts no more");
        known.note(at(800), host(1), 1);
        assert_eq!(known.get(at(800), host(1)), Some(LEAST_MTU));
        let ipv6 = IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1]);
        known.note(at(800), ipv6, 1000);
        assert_eq!(known.get(at(800), ipv6), Some(LEAST_MTU_IPV6));
    }

    #[test]
    fn whoever_takes_a_place_is_believed_for_himself_only() {
        let mut known = KnownPaths::new(Keyed::new([0x9e37_79b9_7f4a_7c15, 0xbf58_476d_1ce4_e5b9]));
        for number in 0..=255 {
            known.note(at(number.into()), host(number), 1300 + u16::from(number));
            assert_eq!(known.get(at(number.into()), host(number)), Some(1300 + u16::from(number)));
        }
        let found: Vec<_> = (0..=255).filter_map(|number| known.get(at(255), host(number)).zip(Some(number))).collect();
        assert!((40..=MOST).contains(&found.len()), "{}", found.len());
        assert!(found.iter().all(|(mtu, number)| *mtu == 1300 + u16::from(*number)), "{found:?}");
    }

    #[test]
    fn a_syn_offers_no_more_than_fits() {
        let lowered_to = |options: &[u8]| {
            let mut packet = alloc::vec![0; 40];
            packet[0] = 0x45;
            packet.extend_from_slice(options);
            let mut copy = [0; 80];
            lowered(&packet, 1300, &mut copy).map(|copy| copy[40..].to_vec())
        };
        assert_eq!(lowered_to(&[2, 4, 0x05, 0xb4, 4, 2, 1, 1]), Some([2, 4, 0x04, 0xec, 4, 2, 1, 1].into()));
        assert_eq!(lowered_to(&[2, 4, 0x02, 0x18]), Some([2, 4, 0x02, 0x18].into()), "it is less already");
        // What is otherwise stays as it is.
        for same in [&[1, 4, 2, 2, 4, 5, 0xb4, 0][..], &[3, 0, 1, 2, 0], &[2, 4, 5], &[2], &[]] {
            assert!(lowered_to(same).is_none_or(|options| options == same), "{same:?}");
        }
        assert_eq!(lowered_to(&[1; 41]), None, "it is longer than a header");
    }
}
