//! The balloon: gives memory back to Xen when the toolstack wants it (`xl mem-set`), and takes it again.
//!
//! The toolstack writes `memory/target`, in KiB. A domain that has `maxmem` is built for `memory/static-max`, and its memory map
//! says so; what lies between the two must not be touched before it has been given back, or, with less than `maxmem` at the start,
//! Xen ends the domain (populate on demand). So an image gives it back before its program's main runs.
//!
//! Only free frames are given back, never the last [`RESERVE`] of them. They are not mapped while Xen has them. What the heap has
//! claimed stays with it: a program that frees memory can use that again, but the toolstack does not get it.
//!
//! `xen/memory.h`, XENMEM_decrease_reservation and XENMEM_populate_physmap; xenstore-paths(7), `~/memory/`.

#[allow(unsafe_code)]
mod machine;
#[cfg(test)]
mod tests;

use alloc::vec::Vec;

use mirage_rt::memory::{Pressure, publish};
use mirage_rt::time::{Duration, timeout};

use crate::warning::warn;
use crate::xenstore::{Code, Xenstore, XenstoreError};

pub use machine::{connect, inflate};

/// Free frames that are not given back: 1 MiB.
pub const RESERVE: usize = 256;

/// Blocks of at most 2^9 frames, 2 MiB: Xen lets a domain have no larger ones.
const LARGEST: usize = 9;

/// Blocks that are given or taken with one hypercall.
const BATCH: usize = 64;

/// Where the toolstack says how much memory the domain shall have, and how much it may ever have.
const TARGET: &str = "memory/target";
const MAXIMUM: &str = "memory/static-max";

/// Where a domain says that it has a balloon. Toolstacks that do not ask do not let it.
const FEATURE: &str = "control/feature-balloon";

/// How often free memory is looked at, and what the toolstack wants is tried again.
const PERIOD: Duration = Duration::from_secs(1);
const PERIOD_UNDER_PRESSURE: Duration = Duration::from_millis(100);

const KIB_PER_FRAME: u64 = 4;

/// 2^order free frames that nobody but the balloon knows of.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Block {
    frame: u64,
    order: usize,
}

/// The memory that a balloon works on.
pub(crate) trait Ground {
    /// Frames that nobody has.
    fn free_frames(&self) -> usize;

    /// Bytes that can still be had: free frames, and what is free in the heap.
    fn available(&self) -> usize;

    /// Frames of RAM, the balloon's included.
    fn total_frames(&self) -> usize;

    /// Takes a free block, which is not mapped from then on. `None` when there is none of this size, or no memory for a page table.
    fn take(&self, order: usize) -> Option<Block>;

    /// Maps a block and makes it free.
    fn put(&self, block: Block);

    /// Gives blocks of one size, not mapped, to Xen; how many of the first ones Xen took.
    fn release(&self, blocks: &[Block]) -> usize;

    /// Has Xen put memory behind blocks of one size that were released; how many of the first ones it did.
    fn populate(&self, blocks: &[Block]) -> usize;

    /// Tells how many frames Xen has.
    fn holds(&self, frames: usize);
}

/// What the balloon holds, and how it grows and shrinks.
pub(crate) struct Balloon<G> {
    ground: G,
    blocks: Vec<Block>,
    frames: usize,
    level: Pressure,
}

impl<G: Ground> Balloon<G> {
    /// An empty balloon.
    pub(crate) fn new(ground: G) -> Self {
        Self { ground, blocks: Vec::new(), frames: 0, level: Pressure::Relaxed }
    }

    /// Brings the balloon to the size of `wanted` frames, or as near as it can be; whether it has it.
    pub(crate) fn adjust(&mut self, wanted: usize) -> bool {
        self.give(wanted.saturating_sub(self.frames));
        self.take(self.frames.saturating_sub(wanted));
        self.ground.holds(self.frames);
        self.frames == wanted
    }

    /// Gives up to `count` frames to Xen, in the largest blocks there are.
    fn give(&mut self, mut count: usize) {
        let mut order = LARGEST;
        while count > 0 {
            let most = count.min(self.ground.free_frames().saturating_sub(RESERVE));
            let Some(fitting) = most.checked_ilog2() else { return };
            order = order.min(fitting as usize);
            if self.blocks.try_reserve(BATCH).is_err() {
                return;
            }
            let first = self.blocks.len();
            let blocks = (0..BATCH.min(most >> order)).map_while(|_| self.ground.take(order));
            self.blocks.extend(blocks);
            let taken = self.blocks.len() - first;
            let given = if taken == 0 { 0 } else { self.ground.release(&self.blocks[first..]) };
            for block in self.blocks.drain(first + given..) {
                self.ground.put(block);
            }
            self.frames += given << order;
            count -= given << order;
            match (given, order) {
                (0, 0) => return,
                (0, _) => order -= 1,
                _ => {}
            }
        }
    }

