//! Which pieces are lost: RACK of RFC 8985. What was sent before something that has arrived, by more than a round trip and
//! some patience for reordering, is lost; it is the order of time that counts, so repeated pieces can be lost again.

use super::flight::{Many, Piece};
use super::rtt::RoundTrip;
use super::sequence::{before, later};
use crate::net::direct::tcp::segment::Seq;
use crate::time::Instant;

/// The patience that comes of duplicates is at most so many quarters of the shortest round trip.
const MOST_QUARTERS: u32 = 255;
/// For so many recoveries a larger patience stays (RFC 8985, 6.2, step 4).
const PERSIST: u32 = 16;
/// So many segments behind a gap mean a loss, as long as nothing was seen out of order (RFC 5681, 3.2).
const DUPLICATES: u32 = 3;

/// The latest that has arrived.
#[derive(Clone, Copy, Debug)]
struct Latest {
    at: Instant,
    end: Seq,
    /// When that was known.
    heard: Instant,
}

impl Latest {
    /// Its round trip, in nanoseconds.
    fn trip(&self) -> u64 {
        self.heard.nanos_since(self.at)
    }
}

/// What RACK keeps.
#[derive(Clone, Copy, Debug)]
pub struct Rack {
    latest: Option<Latest>,
    /// The highest position that has arrived.
    highest: Seq,
    /// Something came behind what was sent after it.
    reordered: bool,
    /// Quarters of the round trip.
    quarters: u32,
    persist: u32,
    /// By how many nanoseconds a piece came later than one that was sent after it, at most.
    late: u64,
    /// The same of the last [`PERSIST`] recoveries or fewer, which `late` becomes after them.
    lately: u64,
    /// No further duplicate counts until this position is acknowledged.
    round: Option<Seq>,
}

/// What [`Rack::detect`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Detected {
    pub lost: bool,
    /// When to look again.
    pub again: Option<Instant>,
}

impl Rack {
    pub fn new(isn: Seq) -> Rack {
        Rack { latest: None, highest: isn, reordered: false, quarters: 1, persist: 0, late: 0, lately: 0, round: None }
    }

    /// Whether it knows something of the way that later pieces can make use of.
    pub fn has_learned(&self) -> bool {
        self.reordered || self.quarters > 1
    }

    /// A piece has arrived. `echoes_earlier` says that the acknowledgement is for what was sent before the piece was
    /// repeated (RFC 8985, 6.2, step 2).
    pub fn arrive(&mut self, now: Instant, piece: &Piece, trip: &RoundTrip, echoes_earlier: bool) {
        if !piece.repeated && before(piece.range.end, self.highest) {
            self.be_late(now, piece.at);
        }
        self.highest = later(self.highest, piece.range.end);
        if piece.repeated && (echoes_earlier || now.nanos_since(piece.at) < trip.least_quarters(4)) {
            return;
        }
        let is_later = |latest: &Latest| is_earlier(latest.at, latest.end, piece.at, piece.range.end);
        if self.latest.as_ref().is_none_or(is_later) {
            self.latest = Some(Latest { at: piece.at, end: piece.range.end, heard: now });
        }
    }

    /// The peer got something twice (RFC 2883): it was late, not lost. More patience, once for each round trip.
    pub fn duplicate(&mut self, una: Seq, next: Seq) {
        if self.round.is_none_or(|round| !before(una, round)) {
            self.round = Some(next);
            self.quarters = (self.quarters + 1).min(MOST_QUARTERS);
            self.persist = PERSIST;
        }
    }

    /// What was sent at `at` was late, not lost, if something that was sent after it is known for longer: what one acknowledgement
    /// tells of has no order.
    #[cold]
    #[inline(never)]
    pub fn be_late(&mut self, now: Instant, at: Instant) {
        if let Some(latest) = self.latest.filter(|latest| at <= latest.at && latest.heard < now) {
            self.reordered = true;
            self.lately = self.lately.max(now.nanos_since(at).saturating_sub(latest.trip()));
            self.late = self.late.max(self.lately);
            if self.persist == 0 {
                self.persist = PERSIST;
            }
        }
    }

    /// A recovery has ended.
    pub fn recovered(&mut self) {
        self.persist = self.persist.saturating_sub(1);
        if self.persist == 0 {
            self.quarters = 1;
            (self.late, self.lately) = (self.lately, 0);
            if self.late > 0 {
                self.persist = PERSIST;
            }
        }
    }

