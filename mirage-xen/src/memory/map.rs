//! The memory map: what is RAM, and what of it is free.

use core::ops::Range;

use crate::hypervisor::PAGE_SIZE;

/// Most regions of a builder's map, as many as Xen itself keeps for a domain (`E820MAX`). Most maps have fewer than ten.
pub const MAX_REGIONS: usize = 128;

/// Places for regions that the builder's map does not have: see [`MemoryMap::withdraw`].
const WITHDRAWN: usize = 4;

/// Most ranges of a set.
const MAX_RANGES: usize = 32;

/// What a region is good for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Memory.
    Ram,
    /// Anything else: ACPI tables, Xen's special pages, holes.
    Other,
}

/// A region of guest-physical addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Region {
    /// Its first address.
    pub start: u64,
    /// The address behind it.
    pub end: u64,
    /// What it is.
    pub kind: Kind,
}

/// A memory map, in any order; what is not RAM wins where regions overlap.
pub struct MemoryMap {
    regions: [Region; MAX_REGIONS + WITHDRAWN],
    length: usize,
}

impl MemoryMap {
    /// A map without regions.
    pub const fn new() -> Self {
        Self { regions: [Region { start: 0, end: 0, kind: Kind::Other }; MAX_REGIONS + WITHDRAWN], length: 0 }
    }

    /// Adds a region; false when the map has [`MAX_REGIONS`].
    pub fn add(&mut self, region: Region) -> bool {
        let room = self.length < MAX_REGIONS;
        if room {
            self.place(region);
        }
        room
    }

    /// Adds a region that is not RAM, whatever the builder says. There is room for four, also in a full map.
    pub fn withdraw(&mut self, range: Range<u64>) {
        self.place(Region { start: range.start, end: range.end, kind: Kind::Other });
    }

    fn place(&mut self, region: Region) {
        if let Some(free) = self.regions.get_mut(self.length) {
            *free = region;
            self.length += 1;
        }
    }

    /// The regions as they were added.
    pub fn regions(&self) -> &[Region] {
        self.regions.get(..self.length).unwrap_or_default()
    }

    /// The address behind the last region.
    pub fn end(&self) -> u64 {
        self.regions().iter().map(|region| region.end).max().unwrap_or(0)
    }

    /// Whole frames of RAM below `limit`, as addresses.
    pub fn ram(&self, limit: u64) -> Ranges {
        let page = PAGE_SIZE as u64;
        let mut ranges = Ranges::new();
        for region in self.regions().iter().filter(|region| region.kind == Kind::Ram) {
            let start = region.start.checked_next_multiple_of(page).unwrap_or(limit);
            let end = region.end.min(limit) / page * page;
            ranges.insert(start..end);
        }
        for region in self.regions().iter().filter(|region| region.kind == Kind::Other) {
            let end = region.end.checked_next_multiple_of(page).unwrap_or(u64::MAX);
            ranges.remove(region.start / page * page..end);
        }
        ranges
    }
}

impl Default for MemoryMap {
    fn default() -> Self {
        Self::new()
    }
}

/// A set of addresses as sorted ranges that neither touch nor overlap. It holds 32 of them; what would need more is left out,
/// so that the set is at most too small.
#[derive(Clone)]
pub struct Ranges {
    ranges: [(u64, u64); MAX_RANGES],
    length: usize,
}

impl Ranges {
    /// The empty set.
    pub const fn new() -> Self {
        Self { ranges: [(0, 0); MAX_RANGES], length: 0 }
    }