    /// Takes up to `count` frames back from Xen.
    fn take(&mut self, mut count: usize) {
        while count > 0 {
            let Some(order) = self.blocks.last().map(|block| block.order) else { return };
            if count >> order == 0 {
                self.halve();
                continue;
            }
            let alike = self.blocks.iter().rev().take_while(|block| block.order == order).count();
            let first = self.blocks.len() - alike.min(BATCH).min(count >> order);
            let came = self.ground.populate(&self.blocks[first..]);
            for block in self.blocks.drain(first..first + came) {
                self.ground.put(block);
            }
            self.frames -= came << order;
            count -= came << order;
            // Xen may have none of this size in a piece.
            if came == 0 && (order == 0 || !self.halve()) {
                return;
            }
        }
    }

    /// Makes two blocks of the last one; false when there is no memory for that.
    fn halve(&mut self) -> bool {
        if self.blocks.try_reserve(1).is_err() {
            return false;
        }
        let Some(Block { frame, order }) = self.blocks.pop() else { return false };
        let order = order.saturating_sub(1);
        self.blocks.push(Block { frame: frame + (1 << order), order });
        self.blocks.push(Block { frame, order });
        true
    }

    /// How short memory is, when what the toolstack wants is `met` or not. A level is left only when it is left clearly.
    pub(crate) fn pressure(&mut self, met: bool) -> Pressure {
        let total = (self.ground.total_frames() - self.frames) * crate::hypervisor::PAGE_SIZE;
        let available = self.ground.available();
        let below = |level: Pressure, part: usize| {
            let bound = total / part;
            available < if self.level >= level { bound + bound / 4 } else { bound }
        };
        self.level = match () {
            () if !met || below(Pressure::Critical, 32) => Pressure::Critical,
            () if below(Pressure::Tight, 8) => Pressure::Tight,
            () => Pressure::Relaxed,
        };
        self.level
    }
}

/// How many frames the balloon shall hold, as the toolstack has it now. `None` while it says nothing.
async fn wanted(store: &Xenstore) -> Result<Option<usize>, XenstoreError> {
    let (Some(target), Some(maximum)) = (number(store, TARGET).await?, number(store, MAXIMUM).await?) else {
        return Ok(None);
    };
    Ok(usize::try_from(maximum.saturating_sub(target) / KIB_PER_FRAME).ok())
}

/// A number in xenstore; `None` where there is none.
async fn number(store: &Xenstore, path: &str) -> Result<Option<u64>, XenstoreError> {
    match store.read(path).await {
        Ok(text) => Ok(core::str::from_utf8(&text).ok().and_then(|text| text.trim().parse().ok())),
        Err(error) if error.is(Code::Enoent) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Does what the toolstack wants, once, before the program starts.
pub(crate) async fn start<G: Ground>(store: &Xenstore, ground: G) -> Result<Balloon<G>, XenstoreError> {
    let mut balloon = Balloon::new(ground);
    if let Some(frames) = wanted(store).await?
        && !balloon.adjust(frames)
    {
        warn(format_args!("balloon: {} of {frames} frames could be given back", balloon.frames));
    }
    // Nobody who does not ask for it lets us.
    let _ = store.write(FEATURE, b"1").await;
    Ok(balloon)
}

/// Does what the toolstack wants, and tells how short memory is, for ever.
pub(crate) async fn follow<G: Ground>(store: Xenstore, mut balloon: Balloon<G>) {
    if let Err(error) = serve(&store, &mut balloon).await {
        warn(format_args!("balloon: xl mem-set does not work any more: {error}"));
    }
}

async fn serve<G: Ground>(store: &Xenstore, balloon: &mut Balloon<G>) -> Result<(), XenstoreError> {
    let mut watch = store.watch(TARGET).await?;
    let mut frames = balloon.frames;
    loop {
        let met = balloon.adjust(frames);
        let level = balloon.pressure(met);
        publish(level);
        let period = if level == Pressure::Relaxed { PERIOD } else { PERIOD_UNDER_PRESSURE };
        if let Ok(event) = timeout(period, watch.next()).await {
            event?;
            frames = wanted(store).await?.unwrap_or(frames);
        }
    }
}
