//! How much may be under way: slow start and the reaction to losses (RFC 5681), with the growth behind it by NewReno or
//! CUBIC.

use alloc::boxed::Box;

use super::cubic::Cubic;
use super::repair::Repair;
use super::start::{self, Start};
use crate::net::CongestionControl;
use crate::net::direct::tcp::segment::Seq;
use crate::time::{Duration, Instant};

use super::sequence::before;

/// More than any window of the peer (RFC 7323, 2.3).
const MOST: u32 = 1 << 30;

/// The congestion window.
#[derive(Clone, Debug)]
pub struct Congestion {
    window: u32,
    threshold: u32,
    mss: u16,
    algorithm: CongestionControl,
    /// What it needs to know once the window has grown or a loss was found.
    more: Option<Box<More>>,
    /// The losses of one window of data are one event: until this position is acknowledged, no other counts (RFC 6582, 3.2).
    recover: Option<Seq>,
    /// The last loss was found by the timer: the window grows even before `recover`.
    timed_out: bool,
}

#[derive(Clone, Debug)]
struct More {
    /// After a loss has told how large the window may be.
    growth: Growth,
    /// While a loss is made good.
    repair: Option<Repair>,
    /// During the first slow start.
    start: Option<Start>,
}

/// How it was before a loss.
#[derive(Clone, Copy, Debug)]
pub struct Before {
    window: u32,
    threshold: u32,
    growth: Growth,
}

/// What an acknowledgement says of the window.
#[derive(Clone, Copy, Debug)]
pub struct Acknowledged {
    /// So many bytes, up to this position, while all before `next` was sent.
    pub bytes: u32,
    pub una: Seq,
    pub next: Seq,
    /// The window was what held the sender back.
    pub limited: bool,
    /// The smoothed round trip, and that of this acknowledgement in nanoseconds.
    pub trip: Duration,
    pub sample: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
enum Growth {
    /// Bytes acknowledged since the last step.
    NewReno(u32),
    Cubic(Cubic),
}

impl Growth {
    fn by(algorithm: CongestionControl) -> Growth {
        match algorithm {
            CongestionControl::NewReno => Growth::NewReno(0),
            CongestionControl::Cubic => Growth::Cubic(Cubic::default()),
        }
    }
}

impl Congestion {
    /// The window of a connection that sends segments of `mss` bytes: ten of them (RFC 6928, 2).
    pub fn new(algorithm: CongestionControl, mss: u16) -> Congestion {
        let mss = mss.max(1);
        let window = initial(mss.into());
        Congestion { window, threshold: MOST, mss, algorithm, more: None, recover: None, timed_out: false }
    }

    #[inline(never)]
    fn more(&mut self) -> &mut More {
        let algorithm = self.algorithm;
        self.more.get_or_insert_with(|| Box::new(More { growth: Growth::by(algorithm), repair: None, start: None }))
    }

    /// Goes on by another algorithm, from the window that there is.
    pub fn choose(&mut self, algorithm: CongestionControl) {
        if algorithm != self.algorithm {
            self.algorithm = algorithm;
            if let Some(more) = &mut self.more {
                more.growth = Growth::by(algorithm);
            }
        }
    }

    /// The loss that is being made good.
    #[inline]
    pub fn repair(&mut self) -> Option<&mut Repair> {
        self.more.as_mut()?.repair.as_mut()
    }

    pub fn forget_repair(&mut self) {
        if let Some(more) = &mut self.more {
            more.repair = None;
        }
    }

    /// Forgets what a pause makes worthless.
    pub fn forget(&mut self) {
        if let Some(more) = &mut self.more {
            (more.repair, more.start) = (None, None);
        }
        if self.threshold == MOST {
            self.more = None;
        }
    }

    pub fn set_window(&mut self, bytes: u32) {
        self.window = bytes.min(MOST);
    }

    /// The SYN was lost: one segment (RFC 5681, 3.1).
    pub fn start_small(&mut self) {
        self.window = self.mss.into();
    }

    /// Segments have so many bytes from now on.
    pub fn set_segment(&mut self, bytes: u16) {
        self.mss = bytes.max(1);
    }

    /// Bytes that may be under way.
    pub fn window(&self) -> u32 {
        self.window
    }

    /// Up to where the window doubles with each round trip, once a loss has told.
    pub fn threshold(&self) -> Option<u32> {
        (self.threshold < MOST).then_some(self.threshold)
    }

    /// Whether the window still doubles with each round trip.
    pub fn is_slow_start(&self) -> bool {
        self.window < self.threshold
    }

    /// Whether losses of the last window are being repaired.
    pub fn is_recovering(&self) -> bool {
        self.recover.is_some() && !self.timed_out
    }

