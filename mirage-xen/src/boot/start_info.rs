//! What the domain's builder left in memory: `hvm_start_info`, copied and validated.

use core::fmt;
use core::mem::offset_of;
use core::ops::Range;

use crate::abi::{self, hvm_memmap_table_entry, hvm_modlist_entry, hvm_start_info};
use crate::memory::{Kind, MemoryMap, Region};

/// Longest command line that is read, in bytes. Xen's own tools give at most 1024.
pub const MAX_COMMAND_LINE: usize = 4096;

/// Memory by guest-physical address.
pub trait Physical {
    /// Copies memory from `address` on; false when it is not all there.
    fn read(&self, address: u64, buffer: &mut [u8]) -> bool;
}

/// The command line as bytes, without its end mark.
pub struct CommandLine {
    bytes: [u8; MAX_COMMAND_LINE],
    length: usize,
}

impl CommandLine {
    /// An empty line.
    pub const fn new() -> Self {
        Self { bytes: [0; MAX_COMMAND_LINE], length: 0 }
    }

    /// The line.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

impl Default for CommandLine {
    fn default() -> Self {
        Self::new()
    }
}

/// Most modules that a domain may have; xl gives one, the `ramdisk` of its configuration.
pub const MAX_MODULES: usize = 8;

/// The modules: whole ranges of addresses, in the builder's order.
#[derive(Clone, Default)]
pub struct Modules {
    list: [(u64, u64); MAX_MODULES],
    length: usize,
}

impl Modules {
    /// Where they are, to the byte.
    pub fn iter(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.list.get(..self.length).unwrap_or_default().iter().map(|&(start, end)| start..end)
    }

    /// Adds a module, for tests of what follows.
    #[cfg(test)]
    pub(crate) fn push(&mut self, module: Range<u64>) {
        self.list[self.length] = (module.start, module.end);
        self.length += 1;
    }
}

/// What the builder left, as far as it is used.
#[derive(Default)]
pub struct StartInfo {
    /// The words for the program.
    pub line: CommandLine,
    /// The memory map; without regions in version 0, which has none.
    pub map: MemoryMap,
    /// Files that the builder has put into memory. Their own command lines are not read.
    pub modules: Modules,
}

/// Why the start info cannot be used. All of these are the builder's mistakes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StartInfoError {
    /// The structure or something it points to is not in memory that can be read.
    Unreadable,
    /// The magic number is wrong.
    Magic(u32),
    /// The command line has no end within [`MAX_COMMAND_LINE`] bytes.
    LongCommandLine,
    /// What it describes can't be: more than [`MAX_REGIONS`](crate::memory::map::MAX_REGIONS) regions, of which a part could call
    /// memory what the rest does not; more than [`MAX_MODULES`] modules, or one that is not in memory or where the image is.
    Impossible,
}

impl fmt::Display for StartInfoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Magic(found) => {
                return write!(f, "the start info has the magic number {found:#x}: this is no PVH boot");
            }
            Self::Unreadable => "the start info lies outside of memory: this is no PVH boot",
            Self::LongCommandLine => "the command line is longer than 4096 bytes: shorten `extra`",
            Self::Impossible => "the domain's builder describes memory or modules that cannot be",
        })
    }
}

impl core::error::Error for StartInfoError {}

/// Reads the start info at `address` and what it points to into `info`, which is empty.
///
/// # Errors
///
/// [`StartInfoError`], when it is not one.
pub fn read(memory: &impl Physical, address: u64, info: &mut StartInfo) -> Result<(), StartInfoError> {
    let word = |offset: usize| read_u32(memory, address, offset);
    let long = |offset: usize| read_u64(memory, address, offset);

    let magic = word(offset_of!(hvm_start_info, magic))?;
    if magic != abi::XEN_HVM_START_MAGIC_VALUE {
        return Err(StartInfoError::Magic(magic));
    }
    read_command_line(memory, long(offset_of!(hvm_start_info, cmdline_paddr))?, &mut info.line)?;
    let modules = long(offset_of!(hvm_start_info, modlist_paddr))?;
    read_modules(memory, modules, word(offset_of!(hvm_start_info, nr_modules))?, &mut info.modules)?;
    if word(offset_of!(hvm_start_info, version))? == 0 {
        return Ok(());
    }
    let table = long(offset_of!(hvm_start_info, memmap_paddr))?;
    let entries = word(offset_of!(hvm_start_info, memmap_entries))? as usize;
    if table == 0 {
        return Ok(());
    }
    for index in 0..entries {
        if !info.map.add(read_entry(memory, element::<hvm_memmap_table_entry>(table, index))?) {
            return Err(StartInfoError::Impossible);
        }
    }
    Ok(())
}

