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

/// Which memory is for what.
pub(crate) struct Plan {
    /// All RAM that is used, to be mapped.
    pub(crate) ram: Ranges,
    /// What of it is free: all but page 0, image, modules and `storage`.
    pub(crate) free: Ranges,
    /// Below [`EARLY_LIMIT`], for the frame allocator's own words.
    pub(crate) storage: Range<u64>,
    /// How many frames the allocator has to know.
    pub(crate) frames: usize,
    /// The first of [`WINDOW`] bytes of addresses behind all regions.
    pub(crate) window: u64,
}

impl Plan {
    /// Plans for a machine with this map, whose image and modules stay where they are. `None` when there is no room for the
    /// frame allocator's own words.
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
            let fits = |range: &Range<u64>| range.start + bytes <= range.end.min(EARLY_LIMIT);
            let place = free.iter().find(fits);
            if let Some(place) = place {
                let storage = place.start..place.start + bytes;
                free.remove(storage.clone());
                return Ok(Some(Self { ram, free, storage, frames, window }));
            }
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

#[cfg(test)]
mod tests;
