//! The bytes of one direction: a ring whose memory comes when bytes come and goes when they are gone.

use alloc::boxed::Box;

use super::memory::{Memory, Purpose};
use crate::net::direct::tcp::machine::OutOfMemory;

/// The least memory of a ring that has any, in bytes.
pub const LEAST: usize = 512;
/// What one without bytes keeps for a while.
const RESTING: usize = 2048;

/// Bytes, the first of which can be taken away; further ones can be put behind the last, with a gap if need be. Some of them may
/// stand [outside](super::pages), in pages: these count in its length and take none of its memory.
pub struct Ring {
    /// As long as a power of two, or empty.
    bytes: Box<[u8]>,
    start: u32,
    length: u32,
    /// How many bytes it should hold.
    limit: u32,
    /// How much memory was needed since it was last at rest, and how much the time before that, as powers of two.
    peak: u8,
    usual: u8,
}

impl Ring {
    /// An empty ring for at most `limit` bytes. It takes no memory yet.
    pub fn new(limit: u32) -> Ring {
        Ring { bytes: Box::default(), start: 0, length: 0, limit, peak: 0, usual: 0 }
    }

    pub fn limit(&self) -> usize {
        self.limit as usize
    }

    /// It should hold no more than so many bytes from now on; what is there stays.
    pub fn set_limit(&mut self, limit: u32) {
        self.limit = limit;
    }

    /// Its memory, for another one; nothing is in it any more.
    pub fn take_memory(&mut self) -> Box<[u8]> {
        (self.start, self.length) = (0, 0);
        core::mem::take(&mut self.bytes)
    }

    /// How many bytes can be taken, gaps and what is behind them left out.
    pub fn length(&self) -> usize {
        self.length as usize
    }

    /// How many bytes there is room for behind the last.
    pub fn room(&self) -> usize {
        self.limit.saturating_sub(self.length) as usize
    }

    /// Bytes of memory that it has.
    pub fn memory(&self) -> usize {
        self.bytes.len()
    }

    /// Up to `length` bytes from the `offset`th, in two pieces.
    pub fn get(&self, offset: usize, length: usize) -> [&[u8]; 2] {
        let length = length.min(self.length().saturating_sub(offset));
        let at = self.place(offset);
        let first = length.min(self.bytes.len().saturating_sub(at));
        [self.bytes.get(at..at + first).unwrap_or_default(), self.bytes.get(..length - first).unwrap_or_default()]
    }

    /// Makes sure of memory for `wanted` bytes in all, or, if there is enough, for as much as was usual of late. Without memory
    /// there is an error when they come.
    #[inline]
    pub fn supply(&mut self, wanted: usize, memory: &mut Memory, purpose: Purpose) {
        if wanted > self.bytes.len() {
            self.grow(wanted, memory, purpose);
        }
    }

    /// Puts `data` behind the last byte, `offset` bytes from the first that is not outside; it does not count until
    /// [`advance`](Ring::advance). Fails when there is no memory.
    #[inline]
    pub fn put(&mut self, offset: usize, data: &[u8]) -> Result<(), OutOfMemory> {
        let end = offset.checked_add(data.len()).filter(|end| *end <= self.bytes.len()).ok_or(OutOfMemory)?;
        self.peak = self.peak.max(power(end));
        let at = self.place(offset);
        // Nearly always it is in one piece.
        if let Some(place) = self.bytes.get_mut(at..at + data.len()) {
            place.copy_from_slice(data);
            return Ok(());
        }
        let (first, second) = data.split_at(data.len().min(self.bytes.len().saturating_sub(at)));
        for (at, part) in [(at, first), (0, second)] {
            self.bytes.get_mut(at..at + part.len()).ok_or(OutOfMemory)?.copy_from_slice(part);
        }
        Ok(())
    }

    /// So many bytes more that were put behind the last count, `outside` of all being outside.
    pub fn advance(&mut self, length: usize, outside: usize) {
        self.length = (self.length() + length).min(self.bytes.len() + outside) as u32;
    }

    /// So many bytes more stand outside.
    pub fn advance_outside(&mut self, length: usize) {
        self.length += length as u32;
    }

