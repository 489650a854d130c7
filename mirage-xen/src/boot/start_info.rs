//! What the domain's builder left in memory: `hvm_start_info`, copied and validated.

use core::fmt;
use core::mem::offset_of;

use crate::abi::{self, hvm_memmap_table_entry, hvm_start_info};
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
        &self.bytes[..self.length]
    }
}

impl Default for CommandLine {
    fn default() -> Self {
        Self::new()
    }
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
}

impl fmt::Display for StartInfoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable => f.write_str("the start info lies outside of memory: this is no PVH boot"),
            Self::Magic(found) => write!(f, "the start info has the magic number {found:#x}: this is no PVH boot"),
            Self::LongCommandLine => {
                write!(f, "the command line is longer than {MAX_COMMAND_LINE} bytes: shorten `extra`")
            }
        }
    }
}

impl core::error::Error for StartInfoError {}

/// Reads the start info at `address`: copies the words for the program to `line` and returns the memory map, `None` in version
/// 0, which has none. Modules are ignored.
///
/// # Errors
///
/// [`StartInfoError`], when it is not one.
pub fn read(memory: &impl Physical, address: u64, line: &mut CommandLine) -> Result<Option<MemoryMap>, StartInfoError> {
    let word = |offset: usize| read_u32(memory, address, offset);
    let long = |offset: usize| read_u64(memory, address, offset);

    let magic = word(offset_of!(hvm_start_info, magic))?;
    if magic != abi::XEN_HVM_START_MAGIC_VALUE {
        return Err(StartInfoError::Magic(magic));
    }
    read_command_line(memory, long(offset_of!(hvm_start_info, cmdline_paddr))?, line)?;
    let version = word(offset_of!(hvm_start_info, version))?;
    if version == 0 {
        return Ok(None);
    }
    let table = long(offset_of!(hvm_start_info, memmap_paddr))?;
    let entries = word(offset_of!(hvm_start_info, memmap_entries))?;
    if table == 0 || entries == 0 {
        return Ok(None);
    }
    let mut map = MemoryMap::new();
    for index in 0..u64::from(entries) {
        // A longer map is cut: less memory is used, nothing else.
        if !map.add(read_entry(memory, table.saturating_add(index * size_of::<hvm_memmap_table_entry>() as u64))?) {
            break;
        }
    }
    Ok(Some(map))
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
    use super::*;

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

    fn map(memory: &Memory, address: u64) -> Result<Option<MemoryMap>, StartInfoError> {
        read(memory, address, &mut CommandLine::new())
    }

    #[test]
    fn version_1_has_words_and_map() {
        let memory = memory(1, &[(0, 0x40_0000, 1), (0xFC00_0000, 0x1000, 3)], b"--greeting 'Moin Moin'\0rest");
        let mut line = CommandLine::new();
        let regions = read(&memory, 0x1000, &mut line).unwrap().unwrap().regions().to_vec();
        assert_eq!(line.bytes(), b"--greeting 'Moin Moin'");
        assert_eq!(
            regions,
            [
                Region { start: 0, end: 0x40_0000, kind: Kind::Ram },
                Region { start: 0xFC00_0000, end: 0xFC00_1000, kind: Kind::Other },
            ]
        );
    }

    #[test]
    fn version_0_and_an_empty_map_have_none() {
        assert!(map(&memory(0, &[(0, 1, 1)], b"\0"), 0x1000).unwrap().is_none());
        assert!(map(&memory(1, &[], b"\0"), 0x1000).unwrap().is_none());
    }

    #[test]
    fn no_command_line_is_an_empty_one() {
        let mut memory = memory(1, &[], b"x\0");
        memory.0[24..32].fill(0);
        let mut line = CommandLine::new();
        assert!(read(&memory, 0x1000, &mut line).is_ok());
        assert_eq!(line.bytes(), b"");
    }

    #[test]
    fn nonsense_is_refused() {
        let mut wrong = memory(1, &[], b"\0");
        wrong.0[0] = 0;
        assert!(matches!(map(&wrong, 0x1000), Err(StartInfoError::Magic(_))));
        assert!(matches!(map(&wrong, 0), Err(StartInfoError::Unreadable)));
        assert!(matches!(map(&wrong, u64::MAX - 2), Err(StartInfoError::Unreadable)));
        let endless = memory(1, &[], &[b'x'; MAX_COMMAND_LINE + 1]);
        assert!(matches!(map(&endless, 0x1000), Err(StartInfoError::LongCommandLine)));
        let cut = memory(1, &[], b"never ends");
        assert!(matches!(map(&cut, 0x1000), Err(StartInfoError::Unreadable)));
        let mut wild = memory(1, &[(0, 1, 1)], b"\0");
        wild.0[40..48].copy_from_slice(&(u64::MAX - 30).to_le_bytes());
        assert!(matches!(map(&wild, 0x1000), Err(StartInfoError::Unreadable)));
    }

    #[test]
    fn sizes_that_overflow_end_at_the_last_address() {
        let memory = memory(1, &[(0x1000, u64::MAX, 1)], b"\0");
        let map = map(&memory, 0x1000).unwrap().unwrap();
        assert_eq!(map.regions()[0].end, u64::MAX);
    }
}
