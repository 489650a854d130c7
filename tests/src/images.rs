//! Sizes of images.

use std::io;
use std::path::Path;

use xmas_elf::ElfFile;
use xmas_elf::program::Type;

/// Bytes of an image's PT_LOAD segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// In the file: what is loaded.
    pub file: u64,
    /// In memory: with what starts as zero.
    pub memory: u64,
}

/// The size of the image at `path`.
///
/// # Errors
///
/// When it can't be read or is no ELF file.
pub fn size(path: &Path) -> io::Result<Size> {
    let bytes = std::fs::read(path)?;
    let elf = ElfFile::new(&bytes).map_err(io::Error::other)?;
    let loads = elf.program_iter().filter(|segment| segment.get_type() == Ok(Type::Load));
    Ok(loads.fold(Size { file: 0, memory: 0 }, |sum, load| Size {
        file: sum.file + load.file_size(),
        memory: sum.memory + load.mem_size(),
    }))
}

/// Bytes of all files below `folder`.
///
/// # Errors
///
/// When it can't be read.
pub fn content(folder: &Path) -> io::Result<u64> {
    let mut sum = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        sum += if kind.is_dir() { content(&entry.path())? } else { entry.metadata()?.len() };
    }
    Ok(sum)
}
