//! What is under way: each piece that was sent and not acknowledged, when, and what the peer has said of it.

use alloc::collections::VecDeque;

use super::sequence::{Range, before, later};
use crate::net::direct::tcp::segment::Seq;
use crate::time::Instant;

/// Pieces at most. While there are so many, nothing new is sent.
const MOST: usize = 1024;
/// Nor while there are so many and one more for each of these bytes of memory of the buffer that they are of: small pieces
/// must not take more memory than what they tell of.
const FEW: usize = 16;
const BYTES: usize = 64;
/// So many keep their places when nothing is under way.
const RESTING: usize = 4;
/// Bytes of the longest piece.
const LONGEST: u32 = 1 << 16;

/// A piece that left in one go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    pub range: Range,
    /// When it was last sent.
    pub at: Instant,
    /// The peer has it, behind a gap (RFC 2018).
    pub sacked: bool,
    /// It is believed to be lost and was not sent again yet.
    pub lost: bool,
    /// It was sent more than once.
    pub repeated: bool,
}

/// The pieces, in the order of their positions, without gaps.
#[derive(Default)]
pub struct Flight {
    pieces: VecDeque<Piece>,
    /// Bytes that the peer has, and those that are lost; a byte is at most one of them.
    sacked: u32,
    lost: u32,
    total: u32,
    /// Pieces that were sent more than once.
    repeated: usize,
}

impl Flight {
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Whether nothing new may be sent, of a buffer with so many bytes of memory.
    #[inline]
    pub fn is_full(&self, memory: usize) -> bool {
        self.pieces.len() >= (FEW + memory / BYTES).min(MOST)
    }

    /// Gives back what is not needed while nothing is under way.
    pub fn rest(&mut self) {
        if self.pieces.is_empty() && self.pieces.capacity() > RESTING {
            self.pieces = VecDeque::new();
        }
    }

    /// Bytes that are believed to be in the network (RFC 6675's pipe).
    pub fn pipe(&self) -> u32 {
        self.total - self.sacked - self.lost
    }

    /// Bytes that were not acknowledged.
    pub fn total(&self) -> u32 {
        self.total
    }

    /// Bytes that the peer has behind a gap.
    pub fn sacked(&self) -> u32 {
        self.sacked
    }

    /// Whether something may be missing that came before something else that has arrived.
    pub fn is_suspect(&self) -> bool {
        self.sacked > 0 || self.repeated > 0
    }

    /// Whether everything was sent once and nothing is known of any of it.
    pub fn is_plain(&self) -> bool {
        self.repeated == 0 && self.sacked | self.lost == 0
    }

    pub fn pieces(&self) -> impl DoubleEndedIterator<Item = &Piece> {
        self.pieces.iter()
    }

    /// A new piece was sent, behind all others.
    pub fn push(&mut self, range: Range, at: Instant) {
        self.total += range.length();
        if let Some(last) = self.pieces.back_mut()
            && last.at == at
            && !last.sacked
            && !last.lost
            && !last.repeated
            && last.range.end == range.start
            && last.range.length() + range.length() <= LONGEST
        {
            last.range.end = range.end;
            return;
        }
        self.pieces.push_back(Piece { range, at, sacked: false, lost: false, repeated: false });
    }

    /// As [`acknowledge`](Flight::acknowledge), while it [is plain](Flight::is_plain): the last piece of which something has
    /// arrived.
    pub fn acknowledge_plain(&mut self, una: Seq) -> Option<Piece> {
        let mut latest = None;
        while let Some(first) = self.pieces.front_mut().filter(|first| before(first.range.start, una)) {
            let is_whole = !before(una, first.range.end);
            let end = if is_whole { first.range.end } else { una };
            let arrived = Piece { range: Range { start: first.range.start, end }, ..*first };
            self.total -= arrived.range.length();
            first.range.start = end;
            if is_whole {
                self.pieces.pop_front();
            }
            latest = Some(arrived);
        }
        latest
    }

