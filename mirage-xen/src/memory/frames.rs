//! The buddy allocator that owns all frames of memory.
//!
//! What is free is kept in bitmaps outside of the frames, one for each order with summaries above it: free memory is
//! never touched, so nothing has to be mapped or cleared before it is needed. All of this file is safe code over a slice
//! of words, and is tested on the host.

use core::ops::Range;

/// Blocks have 2^0 to 2^18 frames: 4 KiB to 1 GiB.
const ORDERS: usize = 19;

/// The free frames among the numbers 0 to `frames - 1`.
pub struct Frames<'m> {
    orders: [Bits<'m>; ORDERS],
    frames: usize,
    free: usize,
}

impl<'m> Frames<'m> {
    /// Words of storage for `frames` frames.
    pub fn storage(frames: usize) -> usize {
        (0..ORDERS).map(|order| Bits::words(blocks(frames, order))).sum()
    }

    /// An allocator without free frames.
    ///
    /// # Panics
    ///
    /// When `storage` is shorter than [`Frames::storage`] says.
    pub fn new(frames: usize, storage: &'m mut [u64]) -> Self {
        storage.fill(0);
        let mut rest = storage;
        let orders = core::array::from_fn(|order| {
            let (words, more) = core::mem::take(&mut rest).split_at_mut(Bits::words(blocks(frames, order)));
            rest = more;
            Bits { words, bits: blocks(frames, order) }
        });
        Self { orders, frames, free: 0 }
    }

    /// Number of free frames.
    pub fn free_frames(&self) -> usize {
        self.free
    }

    /// Takes a block of 2^`order` frames, aligned to its size, the lowest of the smallest that fit.
    pub fn take_block(&mut self, order: usize) -> Option<usize> {
        let (found, index) = (order..ORDERS).find_map(|found| Some((found, self.orders[found].first()?)))?;
        self.orders[found].clear(index);
        let frame = index << found;
        for half in order..found {
            self.orders[half].set((frame >> half) + 1);
        }
        self.free -= 1 << order;
        Some(frame)
    }

    /// Takes `count` frames in a row.
    pub fn take(&mut self, count: usize) -> Option<Range<usize>> {
        let order = usize::try_from(count.checked_next_power_of_two()?.trailing_zeros()).ok()?;
        if order < ORDERS
            && let Some(frame) = self.take_block(order)
        {
            self.put(frame + count..frame + (1 << order));
            return Some(frame..frame + count);
        }
        // No aligned block is large enough, but several neighbours may be.
        let run = self.find(count)?;
        self.withdraw(run.clone());
        Some(run)
    }

    /// Gives frames back, or makes them known.
    ///
    /// # Panics
    ///
    /// When a frame is out of range. In debug builds also when one is free already.
    pub fn put(&mut self, frames: Range<usize>) {
        assert!(frames.end <= self.frames, "frame {} does not exist", frames.end);
        let mut frame = frames.start;
        while frame < frames.end {
            let order = block_at(frame, frames.end);
            self.put_block(frame, order);
            frame += 1 << order;
        }
    }

    fn put_block(&mut self, frame: usize, order: usize) {
        debug_assert!(self.block_of(frame).is_none(), "frame {frame} is free already");
        self.free += 1 << order;
        let (mut frame, mut order) = (frame, order);
        while order + 1 < ORDERS {
            let buddy = (frame >> order) ^ 1;
            if !self.orders[order].has(buddy) {
                break;
            }
            self.orders[order].clear(buddy);
            order += 1;
            frame = frame >> order << order;
        }
        self.orders[order].set(frame >> order);
    }

    /// The order of the free block that `frame` is in.
    fn block_of(&self, frame: usize) -> Option<usize> {
        (0..ORDERS).find(|&order| self.orders[order].has(frame >> order))
    }

    /// The first `count` free frames in a row.
    fn find(&self, count: usize) -> Option<Range<usize>> {
        let mut start = 0;
        let mut frame = 0;
        while frame < self.frames {
            match self.block_of(frame) {
                Some(order) => frame = ((frame >> order) + 1) << order,
                None => {
                    frame += 1;
                    start = frame;
                }
            }
            if frame - start >= count {
                return Some(start..start + count);
            }
        }
        None
    }

    /// Takes exactly these frames, which are free.
    fn withdraw(&mut self, run: Range<usize>) {
        let mut frame = run.start;
        while frame < run.end {
            let Some(order) = self.block_of(frame) else { unreachable!("the run was found free") };
            let block = frame >> order << order;
            let end = block + (1 << order);
            self.orders[order].clear(block >> order);
            self.free -= 1 << order;
            self.put(block..run.start.max(block));
            self.put(run.end.min(end)..end);
            frame = end;
        }
    }
}

/// Largest order of a block that starts at `frame` and does not pass `end`.
fn block_at(frame: usize, end: usize) -> usize {
    let aligned = frame.trailing_zeros() as usize;
    let fitting = (end - frame).ilog2() as usize;
    aligned.min(fitting).min(ORDERS - 1)
}

fn blocks(frames: usize, order: usize) -> usize {
    frames >> order
}