fn read_modules(memory: &impl Physical, list: u64, count: u32, modules: &mut Modules) -> Result<(), StartInfoError> {
    let count = if list == 0 { 0 } else { count as usize };
    let places = modules.list.get_mut(..count).ok_or(StartInfoError::Impossible)?;
    for (index, place) in places.iter_mut().enumerate() {
        let entry = element::<hvm_modlist_entry>(list, index);
        let start = read_u64(memory, entry, offset_of!(hvm_modlist_entry, paddr))?;
        let size = read_u64(memory, entry, offset_of!(hvm_modlist_entry, size))?;
        *place = (start, start.checked_add(size).ok_or(StartInfoError::Impossible)?);
    }
    modules.length = count;
    Ok(())
}

/// The address of element `index` of a table. One that would overflow is where nothing can be read.
fn element<T>(table: u64, index: usize) -> u64 {
    table.saturating_add((index * size_of::<T>()) as u64)
}

fn read_entry(memory: &impl Physical, address: u64) -> Result<Region, StartInfoError> {
    let kind = match read_u32(memory, address, offset_of!(hvm_memmap_table_entry, type_))? {
        abi::XEN_HVM_MEMMAP_TYPE_RAM => Kind::Ram,
        _ => Kind::Other,
    };
    let start = read_u64(memory, address, offset_of!(hvm_memmap_table_entry, addr))?;
    let size = read_u64(memory, address, offset_of!(hvm_memmap_table_entry, size))?;
    Ok(Region { start, end: start.saturating_add(size), kind })
}

fn read_command_line(memory: &impl Physical, address: u64, line: &mut CommandLine) -> Result<(), StartInfoError> {
    line.length = 0;
    if address == 0 {
        return Ok(());
    }
    for index in 0..MAX_COMMAND_LINE {
        let mut byte = [0];
        read_bytes(memory, address, index, &mut byte)?;
        if byte[0] == 0 {
            line.length = index;
            return Ok(());
        }
        line.bytes[index] = byte[0];
    }
    Err(StartInfoError::LongCommandLine)
}

fn read_bytes(memory: &impl Physical, base: u64, offset: usize, buffer: &mut [u8]) -> Result<(), StartInfoError> {
    let address = base.checked_add(offset as u64).ok_or(StartInfoError::Unreadable)?;
    memory.read(address, buffer).then_some(()).ok_or(StartInfoError::Unreadable)
}

fn read_u32(memory: &impl Physical, base: u64, offset: usize) -> Result<u32, StartInfoError> {
    let mut bytes = [0; 4];
    read_bytes(memory, base, offset, &mut bytes)?;
    Ok(u32::from_le_bytes(bytes))
}

