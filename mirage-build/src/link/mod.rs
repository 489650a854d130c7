//! How an image is linked: the linker script, the link arguments and the stub archives.

use crate::manifest::Manifest;

/// The name and the type of the ELF note that carries the manifest.
pub(crate) const NOTE_OWNER: &str = "Mirage";
/// The note's type.
pub(crate) const NOTE_TYPE: u32 = 1;

/// The archives that crates on Linux ask the linker for. Ours are empty and found first, so that what an image takes
/// from the host's libc by mistake is a link error and not a call into nothing.
pub(crate) const STUB_ARCHIVES: [&str; 9] =
    ["libc.a", "libm.a", "libdl.a", "libpthread.a", "librt.a", "libutil.a", "libgcc.a", "libgcc_s.a", "libgcc_eh.a"];

/// An archive without members.
pub(crate) const EMPTY_ARCHIVE: &[u8] = b"!<arch>\n";

/// Who gets the link arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Driver {
    /// A C compiler, which calls the linker.
    Compiler,
    /// A linker itself.
    Linker,
}

impl Driver {
    /// From the linker that cargo was configured with, if it was.
    pub(crate) fn of(linker: Option<&str>) -> Driver {
        let name = linker.unwrap_or("cc").rsplit('/').next().unwrap_or_default();
        if name.ends_with("lld") || name == "ld" || name.starts_with("ld.") { Driver::Linker } else { Driver::Compiler }
    }
}

/// The linker script for a unikernel with this manifest.
pub(crate) fn script(manifest: &Manifest) -> String {
    let memory = u64::from(manifest.memory_mib) * 1024 * 1024;
    include_str!("image.ld.in")
        .replace("@MANIFEST@", &data(&note(&manifest.encode())))
        .replace("@MEMORY_BYTES@", &format!("{memory:#x}"))
        .replace("@MEMORY_MIB@", &manifest.memory_mib.to_string())
}

/// An ELF note with this descriptor.
fn note(descriptor: &[u8]) -> Vec<u8> {
    let mut note = Vec::new();
    note.extend_from_slice(&(NOTE_OWNER.len() as u32 + 1).to_le_bytes());
    note.extend_from_slice(&(descriptor.len() as u32).to_le_bytes());
    note.extend_from_slice(&NOTE_TYPE.to_le_bytes());
    note.extend_from_slice(NOTE_OWNER.as_bytes());
    note.push(0);
    note.resize(note.len().next_multiple_of(4), 0);
    note.extend_from_slice(descriptor);
    note.resize(note.len().next_multiple_of(4), 0);
    note
}

/// Data commands of a linker script for `bytes`, whose number is a multiple of four.
fn data(bytes: &[u8]) -> String {
    let longs = bytes.chunks_exact(4).map(|four| u32::from_le_bytes([four[0], four[1], four[2], four[3]]));
    let commands: Vec<String> = longs.map(|long| format!("LONG({long:#010x})")).collect();
    commands.chunks(6).map(|line| format!("        {}", line.join(" "))).collect::<Vec<_>>().join("\n")
}

/// The link arguments of an image, in their order.
///
/// `script` and `stubs` are the linker script's file and the stub archives' folder; `advisor`, if given, is the program
/// that the linker calls to explain its errors.
pub(crate) fn arguments(driver: Driver, script: &str, stubs: &str, advisor: Option<&str>) -> Vec<String> {
    let linker = |argument: &str| match driver {
        Driver::Compiler => vec!["-Xlinker".to_owned(), argument.to_owned()],
        Driver::Linker => vec![argument.to_owned()],
    };
    let mut arguments = vec![format!("-L{stubs}")];
    match driver {
        Driver::Compiler => arguments.extend(["-nostdlib", "-nostartfiles", "-static", "-no-pie"].map(str::to_owned)),
        Driver::Linker => arguments.extend(["-static", "--no-pie"].map(str::to_owned)),
    }
    for argument in ["--build-id=sha1", "-znorelro", "-zmax-page-size=4096", "--no-eh-frame-hdr"] {
        arguments.extend(linker(argument));
    }
    if let Some(advisor) = advisor {
        arguments.extend(linker(&format!("--error-handling-script={advisor}")));
    }
    arguments.push(format!("-T{script}"));
    arguments
}

/// What to tell somebody whose image lacks a symbol or a library, beside lld's own message, which names who wants it.
///
/// `None` when `kind` is not one of the linker's kinds of errors.
pub(crate) fn advice(kind: &str, subject: &str) -> Option<String> {
    match kind {
        "undefined-symbol" if subject.starts_with("_mirage_") => Some(format!(
            "mirage: `{subject}` belongs to the boot code. src/main.rs needs `mirage_rt::unikernel!();` and a function \
             with `#[mirage_rt::main]`."
        )),
        "undefined-symbol" => Some(format!(
            "mirage: `{subject}` is defined nowhere in the image: on Xen there is no C library and no operating system. The \
             archive named below wants it (libNAME-...rlib is the crate NAME): turn off that crate's `std` or default \
             features, or use it on Unix only, under [target.'cfg(not(mirage_target))'.dependencies]."
        )),
        "missing-lib" => Some(format!(
            "mirage: a crate wants the host's library `{subject}`, and an image can not use one. `cargo tree` shows the \
             crates, one whose name ends in -sys is the likely one: use it on Unix only, under \
             [target.'cfg(not(mirage_target))'.dependencies]."
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