    /// All before `una` has arrived; each piece is shown to `arrived`, unless the peer had told of it before.
    pub fn acknowledge(&mut self, una: Seq, mut arrived: impl FnMut(&Piece)) {
        while let Some(first) = self.pieces.front_mut() {
            if !before(first.range.start, una) {
                return;
            }
            let mut done = *first;
            if before(una, first.range.end) {
                done.range.end = una;
                first.range.start = una;
            } else {
                self.pieces.pop_front();
                self.repeated -= usize::from(done.repeated);
            }
            self.total -= done.range.length();
            if done.sacked {
                self.sacked -= done.range.length();
            } else {
                if done.lost {
                    self.lost -= done.range.length();
                }
                arrived(&done);
            }
        }
    }

    /// `block` has arrived; each piece of it is shown to `arrived`, unless that was known. Pieces of which only a part has
    /// arrived are cut while there is room for more.
    pub fn sack(&mut self, block: Range, mut arrived: impl FnMut(&Piece)) {
        self.cut(block.start);
        self.cut(block.end);
        let first = self.pieces.partition_point(|piece| before(piece.range.start, block.start));
        for piece in self.pieces.range_mut(first..) {
            if !block.contains(piece.range) {
                return;
            }
            if piece.sacked {
                continue;
            }
            piece.sacked = true;
            self.sacked += piece.range.length();
            if core::mem::take(&mut piece.lost) {
                self.lost -= piece.range.length();
            }
            arrived(piece);
        }
    }

    /// Cuts the piece in which `at` stands in two there.
    fn cut(&mut self, at: Seq) {
        let index = self.pieces.partition_point(|piece| !before(at, piece.range.end));
        if self.pieces.len() >= 2 * MOST {
            return;
        }
        let Some(piece) = self.pieces.get_mut(index).filter(|piece| before(piece.range.start, at)) else { return };
        let behind = Piece { range: Range { start: at, end: piece.range.end }, ..*piece };
        piece.range.end = at;
        self.repeated += usize::from(behind.repeated);
        self.pieces.insert(index + 1, behind);
    }

    /// Takes for lost what `is_lost` says, of the pieces that the peer is not known to have; whether there was any.
    pub fn lose(&mut self, mut is_lost: impl FnMut(&Piece) -> bool) -> bool {
        let before = self.lost;
        for piece in &mut self.pieces {
            if !piece.sacked && !piece.lost && is_lost(piece) {
                piece.lost = true;
                self.lost += piece.range.length();
            }
        }
        self.lost > before
    }

    /// As [`lose`](Flight::lose), of the first `most` bytes only.
    pub fn lose_first(&mut self, most: u32) -> bool {
        let Some(first) = self.pieces.front() else { return false };
        let start = first.range.start;
        self.cut(start.add(most.max(1)));
        self.lose(|piece| piece.range.start == start)
    }

    /// The peer is not believed any more in what it said it has (RFC 2018, 8): it may have thrown it away.
    pub fn forget_sacks(&mut self) {
        for piece in &mut self.pieces {
            piece.sacked = false;
        }
        self.sacked = 0;
    }

    /// The first bytes to be sent again, at most `most`.
    pub fn next_lost(&self, most: u32) -> Option<Range> {
        if self.lost == 0 {
            return None;
        }
        let lost = self.pieces.iter().find(|piece| piece.lost)?;
        let end = lost.range.start.add(lost.range.length().min(most));
        Some(Range { start: lost.range.start, end })
    }

    /// `range`, which starts with a piece, was sent again.
    pub fn repeat(&mut self, range: Range, at: Instant) {
        self.cut(range.end);
        let first = self.pieces.partition_point(|piece| before(piece.range.start, range.start));
        let Some(piece) = self.pieces.get_mut(first) else { return };
        self.repeated += usize::from(!piece.repeated);
        (piece.repeated, piece.at) = (true, at);
        if core::mem::take(&mut piece.lost) {
            self.lost -= piece.range.length();
        }
    }

    /// The last bytes, at most `most`.
    pub fn last(&self, most: u32) -> Option<Range> {
        let range = self.pieces.back()?.range;
        let start = later(range.start, Seq(range.end.0.wrapping_sub(most)));
        Some(Range { start, end: range.end })
    }

    /// Makes the last `length` bytes a piece of their own.
    pub fn cut_last(&mut self, range: Range) {
        self.cut(range.start);
    }

