//! One deadline for each index: a binary heap that knows where each one stands, so that a deadline can be changed or taken
//! away in place and none is ever left behind. The runtime's timers and TCP's connections use it.
//!
//! A `BTreeMap` would do the same; it is several KiB of code in every image.

use alloc::vec::Vec;

use crate::time::Instant;

/// Not in the heap.
const ABSENT: u32 = u32::MAX;

/// Deadlines by index.
#[derive(Default)]
pub(crate) struct Deadlines {
    heap: Vec<(Instant, u32)>,
    positions: Vec<u32>,
}

impl Deadlines {
    /// The earliest deadline.
    pub fn next(&self) -> Option<Instant> {
        self.heap.first().map(|first| first.0)
    }

    /// Takes out an index whose deadline has come.
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
    // As the two below not inlined: it would be in every image several times.
    #[inline(never)]
    pub fn remove(&mut self, index: u32) {
        let Some(position) = self.positions.get_mut(index as usize) else { return };
        let hole = core::mem::replace(position, ABSENT);
        if hole == ABSENT {
            return;
        }
        let hole = hole as usize;
        let Some(last) = self.heap.pop() else { return };
        if hole < self.heap.len() {
            self.place(hole, last);
            self.rise(hole);
            self.sink(hole);
        }
    }

    /// Puts an entry into a place of the heap.
    // Here and below without indexing: each would have the text of a panic in every image.
    fn place(&mut self, at: usize, entry: (Instant, u32)) {
        if let (Some(place), Some(position)) = (self.heap.get_mut(at), self.positions.get_mut(entry.1 as usize)) {
            (*place, *position) = (entry, at as u32);
        }
    }

    fn swap(&mut self, a: usize, b: usize) {
        if let (Some(&first), Some(&second)) = (self.heap.get(a), self.heap.get(b)) {
            self.place(a, second);
            self.place(b, first);
        }
    }

    #[inline(never)]
    fn rise(&mut self, mut at: usize) {
        while at > 0 {
            let parent = (at - 1) / 2;
            match (self.heap.get(parent), self.heap.get(at)) {
                (Some(above), Some(own)) if above.0 > own.0 => {}
                _ => break,
            }
            self.swap(at, parent);
            at = parent;
        }
    }

    #[inline(never)]
    fn sink(&mut self, mut at: usize) {
        while let Some(child) = self.earlier_child(at) {
            match (self.heap.get(at), self.heap.get(child)) {
                (Some(own), Some(below)) if own.0 > below.0 => {}
                _ => break,
            }
            self.swap(at, child);
            at = child;
        }
    }

    fn earlier_child(&self, at: usize) -> Option<usize> {
        let left = 2 * at + 1;
        let deadline = self.heap.get(left)?.0;
        let right = self.heap.get(left + 1).is_some_and(|right| right.0 < deadline);
        Some(if right { left + 1 } else { left })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeMap;
    use proptest::prelude::*;

    proptest! {
        /// Against a map: what comes out is due, in order, and each index comes once.
        #[test]
        fn as_a_map_would(steps in prop::collection::vec((0u32..20, 0u64..100, 0u8..4), 1..300)) {
            let mut deadlines = Deadlines::default();
            let mut model = BTreeMap::<u32, u64>::new();
            for (index, at, what) in steps {
                match what {
                    0 | 1 => {
                        deadlines.set(index, Instant::from_nanos(at));
                        let entry = model.entry(index).or_insert(at);
                        *entry = at.min(*entry);
                    }
                    2 => {
                        deadlines.remove(index);
                        model.remove(&index);
                    }
                    _ => {
                        let earliest = model.values().min().copied();
                        prop_assert_eq!(deadlines.next(), earliest.map(Instant::from_nanos));
                        let popped = deadlines.pop(Instant::from_nanos(at));
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
