//! Page tables: identity mapping, no page both writable and executable.
//!
//! The builder reaches the tables through [`TableMemory`], so that tests build them in ordinary memory and walk them.

use core::fmt;
use core::ops::Range;

use crate::hypervisor::PAGE_SIZE;
use crate::memory::Ranges;

const PRESENT: u64 = 1 << 0;
const WRITABLE: u64 = 1 << 1;
/// Accessed and dirty, set from the start: the processor then has no reason to write to the tables.
const USED: u64 = 1 << 5 | 1 << 6;
const LARGE: u64 = 1 << 7;
const NO_EXECUTE: u64 = 1 << 63;
const ADDRESS: u64 = 0x000F_FFFF_FFFF_F000;

/// Number of entries of a table.
pub const ENTRIES: usize = 512;

/// The level of the root; level 0 maps pages of 4 KiB.
const ROOT_LEVEL: u32 = 3;

/// What may be done with mapped memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Reading.
    Read,
    /// Reading and writing.
    ReadWrite,
    /// Reading and executing.
    ReadExecute,
}

impl Access {
    const fn bits(self) -> u64 {
        match self {
            Self::Read => PRESENT | USED | NO_EXECUTE,
            Self::ReadWrite => PRESENT | USED | WRITABLE | NO_EXECUTE,
            Self::ReadExecute => PRESENT | USED,
        }
    }
}

/// Why something cannot be mapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MapError {
    /// There is no frame for a table.
    OutOfFrames,
    /// The address is mapped already, in another way.
    Mapped(u64),
}

impl fmt::Display for MapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfFrames => f.write_str("there is no memory left for page tables: give the domain more"),
            Self::Mapped(address) => write!(f, "the address {address:#x} is mapped already"),
        }
    }
}

impl core::error::Error for MapError {}

/// Where tables live.
pub trait TableMemory {
    /// A new table of empty entries, by its physical address.
    fn allocate(&mut self) -> Option<u64>;

    /// An entry of the table at `table`.
    fn entry(&mut self, table: u64, index: usize) -> u64;

    /// Writes an entry of the table at `table`.
    fn set_entry(&mut self, table: u64, index: usize, value: u64);
}

/// The page tables of an address space.
pub struct PageTables {
    root: u64,
    huge: bool,
}

impl PageTables {
    /// Tables that map nothing. `huge` allows entries of 1 GiB.
    ///
    /// # Errors
    ///
    /// [`MapError::OutOfFrames`].
    pub fn new(memory: &mut impl TableMemory, huge: bool) -> Result<Self, MapError> {
        Ok(Self { root: memory.allocate().ok_or(MapError::OutOfFrames)?, huge })
    }

    /// Physical address of the root.
    pub fn root(&self) -> u64 {
        self.root
    }

    /// Maps a page-aligned range to the same physical addresses, with the largest pages that fit.
    ///
    /// # Errors
    ///
    /// [`MapError`]; what came before in the range stays mapped.
    pub fn map(&mut self, memory: &mut impl TableMemory, range: Range<u64>, access: Access) -> Result<(), MapError> {
        let mut address = range.start;
        while address < range.end {
            let level = if self.huge { 2 } else { 1 };
            let level = (0..=level)
                .rev()
                .find(|&level| address.is_multiple_of(size(level)) && range.end - address >= size(level))
                .unwrap_or(0);
            self.map_one(memory, address, level, access)?;
            address += size(level);
        }
        Ok(())
    }

    fn map_one(
        &mut self,
        memory: &mut impl TableMemory,
        address: u64,
        level: u32,
        access: Access,
    ) -> Result<(), MapError> {
        let mut table = self.root;
        for above in (level + 1..=ROOT_LEVEL).rev() {
            let entry = memory.entry(table, index(address, above));
            table = if entry & PRESENT == 0 {
                let new = memory.allocate().ok_or(MapError::OutOfFrames)?;
                memory.set_entry(table, index(address, above), new | PRESENT | WRITABLE | USED);
                new
            } else if entry & LARGE != 0 {
                return Err(MapError::Mapped(address));
            } else {
                entry & ADDRESS
            };
        }
        let value = address | access.bits() | if level > 0 { LARGE } else { 0 };
        let entry = memory.entry(table, index(address, level));
        if entry & PRESENT != 0 && entry != value {
            return Err(MapError::Mapped(address));
        }
        memory.set_entry(table, index(address, level), value);
        Ok(())
    }