    /// Whether the sums are those of the pieces, which follow one another.
    #[cfg(test)]
    pub fn is_sound(&self) -> bool {
        let sum = |which: fn(&Piece) -> bool| {
            self.pieces.iter().filter(|piece| which(piece)).map(|piece| piece.range.length()).sum::<u32>()
        };
        let is_joined = |(one, other): (&Piece, &Piece)| one.range.end == other.range.start;
        self.pieces.iter().zip(self.pieces.iter().skip(1)).all(is_joined)
            && self.pieces.iter().all(|piece| !piece.range.is_empty())
            && sum(|_| true) == self.total
            && sum(|piece| piece.sacked) == self.sacked
            && sum(|piece| piece.lost) == self.lost
            && !self.pieces.iter().any(|piece| piece.lost && piece.sacked)
            && self.pieces.iter().filter(|piece| piece.repeated).count() == self.repeated
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::direct::tcp::own::sequence::distance;
    use proptest::prelude::*;

    fn at(nanoseconds: u64) -> Instant {
        Instant::from_nanos(nanoseconds)
    }

    fn range(start: u32, end: u32) -> Range {
        Range { start: Seq(start), end: Seq(end) }
    }

    /// Ten pieces of 100 bytes.
    fn flight() -> Flight {
        let mut flight = Flight::default();
        for number in 0..10 {
            flight.push(range(number * 100, number * 100 + 100), at(u64::from(number)));
        }
        flight
    }

    #[test]
    fn what_is_told_to_have_arrived_leaves_the_pipe() {
        let mut flight = flight();
        let mut seen = 0;
        flight.sack(range(250, 400), |piece| seen += piece.range.length());
        assert_eq!((seen, flight.pipe(), flight.sacked()), (150, 850, 150));
        flight.sack(range(250, 400), |_| panic!("that was known"));
        assert!(flight.lose(|piece| before(piece.range.start, Seq(250))));
        assert_eq!(flight.pipe(), 600);
        assert_eq!(flight.next_lost(1000), Some(range(0, 100)));
        flight.repeat(range(0, 100), at(20));
        assert_eq!(flight.next_lost(30), Some(range(100, 130)));
        flight.repeat(range(100, 130), at(20));
        assert_eq!(flight.next_lost(1000), Some(range(130, 200)));
        let mut ranges = alloc::vec::Vec::new();
        flight.acknowledge(Seq(450), |piece| ranges.push((piece.range, piece.repeated)));
        assert_eq!(
            ranges,
            [
                (range(0, 100), true),
                (range(100, 130), true),
                (range(130, 200), false),
                (range(200, 250), false),
                (range(400, 450), false)
            ]
        );
        assert!(flight.is_sound());
        assert_eq!((flight.pipe(), flight.total(), flight.is_suspect()), (550, 550, false));
    }

    #[test]
    fn pieces_of_one_moment_are_one() {
        let mut flight = Flight::default();
        for number in 0..10 {
            flight.push(range(number, number + 1), at(1));
        }
        assert_eq!(flight.pieces().count(), 1);
        assert_eq!(flight.last(4), Some(range(6, 10)));
        assert!(flight.lose_first(3));
        assert_eq!(flight.next_lost(10), Some(range(0, 3)));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_sums_are_right(steps in prop::collection::vec((0u8..6, 0u32..1000, 1u32..300), 1..80), origin: u32) {
            let (mut flight, mut una, mut next) = (Flight::default(), Seq(origin), Seq(origin));
            for (number, (step, offset, length)) in steps.into_iter().enumerate() {
                let some = Range::new(una.add(offset), length);
                match step {
                    0 | 1 => {
                        flight.push(Range::new(next, length), at(number as u64 / 2));
                        next = next.add(length);
                    }
                    2 => {
                        una = una.add(offset.min(distance(una, next)) / 2);
                        flight.acknowledge(una, |_| {});
                    }
                    3 => flight.sack(some, |_| {}),
                    4 => { flight.lose(|piece| some.contains(piece.range)); }
                    _ => {
                        if let Some(lost) = flight.next_lost(length) {
                            flight.repeat(lost, at(number as u64));
                        }
                    }
                }
                prop_assert!(flight.is_sound());
            }
        }
    }
}
