//! Timers, ordered by deadline.

use alloc::collections::BTreeMap;
use core::task::Waker;

use crate::time::Instant;

/// Names a timer until it fires or is cancelled. The number keeps timers of one deadline apart, in order of creation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TimerId(Instant, u64);

#[derive(Default)]
pub(super) struct Timers {
    waiting: BTreeMap<TimerId, Waker>,
    created: u64,
}

impl Timers {
    pub(super) fn add(&mut self, deadline: Instant, waker: Waker) -> TimerId {
        self.created += 1;
        let id = TimerId(deadline, self.created);
        self.waiting.insert(id, waker);
        id
    }

    /// Takes a timer away. Its waker comes back so that the caller drops it while nothing is borrowed.
    pub(super) fn cancel(&mut self, id: TimerId) -> Option<Waker> {
        self.waiting.remove(&id)
    }

    /// Takes the first timer if it is due at `now`.
    pub(super) fn pop(&mut self, now: Instant) -> Option<Waker> {
        let first = self.waiting.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }

    /// The earliest deadline.
    pub(super) fn next(&self) -> Option<Instant> {
        self.waiting.first_key_value().map(|(id, _)| id.0)
    }
}