    /// The ranges, in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Range<u64>> + '_ {
        self.ranges.get(..self.length).unwrap_or_default().iter().map(|&(start, end)| start..end)
    }

    /// Number of addresses in the set.
    pub fn total(&self) -> u64 {
        self.iter().map(|range| range.end - range.start).sum()
    }

    /// The range that `address` is in.
    pub fn around(&self, address: u64) -> Option<Range<u64>> {
        self.iter().find(|range| range.contains(&address))
    }

    /// Whether all of `range` is in the set; an empty range is.
    pub fn covers(&self, range: &Range<u64>) -> bool {
        range.is_empty() || self.iter().any(|own| own.start <= range.start && range.end <= own.end)
    }

    /// Adds a range.
    #[inline(never)]
    pub fn insert(&mut self, range: Range<u64>) {
        if range.start >= range.end {
            return;
        }
        // What comes next: the new range with all that it touches, and then each that lies behind it.
        let mut next = range;
        let mut result = Self::new();
        for old in self.iter() {
            if old.end < next.start {
                result.push(old.start, old.end);
            } else if old.start > next.end {
                result.push(next.start, next.end);
                next = old;
            } else {
                next = next.start.min(old.start)..next.end.max(old.end);
            }
        }
        result.push(next.start, next.end);
        *self = result;
    }

    /// Takes a range out.
    pub fn remove(&mut self, range: Range<u64>) {
        if range.start >= range.end {
            return;
        }
        let mut result = Self::new();
        for old in self.iter() {
            result.push(old.start, old.end.min(range.start));
            result.push(old.start.max(range.end), old.end);
        }
        *self = result;
    }

    fn push(&mut self, start: u64, end: u64) {
        if start < end
            && let Some(free) = self.ranges.get_mut(self.length)
        {
            *free = (start, end);
            self.length += 1;
        }
    }
}

impl Default for Ranges {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ranges(set: &Ranges) -> Vec<(u64, u64)> {
        set.iter().map(|range| (range.start, range.end)).collect()
    }

    #[test]
    fn ram_is_whole_frames_without_what_is_not_ram() {
        let mut map = MemoryMap::new();
        for (start, end, kind) in [
            (0x10_0000, 0x40_0800, Kind::Ram),
            (0x0, 0x9_F000, Kind::Ram),
            (0x20_0010, 0x20_0020, Kind::Other),
            (0x1_0000_0000, 0x1_4000_0000, Kind::Ram),
            (0xFC00_0000, 0xFC00_1000, Kind::Other),
        ] {
            assert!(map.add(Region { start, end, kind }));
        }
        assert_eq!(
            ranges(&map.ram(u64::MAX)),
            [(0, 0x9_F000), (0x10_0000, 0x20_0000), (0x20_1000, 0x40_0000), (0x1_0000_0000, 0x1_4000_0000),]
        );
        assert_eq!(map.ram(0x1_0000_0000).total(), 0x9_F000 + 0x2F_F000);
        assert_eq!(map.end(), 0x1_4000_0000);
    }

    #[test]
    fn a_full_map_says_so() {
        let mut map = MemoryMap::new();
        let region = Region { start: 0, end: 1, kind: Kind::Ram };
        assert!((0..MAX_REGIONS).all(|_| map.add(region)));
        assert!(!map.add(region));
        assert_eq!(map.ram(u64::MAX).total(), 0);
    }

    #[test]
    fn what_is_withdrawn_finds_room_in_a_full_map() {
        let mut map = MemoryMap::new();
        while map.add(Region { start: 0, end: 0x10_0000, kind: Kind::Ram }) {}
        for page in 1..=4 {
            map.withdraw(page * 0x2000..page * 0x2000 + 1);
        }
        assert_eq!(map.ram(u64::MAX).total(), 0x10_0000 - 4 * 0x1000);
    }

    proptest! {
        #[test]
        fn ranges_are_a_set(steps in prop::collection::vec((any::<bool>(), 0_u64..64, 0_u64..64), 0..40)) {
            let mut set = Ranges::new();
            let mut model = [false; 64];
            for (insert, start, end) in steps {
                if insert { set.insert(start..end) } else { set.remove(start..end) }
                for at in start..end {
                    model[at as usize] = insert;
                }
            }
            let listed: Vec<_> = set.iter().collect();
            for (at, &expected) in model.iter().enumerate() {
                prop_assert_eq!(listed.iter().any(|range| range.contains(&(at as u64))), expected);
            }
            prop_assert!(listed.windows(2).all(|pair| pair[0].end < pair[1].start));
        }
    }
}
