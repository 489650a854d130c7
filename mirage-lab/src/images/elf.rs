//! What the lab reads in ELF files: the libraries that a program needs, and whether Xen can start it.

use xmas_elf::ElfFile;
use xmas_elf::dynamic::Tag;
use xmas_elf::sections::SectionData;

/// The names of the libraries that an ELF file asks for itself; none if it is none.
pub(crate) fn needed(bytes: &[u8]) -> Vec<String> {
    let Ok(elf) = ElfFile::new(bytes) else {
        return Vec::new();
    };
    let mut names = Vec::new();
    for section in elf.section_iter() {
        let Ok(SectionData::Dynamic64(entries)) = section.get_data(&elf) else {
            continue;
        };
        for entry in entries {
            if let (Ok(Tag::Needed), Ok(at)) = (entry.get_tag(), entry.get_val())
                && let Some(name) =
                    elf.find_section_by_name(".dynstr").and_then(|strings| text_at(strings.raw_data(&elf), at))
            {
                names.push(name);
            }
        }
    }
    names
}

fn text_at(strings: &[u8], at: u64) -> Option<String> {
    let rest = strings.get(usize::try_from(at).ok()?..)?;
    let text = rest.split(|byte| *byte == 0).next()?;
    String::from_utf8(text.to_vec()).ok()
}

/// A stretch of an ELF file's code.
pub(crate) struct Code<'a> {
    /// Where it is in memory.
    pub(crate) start: u64,
    /// What it is.
    pub(crate) bytes: &'a [u8],
}

/// An ELF file's code.
pub(crate) fn code(bytes: &[u8]) -> Vec<Code<'_>> {
    let Ok(elf) = ElfFile::new(bytes) else {
        return Vec::new();
    };
    let mut code = Vec::new();
    for segment in elf.program_iter().filter(|segment| segment.flags().is_execute()) {
        let end = segment.offset().saturating_add(segment.file_size());
        if let (Ok(offset), Ok(end)) = (usize::try_from(segment.offset()), usize::try_from(end))
            && let Some(bytes) = bytes.get(offset..end)
        {
            code.push(Code { start: segment.virtual_addr(), bytes });
        }
    }
    code
}

/// Whether an ELF file has one of Xen's notes, which say where it starts.
pub(crate) fn starts_on_xen(bytes: &[u8]) -> bool {
    let Ok(elf) = ElfFile::new(bytes) else {
        return false;
    };
    let own = |section: xmas_elf::sections::SectionHeader<'_>| match section.get_data(&elf) {
        Ok(SectionData::Note64(header, data)) => header.name(data).trim_end_matches('\0') == "Xen",
        _ => false,
    };
    elf.section_iter().any(own)
}

#[cfg(test)]
mod tests {
    use super::needed;

    #[test]
    fn a_program_names_its_libraries() -> Result<(), Box<dyn std::error::Error>> {
        let own = std::fs::read(std::env::current_exe()?)?;
        assert!(needed(&own).iter().any(|name| name == "libc.so.6"));
        assert!(needed(b"#!/bin/sh\n").is_empty());
        Ok(())
    }
}
