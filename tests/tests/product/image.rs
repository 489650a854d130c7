//! Finished images, as a loader sees them.

use std::path::Path;

use mirage_tests::{image, image_by_feature, images, root, target};
use xmas_elf::ElfFile;
use xmas_elf::program::Type;
use xmas_elf::sections::{SectionData, ShType};

/// Checks that hold for every image.
fn check(path: &Path) {
    let bytes = std::fs::read(path).expect("the image was built");
    let elf = ElfFile::new(&bytes).expect("the image is ELF");
    for segment in elf.program_iter() {
        let flags = segment.flags();
        assert!(!(flags.is_write() && flags.is_execute()), "{}: a segment can be written and executed", path.display());
        let kind = segment.get_type().expect("a known type of segment");
        assert!(!matches!(kind, Type::Interp | Type::Dynamic), "{}: a {kind:?} segment", path.display());
    }
    let mut owners = Vec::new();
    for section in elf.section_iter() {
        match section.get_type() {
            Ok(ShType::Note) => owners.extend(note_owners(section.raw_data(&elf))),
            Ok(ShType::SymTab) => check_symbols(path, &elf, section.get_data(&elf).expect("a symbol table")),
            Ok(ShType::Dynamic | ShType::DynSym | ShType::Rela | ShType::Rel) => {
                panic!("{}: something is left for a dynamic linker", path.display())
            }
            _ => {}
        }
    }
    for owner in ["Xen", "Mirage"] {
        assert!(owners.iter().any(|found| found == owner), "{}: no note of {owner}: {owners:?}", path.display());
    }
}

/// The owners' names of the notes in a section.
fn note_owners(mut notes: &[u8]) -> Vec<String> {
    let mut owners = Vec::new();
    while let Some((header, rest)) = notes.split_first_chunk::<12>() {
        let size = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().expect("four bytes")) as usize;
        owners.push(String::from_utf8_lossy(&rest[..size(0).saturating_sub(1)]).into_owned());
        notes = &rest[size(0).next_multiple_of(4) + size(4).next_multiple_of(4)..];
    }
    owners
}

/// Nothing is undefined, and nothing of the host's C library came in.
fn check_symbols(path: &Path, elf: &ElfFile<'_>, table: SectionData<'_>) {
    use xmas_elf::symbol_table::Entry;
    let SectionData::SymbolTable64(symbols) = table else { panic!("an image has 64-bit symbols") };
    for symbol in symbols {
        let name = symbol.get_name(elf).unwrap_or_default();
        assert!(name.is_empty() || symbol.shndx() != 0, "{}: {name} is undefined", path.display());
        for foreign in ["__libc_start_main", "_start", "malloc", "printf", "_dl_start", "__libc_csu_init"] {
            assert_ne!(name, foreign, "{}: the host's C library was linked", path.display());
        }
    }
}

#[test]
fn images_are_closed_small_and_never_writable_and_executable() {
    // Without the target's name nobody shortens the paths in panics, which are this machine's: images by feature are larger.
    for (package, content, most, by_feature) in [
        ("hello", None, 64, true),
        ("echo-server", None, 280, false),
        ("block", None, 380, false),
        ("static-site", Some("htdocs"), 300, true),
    ] {
        for path in [Some(image(package)), by_feature.then(|| image_by_feature(package))].into_iter().flatten() {
            check(&path);
            let size = images::size(&path).expect("the image is ELF");
            let folder = content.map(|name| root().join("examples").join(package).join(name));
            let content = folder.map_or(0, |folder| images::content(&folder).expect("its content can be read"));
            let kib = (size.file - content).div_ceil(1024);
            println!("{}: {kib} KiB of PT_LOAD besides its content, {} in memory", path.display(), size.memory / 1024);
            assert!(kib <= most, "{} is {kib} KiB, at most {most} are allowed", path.display());
        }
    }
}

#[test]
fn launch_files_stand_beside_the_image() {
    let path = image("static-site");
    let xl = std::fs::read_to_string(path.with_extension("xl")).expect("static-site.xl stands beside the image");
    assert!(xl.contains("type = \"pvh\"") || xl.contains("type=\"pvh\""), "{xl}");
    assert!(xl.contains("static-site") && xl.contains("vif"), "{xl}");
    assert!(target().join("x86_64-unknown-xen/release/static-site.xl.in").exists());
}
