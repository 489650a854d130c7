//! Answers that strangers can provoke are limited in number.

use crate::time::{Duration, Instant};

/// Allows so many answers in each second.
pub struct Limit {
    most: u32,
    left: u32,
    until: Instant,
}

impl Limit {
    pub const fn per_second(most: u32) -> Limit {
        Limit { most, left: 0, until: Instant::ZERO }
    }

    /// Whether one more answer may be given.
    pub fn allow(&mut self, now: Instant) -> bool {
        if now >= self.until {
            self.until = now + Duration::from_secs(1);
            self.left = self.most;
        }
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }
}