    /// Puts as many bytes behind the last as there is room and memory for, `outside` of those that are there being outside; how
    /// many.
    pub fn write(&mut self, data: &[u8], outside: usize) -> usize {
        let length = self.length() - outside;
        let room = self.room().min(self.bytes.len() - length);
        let data = data.get(..data.len().min(room)).unwrap_or_default();
        if data.is_empty() || self.put(length, data).is_err() {
            return 0;
        }
        self.advance(data.len(), outside);
        data.len()
    }

    /// Moves the first bytes to `buffer`; how many.
    #[inline]
    pub fn read(&mut self, buffer: &mut [u8]) -> usize {
        let length = buffer.len().min(self.length());
        if length == 0 {
            return 0;
        }
        let buffer = buffer.get_mut(..length).unwrap_or_default();
        let at = self.start as usize;
        // Nearly always they are in one piece.
        if let Some(bytes) = self.bytes.get(at..at + length) {
            buffer.copy_from_slice(bytes);
        } else {
            let [first, second] = self.get(0, length);
            if let Some((start, rest)) = buffer.split_at_mut_checked(first.len()) {
                start.copy_from_slice(first);
                rest.get_mut(..second.len()).unwrap_or_default().copy_from_slice(second);
            }
        }
        self.consume(length);
        length
    }

    /// Takes the first bytes away.
    pub fn consume(&mut self, length: usize) {
        let length = length.min(self.length());
        self.start = self.place(length) as u32;
        self.length -= length as u32;
    }

    /// The first bytes, which were outside, are no more.
    pub fn consume_outside(&mut self, length: usize) {
        self.length -= length.min(self.length()) as u32;
    }

    /// Gives back memory that a ring without bytes does not need: unless `all` is set, a little stays for the next ones.
    /// Nothing may stand behind a gap.
    #[inline]
    pub fn rest(&mut self, all: bool, memory: &mut Memory) {
        if self.length == 0 && !self.bytes.is_empty() {
            self.start = 0;
            if all || self.bytes.len() > RESTING {
                self.usual = self.peak;
                self.peak = 0;
                memory.put(self.take_memory());
            }
        }
    }

    /// Where the `offset`th byte stands.
    #[inline]
    fn place(&self, offset: usize) -> usize {
        // The length is a power of two; without memory every place is the first.
        (self.start as usize + offset) & self.bytes.len().saturating_sub(1)
    }

    /// Gets memory for `wanted` bytes in all, if there is any.
    #[inline(never)]
    fn grow(&mut self, wanted: usize, memory: &mut Memory, purpose: Purpose) {
        let old = self.bytes.len();
        let mut power = power(wanted).max(self.usual);
        let mut larger = loop {
            let length = LEAST.max(1 << power);
            if length <= old {
                return;
            }
            match memory.take(length, old, purpose) {
                Some(memory) => break memory,
                // Less is better than nothing.
                None if length == LEAST => return,
                None => power -= 1,
            }
        };
        // All of it moves: bytes behind a gap do not count as length.
        let (second, first) = self.bytes.split_at(self.start as usize);
        for (at, part) in [(0, first), (first.len(), second)] {
            if let Some(place) = larger.get_mut(at..at + part.len()) {
                place.copy_from_slice(part);
            }
        }
        self.start = 0;
        memory.put(core::mem::replace(&mut self.bytes, larger));
    }
}