fn read_u64(memory: &impl Physical, base: u64, offset: usize) -> Result<u64, StartInfoError> {
    let mut bytes = [0; 8];
    read_bytes(memory, base, offset, &mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::boot::plan::Plan;

    /// Memory that starts at 0x1000.
    struct Memory(Vec<u8>);

    impl Physical for Memory {
        fn read(&self, address: u64, buffer: &mut [u8]) -> bool {
            let bytes = address
                .checked_sub(0x1000)
                .and_then(|start| self.0.get(usize::try_from(start).ok()?..)?.get(..buffer.len()));
            bytes.map(|bytes| buffer.copy_from_slice(bytes)).is_some()
        }
    }

    /// Start info at 0x1000, the map at 0x1100, the command line at 0x2000.
    fn memory(version: u32, map: &[(u64, u64, u32)], line: &[u8]) -> Memory {
        let mut bytes = vec![0; 0x1000];
        bytes[..4].copy_from_slice(&abi::XEN_HVM_START_MAGIC_VALUE.to_le_bytes());
        bytes[4..8].copy_from_slice(&version.to_le_bytes());
        bytes[24..32].copy_from_slice(&0x2000_u64.to_le_bytes());
        bytes[40..48].copy_from_slice(&0x1100_u64.to_le_bytes());
        bytes[48..52].copy_from_slice(&(map.len() as u32).to_le_bytes());
        for (index, (start, size, kind)) in map.iter().enumerate() {
            let at = 0x100 + index * 24;
            bytes[at..at + 8].copy_from_slice(&start.to_le_bytes());
            bytes[at + 8..at + 16].copy_from_slice(&size.to_le_bytes());
            bytes[at + 16..at + 20].copy_from_slice(&kind.to_le_bytes());
        }
        bytes.extend_from_slice(line);
        Memory(bytes)
    }

    fn read_at(memory: &Memory, address: u64) -> Result<StartInfo, StartInfoError> {
        let mut info = StartInfo::default();
        read(memory, address, &mut info).map(|()| info)
    }

    fn fails(memory: &Memory, address: u64) -> StartInfoError {
        read_at(memory, address).err().expect("it is refused")
    }

    #[test]
    fn version_1_has_words_and_map() {
        let memory = memory(1, &[(0, 0x40_0000, 1), (0xFC00_0000, 0x1000, 3)], b"--greeting 'Moin Moin'\0rest");
        let info = read_at(&memory, 0x1000).unwrap();
        assert_eq!(info.line.bytes(), b"--greeting 'Moin Moin'");
        assert_eq!(
            info.map.regions(),
            [
                Region { start: 0, end: 0x40_0000, kind: Kind::Ram },
                Region { start: 0xFC00_0000, end: 0xFC00_1000, kind: Kind::Other },
            ]
        );
        assert_eq!(info.modules.iter().count(), 0);
    }

    #[test]
    fn version_0_and_an_empty_map_have_none() {
        assert!(read_at(&memory(0, &[(0, 1, 1)], b"\0"), 0x1000).unwrap().map.regions().is_empty());
        assert!(read_at(&memory(1, &[], b"\0"), 0x1000).unwrap().map.regions().is_empty());
    }

    /// With a list of modules behind the command line's place.
    fn with_modules(version: u32, modules: &[(u64, u64)]) -> Memory {
        let mut memory = memory(version, &[], b"\0");
        memory.0.resize(0x2000, 0);
        memory.0[12..16].copy_from_slice(&(modules.len() as u32).to_le_bytes());
        memory.0[16..24].copy_from_slice(&0x2100_u64.to_le_bytes());
        for (index, (start, size)) in modules.iter().enumerate() {
            let at = 0x1100 + index * 32;
            memory.0[at..at + 8].copy_from_slice(&start.to_le_bytes());
            memory.0[at + 8..at + 16].copy_from_slice(&size.to_le_bytes());
        }
        memory
    }

    #[test]
    fn modules_are_found_in_both_versions() {
        for version in [0, 1] {
            let info = read_at(&with_modules(version, &[(0x20_0000, 5), (0x30_0010, 0)]), 0x1000).unwrap();
            assert_eq!(info.modules.iter().collect::<Vec<_>>(), [0x20_0000..0x20_0005, 0x30_0010..0x30_0010]);
        }
    }

    #[test]
    fn impossible_modules_are_refused() {
        assert_eq!(fails(&with_modules(1, &[(0, 1); MAX_MODULES + 1]), 0x1000), StartInfoError::Impossible);
        assert_eq!(fails(&with_modules(1, &[(u64::MAX, 2)]), 0x1000), StartInfoError::Impossible);
        let mut cut = with_modules(1, &[(0, 1)]);
        cut.0.truncate(0x110F);
        assert_eq!(fails(&cut, 0x1000), StartInfoError::Unreadable);
    }

    #[test]
    fn no_command_line_is_an_empty_one() {
        let mut memory = memory(1, &[], b"x\0");
        memory.0[24..32].fill(0);
        assert_eq!(read_at(&memory, 0x1000).unwrap().line.bytes(), b"");
    }

    #[test]
    fn nonsense_is_refused() {
        let mut wrong = memory(1, &[], b"\0");
        wrong.0[0] = 0;
        assert!(matches!(fails(&wrong, 0x1000), StartInfoError::Magic(_)));
        assert_eq!(fails(&wrong, 0), StartInfoError::Unreadable);
        assert_eq!(fails(&wrong, u64::MAX - 2), StartInfoError::Unreadable);
        let endless = memory(1, &[], &[b'x'; MAX_COMMAND_LINE + 1]);
        assert_eq!(fails(&endless, 0x1000), StartInfoError::LongCommandLine);
        let cut = memory(1, &[], b"never ends");
        assert_eq!(fails(&cut, 0x1000), StartInfoError::Unreadable);
        let mut wild = memory(1, &[(0, 1, 1)], b"\0");
        wild.0[40..48].copy_from_slice(&(u64::MAX - 30).to_le_bytes());
        assert_eq!(fails(&wild, 0x1000), StartInfoError::Unreadable);
        let mut long = memory(1, &[(0, 1, 1)], b"\0");
        long.0[40..48].copy_from_slice(&0x1100_u64.to_le_bytes());
        long.0[48..52].copy_from_slice(&u32::MAX.to_le_bytes());
        long.0.resize(0x4000, 0);
        assert_eq!(fails(&long, 0x1000), StartInfoError::Impossible);
    }

    #[test]
    fn the_message_names_the_limit() {
        let text = StartInfoError::LongCommandLine.to_string();
        assert!(text.contains(&MAX_COMMAND_LINE.to_string()), "{text}");
    }

    #[test]
    fn sizes_that_overflow_end_at_the_last_address() {
        let memory = memory(1, &[(0x1000, u64::MAX, 1)], b"\0");
        assert_eq!(read_at(&memory, 0x1000).unwrap().map.regions()[0].end, u64::MAX);
    }

    /// A pointer of a start info that may lead into the memory, to its edges, or anywhere.
    fn pointer() -> impl Strategy<Value = u64> {
        prop_oneof![0x0FF0_u64..0x3010, any::<u64>(), Just(0), u64::MAX - 64..=u64::MAX]
    }

    proptest! {
        #[test]
        fn no_start_info_does_harm(
            mut bytes in prop::collection::vec(any::<u8>(), 0x2000),
            (line, list, table) in (pointer(), pointer(), pointer()),
            (version, modules, entries) in (0_u32..3, prop_oneof![0_u32..10, any::<u32>()], prop_oneof![0_u32..140, any::<u32>()]),
            ends in any::<bool>(),
        ) {
            bytes[..4].copy_from_slice(&abi::XEN_HVM_START_MAGIC_VALUE.to_le_bytes());
            bytes[4..8].copy_from_slice(&version.to_le_bytes());
            bytes[12..16].copy_from_slice(&modules.to_le_bytes());
            bytes[16..24].copy_from_slice(&list.to_le_bytes());
            bytes[24..32].copy_from_slice(&line.to_le_bytes());
            bytes[40..48].copy_from_slice(&table.to_le_bytes());
            bytes[48..52].copy_from_slice(&entries.to_le_bytes());
            if !ends {
                bytes[56..].iter_mut().for_each(|byte| *byte |= 1);
            }
            let mut info = StartInfo::default();
            let _ = read(&Memory(bytes), 0x1000, &mut info);
            // What follows it at boot.
            let image = 0x10_0000..0x18_0000;
            let plan = Plan::new(&info.map, image.clone(), &info.modules);
            if let Ok(Some(plan)) = plan {
                plan.check(&info, image)?;
            }
        }
    }
}
