//! The bytes of one direction: a ring whose memory comes when bytes come and goes when they are gone.

use alloc::vec::Vec;

use crate::net::direct::tcp::machine::OutOfMemory;

/// The least memory of a ring that has any, in bytes.
const LEAST: usize = 2048;
/// Sizes of memory that is kept for the next ring: this many powers of two from the least.
const SIZES: usize = 10;

/// Memory without a ring. The rings of ten thousand connections of which ten have something to do share that of ten, and none
/// of it has to be asked for, or cleared, each time.
pub struct Spare {
    sizes: [Vec<Vec<u8>>; SIZES],
    kept: usize,
    most: usize,
}

impl Spare {
    /// Nothing yet, and never more than `most` bytes.
    pub fn new(most: usize) -> Spare {
        Spare { sizes: Default::default(), kept: 0, most }
    }

    /// The place for memory of `length` bytes, a power of two; `None` when it is not kept.
    fn place(&mut self, length: usize) -> Option<&mut Vec<Vec<u8>>> {
        let number = (length.trailing_zeros() as usize).checked_sub(LEAST.trailing_zeros() as usize)?;
        self.sizes.get_mut(number)
    }

    fn take(&mut self, length: usize) -> Option<Vec<u8>> {
        let memory = self.place(length)?.pop()?;
        self.kept -= length;
        Some(memory)
    }

    fn put(&mut self, memory: Vec<u8>) {
        let (length, kept) = (memory.len(), self.kept + memory.len());
        if length > 0
            && kept <= self.most
            && let Some(place) = self.place(length)
            && place.try_reserve(1).is_ok()
        {
            place.push(memory);
            self.kept = kept;
        }
    }
}

/// Bytes, the first of which can be taken away; further ones can be put behind the last, with a gap if need be.
#[derive(Default)]
pub struct Ring {
    /// As long as a power of two, or empty.
    bytes: Vec<u8>,
    start: usize,
    length: usize,
    /// How many bytes it may hold.
    limit: usize,
    /// Up to where there were bytes since it was last at rest, and how much memory the times before that have needed.
    peak: usize,
    usual: usize,
}

