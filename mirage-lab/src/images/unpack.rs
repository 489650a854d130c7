//! Packed files, unpacked by the programs of the packages themselves.

use crate::error::SetupError;
use crate::packages::Tree;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use std::thread;

/// How something is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packing {
    /// Not at all: an ELF file.
    Not,
    /// gzip.
    Gzip,
    /// xz.
    Xz,
    /// Zstandard.
    Zstd,
}

impl Packing {
    /// What the first bytes say.
    pub(crate) fn of(bytes: &[u8]) -> Option<Self> {
        const STARTS: [(&[u8], Packing); 4] = [
            (b"\x7fELF", Packing::Not),
            (b"\x1f\x8b", Packing::Gzip),
            (b"\xfd7zXZ\0", Packing::Xz),
            (b"\x28\xb5\x2f\xfd", Packing::Zstd),
        ];
        STARTS.iter().find(|(start, _)| bytes.starts_with(start)).map(|(_, packing)| *packing)
    }
}

/// Reads a file and unpacks it as its first bytes say.
pub(crate) fn read(tree: &Tree, path: &Path) -> Result<Vec<u8>, SetupError> {
    let bytes = fs::read(path).map_err(SetupError::file(path))?;
    match Packing::of(&bytes) {
        Some(packing) => unpack(tree, packing, bytes),
        None => {
            Err(SetupError::Format { path: path.to_path_buf(), what: "packed in a way the lab does not know".into() })
        }
    }
}

/// Unpacks. What follows the packed data (a boot file has its length there) does not matter.
pub(crate) fn unpack(tree: &Tree, packing: Packing, bytes: Vec<u8>) -> Result<Vec<u8>, SetupError> {
    let (program, words): (&str, &[&str]) = match packing {
        Packing::Not => return Ok(bytes),
        Packing::Gzip => ("gzip", &["-dc"]),
        Packing::Xz => ("xz", &["-dc", "--single-stream"]),
        Packing::Zstd => ("zstd", &["-dcq"]),
    };
    let failed = |said: String| SetupError::Tool { doing: format!("unpacking with {program}"), said };
    let mut child = tree
        .command(program)?
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    let input = child.stdin.take();
    let feeder = thread::spawn(move || {
        if let Some(mut input) = input {
            // The program may have read enough before the end.
            let _ = input.write_all(&bytes);
        }
    });
    let output = child.wait_with_output().map_err(|error| failed(error.to_string()))?;
    let _ = feeder.join();
    // gzip ends with 2, zstd with 1, when something follows; a whole ELF file is the proof either way.
    if output.status.success() || output.stdout.starts_with(b"\x7fELF") {
        return Ok(output.stdout);
    }
    Err(failed(crate::process::tail(&output.stderr, 500)))
}
