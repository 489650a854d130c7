//! What is under way: each piece that was sent and not acknowledged, when, and what the peer has said of it.

use alloc::boxed::Box;
use alloc::collections::VecDeque;

use super::rack::{Detected, Rack};
use super::rtt::RoundTrip;
use super::sequence::{Range, before, earlier, later};
use crate::net::direct::tcp::segment::Seq;
use crate::time::Instant;

/// Pieces at most. While there are so many, nothing new is sent.
const MOST: usize = 1024;
/// Nor while there are so many and one more for each of these bytes of memory of the buffer that they are of: small pieces
/// must not take more memory than what they tell of.
const FEW: usize = 16;
const BYTES: usize = 64;
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

impl Piece {
    /// One that was sent for the first time.
    fn new(range: Range, at: Instant) -> Piece {
        Piece { range, at, sacked: false, lost: false, repeated: false }
    }
}

/// What is under way. Nearly always that is nothing, or one piece that was sent once.
pub struct Flight {
    /// The only piece, and when it was sent, while nothing else is to be known.
    one: Range,
    at: Instant,
    many: Option<Box<Many>>,
}

impl Default for Flight {
    fn default() -> Flight {
        Flight { one: Range::default(), at: Instant::ZERO, many: None }
    }
}

impl Flight {
    pub fn is_empty(&self) -> bool {
        self.count() == 0
    }

    /// Whether nothing new may be sent, of a buffer with so many bytes of memory.
    #[inline]
    pub fn is_full(&self, memory: usize) -> bool {
        self.count() >= (FEW + memory / BYTES).min(MOST)
    }

    /// Gives back what is not needed while nothing is under way.
    pub fn rest(&mut self) {
        if let Some(many) = self.many.as_mut().filter(|many| many.pieces.is_empty()) {
            if many.rack.has_learned() {
                many.pieces = VecDeque::new();
            } else {
                self.many = None;
            }
        }
    }

    /// Bytes that are believed to be in the network (RFC 6675's pipe).
    pub fn pipe(&self) -> u32 {
        match &self.many {
            None => self.one.length(),
            Some(many) => many.total - many.sacked - many.lost,
        }
    }

    /// Bytes that were not acknowledged.
    #[inline]
    pub fn total(&self) -> u32 {
        self.many.as_ref().map_or(self.one.length(), |many| many.total)
    }

    /// Bytes that the peer has behind a gap.
    pub fn sacked(&self) -> u32 {
        self.many.as_ref().map_or(0, |many| many.sacked)
    }

    /// Whether everything was sent once and nothing is known of any of it.
    #[inline]
    pub fn is_plain(&self) -> bool {
        self.many.as_ref().is_none_or(|many| many.repeated == 0 && many.sacked | many.lost == 0)
    }

    /// The first piece.
    pub fn first(&self) -> Option<Piece> {
        match &self.many {
            None => (self.one.start != self.one.end).then(|| Piece::new(self.one, self.at)),
            Some(many) => many.pieces.front().copied(),
        }
    }

    /// How many pieces there are.
    #[inline]
    pub fn count(&self) -> usize {
        self.many.as_ref().map_or(usize::from(self.one.start != self.one.end), |many| many.pieces.len())
    }

    /// All that there is to know of several pieces, or of one about which there is something.
    #[cold]
    #[inline(never)]
    fn many(&mut self) -> &mut Many {
        self.many.get_or_insert_with(|| {
            let mut many = Many::new(self.one.start);
            if self.one.start != self.one.end {
                many.push(self.one, self.at);
            }
            self.one.start = self.one.end;
            Box::new(many)
        })
    }

    /// A new piece was sent, behind all others.
    #[inline]
    pub fn push(&mut self, range: Range, at: Instant) {
        if self.many.is_none() && self.one.start == self.one.end {
            (self.one, self.at) = (range, at);
        } else {
            self.many().push(range, at);
        }
    }

    /// As [`acknowledge`](Flight::acknowledge), while it [is plain](Flight::is_plain): when the last piece was sent of which
    /// something has arrived.
    #[inline]
    pub fn acknowledge_plain(&mut self, now: Instant, una: Seq, trip: &RoundTrip) -> Option<Instant> {
        if let Some(many) = &mut self.many {
            return many.acknowledge_plain(now, una, trip);
        }
        if !before(self.one.start, una) {
            return None;
        }
        self.one.start = earlier(una, self.one.end);
        Some(self.at)
    }

