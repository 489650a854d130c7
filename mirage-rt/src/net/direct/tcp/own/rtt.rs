//! The round-trip time and what follows from it: RFC 6298.

use crate::time::Duration;

/// The timeout before anything was measured (RFC 6298, 2.1).
const FIRST: Duration = Duration::from_secs(1);
/// The same when the SYN had to be repeated (RFC 6298, 5.7).
const CAREFUL: Duration = Duration::from_secs(3);
/// The least timeout. RFC 6298, 2.4, recommends a second, which Linux and others have found to be far more than a tail loss
/// need cost; it must be more than the time for which peers delay acknowledgements.
pub const LEAST: Duration = Duration::from_millis(200);
/// The longest one (RFC 6298, 2.5, allows no less than a minute).
pub const MOST: Duration = Duration::from_secs(60);

/// What was measured.
#[derive(Clone, Copy, Debug, Default)]
pub struct RoundTrip {
    smoothed: Option<Duration>,
    variation: Duration,
    least: Option<Duration>,
    /// How often the timeout was doubled.
    doubled: u32,
    /// The first timeout is the longer one.
    careful: bool,
}

impl RoundTrip {
    /// A segment was acknowledged `sample` after it was sent. It must have been sent once (Karn's algorithm).
    pub fn measure(&mut self, sample: Duration) {
        // No clock here is finer, and nothing may be divided by zero.
        let sample = sample.clamp(Duration::from_nanos(1), MOST);
        match self.smoothed {
            None => {
                self.smoothed = Some(sample);
                self.variation = sample / 2;
            }
            Some(smoothed) => {
                self.variation = (self.variation * 3 + smoothed.abs_diff(sample)) / 4;
                self.smoothed = Some((smoothed * 7 + sample) / 8);
            }
        }
        self.least = Some(self.least.map_or(sample, |least| least.min(sample)));
    }

    /// The SYN was lost, or the way is longer than the first timeout (RFC 6298, 5.7).
    pub fn be_careful(&mut self) {
        self.careful = true;
        self.doubled = 0;
    }

    /// The smoothed round-trip time.
    pub fn smoothed(&self) -> Option<Duration> {
        self.smoothed
    }

    /// The shortest one that was seen.
    pub fn least(&self) -> Option<Duration> {
        self.least
    }

    /// For how long to wait for an acknowledgement.
    pub fn timeout(&self) -> Duration {
        let first = if self.careful { CAREFUL } else { FIRST };
        let base = self.smoothed.map_or(first, |smoothed| smoothed + 4 * self.variation);
        (base.clamp(LEAST, MOST) * (1 << self.doubled.min(10))).min(MOST)
    }

    /// The wait was in vain (RFC 6298, 5.5).
    pub fn back_off(&mut self) {
        self.doubled = self.doubled.saturating_add(1);
    }

    /// Something new was acknowledged.
    pub fn advance(&mut self) {
        self.doubled = 0;
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

    #[test]
    fn the_timeout_follows_what_is_measured() {
        let mut trip = RoundTrip::default();
        assert_eq!(trip.timeout(), FIRST);
        trip.measure(100 * MS);
        // RTTVAR is half of the first sample.
        assert_eq!((trip.smoothed(), trip.timeout()), (Some(100 * MS), 300 * MS));
        trip.measure(180 * MS);
        // RTTVAR = (3 * 50 + 80) / 4 = 57.5, SRTT = (7 * 100 + 180) / 8 = 110.
        assert_eq!((trip.smoothed(), trip.timeout()), (Some(110 * MS), 340 * MS));
        assert_eq!(trip.least(), Some(100 * MS));
        for _ in 0..100 {
            trip.measure(MS);
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
        trip.measure(Duration::MAX);
        assert_eq!(trip.timeout(), MOST);
    }
}
