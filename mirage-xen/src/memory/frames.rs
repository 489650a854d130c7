//! The buddy allocator that owns all frames of memory.
//!
//! What is free is kept in bitmaps outside of the frames, one for each order with summaries above it: free memory is
//! never touched, and neither are the bitmaps of what nobody has used, so nothing has to be mapped or cleared before it is
//! needed. All of this file is safe code over a slice of words, and is tested on the host.

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

    /// An allocator without free frames. What `storage` holds does not matter; one word of each order is written.
    ///
    /// # Panics
    ///
    /// When `storage` is shorter than [`Frames::storage`] says.
    pub fn new(frames: usize, storage: &'m mut [u64]) -> Self {
        let mut rest = storage;
        let orders = core::array::from_fn(|order| {
            let bits = blocks(frames, order);
            let Some((words, more)) = core::mem::take(&mut rest).split_at_mut_checked(Bits::words(bits)) else {
                wrong()
            };
            rest = more;
            Bits::new(bits, words)
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
        if frames.end > self.frames {
            wrong();
        }
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
            let Some(order) = self.block_of(frame) else { wrong() };
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

/// Frames that do not exist, storage that is too short: one text for all, in every image.
#[cold]
#[inline(never)]
fn wrong() -> ! {
    panic!("no such frames")
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

/// A set of small numbers that finds its smallest member quickly: a tree of words. Each bit of a word says that the word below
/// it is not zero; the words of the lowest level have a bit for each number. The word below bit b of word w is word 64w + b + 1.
///
/// A word is looked at only where the bit above it is set; all others count as zero, whatever they hold. So only the first
/// word is ever cleared, and the storage of a large machine is not touched before it is needed.
struct Bits<'m> {
    words: &'m mut [u64],
    bits: usize,
    /// What a number is shifted by to be one of the bits of the first word.
    top: u32,
}

/// A word's bits are told apart by so many bits of a number.
const LEVEL: u32 = 6;

impl<'m> Bits<'m> {
    fn top(bits: usize) -> u32 {
        let mut shift = 0;
        while bits > 64 << shift {
            shift += LEVEL;
        }
        shift
    }

    fn words(bits: usize) -> usize {
        let above = (0..Self::top(bits) / LEVEL).fold(0, |words, _| words * 64 + 1);
        above + bits.div_ceil(64)
    }

    /// An empty set of numbers below `bits`, in as many words as [`words`](Self::words) says.
    fn new(bits: usize, words: &'m mut [u64]) -> Self {
        if let Some(first) = words.first_mut() {
            *first = 0;
        }
        Self { words, bits, top: Self::top(bits) }
    }

    // Not inlined: one check of the bounds, and one text about them, for all.
    #[inline(never)]
    fn word(&mut self, index: usize) -> &mut u64 {
        &mut self.words[index]
    }

    fn has(&self, bit: usize) -> bool {
        let (mut word, mut shift) = (0, self.top);
        while bit < self.bits && self.words.get(word).is_some_and(|word| word & mask(bit >> shift) != 0) {
            if shift == 0 {
                return true;
            }
            word = below(word, bit >> shift);
            shift -= LEVEL;
        }
        false
    }

    fn set(&mut self, bit: usize) {
        let (mut word, mut shift, mut known) = (0, self.top, true);
        loop {
            let before = if known { *self.word(word) } else { 0 };
            let mask = mask(bit >> shift);
            *self.word(word) = before | mask;
            if shift == 0 {
                return;
            }
            known = before & mask != 0;
            word = below(word, bit >> shift);
            shift -= LEVEL;
        }
    }

    /// Takes out a member. Below the lowest word with other members in it, everything counts as zero then.
    fn clear(&mut self, bit: usize) {
        let (mut word, mut shift, mut lowest) = (0, self.top, (0, self.top));
        loop {
            if *self.word(word) != mask(bit >> shift) {
                lowest = (word, shift);
            }
            if shift == 0 {
                break;
            }
            word = below(word, bit >> shift);
            shift -= LEVEL;
        }
        *self.word(lowest.0) &= !mask(bit >> lowest.1);
    }

    fn first(&self) -> Option<usize> {
        let (mut word, mut shift, mut number) = (0, self.top, 0);
        loop {
            let found = self.words.get(word)?.trailing_zeros();
            if found == u64::BITS {
                return None;
            }
            number = number << LEVEL | found as usize;
            if shift == 0 {
                return Some(number);
            }
            word = below(word, found as usize);
            shift -= LEVEL;
        }
    }
}

/// The bit of `index` in its word.
fn mask(index: usize) -> u64 {
    1 << (index % 64)
}

/// The word below the bit of `index` in `word`.
fn below(word: usize, index: usize) -> usize {
    word * 64 + index % 64 + 1
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

    /// The words of storage that are written until the frames of `ram` are free.
    fn words_written(frames: usize, ram: Range<usize>, above: Range<usize>) -> usize {
        // Bytes that no step would leave by chance.
        const BEFORE: u64 = 0xA5A5_5A5A_C33C_3CC3;
        let mut storage = vec![BEFORE; Frames::storage(frames)];
        let mut allocator = Frames::new(frames, &mut storage);
        let total = ram.len() + above.len();
        allocator.put(ram);
        allocator.put(above);
        assert_eq!(allocator.free_frames(), total);
        storage.iter().filter(|&&word| word != BEFORE).count()
    }

    #[test]
    fn storage_is_not_cleared_in_proportion_to_memory() {
        const MIB: usize = 256;
        let small = words_written(16 * MIB, 1..16 * MIB, 0..0);
        let large = words_written(1024 * MIB, 1..1024 * MIB, 0..0);
        // A hole below 4 GiB, 64 GiB above it.
        let huge = words_written(68 << 18, 1..0xF_0000, 1 << 20..68 << 18);
        println!("words of storage written: 16 MiB {small}, 1 GiB {large}, 64 GiB {huge}");
        assert!(small < 100 && large < 150 && huge < 200, "{small} {large} {huge}");
    }

    #[test]
    fn sets_of_every_size_know_their_members() {
        for bits in [0, 1, 63, 64, 65, 4096, 4097, 262_145] {
            let mut words = vec![u64::MAX; Bits::words(bits)];
            let mut set = Bits::new(bits, &mut words);
            assert_eq!(set.first(), None);
            assert!(!set.has(0) && !set.has(bits));
            let members: Vec<usize> = (0..bits).rev().step_by(1 + bits / 7).collect();
            for &member in &members {
                set.set(member);
                assert_eq!(set.first(), Some(member));
            }
            for &member in &members {
                assert!(set.has(member) && (members.contains(&(member + 1)) || !set.has(member + 1)));
                set.clear(member);
                assert!(!set.has(member));
            }
            assert_eq!(set.first(), None);
        }
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
