//! Timers: a binary heap by deadline, whose entries know their places so that they can be taken away.
//!
//! A `BTreeMap` would do the same; it is several KiB of code in every image.

use alloc::vec::Vec;
use core::task::Waker;

use crate::time::Instant;

/// Names a timer until it fires or is cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TimerId {
    slot: usize,
    /// Tells this timer from later ones in the same slot.
    number: u64,
}

#[derive(Default)]
pub(super) struct Timers {
    heap: Vec<Entry>,
    slots: Vec<Slot>,
    free: Vec<usize>,
    created: u64,
}

#[derive(Clone, Copy)]
struct Entry {
    deadline: Instant,
    /// In order of creation: timers of one deadline fire in that order.
    number: u64,
    slot: usize,
}

impl Entry {
    fn before(&self, other: &Entry) -> bool {
        (self.deadline, self.number) < (other.deadline, other.number)
    }
}

struct Slot {
    /// Where in the heap its entry is.
    place: usize,
    number: u64,
    waker: Option<Waker>,
}

impl Timers {
    pub(super) fn add(&mut self, deadline: Instant, waker: Waker) -> TimerId {
        self.created += 1;
        let number = self.created;
        let filled = Slot { place: self.heap.len(), number, waker: Some(waker) };
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot] = filled;
                slot
            }
            None => {
                self.slots.push(filled);
                self.slots.len() - 1
            }
        };
        self.heap.push(Entry { deadline, number, slot });
        self.rise(self.heap.len() - 1);
        TimerId { slot, number }
    }

    /// Takes a timer away. Its waker comes back so that the caller drops it while nothing is borrowed.
    pub(super) fn cancel(&mut self, id: TimerId) -> Option<Waker> {
        let slot = self.slots.get(id.slot)?;
        if slot.number != id.number || slot.waker.is_none() {
            return None;
        }
        self.remove(slot.place)
    }

    /// Takes the first timer if it is due at `now`.
    pub(super) fn pop(&mut self, now: Instant) -> Option<Waker> {
        if self.next()? <= now { self.remove(0) } else { None }
    }

    /// The earliest deadline.
    pub(super) fn next(&self) -> Option<Instant> {
        self.heap.first().map(|entry| entry.deadline)
    }

    /// Takes the entry at `place` out of the heap and empties its slot.
    fn remove(&mut self, place: usize) -> Option<Waker> {
        let removed = self.heap.swap_remove(place);
        if place < self.heap.len() {
            // What came from the end may belong further up or further down.
            self.rise(place);
            self.sink(place);
        }
        self.free.push(removed.slot);
        self.slots[removed.slot].waker.take()
    }

    fn rise(&mut self, mut place: usize) {
        while place > 0 {
            let parent = (place - 1) / 2;
            if !self.heap[place].before(&self.heap[parent]) {
                break;
            }
            self.swap(place, parent);
            place = parent;
        }
        self.slots[self.heap[place].slot].place = place;
    }

    fn sink(&mut self, mut place: usize) {
        loop {
            let left = 2 * place + 1;
            let Some(entry) = self.heap.get(left) else { break };
            let child = match self.heap.get(left + 1) {
                Some(right) if right.before(entry) => left + 1,
                _ => left,
            };
            if !self.heap[child].before(&self.heap[place]) {
                break;
            }
            self.swap(place, child);
            place = child;
        }
        self.slots[self.heap[place].slot].place = place;
    }

    fn swap(&mut self, one: usize, other: usize) {
        self.heap.swap(one, other);
        self.slots[self.heap[one].slot].place = one;
        self.slots[self.heap[other].slot].place = other;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeMap;
    use proptest::prelude::*;

    proptest! {
        /// Against the obvious model: the same timers fire, in the same order.
        #[test]
        fn timers_fire_like_a_sorted_map(steps in prop::collection::vec((0u8..4, 0u64..50, any::<prop::sample::Index>()), 0..300)) {
            let mut timers = Timers::default();
            let mut model: BTreeMap<(u64, u64), TimerId> = BTreeMap::new();
            let mut known: Vec<((u64, u64), TimerId)> = Vec::new();
            for (step, time, pick) in steps {
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