    /// Whether a loss is still to be made good, however it was found.
    pub fn has_lost(&self) -> bool {
        self.recover.is_some()
    }

    /// More was acknowledged. The window grows only when it was what held the sender back.
    pub fn acknowledge(&mut self, now: Instant, acknowledged: &Acknowledged) {
        let &Acknowledged { bytes, una, next, limited, trip, sample } = acknowledged;
        let was_recovering = self.is_recovering();
        if self.recover.is_some_and(|recover| !before(una, recover)) {
            self.recover = None;
            self.timed_out = false;
            if was_recovering {
                self.window = self.threshold;
            }
            if let Some(repair) = self.repair() {
                repair.end(next);
            }
        }
        if was_recovering || !limited {
            return;
        }
        let bytes = if self.threshold == MOST { self.start(una, next, bytes, sample) } else { bytes };
        if self.is_slow_start() {
            // RFC 3465 with no more than two segments for each acknowledgement would be slow with peers that put
            // segments together; RFC 9293 has no such limit.
            self.window = (self.window + bytes).min(self.threshold.max(self.window)).min(MOST);
            return;
        }
        let (window, mss) = (self.window, u32::from(self.mss));
        let growth = match &mut self.more().growth {
            Growth::NewReno(acknowledged) => {
                *acknowledged = acknowledged.saturating_add(bytes);
                if *acknowledged < window {
                    0
                } else {
                    *acknowledged -= window;
                    mss
                }
            }
            Growth::Cubic(cubic) => cubic.grow(now, window, mss, bytes, trip),
        };
        self.window = self.window.saturating_add(growth).min(MOST);
    }

    /// How many bytes the window grows by in the first slow start, which may end with that.
    fn start(&mut self, una: Seq, next: Seq, bytes: u32, sample: Option<u64>) -> u32 {
        let start = self.more().start.get_or_insert_with(|| Start::new(next));
        match start.acknowledge(una, next, bytes, sample) {
            start::Growth::By(bytes) => bytes,
            start::Growth::Enough => {
                self.threshold = self.window;
                bytes
            }
        }
    }

    /// As [`lose`](Congestion::lose), and it may turn out later that it was no loss. The window gets smaller with what arrives,
    /// by [`reduce_in_proportion`](Congestion::reduce_in_proportion), or at once when nobody calls that.
    pub fn lose_for_now(&mut self, now: Instant, una: Seq, next: Seq, under_way: u32) -> bool {
        let before = self.before();
        let is_new = self.lose(una, next, under_way);
        if is_new {
            self.more().repair = Some(Repair::new(now, before, under_way, false));
        }
        is_new
    }

    /// While a loss is made good, `delivered` bytes more have arrived and `pipe` are believed to be in the network.
    pub fn reduce_in_proportion(&mut self, delivered: u32, pipe: u32, safe: bool) {
        let (threshold, mss) = (self.threshold, u32::from(self.mss));
        if let Some(allowance) =
            self.repair().and_then(|repair| repair.allowance(delivered, pipe, threshold, mss, safe))
        {
            self.window = pipe.saturating_add(allowance);
        }
    }

    fn before(&mut self) -> Before {
        let (window, threshold) = (self.window, self.threshold);
        Before { window, threshold, growth: self.more().growth }
    }

    /// What was taken for a loss was none (RFC 4015, 3.2).
    pub fn undo(&mut self) {
        let Some(repair) = self.more.as_mut().and_then(|more| more.repair.take()) else { return };
        let Before { window, threshold, growth } = repair.before;
        self.window = self.window.max(window);
        self.threshold = threshold;
        self.more().growth = growth;
        (self.recover, self.timed_out) = (None, false);
    }

    /// A loss was found while `under_way` bytes were not acknowledged, the last of them before `next`. Returns whether it
    /// is a new event.
    pub fn lose(&mut self, una: Seq, next: Seq, under_way: u32) -> bool {
        if self.recover.is_some_and(|recover| before(una, recover)) {
            // Lost again, after the timer had it sent: the same event, repaired in the same way from now on.
            return false;
        }
        self.recover = Some(next);
        self.timed_out = false;
        self.reduce(under_way);
        self.window = self.threshold;
        true
    }

    /// The timer found that all is lost (RFC 5681, 3.1): one segment, and slow start.
    pub fn time_out(&mut self, now: Instant, una: Seq, next: Seq, under_way: u32) {
        let was_lost = self.recover.is_some_and(|recover| before(una, recover));
        if !self.timed_out || !was_lost {
            let before = self.before();
            self.reduce(under_way);
            // Of what is repeated for another reason it is not known what an answer is for.
            self.more().repair = (!was_lost).then(|| Repair::new(now, before, under_way, true));
        } else if let Some(repair) = self.repair() {
            repair.end(next);
        }
        self.recover = Some(next);
        self.timed_out = true;
        self.window = self.mss.into();
    }