    /// Unmaps a page-aligned range. Large pages that are not all in it are divided. What was not mapped stays so.
    ///
    /// # Errors
    ///
    /// [`MapError::OutOfFrames`], when there is none to divide a page with; what came before in the range is unmapped then.
    pub fn unmap(&mut self, memory: &mut impl TableMemory, range: Range<u64>) -> Result<(), MapError> {
        let mut address = range.start;
        while address < range.end {
            let (mut table, mut level) = (self.root, ROOT_LEVEL);
            let next = |level: u32| (address / size(level) + 1) * size(level);
            loop {
                let place = index(address, level);
                let entry = memory.entry(table, place);
                let whole = address.is_multiple_of(size(level)) && range.end - address >= size(level);
                if entry & PRESENT == 0 || level == 0 || (entry & LARGE != 0 && whole) {
                    memory.set_entry(table, place, 0);
                    break;
                }
                table = if entry & LARGE != 0 { divide(memory, table, place, level)? } else { entry & ADDRESS };
                level -= 1;
            }
            address = next(level);
        }
        Ok(())
    }

    /// Maps as [`map`](Self::map) does, also where a large page was divided before.
    ///
    /// # Errors
    ///
    /// As [`map`](Self::map).
    pub fn map_again(
        &mut self,
        memory: &mut impl TableMemory,
        range: Range<u64>,
        access: Access,
    ) -> Result<(), MapError> {
        match self.map(memory, range.clone(), access) {
            Err(MapError::Mapped(_)) => {
                let pages = (range.start..range.end).step_by(PAGE_SIZE);
                pages.map(|page| page..page + PAGE_SIZE as u64).try_for_each(|page| self.map(memory, page, access))
            }
            result => result,
        }
    }

    /// How `address` is mapped, `None` when it is not.
    pub fn access(&self, memory: &mut impl TableMemory, address: u64) -> Option<Access> {
        let mut table = self.root;
        for level in (0..=ROOT_LEVEL).rev() {
            let entry = memory.entry(table, index(address, level));
            if entry & PRESENT == 0 {
                return None;
            }
            if level == 0 || entry & LARGE != 0 {
                return Some(match (entry & WRITABLE != 0, entry & NO_EXECUTE != 0) {
                    (true, _) => Access::ReadWrite,
                    (false, true) => Access::Read,
                    (false, false) => Access::ReadExecute,
                });
            }
            table = entry & ADDRESS;
        }
        None
    }
}

/// Replaces the large page of an entry by a table of the next smaller pages, which is returned.
fn divide(memory: &mut impl TableMemory, table: u64, place: usize, level: u32) -> Result<u64, MapError> {
    let large = memory.entry(table, place);
    let new = memory.allocate().ok_or(MapError::OutOfFrames)?;
    let kind = if level == 1 { large & !LARGE } else { large };
    for part in 0..ENTRIES {
        memory.set_entry(new, part, kind + part as u64 * size(level - 1));
    }
    memory.set_entry(table, place, new | PRESENT | WRITABLE | USED);
    Ok(new)
}

/// Where the linker put the image, as page-aligned addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageLayout {
    /// Code.
    pub text: Range<u64>,
    /// Constants, notes and what only the linker writes.
    pub rodata: Range<u64>,
    /// Variables, with and without a value in the file.
    pub data: Range<u64>,
}

impl ImageLayout {
    /// All of the image.
    pub fn whole(&self) -> Range<u64> {
        self.text.start.min(self.rodata.start).min(self.data.start)
            ..self.text.end.max(self.rodata.end).max(self.data.end)
    }
}

/// Maps the image, and RAM for reading and writing except for page 0, the image and `guard`.
///
/// # Errors
///
/// As [`PageTables::map`].
pub fn map_all(
    tables: &mut PageTables,
    memory: &mut impl TableMemory,
    ram: &Ranges,
    image: &ImageLayout,
    guard: Range<u64>,
) -> Result<(), MapError> {
    let mut plain = ram.clone();
    plain.remove(0..PAGE_SIZE as u64);
    plain.remove(image.whole());
    plain.remove(guard);
    for range in plain.iter() {
        tables.map(memory, range, Access::ReadWrite)?;
    }
    tables.map(memory, image.text.clone(), Access::ReadExecute)?;
    tables.map(memory, image.rodata.clone(), Access::Read)?;
    tables.map(memory, image.data.clone(), Access::ReadWrite)
}

