//! Slow start that ends before it loses much: HyStart++ (RFC 9406). When round trips get longer, the way is filling up.

use super::sequence::before;
use crate::net::direct::tcp::segment::Seq;

/// A round counts after so many round trips were measured in it.
const SAMPLES: u8 = 8;
/// Round trips have to get longer by an eighth, within these bounds, in nanoseconds.
const LEAST: u64 = 4_000_000;
const MOST: u64 = 16_000_000;
/// The window grows so many times more slowly while it is being seen whether that was a passing trouble, for so many
/// rounds.
const SLOWER: u32 = 4;
const ROUNDS: u8 = 5;

/// What is known of the rounds of a slow start, times in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    /// The round ends with the acknowledgement of this position.
    end: Seq,
    /// The shortest round trip of the last round and of this one.
    last: u64,
    least: u64,
    samples: u8,
    /// Growing slowly: what the shortest round trip was when that began, and how many rounds ago.
    slow: Option<(u64, u8)>,
}

/// What becomes of the slow start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Growth {
    /// The window grows by so many bytes.
    By(u32),
    /// It is large enough.
    Enough,
}

impl Start {
    /// The first round goes on until `next` is acknowledged.
    pub fn new(next: Seq) -> Start {
        Start { end: next, last: u64::MAX, least: u64::MAX, samples: 0, slow: None }
    }

    /// `bytes` more were acknowledged, up to `una`, after a round trip of `sample`; all before `next` was sent.
    pub fn acknowledge(&mut self, una: Seq, next: Seq, bytes: u32, sample: Option<u64>) -> Growth {
        if let Some(sample) = sample {
            self.least = self.least.min(sample);
            self.samples = self.samples.saturating_add(1);
        }
        if self.samples >= SAMPLES && self.last < u64::MAX {
            let longer = (self.last / 8).clamp(LEAST, MOST);
            match self.slow {
                None if self.least >= self.last + longer => self.slow = Some((self.least, 0)),
                // It has passed.
                Some((baseline, _)) if self.least < baseline => self.slow = None,
                _ => {}
            }
        }
        if !before(una, self.end) {
            (self.end, self.last, self.least, self.samples) = (next, self.least, u64::MAX, 0);
            if let Some((_, rounds)) = &mut self.slow {
                *rounds += 1;
                if *rounds >= ROUNDS {
                    return Growth::Enough;
                }
            }
        }
        Growth::By(if self.slow.is_some() { bytes / SLOWER } else { bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// Rounds of ten acknowledgements of 1000 bytes with these round trips; by how much each lets the window grow.
    fn rounds(trips: &[u64]) -> alloc::vec::Vec<Option<u32>> {
        let (mut start, mut una) = (Start::new(Seq(10_000)), Seq(0));
        let mut round = |trip: &u64| {
            let mut grown = Some(0);
            for _ in 0..10 {
                una = una.add(1000);
                match start.acknowledge(una, una.add(10_000), 1000, Some(trip * MS)) {
                    Growth::By(bytes) => grown = grown.map(|grown| grown + bytes),
                    Growth::Enough => grown = None,
                }
            }
            grown
        };
        trips.iter().map(&mut round).collect()
    }

    #[test]
    fn longer_round_trips_slow_it_down_and_end_it_after_a_while() {
        let fast = Some(10_000);
        assert_eq!(rounds(&[20, 20, 23, 20]), [fast; 4], "less than 4 ms");
        assert_eq!(rounds(&[200, 215, 230, 245]), [fast; 4], "less than 16 ms, each time");
        // From the eighth on a quarter.
        let slow = Some(2_500);
        assert_eq!(rounds(&[20, 24, 24, 24, 24]), [fast, Some(7_750), slow, slow, slow]);
        assert_eq!(rounds(&[20, 24, 24, 24, 24, 24])[5], None);
        // Until they are shorter again.
        assert_eq!(rounds(&[20, 24, 21, 21]), [fast, Some(7_750), Some(4_750), fast]);
    }

    #[test]
    fn few_measures_say_nothing() {
        let mut start = Start::new(Seq(1000));
        for round in 1..20u32 {
            let una = Seq(round * 1000);
            assert_eq!(start.acknowledge(una, una.add(1000), 1000, Some(u64::from(round) * 50 * MS)), Growth::By(1000));
        }
    }
}