    /// All before `una` has arrived; each piece is shown to `arrived`, unless the peer had told of it before.
    pub fn acknowledge(&mut self, una: Seq, mut arrived: impl FnMut(&mut Rack, &Piece)) {
        if let Some(many) = &mut self.many {
            return many.acknowledge(una, arrived);
        }
        if before(self.one.start, una) {
            let end = earlier(una, self.one.end);
            // Of one piece there is no order to be learned.
            arrived(&mut Rack::new(end), &Piece::new(Range { start: self.one.start, end }, self.at));
            self.one.start = end;
        }
    }

    /// `block` has arrived; each piece of it is shown to `arrived`, unless that was known. Pieces of which only a part has
    /// arrived are cut while there is room for more.
    pub fn sack(&mut self, block: Range, arrived: impl FnMut(&mut Rack, &Piece)) {
        if !self.is_empty() {
            self.many().sack(block, arrived);
        }
    }

    /// Takes for lost what `is_lost` says, of the pieces that the peer is not known to have; whether there was any.
    pub fn lose(&mut self, is_lost: impl FnMut(&Piece) -> bool) -> bool {
        !self.is_empty() && self.many().lose(is_lost)
    }

    /// Nothing of it was lost after all.
    pub fn find_all(&mut self) {
        if let Some(many) = &mut self.many {
            for piece in &mut many.pieces {
                piece.lost = false;
            }
            many.lost = 0;
        }
    }

    /// Bytes that are lost and were not sent again yet.
    pub fn lost(&self) -> u32 {
        self.many.as_ref().map_or(0, |many| many.lost)
    }

    /// As [`lose`](Flight::lose), of the first `most` bytes only.
    #[cold]
    #[inline(never)]
    pub fn lose_first(&mut self, most: u32) -> bool {
        if self.is_empty() {
            return false;
        }
        let many = self.many();
        let Some(first) = many.pieces.front() else { return false };
        let start = first.range.start;
        many.cut(start.add(most.max(1)));
        many.lose(|piece| piece.range.start == start)
    }

    /// Takes for lost what has to be, by RACK.
    pub fn detect(&mut self, now: Instant, trip: &RoundTrip, mss: u32, recovering: bool) -> Detected {
        match &mut self.many {
            // What was sent once and in one go has nothing behind it that could have come.
            None => Detected { lost: false, again: None },
            Some(many) => {
                let rack = many.rack;
                rack.detect(now, many, trip, mss, recovering)
            }
        }
    }

    /// The peer got something twice.
    #[cold]
    #[inline(never)]
    pub fn duplicate(&mut self, una: Seq, next: Seq) {
        self.many().rack.duplicate(una, next);
    }

    /// A recovery has ended.
    pub fn recovered(&mut self) {
        if let Some(many) = &mut self.many {
            many.rack.recovered();
        }
    }

    /// The peer is not believed any more in what it said it has (RFC 2018, 8): it may have thrown it away.
    #[cold]
    #[inline(never)]
    pub fn forget_sacks(&mut self) {
        if let Some(many) = &mut self.many {
            for piece in &mut many.pieces {
                piece.sacked = false;
            }
            many.sacked = 0;
        }
    }

    /// The first bytes to be sent again, at most `most`.
    pub fn next_lost(&self, most: u32) -> Option<Range> {
        let many = self.many.as_ref().filter(|many| many.lost > 0)?;
        let lost = many.pieces.iter().find(|piece| piece.lost)?;
        let end = lost.range.start.add(lost.range.length().min(most));
        Some(Range { start: lost.range.start, end })
    }

    /// `range`, which starts with a piece, was sent again.
    pub fn repeat(&mut self, range: Range, at: Instant) {
        self.many().repeat(range, at);
    }

    /// The last bytes, at most `most`.
    pub fn last(&self, most: u32) -> Option<Range> {
        let range = match &self.many {
            None => Some(self.one).filter(|one| one.start != one.end),
            Some(many) => many.pieces.back().map(|piece| piece.range),
        }?;
        let start = later(range.start, Seq(range.end.0.wrapping_sub(most)));
        Some(Range { start, end: range.end })
    }