/// A set of small numbers that finds its smallest member quickly: each level above has a bit for every word below that is
/// not zero.
struct Bits<'m> {
    words: &'m mut [u64],
    bits: usize,
}

impl Bits<'_> {
    fn words(bits: usize) -> usize {
        let mut level = bits.div_ceil(64);
        let mut total = level;
        while level > 1 {
            level = level.div_ceil(64);
            total += level;
        }
        total
    }

    fn has(&self, bit: usize) -> bool {
        bit < self.bits && self.words[bit / 64] & (1 << (bit % 64)) != 0
    }

    fn set(&mut self, bit: usize) {
        self.update(bit, |word, mask| *word |= mask, |before, _| before != 0);
    }

    fn clear(&mut self, bit: usize) {
        self.update(bit, |word, mask| *word &= !mask, |_, after| after != 0);
    }

    /// Changes a bit and, up to the level where nothing more changes, the bits above it.
    fn update(&mut self, bit: usize, change: fn(&mut u64, u64), stop: fn(u64, u64) -> bool) {
        let (mut base, mut length, mut index) = (0, self.bits.div_ceil(64), bit);
        loop {
            let word = &mut self.words[base + index / 64];
            let before = *word;
            change(word, 1 << (index % 64));
            if length == 1 || stop(before, *word) {
                return;
            }
            base += length;
            length = length.div_ceil(64);
            index /= 64;
        }
    }

    fn first(&self) -> Option<usize> {
        if self.words.is_empty() {
            return None;
        }
        // The levels lie in the words from the widest to the single word at the end.
        let mut lengths = [0; 12];
        let mut levels = 0;
        let mut length = self.bits.div_ceil(64);
        loop {
            lengths[levels] = length;
            levels += 1;
            if length == 1 {
                break;
            }
            length = length.div_ceil(64);
        }
        let mut base = self.words.len();
        let mut index = 0;
        for &length in lengths[..levels].iter().rev() {
            base -= length;
            let word = self.words[base + index];
            if word == 0 {
                return None;
            }
            index = index * 64 + word.trailing_zeros() as usize;
        }
        Some(index)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn with_free(frames: usize, free: Range<usize>) -> Frames<'static> {
        let mut allocator = Frames::new(frames, vec![u64::MAX; Frames::storage(frames)].leak());
        allocator.put(free);
        allocator
    }

    #[test]
    fn blocks_are_aligned_and_come_back_whole() {
        let mut frames = with_free(1024, 1..1024);
        let block = frames.take_block(9).unwrap();
        assert_eq!(block, 512);
        assert_eq!(frames.take_block(9), None);
        frames.put(block..block + 512);
        frames.put(0..1);
        assert_eq!(frames.take_block(10), Some(0));
        assert_eq!(frames.free_frames(), 0);
    }

    #[test]
    fn runs_that_are_no_power_of_two_are_cut_from_a_block() {
        let mut frames = with_free(64, 0..64);
        assert_eq!(frames.take(5), Some(0..5));
        assert_eq!(frames.free_frames(), 59);
    }

    #[test]
    fn a_run_of_unaligned_neighbours_is_found() {
        let mut frames = with_free(4096, 3..3000);
        assert_eq!(frames.take(2900), Some(3..2903));
        assert_eq!(frames.free_frames(), 97);
        frames.put(3..2903);
        assert_eq!(frames.take(2997), Some(3..3000));
        assert_eq!(frames.take(1), None);
    }

    #[test]
    fn no_frames_and_impossible_counts_are_none() {
        let mut frames = with_free(64, 0..0);
        assert_eq!(frames.take_block(0), None);
        let mut frames = with_free(64, 0..64);
        assert_eq!(frames.take(65), None);
        assert_eq!(frames.take(usize::MAX), None);
        assert_eq!(frames.free_frames(), 64);
    }

    #[test]
    fn large_machines_need_little_storage() {
        // 1 GiB: 64 KiB for the bits and a little more for the summaries.
        assert!(Frames::storage(1 << 18) * 8 < 68 << 10);
    }

    proptest! {
        #[test]
        fn frames_are_owned_once(
            total in 1_usize..5000,
            steps in prop::collection::vec((any::<bool>(), 1_usize..700, any::<prop::sample::Index>()), 1..80),
        ) {
            let mut frames = with_free(total, 0..total);
            let mut taken: Vec<Range<usize>> = Vec::new();
            for (take, count, which) in steps {
                if take {
                    if let Some(run) = frames.take(count) {
                        prop_assert!(run.end <= total && run.len() == count);
                        prop_assert!(taken.iter().all(|other| other.end <= run.start || run.end <= other.start));
                        taken.push(run);
                    }
                } else if !taken.is_empty() {
                    let run = taken.swap_remove(which.index(taken.len()));
                    frames.put(run);
                }
                prop_assert_eq!(frames.free_frames() + taken.iter().map(Range::len).sum::<usize>(), total);
            }
            for run in taken.drain(..) {
                frames.put(run);
            }
            prop_assert_eq!(frames.take(total), Some(0..total));
        }
    }
}
