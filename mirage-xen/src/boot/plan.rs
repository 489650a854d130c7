//! Who gets which memory: decided from the memory map alone, before anything is touched.

use core::ops::Range;

use crate::boot::start_info::{Modules, StartInfoError};
use crate::hypervisor::PAGE_SIZE;
use crate::memory::{Frames, MemoryMap, Ranges};

const PAGE: u64 = PAGE_SIZE as u64;

/// What the entry code maps.
pub(crate) const EARLY_LIMIT: u64 = 1 << 32;

/// RAM from here on is not used: what is below it can be mapped at its own address, with room for the window.
pub(crate) const HIGHEST: u64 = 1 << 46;

/// Bytes of guest-physical addresses in no region of the memory map: half for the shared info page and the grant table's frames,
/// half for pages of other domains.
pub(crate) const WINDOW: u64 = 4 << 20;

/// Bytes of the program's stack. The page below it is not mapped, so that an overflow is a fault and not a corruption.
pub const STACK_SIZE: usize = 256 * 1024;

/// What one entry of the lowest page table but one maps.
const LARGE_PAGE: u64 = 2 << 20;

/// Which memory is for what.
pub(crate) struct Plan {
    /// All RAM that is used, to be mapped.
    pub(crate) ram: Ranges,
    /// What of it is free: all but page 0, image, modules, `storage` and `stack`.
    pub(crate) free: Ranges,
    /// Below [`EARLY_LIMIT`], for the frame allocator's own words.
    pub(crate) storage: Range<u64>,
    /// Below [`EARLY_LIMIT`], the guard page and the program's stack.
    pub(crate) stack: Range<u64>,
    /// How many frames the allocator has to know.
    pub(crate) frames: usize,
    /// The first of [`WINDOW`] bytes of addresses behind all regions.
    pub(crate) window: u64,
}

impl Plan {
    /// Plans for a machine with this map, whose image and modules stay where they are. `None` when there is no room for the
    /// frame allocator's own words, or the stack.
    ///
    /// # Errors
    ///
    /// [`StartInfoError::Impossible`]: a module is not in RAM or where the image is, or the map leaves no free addresses behind it.
    pub(crate) fn new(map: &MemoryMap, image: Range<u64>, modules: &Modules) -> Result<Option<Self>, StartInfoError> {
        let window = map.end().max(EARLY_LIMIT).checked_next_multiple_of(WINDOW).filter(|&window| window < 2 * HIGHEST);
        let window = window.ok_or(StartInfoError::Impossible)?;
        // Where the words for very high memory find no room, that memory is left alone.
        for limit in [HIGHEST, EARLY_LIMIT] {
            let ram = map.ram(limit);
            let mut free = ram.clone();
            free.remove(0..PAGE);
            free.remove(image.clone());
            for module in modules.iter() {
                let pages = module.start / PAGE * PAGE..module.end.checked_next_multiple_of(PAGE).unwrap_or(u64::MAX);
                let apart = pages.end <= image.start || image.end <= pages.start;
                if !apart || !ram.covers(&module) {
                    return Err(StartInfoError::Impossible);
                }
                free.remove(pages);
            }
            let frames = ram.iter().last().map_or(0, |last| (last.end / PAGE) as usize);
            let bytes = (Frames::storage(frames) as u64 * 8).next_multiple_of(PAGE);
            let Some(storage) = place(&free, bytes, PAGE) else { continue };
            free.remove(storage.clone());
            // Xen walks the page tables for each argument on the stack that it copies: a large page is a table less.
            let guarded = PAGE + STACK_SIZE as u64;
            let stack = place(&free, guarded, LARGE_PAGE).or_else(|| place(&free, guarded, PAGE));
            let Some(stack) = stack else { continue };
            free.remove(stack.clone());
            return Ok(Some(Self { ram, free, storage, stack, frames, window }));
        }
        Ok(None)
    }

    /// The free ranges below [`EARLY_LIMIT`], or those from there on.
    pub(crate) fn free(&self, early: bool) -> impl Iterator<Item = Range<u64>> {
        let bounds = if early { 0..EARLY_LIMIT } else { EARLY_LIMIT..u64::MAX };
        self.free
            .iter()
            .map(move |range| range.start.max(bounds.start)..range.end.min(bounds.end))
            .filter(|range| !range.is_empty())
    }
}

/// The first place in `free` below [`EARLY_LIMIT`] for `bytes` of which the second page starts at a multiple of `boundary`, a
/// power of two.
fn place(free: &Ranges, bytes: u64, boundary: u64) -> Option<Range<u64>> {
    free.iter().find_map(|range| {
        // RAM ends far below the last address.
        let start = ((range.start + boundary) & !(boundary - 1)) - PAGE;
        (start + bytes <= range.end.min(EARLY_LIMIT)).then_some(start..start + bytes)
    })
}

#[cfg(test)]
mod tests;