/// The least power of two that `length` bytes have room in.
fn power(length: usize) -> u8 {
    (usize::BITS - length.saturating_sub(1).leading_zeros()) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::VecDeque;
    use alloc::vec;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    const ROOMY: usize = 1 << 22;

    impl Ring {
        fn write_all(&mut self, data: &[u8], memory: &mut Memory) -> usize {
            self.supply(self.length() + data.len().min(self.room()), memory, Purpose::Send);
            self.write(data, 0)
        }
    }

    #[test]
    fn it_takes_memory_when_it_has_bytes_and_gives_it_back() {
        let (mut ring, mut memory) = (Ring::new(100_000), Memory::new(ROOMY));
        assert_eq!((ring.memory(), ring.write(&[1], 0)), (0, 0));
        assert_eq!(ring.write_all(&[1; 200_000], &mut memory), 100_000);
        assert_eq!((ring.room(), ring.memory(), memory.used()), (0, 131_072, 131_072));
        ring.consume(100_000);
        ring.rest(true, &mut memory);
        assert_eq!((ring.memory(), memory.used()), (0, 0));
        let mut ring = Ring::new(100_000);
        assert_eq!(ring.write_all(&[1; 10], &mut memory), 10);
        ring.rest(true, &mut memory);
        assert_eq!(ring.memory(), 512, "there are bytes");
        ring.consume(10);
        ring.rest(false, &mut memory);
        assert_eq!(ring.memory(), 512, "a little stays");
        ring.rest(true, &mut memory);
        assert_eq!((ring.memory(), memory.used()), (0, 0));
    }

    #[test]
    fn rings_share_what_they_do_not_need() {
        let mut memory = Memory::new(ROOMY);
        for turn in 0..10 {
            for length in [10, 5000, 200_000] {
                let mut ring = Ring::new(1 << 20);
                let (wanted, before) = (length.max(LEAST).next_power_of_two(), memory.kept());
                ring.supply(length, &mut memory, Purpose::Receive);
                let taken = if turn == 0 { 0 } else { wanted };
                assert_eq!((ring.memory(), before - memory.kept()), (wanted, taken), "{length} in turn {turn}");
                assert_eq!(ring.write(&vec![7; length], 0), length);
                ring.consume(length);
                ring.rest(true, &mut memory);
            }
        }
        assert_eq!((memory.used(), memory.kept()), (0, 512 + 8192 + 262_144));
    }

    #[test]
    fn a_ring_without_memory_takes_what_it_can() {
        let (mut ring, mut memory) = (Ring::new(100_000), Memory::new(10_000));
        assert_eq!(ring.write_all(&[1; 20_000], &mut memory), 4096);
        assert_eq!(ring.write_all(&[1; 20_000], &mut memory), 0);
        assert_eq!((ring.length(), memory.used()), (4096, 4096));
        assert_eq!(ring.get(0, 5000).concat(), [1; 4096]);
    }

    #[test]
    fn what_stands_behind_a_gap_survives_growth() {
        let (mut ring, mut memory) = (Ring::new(60_000), Memory::new(ROOMY));
        assert_eq!(ring.write_all(&[1; 1500], &mut memory), 1500);
        ring.consume(1400);
        ring.put(1600, &[3; 400]).expect("it fits");
        assert_eq!(ring.put(2000, &[4; 8000]), Err(OutOfMemory));
        ring.supply(10_000, &mut memory, Purpose::Receive);
        ring.put(2000, &[4; 8000]).expect("it fits");
        assert_eq!(ring.length(), 100);
        ring.put(100, &[2; 1500]).expect("it fits");
        ring.advance(9900, 0);
        let bytes = ring.get(0, 10_000).concat();
        let expected = [(1, 100), (2, 1500), (3, 400), (4, 8000)].map(|(byte, times)| alloc::vec![byte; times]);
        assert!(bytes == expected.concat());
        assert_eq!(ring.put(usize::MAX, &[0; 2]), Err(OutOfMemory));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn it_is_a_queue(steps in prop::collection::vec((0usize..5000, 0usize..5000), 1..50)) {
            let (mut ring, mut model, mut memory) = (Ring::new(10_000), VecDeque::new(), Memory::new(ROOMY));
            let mut byte = 0u8;
            for (write, consume) in steps {
                let data: Vec<u8> = (0..write).map(|_| { byte = byte.wrapping_add(7); byte }).collect();
                let written = ring.write_all(&data, &mut memory);
                prop_assert_eq!(written, write.min(10_000 - model.len()));
                model.extend(&data[..written]);
                ring.consume(consume);
                model.drain(..consume.min(model.len()));
                ring.rest(true, &mut memory);
                let expected: Vec<u8> = model.iter().copied().collect();
                prop_assert_eq!(ring.get(0, usize::MAX).concat(), expected);
            }
        }
    }
}