impl Ring {
    /// An empty ring for at most `limit` bytes. It takes no memory yet.
    pub fn new(limit: usize) -> Ring {
        Ring { bytes: Vec::new(), start: 0, length: 0, limit, peak: 0, usual: LEAST }
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

    /// Makes sure of memory for `length` more bytes behind the last, of `spare` if possible; as much as was usual of late.
    /// Without memory there is an error when they come.
    #[inline]
    pub fn supply(&mut self, length: usize, spare: &mut Spare) {
        let wanted = self.length.saturating_add(length.min(self.room()));
        if wanted > self.bytes.len() {
            let wanted = wanted.max(self.usual);
            // No memory: `put` says so.
            let _ = self.grow(wanted, Some(spare));
        }
    }

    /// Puts `data` behind the last byte, `offset` bytes from the first; it does not count until
    /// [`advance`](Ring::advance). Fails when there is no memory or it is beyond the limit.
    pub fn put(&mut self, offset: usize, data: &[u8]) -> Result<(), OutOfMemory> {
        let end = offset.checked_add(data.len()).filter(|end| *end <= self.limit).ok_or(OutOfMemory)?;
        if end > self.bytes.len() {
            self.grow(end, None)?;
        }
        self.peak = self.peak.max(end);
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

    /// Gives back memory that a ring without bytes does not need: unless `all` is set, a little stays for the next ones.
    /// Nothing may stand behind a gap.
    #[inline]
    pub fn rest(&mut self, all: bool, spare: &mut Spare) {
        if self.length == 0 && !self.bytes.is_empty() {
            self.start = 0;
            if all || self.bytes.len() > LEAST {
                self.usual = self.peak.max(LEAST);
                self.peak = 0;
                spare.put(core::mem::take(&mut self.bytes));
            }
        }
    }

    /// Where the `offset`th byte stands.
    fn place(&self, offset: usize) -> usize {
        // The length is a power of two; without memory every place is the first.
        (self.start + offset) & self.bytes.len().saturating_sub(1)
    }

    /// Makes room for `length` bytes in all.
    #[inline(never)]
    fn grow(&mut self, length: usize, mut spare: Option<&mut Spare>) -> Result<(), OutOfMemory> {
        let wanted = length.max(LEAST).checked_next_power_of_two().ok_or(OutOfMemory)?;
        let mut larger = match spare.as_mut().and_then(|spare| spare.take(wanted)) {
            Some(memory) => memory,
            None => {
                let mut memory = Vec::new();
                memory.try_reserve_exact(wanted).map_err(|_| OutOfMemory)?;
                memory.resize(wanted, 0);
                memory
            }
        };
        // All of it moves: bytes behind a gap do not count as length.
        let (second, first) = self.bytes.split_at(self.start.min(self.bytes.len()));
        for (at, part) in [(0, first), (first.len(), second)] {
            larger.get_mut(at..at + part.len()).ok_or(OutOfMemory)?.copy_from_slice(part);
        }
        let old = core::mem::replace(&mut self.bytes, larger);
        self.start = 0;
        if let Some(spare) = spare {
            spare.put(old);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::VecDeque;
    use alloc::vec;
    use proptest::prelude::*;

    #[test]
    fn it_takes_memory_when_it_has_bytes_and_gives_it_back() {
        let mut ring = Ring::new(100_000);
        assert_eq!(ring.memory(), 0);
        assert_eq!(ring.write(&[1; 200_000]), 100_000);
        assert_eq!((ring.room(), ring.memory()), (0, 131_072));
        ring.consume(100_000);
        let mut spare = Spare::new(1 << 20);
        ring.rest(true, &mut spare);
        assert_eq!(ring.memory(), 0);
        assert_eq!(ring.write(&[1; 10]), 10);
        ring.rest(true, &mut spare);
        assert_eq!(ring.memory(), 2048, "there are bytes");
        ring.consume(10);
        ring.rest(false, &mut spare);
        assert_eq!(ring.memory(), 2048, "a little stays");
        ring.rest(true, &mut spare);
        assert_eq!(ring.memory(), 0);
    }

    #[test]
    fn rings_share_what_they_do_not_need() {
        let mut spare = Spare::new(1 << 20);
        for turn in 0..10 {
            for length in [10, 5000, 300_000] {
                let mut ring = Ring::new(1 << 20);
                let (wanted, before) = (length.max(LEAST).next_power_of_two(), spare.kept);
                ring.supply(length, &mut spare);
                let taken = if turn == 0 { 0 } else { wanted };
                assert_eq!((ring.memory(), before - spare.kept), (wanted, taken), "{length} in turn {turn}");
                assert_eq!(ring.write(&vec![7; length]), length);
                // More than was supplied goes as well.
                assert_eq!((ring.write(&vec![8; length]), ring.length()), (length, 2 * length));
                ring.consume(length);
                assert_eq!(ring.get(0, length).concat(), vec![8; length]);
                ring.consume(length);
                ring.rest(true, &mut spare);
                spare.put(vec![0; wanted]);
            }
        }
        let kept = spare.sizes.iter().flatten().map(Vec::len).sum::<usize>();
        assert!(kept == spare.kept && kept <= spare.most, "{kept}");
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
            let (mut ring, mut model, mut spare) = (Ring::new(10_000), VecDeque::new(), Spare::new(1 << 20));
            let mut byte = 0u8;
            for (write, consume) in steps {
                let data: Vec<u8> = (0..write).map(|_| { byte = byte.wrapping_add(7); byte }).collect();
                let written = ring.write(&data);
                prop_assert_eq!(written, write.min(10_000 - model.len()));
                model.extend(&data[..written]);
                ring.consume(consume);
                model.drain(..consume.min(model.len()));
                ring.rest(true, &mut spare);
                let expected: Vec<u8> = model.iter().copied().collect();
                prop_assert_eq!(ring.get(0, usize::MAX).concat(), expected);
            }
        }
    }
}
