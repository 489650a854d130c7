//! Timers: wakers with deadlines, which can be taken away.

use alloc::vec::Vec;
use core::task::Waker;

use crate::deadlines::Deadlines;
use crate::time::Instant;

/// Names a timer until it fires or is cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TimerId {
    slot: u32,
    /// Tells this timer from later ones in the same slot.
    number: u64,
}

#[derive(Default)]
pub(super) struct Timers {
    deadlines: Deadlines,
    slots: Vec<Slot>,
    free: Vec<u32>,
    created: u64,
}

struct Slot {
    number: u64,
    waker: Option<Waker>,
}

impl Timers {
    pub(super) fn add(&mut self, deadline: Instant, waker: Waker) -> TimerId {
        self.created += 1;
        let number = self.created;
        let filled = Slot { number, waker: Some(waker) };
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = filled;
                slot
            }
            None => {
                self.slots.push(filled);
                self.slots.len() as u32 - 1
            }
        };
        self.deadlines.set(slot, deadline);
        TimerId { slot, number }
    }

    /// Takes a timer away. Its waker comes back so that the caller drops it while nothing is borrowed.
    pub(super) fn cancel(&mut self, id: TimerId) -> Option<Waker> {
        let slot = self.slots.get(id.slot as usize)?;
        if slot.number != id.number || slot.waker.is_none() {
            return None;
        }
        self.deadlines.remove(id.slot);
        self.empty(id.slot)
    }

    /// Whether the timer is there, for this waker.
    pub(super) fn holds(&self, id: TimerId, waker: &Waker) -> bool {
        let slot = self.slots.get(id.slot as usize).filter(|slot| slot.number == id.number);
        slot.and_then(|slot| slot.waker.as_ref()).is_some_and(|known| known.will_wake(waker))
    }

    /// Takes the first timer if it is due at `now`.
    pub(super) fn pop(&mut self, now: Instant) -> Option<Waker> {
        let slot = self.deadlines.pop(now)?;
        self.empty(slot)
    }

    /// The earliest deadline.
    pub(super) fn next(&self) -> Option<Instant> {
        self.deadlines.next()
    }

    fn empty(&mut self, slot: u32) -> Option<Waker> {
        self.free.push(slot);
        self.slots.get_mut(slot as usize)?.waker.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeMap;
    use proptest::prelude::*;

    proptest! {
        /// Against the obvious model: the same timers fire, in the same order. No two have the same deadline, for which
        /// there is no order.
        #[test]
        fn timers_fire_like_a_sorted_map(steps in prop::collection::vec((0u8..4, 0u64..50, any::<prop::sample::Index>()), 0..300)) {
            let mut timers = Timers::default();
            let mut model: BTreeMap<(u64, u64), TimerId> = BTreeMap::new();
            let mut known: Vec<((u64, u64), TimerId)> = Vec::new();
            for (number, (step, time, pick)) in (0u64..).zip(steps) {
                let time = time * 1000 + number;
                match step {
                    0 | 1 => {
                        let id = timers.add(Instant::from_nanos(time), Waker::noop().clone());
                        model.insert((time, id.number), id);
                        known.push(((time, id.number), id));
                    }
                    2 if !known.is_empty() => {
                        let (key, id) = known[pick.index(known.len())];
                        prop_assert_eq!(timers.cancel(id).is_some(), model.remove(&key).is_some());
                    }
                    _ => {
                        let due = model.first_key_value().is_some_and(|(key, _)| key.0 <= time);
                        let fired = timers.pop(Instant::from_nanos(time));
                        prop_assert_eq!(fired.is_some(), due);
                        if due {
                            model.pop_first();
                        }
                    }
                }
                let first = model.first_key_value().map(|(key, _)| Instant::from_nanos(key.0));
                prop_assert_eq!(timers.next(), first);
            }
        }
    }
}