    /// Makes the last `length` bytes a piece of their own.
    pub fn cut_last(&mut self, range: Range) {
        self.many().cut(range.start);
    }

    #[cfg(test)]
    pub fn is_sound(&self) -> bool {
        self.many.as_ref().is_none_or(|many| many.is_sound() && self.one.is_empty())
    }

    /// What is known of the order of arrivals.
    pub fn rack(&mut self) -> &mut Rack {
        &mut self.many().rack
    }
}

/// The pieces, in the order of their positions, without gaps, and what is known of their order.
pub struct Many {
    pieces: VecDeque<Piece>,
    /// Bytes that the peer has, and those that are lost; a byte is at most one of them.
    sacked: u32,
    lost: u32,
    total: u32,
    /// Pieces that were sent more than once.
    repeated: usize,
    rack: Rack,
}

impl Many {
    /// None yet; all before `una` has arrived.
    fn new(una: Seq) -> Many {
        Many { pieces: VecDeque::new(), sacked: 0, lost: 0, total: 0, repeated: 0, rack: Rack::new(una) }
    }

    /// Bytes that the peer has behind a gap.
    pub fn sacked(&self) -> u32 {
        self.sacked
    }

    /// Whether something may be missing that came before something else that has arrived.
    pub fn is_suspect(&self) -> bool {
        self.sacked > 0 || self.repeated > 0
    }

    fn push(&mut self, range: Range, at: Instant) {
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
        self.pieces.push_back(Piece::new(range, at));
    }

    fn acknowledge_plain(&mut self, now: Instant, una: Seq, trip: &RoundTrip) -> Option<Instant> {
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
        let latest = latest?;
        self.rack.arrive(now, &latest, trip, false);
        Some(latest.at)
    }

    fn acknowledge(&mut self, una: Seq, mut arrived: impl FnMut(&mut Rack, &Piece)) {
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
                arrived(&mut self.rack, &done);
            }
        }
    }

    fn sack(&mut self, block: Range, mut arrived: impl FnMut(&mut Rack, &Piece)) {
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
            arrived(&mut self.rack, piece);
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

    fn repeat(&mut self, range: Range, at: Instant) {
        self.cut(range.end);
        let first = self.pieces.partition_point(|piece| before(piece.range.start, range.start));
        let Some(piece) = self.pieces.get_mut(first) else { return };
        self.repeated += usize::from(!piece.repeated);
        (piece.repeated, piece.at) = (true, at);
        if core::mem::take(&mut piece.lost) {
            self.lost -= piece.range.length();
        }
    }

    /// Whether the sums are those of the pieces, which follow one another.
    #[cfg(test)]
    fn is_sound(&self) -> bool {
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
        flight.sack(range(250, 400), |_, piece| seen += piece.range.length());
        assert_eq!((seen, flight.pipe(), flight.sacked()), (150, 850, 150));
        flight.sack(range(250, 400), |_, _| panic!("that was known"));
        assert!(flight.lose(|piece| before(piece.range.start, Seq(250))));
        assert_eq!(flight.pipe(), 600);
        assert_eq!(flight.next_lost(1000), Some(range(0, 100)));
        flight.repeat(range(0, 100), at(20));
        assert_eq!(flight.next_lost(30), Some(range(100, 130)));
        flight.repeat(range(100, 130), at(20));
        assert_eq!(flight.next_lost(1000), Some(range(130, 200)));
        let mut ranges = alloc::vec::Vec::new();
        flight.acknowledge(Seq(450), |_, piece| ranges.push((piece.range, piece.repeated)));
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
        assert_eq!((flight.pipe(), flight.total(), flight.is_plain()), (550, 550, true));
    }

    #[test]
    fn pieces_of_one_moment_are_one() {
        let mut flight = Flight::default();
        for number in 0..10 {
            flight.push(range(number, number + 1), at(1));
        }
        assert_eq!(flight.count(), 1);
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
                        flight.acknowledge(una, |_, _| {});
                    }
                    3 => flight.sack(some, |_, _| {}),
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
