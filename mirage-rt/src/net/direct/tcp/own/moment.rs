//! Instants that need not be there, in eight bytes.

use super::timers::NEVER;
use crate::time::Instant;

/// An instant, or none: the end of the clock's range stands for that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment(Instant);

impl Moment {
    pub const NONE: Moment = Moment(NEVER);

    pub fn at(instant: Instant) -> Moment {
        Moment(instant)
    }

    pub fn get(self) -> Option<Instant> {
        (self.0 < NEVER).then_some(self.0)
    }

    pub fn is_none(self) -> bool {
        self.0 == NEVER
    }

    /// The instant; [`NEVER`] when there is none.
    pub fn or_never(self) -> Instant {
        self.0
    }

    /// Whether it has come.
    pub fn is_due(self, now: Instant) -> bool {
        now >= self.0
    }

    /// The instant; `now` from now on when there was none.
    pub fn or_set(&mut self, now: Instant) {
        if self.is_none() {
            self.0 = now;
        }
    }
}

impl Default for Moment {
    fn default() -> Moment {
        Moment::NONE
    }
}
