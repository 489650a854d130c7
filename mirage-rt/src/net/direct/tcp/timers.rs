//! One deadline for each connection: a binary heap that knows where each one stands, so that a deadline can be changed in
//! place and none is ever left behind.

use alloc::vec::Vec;

use crate::time::Instant;

/// Not in the heap.
const ABSENT: u32 = u32::MAX;

/// Deadlines by the index of a connection.
#[derive(Default)]
pub struct Timers {
    heap: Vec<(Instant, u32)>,
    positions: Vec<u32>,
}

impl Timers {
    /// The earliest deadline.
    pub fn next(&self) -> Option<Instant> {
        self.heap.first().map(|first| first.0)
    }

    /// Takes out a connection whose deadline has come.
    pub fn pop(&mut self, now: Instant) -> Option<u32> {
        let (at, index) = *self.heap.first()?;
        if at > now {
            return None;
        }
        self.remove(index);
        Some(index)
    }

    /// Makes sure that `index` comes at `at` or earlier. A later deadline than the present one changes nothing: whoever
    /// comes too early sets the right one then, which is cheaper than to move it with every packet.
    pub fn set(&mut self, index: u32, at: Instant) {
        let slot = index as usize;
        if slot >= self.positions.len() {
            self.positions.resize(slot + 1, ABSENT);
        }
        match self.positions[slot] {
            ABSENT => {
                self.positions[slot] = self.heap.len() as u32;
                self.heap.push((at, index));
                self.rise(self.heap.len() - 1);
            }
            position => {
                let position = position as usize;
                if at < self.heap[position].0 {
                    self.heap[position].0 = at;
                    self.rise(position);
                }
            }
        }
    }

    /// Takes `index` out.
    pub fn remove(&mut self, index: u32) {
        let Some(position) = self.positions.get_mut(index as usize) else { return };
        let hole = core::mem::replace(position, ABSENT);
        if hole == ABSENT {
            return;
        }
        let hole = hole as usize;
        self.heap.swap_remove(hole);
        if hole < self.heap.len() {
            self.positions[self.heap[hole].1 as usize] = hole as u32;
            self.rise(hole);
            self.sink(hole);
        }
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.heap.swap(a, b);
        self.positions[self.heap[a].1 as usize] = a as u32;
        self.positions[self.heap[b].1 as usize] = b as u32;
    }

    fn rise(&mut self, mut at: usize) {
        while at > 0 {
            let parent = (at - 1) / 2;
            if self.heap[parent].0 <= self.heap[at].0 {
                break;
            }
            self.swap(at, parent);
            at = parent;
        }
    }

    fn sink(&mut self, mut at: usize) {
        while let Some(child) = self.earlier_child(at) {
            if self.heap[at].0 <= self.heap[child].0 {
                break;
            }
            self.swap(at, child);
            at = child;
        }
    }

    fn earlier_child(&self, at: usize) -> Option<usize> {
        (2 * at + 1..2 * at + 3).filter(|child| *child < self.heap.len()).min_by_key(|child| self.heap[*child].0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeMap;
    use proptest::prelude::*;

    proptest! {
        /// Against a map: what comes out is due, in order, and each connection comes once.
        #[test]
        fn as_a_map_would(steps in prop::collection::vec((0u32..20, 0u64..100, 0u8..4), 1..300)) {
            let mut timers = Timers::default();
            let mut model = BTreeMap::<u32, u64>::new();
            for (index, at, what) in steps {
                match what {
                    0 | 1 => {
                        timers.set(index, Instant::from_nanos(at));
                        let entry = model.entry(index).or_insert(at);
                        *entry = at.min(*entry);
                    }
                    2 => {
                        timers.remove(index);
                        model.remove(&index);
                    }
                    _ => {
                        let earliest = model.values().min().copied();
                        prop_assert_eq!(timers.next(), earliest.map(Instant::from_nanos));
                        let popped = timers.pop(Instant::from_nanos(at));
                        match earliest.filter(|earliest| *earliest <= at) {
                            Some(earliest) => {
                                let index = popped.expect("one is due");
                                prop_assert_eq!(model.remove(&index), Some(earliest));
                            }
                            None => prop_assert_eq!(popped, None),
                        }
                    }
                }
            }
        }
    }
}