    /// How many nanoseconds later than its successors a piece may come (RFC 8985, 6.2, step 4). The RFC starts from the shortest round
    /// trip and recommends a smoothed one as the bound. Where some packets overtake others by much, the one grows too slowly and the
    /// other is too little: so it is as long as pieces were late, and at most as long as the timer waits.
    fn patience(&self, trip: &RoundTrip, sacked: u32, mss: u32, recovering: bool) -> u64 {
        if !self.reordered && (recovering || sacked >= DUPLICATES * mss) {
            return 0;
        }
        trip.least_quarters(self.quarters).max(self.late).min(trip.longest())
    }

    /// Takes for lost what has to be (RFC 8985, 6.2, step 5).
    pub fn detect(&self, now: Instant, flight: &mut Many, trip: &RoundTrip, mss: u32, recovering: bool) -> Detected {
        let Some(latest) = self.latest.filter(|_| flight.is_suspect()) else {
            return Detected { lost: false, again: None };
        };
        let wait = latest.trip() + self.patience(trip, flight.sacked(), mss, recovering);
        let mut again: Option<Instant> = None;
        let lost = flight.lose(|piece| {
            if !is_earlier(piece.at, piece.range.end, latest.at, latest.end) {
                return false;
            }
            let due = piece.at.plus_nanos(wait);
            if due > now {
                again = again.max(Some(due));
            }
            due <= now
        });
        Detected { lost, again }
    }
}

/// Whether the first was sent before the second.
fn is_earlier(at: Instant, end: Seq, other_at: Instant, other_end: Seq) -> bool {
    at < other_at || at == other_at && before(end, other_end)
}

/// The probe of a tail loss (RFC 8985, 7).
#[derive(Clone, Copy, Debug, Default)]
pub struct Probe {
    /// What was sent up to here when the last probe was.
    end: Seq,
    out: bool,
    /// The probe was something sent before.
    repeated: bool,
}

impl Probe {
    pub fn is_out(&self) -> bool {
        self.out
    }

    pub fn send(&mut self, next: Seq, repeated: bool) {
        *self = Probe { end: next, out: true, repeated };
    }

    pub fn forget(&mut self) {
        self.out = false;
    }

