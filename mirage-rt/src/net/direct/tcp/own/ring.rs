//! The bytes of one direction: a ring whose memory comes when bytes come and goes when they are gone.

use alloc::vec::Vec;

use crate::net::direct::tcp::machine::OutOfMemory;

/// The least memory of a ring that has any, in bytes.
const LEAST: usize = 2048;
/// So much memory may stay with a ring without bytes.
const IDLE: usize = 2048;

/// Bytes, the first of which can be taken away; further ones can be put behind the last, with a gap if need be.
#[derive(Default)]
pub struct Ring {
    /// As long as a power of two, or empty.
    bytes: Vec<u8>,
    start: usize,
    length: usize,
    /// How many bytes it may hold.
    limit: usize,
}

impl Ring {
    /// An empty ring for at most `limit` bytes. It takes no memory yet.
    pub fn new(limit: usize) -> Ring {
        Ring { bytes: Vec::new(), start: 0, length: 0, limit }
    }

    pub fn limit(&self) -> usize {
        self.limit
    }

    /// How many bytes can be taken, gaps and what is behind them left out.
    pub fn length(&self) -> usize {
        self.length
    }

    /// How many bytes there is room for behind the last.
    pub fn room(&self) -> usize {
        self.limit.saturating_sub(self.length)
    }

    /// Bytes of memory that it has.
    #[cfg(test)]
    pub fn memory(&self) -> usize {
        self.bytes.len()
    }

    /// Up to `length` bytes from the `offset`th, in two pieces.
    pub fn get(&self, offset: usize, length: usize) -> [&[u8]; 2] {
        let length = length.min(self.length.saturating_sub(offset));
        let at = self.place(offset);
        let first = length.min(self.bytes.len().saturating_sub(at));
        [self.bytes.get(at..at + first).unwrap_or_default(), self.bytes.get(..length - first).unwrap_or_default()]
    }

    /// Puts `data` behind the last byte, `offset` bytes from the first; it does not count until
    /// [`advance`](Ring::advance). Fails when there is no memory or it is beyond the limit.
    pub fn put(&mut self, offset: usize, data: &[u8]) -> Result<(), OutOfMemory> {
        let end = offset.checked_add(data.len()).filter(|end| *end <= self.limit).ok_or(OutOfMemory)?;
        self.grow(end)?;
        let at = self.place(offset);
        let (first, second) = data.split_at(data.len().min(self.bytes.len().saturating_sub(at)));
        for (at, part) in [(at, first), (0, second)] {
            self.bytes.get_mut(at..at + part.len()).ok_or(OutOfMemory)?.copy_from_slice(part);
        }
        Ok(())
    }

    /// So many bytes more that were put behind the last count.
    pub fn advance(&mut self, length: usize) {
        self.length = (self.length + length).min(self.bytes.len());
    }

    /// Puts as many bytes behind the last as there is room and memory for; how many.
    pub fn write(&mut self, data: &[u8]) -> usize {
        let data = data.get(..data.len().min(self.room())).unwrap_or_default();
        if data.is_empty() || self.put(self.length, data).is_err() {
            return 0;
        }
        self.advance(data.len());
        data.len()
    }

    /// Takes the first bytes away.
    pub fn consume(&mut self, length: usize) {
        let length = length.min(self.length);
        self.start = self.place(length);
        self.length -= length;
    }

    /// Gives memory back that an empty ring does not need. Nothing may stand behind a gap.
    pub fn rest(&mut self) {
        if self.length == 0 {
            self.start = 0;
            if self.bytes.len() > IDLE {
                self.bytes = Vec::new();
            }
        }
    }

    /// Where the `offset`th byte stands.
    fn place(&self, offset: usize) -> usize {
        // The length is a power of two; without memory every place is the first.
        (self.start + offset) & self.bytes.len().saturating_sub(1)
    }

    /// Makes room for `length` bytes in all.
    fn grow(&mut self, length: usize) -> Result<(), OutOfMemory> {
        if length <= self.bytes.len() {
            return Ok(());
        }
        let wanted = length.max(LEAST).checked_next_power_of_two().ok_or(OutOfMemory)?;
        let mut larger = Vec::new();
        larger.try_reserve_exact(wanted).map_err(|_| OutOfMemory)?;
        // All of it moves: bytes behind a gap do not count as length.
        larger.extend_from_slice(self.bytes.get(self.start..).unwrap_or_default());
        larger.extend_from_slice(self.bytes.get(..self.start).unwrap_or_default());
        larger.resize(wanted, 0);
        self.bytes = larger;
        self.start = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::VecDeque;
    use proptest::prelude::*;

    #[test]
    fn it_takes_memory_when_it_has_bytes_and_gives_it_back() {
        let mut ring = Ring::new(100_000);
        assert_eq!(ring.memory(), 0);
        assert_eq!(ring.write(&[1; 200_000]), 100_000);
        assert_eq!((ring.room(), ring.memory()), (0, 131_072));
        ring.consume(100_000);
        ring.rest();
        assert_eq!(ring.memory(), 0);
        assert_eq!(ring.write(&[1; 10]), 10);
        ring.consume(10);
        ring.rest();
        assert_eq!(ring.memory(), 2048, "a little stays");
    }

    #[test]
    fn what_stands_behind_a_gap_survives_growth() {
        let mut ring = Ring::new(60_000);
        assert_eq!(ring.write(&[1; 1500]), 1500);
        ring.consume(1400);
        ring.put(1600, &[3; 400]).expect("it fits");
        ring.put(2000, &[4; 8000]).expect("it fits");
        assert_eq!(ring.length(), 100);
        ring.put(100, &[2; 1500]).expect("it fits");
        ring.advance(9900);
        let bytes = ring.get(0, 10_000).concat();
        let expected = [(1, 100), (2, 1500), (3, 400), (4, 8000)].map(|(byte, times)| alloc::vec![byte; times]);
        assert!(bytes == expected.concat());
        assert_eq!(ring.put(59_999, &[0; 2]), Err(OutOfMemory));
        assert_eq!(ring.put(usize::MAX, &[0; 2]), Err(OutOfMemory));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn it_is_a_queue(steps in prop::collection::vec((0usize..5000, 0usize..5000), 1..50)) {
            let (mut ring, mut model) = (Ring::new(10_000), VecDeque::new());
            let mut byte = 0u8;
            for (write, consume) in steps {
                let data: Vec<u8> = (0..write).map(|_| { byte = byte.wrapping_add(7); byte }).collect();
                let written = ring.write(&data);
                prop_assert_eq!(written, write.min(10_000 - model.len()));
                model.extend(&data[..written]);
                ring.consume(consume);
                model.drain(..consume.min(model.len()));
                ring.rest();
                let expected: Vec<u8> = model.iter().copied().collect();
                prop_assert_eq!(ring.get(0, usize::MAX).concat(), expected);
            }
        }
    }
}