const fn size(level: u32) -> u64 {
    (PAGE_SIZE as u64) << (9 * level)
}

const fn index(address: u64, level: u32) -> usize {
    (address / size(level)) as usize % ENTRIES
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Table number n has the physical address n * 4096.
    pub(crate) struct Tables {
        tables: Vec<[u64; ENTRIES]>,
        limit: usize,
        written: usize,
    }

    impl Tables {
        pub(crate) fn new() -> Self {
            Self { tables: Vec::new(), limit: usize::MAX, written: 0 }
        }

        /// How many tables there are.
        pub(crate) fn count(&self) -> usize {
            self.tables.len()
        }

        /// How often an entry was written.
        pub(crate) fn written(&self) -> usize {
            self.written
        }
    }

    impl TableMemory for Tables {
        fn allocate(&mut self) -> Option<u64> {
            (self.tables.len() < self.limit).then(|| {
                self.tables.push([0; ENTRIES]);
                (self.tables.len() as u64 - 1) * 4096
            })
        }

        fn entry(&mut self, table: u64, index: usize) -> u64 {
            self.tables[table as usize / 4096][index]
        }

        fn set_entry(&mut self, table: u64, index: usize, value: u64) {
            self.tables[table as usize / 4096][index] = value;
            self.written += 1;
        }
    }

    /// Every mapped page: address, size, and the entry.
    fn walk(memory: &Tables, table: u64, level: u32, base: u64, found: &mut Vec<(u64, u64, u64)>) {
        for (index, &entry) in memory.tables[table as usize / 4096].iter().enumerate() {
            let address = base + index as u64 * size(level);
            if entry & PRESENT == 0 {
                assert_eq!(entry, 0);
            } else if level == 0 || entry & LARGE != 0 {
                found.push((address, size(level), entry));
            } else {
                walk(memory, entry & ADDRESS, level - 1, address, found);
            }
        }
    }

    fn machine(huge: bool) -> (PageTables, Tables) {
        let image =
            ImageLayout { text: 0x10_0000..0x10_5000, rodata: 0x10_5000..0x10_7000, data: 0x10_7000..0x11_2000 };
        let mut ram = Ranges::new();
        ram.insert(0..0x4000_3000);
        ram.insert(0x1_0000_0000..0x1_C000_0000);
        let mut memory = Tables::new();
        let mut tables = PageTables::new(&mut memory, huge).unwrap();
        map_all(&mut tables, &mut memory, &ram, &image, 0x20_0000..0x20_1000).unwrap();
        (tables, memory)
    }

    #[test]
    fn no_page_is_writable_and_executable_and_all_are_identical() {
        for huge in [false, true] {
            let (tables, memory) = machine(huge);
            let mut pages = Vec::new();
            walk(&memory, tables.root(), ROOT_LEVEL, 0, &mut pages);
            for &(address, size, entry) in &pages {
                assert!(entry & WRITABLE == 0 || entry & NO_EXECUTE != 0, "{address:#x} is writable and executable");
                assert_eq!(entry & ADDRESS, address);
                let code = (0x10_0000..0x10_5000).contains(&address);
                assert_eq!(entry & NO_EXECUTE == 0, code, "{address:#x}");
                let constant = (0x10_5000..0x10_7000).contains(&address);
                assert_eq!(entry & WRITABLE == 0, code || constant, "{address:#x}");
                assert!(address != 0 && !(0x20_0000..0x20_1000).contains(&address));
                assert!(address.is_multiple_of(size));
            }
            let mapped: u64 = pages.iter().map(|page| page.1).sum();
            assert_eq!(mapped, 0x4000_3000 + 0xC000_0000 - 2 * 0x1000);
            let largest = pages.iter().map(|page| page.1).max();
            assert_eq!(largest, Some(if huge { 1 << 30 } else { 1 << 21 }));
        }
    }

    #[test]
    fn access_is_found_again() {
        let (tables, mut memory) = machine(true);
        for (address, access) in [
            (0, None),
            (0x1000, Some(Access::ReadWrite)),
            (0x10_4FFF, Some(Access::ReadExecute)),
            (0x10_5000, Some(Access::Read)),
            (0x10_8000, Some(Access::ReadWrite)),
            (0x20_0800, None),
            (0x1_8000_0000, Some(Access::ReadWrite)),
            (0x2_0000_0000, None),
        ] {
            assert_eq!(tables.access(&mut memory, address), access, "{address:#x}");
        }
    }

    #[test]
    fn mapping_twice_is_fine_but_not_in_another_way() {
        let (mut tables, mut memory) = machine(false);
        let page = 0xFEFF_F000..0xFF00_0000;
        assert_eq!(tables.map(&mut memory, page.clone(), Access::ReadWrite), Ok(()));
        assert_eq!(tables.map(&mut memory, page.clone(), Access::ReadWrite), Ok(()));
        assert_eq!(tables.map(&mut memory, page, Access::Read), Err(MapError::Mapped(0xFEFF_F000)));
        let inside = 0x60_0000..0x60_1000;
        assert_eq!(tables.map(&mut memory, inside, Access::ReadWrite), Err(MapError::Mapped(0x60_0000)));
    }

    #[test]
    fn what_is_unmapped_is_gone_and_the_rest_stays() {
        for huge in [false, true] {
            let (mut tables, mut memory) = machine(huge);
            let before = |address| (address != 0x20_0000 && address != 0).then_some(Access::ReadWrite);
            // A page of 2 MiB, a page of 4 KiB, and what crosses the end of RAM.
            for range in [0x60_0000..0x80_0000, 0x1_0000_3000..0x1_0000_4000, 0x4000_0000..0x4020_0000] {
                tables.unmap(&mut memory, range.clone()).unwrap();
                for address in [range.start, range.end - 0x1000] {
                    assert_eq!(tables.access(&mut memory, address), None, "{address:#x}");
                }
                for address in [range.start - 0x1000, range.end].into_iter().filter(|&end| end != 0x4020_0000) {
                    assert_eq!(tables.access(&mut memory, address), before(address), "{address:#x}");
                }
            }
            tables.map_again(&mut memory, 0x60_0000..0x80_0000, Access::ReadWrite).unwrap();
            tables.unmap(&mut memory, 0x1_0000_0000..0x1_0020_0000).unwrap();
            tables.map_again(&mut memory, 0x1_0000_0000..0x1_0020_0000, Access::ReadWrite).unwrap();
            tables.map_again(&mut memory, 0x4000_0000..0x4000_3000, Access::ReadWrite).unwrap();
            let mut pages = Vec::new();
            walk(&memory, tables.root(), ROOT_LEVEL, 0, &mut pages);
            let mapped: u64 = pages.iter().map(|page| page.1).sum();
            assert_eq!(mapped, 0x4000_3000 + 0xC000_0000 - 2 * 0x1000);
            assert!(pages.iter().all(|&(address, _, entry)| entry & ADDRESS == address));
        }
    }

    #[test]
    fn dividing_a_page_takes_a_frame() {
        let (mut tables, mut memory) = machine(true);
        memory.limit = memory.tables.len();
        let page = 0x1_4000_0000..0x1_4000_1000;
        assert_eq!(tables.unmap(&mut memory, page.clone()), Err(MapError::OutOfFrames));
        assert_eq!(tables.access(&mut memory, page.start), Some(Access::ReadWrite));
        memory.limit += 2;
        assert_eq!(tables.unmap(&mut memory, page.clone()), Ok(()));
        assert_eq!(tables.access(&mut memory, page.start), None);
        assert_eq!(tables.access(&mut memory, page.end), Some(Access::ReadWrite));
    }

    #[test]
    fn too_few_frames_are_an_error() {
        let mut memory = Tables { limit: 2, ..Tables::new() };
        let mut tables = PageTables::new(&mut memory, true).unwrap();
        assert_eq!(tables.map(&mut memory, 0..0x1000, Access::Read), Err(MapError::OutOfFrames));
        memory.limit = 0;
        assert!(matches!(PageTables::new(&mut memory, true), Err(MapError::OutOfFrames)));
    }
}
