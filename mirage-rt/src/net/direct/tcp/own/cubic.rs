//! CUBIC's growth (RFC 9438) in integers: windows in bytes, times in milliseconds.
//!
//! `W(t) = C (t - K)^3 + W_max` segments, `C` = 0.4 and `t` in seconds; `K` is the time that it takes to come back to
//! `W_max`.

use crate::time::{Duration, Instant};

/// No time is longer, so that its cube fits.
const MOST_MS: i64 = 1_000_000;

/// What is kept from one loss to the next.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cubic {
    /// The window before the last loss; 0 when there was none.
    most: u32,
    /// The window at the loss, for the estimate of what NewReno would do.
    prior: u32,
    epoch: Option<Epoch>,
    /// Thousandths of bytes that the window is to grow by, left from the last step.
    rest: u64,
}

/// The time since the window began to grow again.
#[derive(Clone, Copy, Debug)]
struct Epoch {
    start: Instant,
    /// `K`, in milliseconds.
    until_most: i64,
    /// `W_max`, in bytes.
    most: u32,
    /// What NewReno would have (RFC 9438, 4.3), in thousandths of bytes.
    estimate: u64,
}

impl Cubic {
    /// A loss, with the window as it was (RFC 9438, 4.6 and 4.7).
    pub fn lose(&mut self, window: u32) {
        self.prior = window;
        // Fast convergence: when it had not come back to where it was, someone else needs the room.
        self.most = if window < self.most { (u64::from(window) * 17 / 20) as u32 } else { window };
        self.rest();
    }

    /// The time does not count: nothing was sent (RFC 9438, 4.2).
    pub fn rest(&mut self) {
        self.epoch = None;
        self.rest = 0;
    }

    /// By how many bytes the window grows when `bytes` more were acknowledged.
    pub fn grow(&mut self, now: Instant, window: u32, mss: u32, bytes: u32, round_trip: Duration) -> u32 {
        let (cwnd, size, acknowledged) = (u64::from(window.max(1)), u64::from(mss.max(1)), u64::from(bytes));
        let most = self.most.max(window);
        let epoch = self.epoch.get_or_insert_with(|| Epoch {
            start: now,
            until_most: until(most - window, mss),
            most,
            estimate: cwnd * 1000,
        });
        // Alpha is 9/17 until the window of before the loss is reached, and a segment for each round trip from then on.
        let alpha = if epoch.estimate / 1000 < u64::from(self.prior) { 529 } else { 1000 };
        epoch.estimate = (epoch.estimate + alpha * size * acknowledged / cwnd).min(1000 << 30);
        let elapsed = milliseconds((now - epoch.start).saturating_add(round_trip));
        let target = epoch.at(elapsed, size).clamp(cwnd, cwnd * 3 / 2);
        let friendly = (epoch.estimate / 1000).saturating_sub(cwnd);
        let thousandths = (target - cwnd).saturating_mul(1000).saturating_mul(acknowledged) / cwnd + self.rest;
        let cubic = thousandths / 1000;
        self.rest = thousandths % 1000;
        u32::try_from(cubic.max(friendly)).unwrap_or(u32::MAX)
    }
}

impl Epoch {
    /// `W(t)` in bytes.
    fn at(&self, elapsed: i64, size: u64) -> u64 {
        let distance = (elapsed - self.until_most).clamp(-MOST_MS, MOST_MS);
        // Up to 10^12, times 4 and 2^16.
        let cube = distance.pow(3) / 1_000_000;
        let offset = cube.saturating_mul(4 * size as i64) / 10_000;
        u64::from(self.most).saturating_add_signed(offset)
    }
}

fn milliseconds(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(MOST_MS).min(MOST_MS)
}

/// `K` for a window that is `missing` bytes below `W_max`: the cube root of `missing / (0.4 mss)` seconds.
fn until(missing: u32, mss: u32) -> i64 {
    // Milliseconds cubed; at most 2^30 * 2.5 * 10^9.
    let cube = u64::from(missing.min(1 << 30)) * 2_500_000_000 / u64::from(mss.max(1));
    cube_root(cube) as i64
}

/// The largest number whose cube is not above `value`, bit by bit.
fn cube_root(value: u64) -> u64 {
    // (2^21)^3 is 2^63.
    (0..=21).rev().fold(0u64, |root, bit| {
        let next = root | 1 << bit;
        if next.checked_pow(3).is_some_and(|cube| cube <= value) { next } else { root }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cube_roots_are_rounded_down() {
        for (value, root) in [(0, 0), (1, 1), (7, 1), (8, 2), (26, 2), (27, 3), (u64::MAX, 2_642_245)] {
            assert_eq!(cube_root(value), root, "{value}");
        }
        for root in (0..2_642_245u64).step_by(9973) {
            assert_eq!(cube_root(root.pow(3)), root);
        }
    }

    #[test]
    fn the_time_to_come_back_is_that_of_the_specification() {
        // cbrt(40 / 0.4) = 4.64 s.
        assert_eq!(until(40 * 1460, 1460), 4641);
        assert_eq!(until(0, 1460), 0);
    }

    #[test]
    fn a_second_loss_on_the_way_lowers_the_aim() {
        let mut cubic = Cubic::default();
        cubic.lose(100_000);
        cubic.lose(80_000);
        assert_eq!((cubic.most, cubic.prior), (68_000, 80_000));
        cubic.lose(90_000);
        assert_eq!(cubic.most, 90_000);
    }

    #[test]
    fn on_short_ways_it_grows_as_fast_as_newreno_would() {
        let (mut cubic, mut window) = (Cubic::default(), 70_000);
        cubic.lose(100_000);
        // 1 ms: CUBIC itself would take 4 s for what takes NewReno's estimate 57 round trips.
        for round in 0..60 {
            let now = Instant::from_nanos(round * 1_000_000);
            window += cubic.grow(now, window, 1000, window, Duration::from_millis(1));
        }
        assert!((100_000..106_000).contains(&window), "{window}");
    }
}
