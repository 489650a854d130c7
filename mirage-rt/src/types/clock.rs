//! Clocks.

use crate::time::{Instant, UnixTime};

/// A monotonic clock and a wall clock.
pub trait Clock {
    /// The monotonic clock: never goes back, stands still while the machine is suspended.
    fn now(&self) -> Instant;

    /// The wall clock, UTC. It may step, forward and back. `None` where the machine has none.
    fn wall_clock(&self) -> Option<UnixTime>;
}

impl Clock for crate::runtime::Runtime {
    fn now(&self) -> Instant {
        crate::runtime::Runtime::now(self)
    }

    fn wall_clock(&self) -> Option<UnixTime> {
        crate::runtime::Runtime::wall_clock(self)
    }
}

impl super::random::Random for crate::runtime::Runtime {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), super::random::RandomError> {
        self.fill_random(buffer)
    }
}
