//! Arithmetic of positions: RFC 9293, 3.4. Positions wrap around; two of them compare by the sign of their difference, which
//! is right as long as they are less than 2^31 apart. No window is larger than 2^30 (RFC 7323, 2.3).

use crate::net::direct::tcp::segment::Seq;

/// Whether `this` comes before `other`.
pub fn before(this: Seq, other: Seq) -> bool {
    this.since(other) < 0
}

/// The later one.
pub fn later(this: Seq, other: Seq) -> Seq {
    if before(this, other) { other } else { this }
}

/// The earlier one.
pub fn earlier(this: Seq, other: Seq) -> Seq {
    if before(other, this) { other } else { this }
}

/// How many positions lie from `start` to `end`; none when `end` is not behind `start`.
pub fn distance(start: Seq, end: Seq) -> u32 {
    u32::try_from(end.since(start)).unwrap_or(0)
}

/// Whether a segment at `seq` that takes `span` positions lies at least in part in the window from `next` to `end`
/// (the four cases of RFC 9293, 3.4, table 6).
pub fn is_acceptable(next: Seq, end: Seq, seq: Seq, span: u32) -> bool {
    let is_inside = |at: Seq| !before(at, next) && before(at, end);
    if next == end {
        return span == 0 && seq == next;
    }
    is_inside(seq) || span > 0 && (is_inside(seq.add(span - 1)) || before(seq, next) && !before(seq.add(span), end))
}

/// Positions from `start` up to and without `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Range {
    pub start: Seq,
    pub end: Seq,
}

impl Range {
    pub fn new(start: Seq, length: u32) -> Range {
        Range { start, end: start.add(length) }
    }

    pub fn length(&self) -> u32 {
        distance(self.start, self.end)
    }

    pub fn is_empty(&self) -> bool {
        self.length() == 0
    }

    /// Whether all of `other` lies in it.
    pub fn contains(&self, other: Range) -> bool {
        !before(other.start, self.start) && !before(self.end, other.end)
    }

    /// Whether the two have positions in common or lie side by side.
    pub fn touches(&self, other: Range) -> bool {
        !before(self.end, other.start) && !before(other.end, self.start)
    }

    /// The smallest range with both in it.
    pub fn hull(&self, other: Range) -> Range {
        Range { start: earlier(self.start, other.start), end: later(self.end, other.end) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_compared_across_the_wrap() {
        let (low, high) = (Seq(u32::MAX - 1), Seq(3));
        assert!(before(low, high) && !before(high, low) && !before(low, low));
        assert_eq!((later(low, high), earlier(low, high)), (high, low));
        assert_eq!((distance(low, high), distance(high, low)), (5, 0));
    }

    #[test]
    fn a_segment_is_acceptable_when_it_touches_the_window() {
        let (next, end) = (Seq(u32::MAX - 9), Seq(10));
        for (offset, span, expected) in [
            (0, 0, true),
            (-1, 0, false),
            (19, 0, true),
            (20, 0, false),
            (-5, 5, false),
            (-5, 6, true),
            (19, 100, true),
            (20, 1, false),
            (-5, 100, true),
        ] {
            let seq = Seq(next.0.wrapping_add_signed(offset));
            assert_eq!(is_acceptable(next, end, seq, span), expected, "{offset} {span}");
        }
        // A closed window.
        assert!(is_acceptable(next, next, next, 0));
        assert!(!is_acceptable(next, next, next, 1));
        assert!(!is_acceptable(next, next, next.add(1), 0));
    }

    #[test]
    fn ranges_touch_contain_and_join() {
        let first = Range::new(Seq(u32::MAX - 4), 10);
        let (beside, apart) = (Range::new(Seq(5), 5), Range::new(Seq(6), 5));
        assert!(first.touches(beside) && beside.touches(first) && !first.touches(apart) && !apart.touches(first));
        assert_eq!(first.hull(beside), Range::new(Seq(u32::MAX - 4), 15));
        assert!(first.contains(Range::new(Seq(0), 5)) && !first.contains(Range::new(Seq(0), 6)));
    }
}
