//! One direction of a cable: it delays, loses, repeats and spoils frames, by numbers that follow from a seed.

use alloc::vec::Vec;

use super::cut;
use super::impairments::{Bandwidth, Impairments};
use crate::packet::{Checksum, Gso};
use crate::time::{Duration, Instant};

/// A frame under way.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub(super) bytes: Vec<u8>,
    pub(super) checksum: Checksum,
    pub(super) gso: Gso,
}

/// What has become of the frames that came to a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LinkStatistics {
    /// Frames that came to the link.
    pub frames: u64,
    /// Their bytes, Ethernet headers included.
    pub bytes: u64,
    /// Frames that were dropped because too many bytes waited.
    pub dropped: u64,
    /// Frames that were lost because they were too long.
    pub too_long: u64,
    /// Frames that were lost by chance.
    pub lost: u64,
    /// Frames that were sent twice.
    pub duplicated: u64,
    /// Frames and copies of which a bit was flipped.
    pub corrupted: u64,
    /// Frames and copies that were held back.
    pub reordered: u64,
}

/// One direction of a cable.
pub(super) struct Link {
    pub(super) impairments: Impairments,
    pub(super) statistics: LinkStatistics,
    random: u64,
    /// Until when it is busy with the frames that it has taken.
    busy_until: Instant,
}

impl Link {
    pub(super) fn new(seed: u64, impairments: Impairments) -> Link {
        Link { impairments, statistics: LinkStatistics::default(), random: seed, busy_until: Instant::ZERO }
    }

    /// Takes a frame in; what comes out of it, and when: nothing, one frame or two.
    pub(super) fn pass(&mut self, now: Instant, frame: Frame) -> Vec<(Instant, Frame)> {
        self.statistics.frames += 1;
        self.statistics.bytes += frame.bytes.len() as u64;
        if self.impairments.longest.is_some_and(|longest| cut::longest(&frame) > longest.into()) {
            self.statistics.too_long += 1;
            return Vec::new();
        }
        let Some(sent) = self.take_turn(now, frame.bytes.len()) else {
            self.statistics.dropped += 1;
            return Vec::new();
        };
        let copies = self.copies();
        (0..copies)
            .map(|_| {
                let mut copy = frame.clone();
                let at = self.arrival(sent);
                if self.happens(self.impairments.corruption) {
                    self.spoil(&mut copy);
                }
                (at, copy)
            })
            .collect()
    }

    /// When a frame of `length` bytes has been sent; `None` when it is dropped.
    fn take_turn(&mut self, now: Instant, length: usize) -> Option<Instant> {
        let Some(Bandwidth { bits_per_second, queue }) = self.impairments.bandwidth else { return Some(now) };
        if bits_per_second == 0 {
            return None;
        }
        let waiting = (self.busy_until - now).as_nanos() * u128::from(bits_per_second) / 8_000_000_000;
        if waiting > 0 && waiting + length as u128 > queue as u128 {
            return None;
        }
        let nanoseconds = (length as u128 * 8_000_000_000).div_ceil(u128::from(bits_per_second));
        let duration = Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX));
        self.busy_until = self.busy_until.max(now) + duration;
        Some(self.busy_until)
    }

    /// How many copies of a frame arrive.
    fn copies(&mut self) -> usize {
        if self.random() < self.impairments.loss {
            self.statistics.lost += 1;
            0
        } else if self.random() < self.impairments.duplication {
            self.statistics.duplicated += 1;
            2
        } else {
            1
        }
    }

    fn arrival(&mut self, sent: Instant) -> Instant {
        let jitter = self.random();
        let at = sent + self.impairments.delay + self.impairments.jitter.mul_f64(jitter);
        if !self.happens(self.impairments.reordering) {
            return at;
        }
        self.statistics.reordered += 1;
        at + self.impairments.reordering_delay
    }

    /// Flips a bit of a frame.
    fn spoil(&mut self, frame: &mut Frame) {
        cut::complete_checksum(frame);
        let bits = 8 * frame.bytes.len().saturating_sub(cut::ETHERNET);
        let bit = (self.random() * bits as f64) as usize;
        if let Some(byte) = frame.bytes.get_mut(cut::ETHERNET + bit / 8) {
            *byte ^= 1 << (bit % 8);
            self.statistics.corrupted += 1;
        }
    }

    /// Whether something happens that does so in this part of cases. What never happens takes no random number, so that a
    /// run stays what it was when more can be chosen.
    fn happens(&mut self, part: f64) -> bool {
        part > 0.0 && self.random() < part
    }

    /// The next number from 0 to 1.
    fn random(&mut self) -> f64 {
        (split_mix(&mut self.random) >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// The next number of the SplitMix64 generator with this state.
pub(super) fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
