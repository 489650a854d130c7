//! The round-trip time and what follows from it: RFC 6298.

use crate::time::{Duration, Instant};

/// The timeout before anything was measured (RFC 6298, 2.1).
const FIRST: Duration = Duration::from_secs(1);
/// The same when the SYN had to be repeated (RFC 6298, 5.7).
const CAREFUL: Duration = Duration::from_secs(3);
/// The least timeout. RFC 6298, 2.4, recommends a second, which Linux and others have found to be far more than a tail loss
/// need cost; it must be more than the time for which peers delay acknowledgements.
pub const LEAST: Duration = Duration::from_millis(200);
/// The longest one (RFC 6298, 2.5, allows no less than a minute).
pub const MOST: Duration = Duration::from_secs(60);

/// Times are kept in units of so many nanoseconds: so a minute has room in four bytes.
const UNIT: u64 = 16;

/// What was measured, in [units](UNIT): a [`Duration`] costs a division at each step.
#[derive(Clone, Copy, Debug)]
pub struct RoundTrip {
    /// 0 when nothing was measured yet.
    smoothed: u32,
    variation: u32,
    least: u32,
    /// For how long to wait for an acknowledgement, by the others.
    timeout: u32,
    /// How often the timeout was doubled.
    doubled: u8,
    /// The first timeout is the longer one.
    careful: bool,
}

impl Default for RoundTrip {
    fn default() -> Self {
        RoundTrip { smoothed: 0, variation: 0, least: 0, timeout: units(FIRST), doubled: 0, careful: false }
    }
}

const fn nanos(duration: Duration) -> u64 {
    duration.as_secs() * 1_000_000_000 + duration.subsec_nanos() as u64
}

const fn units(duration: Duration) -> u32 {
    (nanos(duration) / UNIT) as u32
}

const fn duration(units: u32) -> Duration {
    Duration::from_nanos(units as u64 * UNIT)
}

impl RoundTrip {
    /// What was sent at `sent` was acknowledged at `now`. It must have been sent once (Karn's algorithm).
    pub fn measure(&mut self, sent: Instant, now: Instant) {
        // Few clocks are finer, and 0 means that nothing was measured.
        let sample = (now.nanos_since(sent) / UNIT).clamp(1, units(MOST).into()) as u32;
        if self.smoothed == 0 {
            (self.smoothed, self.variation, self.least) = (sample, sample / 2, sample);
        } else {
            let mean =
                |weight: u64, old: u32, new: u32| ((u64::from(old) * (weight - 1) + u64::from(new)) / weight) as u32;
            self.variation = mean(4, self.variation, self.smoothed.abs_diff(sample));
            self.smoothed = mean(8, self.smoothed, sample).max(1);
            self.least = self.least.min(sample);
        }
        self.set_timeout();
    }

    /// The SYN was lost, or the way is longer than the first timeout (RFC 6298, 5.7).
    pub fn be_careful(&mut self) {
        self.careful = true;
        self.doubled = 0;
        self.set_timeout();
    }

    /// The smoothed round-trip time.
    pub fn smoothed(&self) -> Option<Duration> {
        (self.smoothed > 0).then_some(duration(self.smoothed))
    }

    /// The shortest one that was seen.
    pub fn least(&self) -> Option<Duration> {
        (self.smoothed > 0).then_some(duration(self.least))
    }

    /// So many quarters of the shortest one, in nanoseconds; 0 when nothing was measured.
    pub fn least_quarters(&self, count: u32) -> u64 {
        u64::from(self.least) * u64::from(count) * (UNIT / 4)
    }

    /// As long as hardly any takes while the way is what it was, in nanoseconds.
    pub fn longest(&self) -> u64 {
        (u64::from(self.smoothed) + 4 * u64::from(self.variation)) * UNIT
    }

    /// For how long to wait for an acknowledgement.
    pub fn timeout(&self) -> Duration {
        duration(self.timeout)
    }

    /// When the wait for an acknowledgement is over that began at `since`.
    #[inline]
    pub fn expiry(&self, since: Instant) -> Instant {
        since.plus_nanos(u64::from(self.timeout) * UNIT)
    }

    /// When the last that was sent at `since` should have been acknowledged by a peer that waits for `delay` with that: after
    /// two round trips (RFC 8985, 7.2). `None` when nothing was measured.
    #[inline]
    pub fn probe_expiry(&self, since: Instant, delay: Duration) -> Option<Instant> {
        (self.smoothed > 0).then_some(since.plus_nanos(2 * u64::from(self.smoothed) * UNIT + nanos(delay)))
    }

    fn set_timeout(&mut self) {
        let first = if self.careful { units(CAREFUL) } else { units(FIRST) };
        let base =
            if self.smoothed == 0 { first.into() } else { u64::from(self.smoothed) + 4 * u64::from(self.variation) };
        let most = u64::from(units(MOST));
        self.timeout = (base.clamp(units(LEAST).into(), most) << self.doubled.min(10)).min(most) as u32;
    }

    /// The wait was in vain (RFC 6298, 5.5).
    pub fn back_off(&mut self) {
        self.doubled = self.doubled.saturating_add(1);
        self.set_timeout();
    }

    /// Something new was acknowledged.
    #[inline]
    pub fn advance(&mut self) {
        if self.doubled > 0 {
            self.doubled = 0;
            self.set_timeout();
        }
    }

    /// Whether the last wait was in vain.
    pub fn is_backed_off(&self) -> bool {
        self.doubled > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn measure(trip: &mut RoundTrip, sample: Duration) {
        trip.measure(Instant::ZERO, Instant::ZERO + sample);
    }

    #[test]
    fn the_timeout_follows_what_is_measured() {
        let mut trip = RoundTrip::default();
        assert_eq!(trip.timeout(), FIRST);
        measure(&mut trip, 100 * MS);
        // RTTVAR is half of the first sample.
        assert_eq!((trip.smoothed(), trip.timeout()), (Some(100 * MS), 300 * MS));
        measure(&mut trip, 180 * MS);
        // RTTVAR = (3 * 50 + 80) / 4 = 57.5, SRTT = (7 * 100 + 180) / 8 = 110.
        assert_eq!((trip.smoothed(), trip.timeout()), (Some(110 * MS), 340 * MS));
        assert_eq!(trip.least(), Some(100 * MS));
        for _ in 0..100 {
            measure(&mut trip, MS);
        }
        assert_eq!(trip.timeout(), LEAST);
    }

    #[test]
    fn each_wait_in_vain_doubles_it_up_to_a_minute() {
        let mut trip = RoundTrip::default();
        for expected in [1, 2, 4, 8, 16, 32, 60, 60] {
            assert_eq!(trip.timeout(), Duration::from_secs(expected));
            trip.back_off();
        }
        for _ in 0..u16::MAX {
            trip.back_off();
        }
        assert_eq!(trip.timeout(), MOST);
        trip.advance();
        assert_eq!(trip.timeout(), FIRST);
        measure(&mut trip, Duration::MAX);
        assert_eq!(trip.timeout(), MOST);
    }
}