    /// All before `una` has arrived; `duplicate` when the peer says that it got something twice, `bare` when the
    /// acknowledgement says nothing but its position. Returns whether the probe has repaired a loss that nothing else has
    /// told of (RFC 8985, 7.4.2).
    pub fn acknowledge(&mut self, una: Seq, duplicate: bool, bare: bool) -> bool {
        let Probe { end, out, repeated } = *self;
        if !out || before(una, end) {
            return false;
        }
        let is_repair = repeated && !duplicate && before(end, una);
        if !repeated || duplicate || is_repair || bare {
            self.out = false;
        }
        is_repair
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::direct::tcp::own::flight::Flight;
    use crate::net::direct::tcp::own::sequence::Range;

    fn at(milliseconds: u64) -> Instant {
        Instant::from_nanos(milliseconds * 1_000_000)
    }

    fn range(start: u32, end: u32) -> Range {
        Range { start: Seq(start), end: Seq(end) }
    }

    /// Ten segments of 100 bytes, a millisecond apart, on a way of 20 ms.
    fn setting() -> (Flight, RoundTrip) {
        let (mut flight, mut trip) = (Flight::default(), RoundTrip::default());
        for number in 0..10 {
            flight.push(range(number * 100, number * 100 + 100), at(u64::from(number)));
        }
        trip.measure(at(0), at(20));
        (flight, trip)
    }

    fn sack(flight: &mut Flight, trip: &RoundTrip, now: Instant, block: Range) {
        flight.sack(block, |rack, piece| rack.arrive(now, piece, trip, false));
    }

    #[test]
    fn three_segments_behind_a_gap_mean_a_loss_at_once() {
        let (mut flight, trip) = setting();
        sack(&mut flight, &trip, at(22), range(200, 300));
        let found = flight.detect(at(22), &trip, 100, false);
        // The patience is a quarter of 20 ms; the second was sent at 1 ms.
        assert_eq!(found, Detected { lost: false, again: Some(at(26)) });
        sack(&mut flight, &trip, at(23), range(200, 500));
        assert!(flight.detect(at(24), &trip, 100, false).lost);
        assert_eq!(flight.next_lost(1000), Some(range(0, 100)));
    }

    #[test]
    fn what_was_seen_out_of_order_gets_time() {
        let (mut flight, trip) = setting();
        sack(&mut flight, &trip, at(22), range(300, 400));
        sack(&mut flight, &trip, at(22), range(200, 300));
        assert!(!flight.rack().reordered, "an acknowledgement tells of many at once");
        sack(&mut flight, &trip, at(23), range(100, 200));
        assert!(flight.rack().reordered);
        sack(&mut flight, &trip, at(25), range(400, 600));
        // Three and more, and still it waits: 5 ms more than a round trip of 20.
        let found = flight.detect(at(24), &trip, 100, false);
        assert_eq!(found, Detected { lost: false, again: Some(at(25)) });
        assert!(flight.detect(at(25), &trip, 100, false).lost);
    }

    #[test]
    fn a_repetition_that_is_lost_is_noticed() {
        let (mut flight, trip) = setting();
        sack(&mut flight, &trip, at(24), range(100, 500));
        assert!(flight.detect(at(24), &trip, 100, false).lost);
        flight.repeat(range(0, 100), at(24));
        flight.push(range(1000, 1100), at(25));
        sack(&mut flight, &trip, at(45), range(1000, 1100));
        assert!(flight.detect(at(46), &trip, 100, true).lost);
        assert_eq!(flight.next_lost(1000), Some(range(0, 100)));
    }

    #[test]
    fn an_acknowledgement_of_the_first_sending_tells_nothing_of_the_second() {
        let (mut flight, trip) = setting();
        flight.repeat(range(0, 100), at(15));
        flight.acknowledge(Seq(100), |rack, piece| rack.arrive(at(16), piece, &trip, false));
        assert!(flight.rack().latest.is_none(), "1 ms is shorter than any round trip");
        flight.repeat(range(100, 200), at(15));
        flight.acknowledge(Seq(200), |rack, piece| rack.arrive(at(36), piece, &trip, true));
        assert!(flight.rack().latest.is_none(), "its timestamp says so");
    }

    #[test]
    fn duplicates_make_it_patient_for_a_while() {
        let mut rack = Rack::new(Seq(0));
        rack.duplicate(Seq(0), Seq(100));
        rack.duplicate(Seq(50), Seq(200));
        assert_eq!(rack.quarters, 2, "once for each round trip");
        rack.duplicate(Seq(100), Seq(200));
        assert_eq!(rack.quarters, 3);
        for _ in 0..PERSIST {
            rack.recovered();
        }
        assert_eq!(rack.quarters, 1);
    }

    #[test]
    fn what_was_late_makes_it_patient_for_as_long() {
        let (mut flight, mut trip) = setting();
        trip.measure(at(0), at(4));
        // The third after 6 ms, and the first two, sent 1 ms and 2 ms before, after 20.
        sack(&mut flight, &trip, at(8), range(200, 300));
        sack(&mut flight, &trip, at(20), range(0, 200));
        assert_eq!((flight.rack().late, flight.rack().reordered), (14_000_000, true));
        // A quarter of the shortest round trip is 1 ms.
        sack(&mut flight, &trip, at(20), range(600, 700));
        assert_eq!(flight.detect(at(27), &trip, 100, false), Detected { lost: false, again: Some(at(33)) });
        assert!(flight.detect(at(33), &trip, 100, false).lost);
        // It ends when nothing was as late for a while.
        for late in [14_000_000, 14_000_000, 0] {
            assert_eq!(flight.rack().late, late);
            (0..PERSIST).for_each(|_| flight.rack().recovered());
        }
    }

    #[test]
    fn a_probe_that_was_needed_is_a_loss() {
        let mut probe = Probe::default();
        probe.send(Seq(100), true);
        assert!(!probe.acknowledge(Seq(50), false, true) && probe.is_out());
        assert!(!probe.acknowledge(Seq(100), false, false) && probe.is_out());
        assert!(probe.acknowledge(Seq(150), false, false) && !probe.is_out());
        for (repeated, duplicate, una) in [(false, false, 150), (true, true, 100), (true, true, 150)] {
            probe.send(Seq(100), repeated);
            assert!(!probe.acknowledge(Seq(una), duplicate, false) && !probe.is_out());
        }
    }
}
