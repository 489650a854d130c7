//! What has come in front of what is missing: ranges of positions, and the SACK blocks that tell the peer of them.

use alloc::vec::Vec;

use super::sequence::{Range, before};
use crate::net::direct::tcp::segment::Seq;

/// Ranges at most. What would need more is dropped, as if it had been lost.
const MOST: usize = 32;
/// SACK blocks that fit a header without timestamps (RFC 2018, 3).
pub const BLOCKS: usize = 4;

/// Ranges of received positions behind gaps. None of them touch. The one that changed last comes first, as RFC 2018, 4, wants
/// it to be told.
#[derive(Default)]
pub struct Reassembly {
    ranges: Vec<Range>,
}

impl Reassembly {
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Whether all of `range` is there.
    pub fn contains(&self, range: Range) -> bool {
        self.ranges.iter().any(|known| known.contains(range))
    }

    /// Adds a range; `false`, and no change, when there are too many or there is no memory.
    pub fn insert(&mut self, range: Range) -> bool {
        if range.is_empty() {
            return true;
        }
        let touching = self.ranges.iter().filter(|known| known.touches(range)).count();
        if touching == 0 && (self.ranges.len() >= MOST || self.ranges.try_reserve(1).is_err()) {
            return false;
        }
        let hull = self.ranges.iter().filter(|known| known.touches(range)).fold(range, |hull, known| hull.hull(*known));
        self.ranges.retain(|known| !known.touches(range));
        self.ranges.insert(0, hull);
        true
    }

    /// All in front of `next` is there: takes the range that goes on from it, and returns up to where it goes.
    pub fn take(&mut self, next: Seq) -> Seq {
        let mut end = next;
        self.ranges.retain(|range| {
            if before(next, range.start) {
                return true;
            }
            if before(end, range.end) {
                end = range.end;
            }
            false
        });
        end
    }

    /// The blocks to be told, at most `most`.
    pub fn blocks(&self, most: usize) -> impl Iterator<Item = Range> + '_ {
        self.ranges.iter().copied().take(most.min(BLOCKS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn range(start: u32, end: u32) -> Range {
        Range { start: Seq(start), end: Seq(end) }
    }

    #[test]
    fn the_latest_block_is_told_first_and_gaps_close() {
        let mut held = Reassembly::default();
        assert!(held.insert(range(10, 20)) && held.insert(range(30, 40)) && held.insert(range(50, 60)));
        assert_eq!(held.blocks(4).collect::<Vec<_>>(), [range(50, 60), range(30, 40), range(10, 20)]);
        assert!(held.insert(range(18, 31)));
        assert_eq!(held.blocks(1).collect::<Vec<_>>(), [range(10, 40)]);
        assert!(held.contains(range(12, 40)) && !held.contains(range(12, 41)));
        assert_eq!(held.take(Seq(5)), Seq(5));
        assert_eq!(held.take(Seq(10)), Seq(40));
        assert_eq!(held.take(Seq(40)), Seq(40));
        assert_eq!(held.take(Seq(55)), Seq(60));
        assert!(held.is_empty());
    }

    #[test]
    fn the_number_of_ranges_is_bounded() {
        let mut held = Reassembly::default();
        for number in 0..1000 {
            assert_eq!(held.insert(range(number * 10, number * 10 + 1)), (number as usize) < MOST);
        }
        assert_eq!(held.ranges.len(), MOST);
        assert!(held.insert(range(1, 10)), "what closes a gap is taken");
        assert_eq!(held.ranges.len(), MOST - 1);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn it_holds_what_was_put_in(pieces in prop::collection::vec((1u32..200, 1u32..20), 1..30), origin: u32) {
            let (mut held, mut model) = (Reassembly::default(), [false; 256]);
            for (start, length) in pieces {
                prop_assert!(held.insert(Range::new(Seq(origin).add(start), length)));
                model[start as usize..(start + length) as usize].fill(true);
            }
            for at in 0..256 {
                let is_held = held.contains(Range::new(Seq(origin).add(at), 1));
                prop_assert_eq!(is_held, model[at as usize]);
            }
            let end = (1..256).find(|at| !model[*at]).unwrap_or(256);
            prop_assert_eq!(held.take(Seq(origin).add(1)), Seq(origin).add(end as u32));
        }
    }
}