    fn reduce(&mut self, under_way: u32) {
        let window = self.window;
        let reduced = match &mut self.more().growth {
            Growth::NewReno(acknowledged) => {
                *acknowledged = 0;
                under_way / 2
            }
            Growth::Cubic(cubic) => {
                cubic.lose(window);
                (u64::from(under_way) * 7 / 10) as u32
            }
        };
        self.threshold = reduced.max(2 * u32::from(self.mss));
    }

    /// Nothing was sent for longer than the timeout (RFC 5681, 4.1): what the window was says little.
    pub fn rest(&mut self) {
        self.window = self.window.min(initial(self.mss.into()));
        if let Some(More { growth: Growth::Cubic(cubic), .. }) = self.more.as_deref_mut() {
            cubic.rest();
        }
    }
}

/// RFC 6928, 2.
fn initial(mss: u32) -> u32 {
    (10 * mss).min((2 * mss).max(14_600))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    impl Congestion {
        fn hear(&mut self, now: Instant, una: Seq, bytes: u32, limited: bool, trip: Duration) {
            self.acknowledge(now, &Acknowledged { bytes, una, next: una, limited, trip, sample: None });
        }
    }

    /// A window after slow start has ended with a loss of 100 segments.
    fn after_loss(algorithm: CongestionControl) -> Congestion {
        let mut congestion = Congestion::new(algorithm, 1000);
        congestion.hear(Instant::ZERO, Seq(0), 90_000, true, 10 * MS);
        assert_eq!(congestion.window(), 100_000);
        assert!(congestion.lose(Seq(0), Seq(100_000), 100_000));
        congestion
    }

    #[test]
    fn it_starts_with_ten_segments_and_doubles() {
        for (mss, expected) in [(1000u16, 10_000), (1460, 14_600), (536, 5360), (9000, 18_000)] {
            assert_eq!(Congestion::new(CongestionControl::NewReno, mss).window(), expected);
        }
        let mut congestion = Congestion::new(CongestionControl::NewReno, 1000);
        congestion.hear(Instant::ZERO, Seq(0), 10_000, true, 10 * MS);
        assert_eq!(congestion.window(), 20_000);
        congestion.hear(Instant::ZERO, Seq(0), 10_000, false, 10 * MS);
        assert_eq!(congestion.window(), 20_000, "it did not hold the sender back");
    }

    #[test]
    fn the_losses_of_a_window_are_one() {
        let mut congestion = after_loss(CongestionControl::NewReno);
        assert_eq!(congestion.window(), 50_000);
        assert!(!congestion.lose(Seq(50_000), Seq(150_000), 100_000));
        congestion.hear(Instant::ZERO, Seq(50_000), 50_000, true, 10 * MS);
        assert_eq!((congestion.window(), congestion.is_recovering()), (50_000, true));
        congestion.hear(Instant::ZERO, Seq(100_000), 50_000, true, 10 * MS);
        assert!(!congestion.is_recovering());
        // From now on a segment for each window.
        let before = congestion.window();
        congestion.hear(Instant::ZERO, Seq(150_000), 50_000, true, 10 * MS);
        assert_eq!(congestion.window() - before, 1000);
        assert!(congestion.lose(Seq(150_000), Seq(200_000), 51_000));
        assert_eq!(congestion.window(), 25_500);
    }

    #[test]
    fn another_algorithm_goes_on_from_the_window_that_there_is() {
        let mut congestion = after_loss(CongestionControl::Cubic);
        congestion.choose(CongestionControl::NewReno);
        congestion.hear(Instant::ZERO, Seq(100_000), 100_000, true, 10 * MS);
        let before = congestion.window();
        assert!((70_000..72_000).contains(&before), "{before}");
        congestion.hear(Instant::ZERO, Seq(100_000).add(before), before, true, 10 * MS);
        assert_eq!(congestion.window() - before, 1000, "a segment for a window");
        assert!(congestion.lose(Seq(200_000), Seq(300_000), 100_000));
        assert_eq!(congestion.window(), 50_000);
        congestion.choose(CongestionControl::Cubic);
        assert!(congestion.lose(Seq(300_000), Seq(400_000), 100_000));
        assert_eq!(congestion.window(), 70_000);
    }

    #[test]
    fn a_recovery_sends_a_share_of_what_arrives() {
        let mut congestion = Congestion::new(CongestionControl::NewReno, 1000);
        congestion.hear(Instant::ZERO, Seq(0), 90_000, true, 10 * MS);
        assert!(congestion.lose_for_now(Instant::ZERO, Seq(0), Seq(100_000), 100_000));
        let (mut pipe, mut sent) = (96_000, 0);
        // Half of it, until half is under way.
        for step in 1..=40 {
            pipe -= 1000;
            congestion.reduce_in_proportion(1000, pipe, false);
            while pipe + 1000 <= congestion.window() {
                congestion.repair().expect("it is being repaired").note_sent(1000);
                (pipe, sent) = (pipe + 1000, sent + 1000);
            }
            assert_eq!(sent, step / 2 * 1000);
        }
        // Much was lost: up to the threshold, and no further; a segment more each time while nothing else is lost.
        congestion.reduce_in_proportion(1000, 20_000, false);
        let unsafe_window = congestion.window();
        congestion.reduce_in_proportion(0, 20_000, true);
        assert!(unsafe_window > 20_000 && congestion.window() == unsafe_window + 1000);
        congestion.reduce_in_proportion(90_000, 20_000, true);
        assert_eq!(congestion.window(), 50_000);
        congestion.hear(Instant::ZERO, Seq(100_000), 100_000, true, 10 * MS);
        assert_eq!(congestion.window(), 50_000);
    }

    #[test]
    fn what_was_no_loss_is_undone() {
        for algorithm in [CongestionControl::NewReno, CongestionControl::Cubic] {
            let mut congestion = Congestion::new(algorithm, 1000);
            congestion.hear(Instant::ZERO, Seq(0), 90_000, true, 10 * MS);
            congestion.lose_for_now(Instant::ZERO, Seq(0), Seq(100_000), 100_000);
            congestion.undo();
            assert_eq!((congestion.window(), congestion.threshold(), congestion.has_lost()), (100_000, None, false));
            congestion.time_out(Instant::ZERO, Seq(0), Seq(100_000), 100_000);
            congestion.undo();
            assert_eq!((congestion.window(), congestion.threshold(), congestion.has_lost()), (100_000, None, false));
        }
    }

    #[test]
    fn after_a_timeout_it_starts_again() {
        let mut congestion = Congestion::new(CongestionControl::NewReno, 1000);
        congestion.time_out(Instant::ZERO, Seq(0), Seq(10_000), 10_000);
        assert_eq!((congestion.window(), congestion.is_slow_start()), (1000, true));
        congestion.time_out(Instant::ZERO, Seq(0), Seq(10_000), 1000);
        congestion.hear(Instant::ZERO, Seq(4000), 4000, true, 10 * MS);
        assert_eq!((congestion.window(), congestion.is_slow_start()), (5000, false), "half of what was under way");
    }

    #[test]
    fn cubic_comes_back_to_where_it_was_and_goes_on() {
        let mut congestion = after_loss(CongestionControl::Cubic);
        assert_eq!(congestion.window(), 70_000);
        congestion.hear(Instant::ZERO, Seq(100_000), 100_000, true, 100 * MS);
        let mut windows = alloc::vec::Vec::new();
        let (mut now, mut una) = (Instant::ZERO, Seq(100_000));
        for _ in 0..100 {
            now += 100 * MS;
            let bytes = congestion.window();
            una = una.add(bytes);
            congestion.hear(now, una, bytes, true, 100 * MS);
            windows.push(congestion.window());
        }
        // K = cbrt(30 / 0.4) = 4.2 s, where the window is as it was before the loss.
        let [start, plateau, end] = [0, 42, 99].map(|round| windows[round]);
        assert!(start < 80_000, "{start}");
        assert!((97_000..104_000).contains(&plateau), "{plateau}");
        assert!(end > 150_000, "{end}");
        let slow = windows[45] - windows[40];
        let fast = windows[99] - windows[94];
        assert!(slow * 4 < fast, "{slow} {fast}");
    }

    #[test]
    fn no_window_is_larger_than_the_protocol_allows() {
        for algorithm in [CongestionControl::NewReno, CongestionControl::Cubic] {
            let mut congestion = Congestion::new(algorithm, 65_495);
            for step in 0..100_000u32 {
                let now = Instant::from_nanos(u64::from(step) * 100_000_000);
                congestion.hear(now, Seq(step), 1 << 30, true, 100 * MS);
                if step == 50 {
                    congestion.lose(Seq(step), Seq(step + 1), 1 << 30);
                }
            }
            assert_eq!(congestion.window(), MOST);
            congestion.rest();
            assert_eq!(congestion.window(), 130_990);
        }
    }
}
