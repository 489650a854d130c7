//! Finds the manifest in a finished image.
//!
//! A reader of its own for the few fields that matter: ELF crates either panic on damaged files or take longer to compile
//! than all of mirage-build, which every application's build waits for.

use std::fmt;

use super::{DecodeError, Manifest};
use crate::link::{NOTE_OWNER, NOTE_TYPE};

/// Why there is no manifest to be read in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReadError {
    /// Not an ELF file for x86_64.
    NotAnImage,
    /// A header or note reaches beyond the end of the file.
    Truncated,
    /// An ELF file without our note: a program for Unix, for example.
    NoManifest,
    /// The note is there, and not a manifest.
    Decode(DecodeError),
}

impl std::error::Error for ReadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ReadError::Decode(error) => Some(error),
            _ => None,
        }
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadError::NotAnImage => f.write_str("this is not a bootable image: it is no ELF file for x86_64"),
            ReadError::Truncated => f.write_str("the ELF file is cut off or damaged: build the image again"),
            ReadError::NoManifest => f.write_str(
                "this ELF file has no Mirage manifest: it is not a bootable image. Build one with `--target \
                 x86_64-unknown-xen` or `--features xen`",
            ),
            ReadError::Decode(error) => error.fmt(f),
        }
    }
}

/// The manifest of a bootable image, `bytes` being the whole file.
///
/// # Errors
///
/// [`ReadError`], which says what the file is instead.
pub fn read_elf(bytes: &[u8]) -> Result<Manifest, ReadError> {
    const ELF64_LITTLE_ENDIAN: &[u8] = b"\x7fELF\x02\x01";
    const X86_64: u16 = 62;
    const PT_NOTE: u32 = 4;
    let file = Bytes(bytes);
    if !bytes.starts_with(ELF64_LITTLE_ENDIAN) || file.u16(18)? != X86_64 {
        return Err(ReadError::NotAnImage);
    }
    let (table, entry_size, entries) = (file.u64(32)?, u64::from(file.u16(54)?), u64::from(file.u16(56)?));
    for index in 0..entries {
        let offset = index.checked_mul(entry_size).and_then(|offset| table.checked_add(offset));
        let header = file.slice(offset.ok_or(ReadError::Truncated)?, 56)?;
        if header.u32(0)? == PT_NOTE
            && let Some(descriptor) = find_note(file.slice(header.u64(8)?, header.u64(32)?)?)?
        {
            return Manifest::decode(descriptor.0).map_err(ReadError::Decode);
        }
    }
    Err(ReadError::NoManifest)
}

/// The descriptor of our note in a segment of notes.
fn find_note(segment: Bytes<'_>) -> Result<Option<Bytes<'_>>, ReadError> {
    let mut offset = 0;
    while offset + 12 <= segment.0.len() as u64 {
        let header = segment.slice(offset, 12)?;
        let (owner_size, size, kind) = (u64::from(header.u32(0)?), u64::from(header.u32(4)?), header.u32(8)?);
        let owner = segment.slice(offset + 12, owner_size)?;
        let start = offset + 12 + owner_size.next_multiple_of(4);
        let descriptor = segment.slice(start, size)?;
        if owner.0.strip_suffix(b"\0") == Some(NOTE_OWNER.as_bytes()) && kind == NOTE_TYPE {
            return Ok(Some(descriptor));
        }
        offset = start + size.next_multiple_of(4);
    }
    Ok(None)
}

/// Bytes of a file whose numbers are not trusted.
#[derive(Clone, Copy)]
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn slice(self, offset: u64, size: u64) -> Result<Bytes<'a>, ReadError> {
        let ends = (usize::try_from(offset).ok(), offset.checked_add(size).and_then(|end| usize::try_from(end).ok()));
        let slice = if let (Some(start), Some(end)) = ends { self.0.get(start..end) } else { None };
        slice.map(Bytes).ok_or(ReadError::Truncated)
    }

    fn array<const N: usize>(self, offset: u64) -> Result<[u8; N], ReadError> {
        let slice = self.slice(offset, N as u64)?;
        slice.0.first_chunk::<N>().copied().ok_or(ReadError::Truncated)
    }

    fn u16(self, offset: u64) -> Result<u16, ReadError> {
        self.array(offset).map(u16::from_le_bytes)
    }

    fn u32(self, offset: u64) -> Result<u32, ReadError> {
        self.array(offset).map(u32::from_le_bytes)
    }

    fn u64(self, offset: u64) -> Result<u64, ReadError> {
        self.array(offset).map(u64::from_le_bytes)
    }
}
