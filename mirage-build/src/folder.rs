//! Reads a folder that is to be embedded. What lies in it is input like any other: bounded and checked.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::diagnostic::Diagnostic;
use crate::digest::Digest;

/// How much one folder may hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) depth: usize,
    pub(crate) files: usize,
    pub(crate) mib: u64,
}

impl Limits {
    pub(crate) const DEFAULT: Limits = Limits { depth: 32, files: 65_536, mib: 1_024 };
}

/// A folder's content, sorted by path (bytewise).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Folder {
    pub(crate) files: Vec<File>,
    /// Sum of the files' sizes, bytes.
    pub(crate) size: u64,
}

/// A file of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct File {
    /// Below the folder, separated by `/`.
    pub(crate) path: String,
    /// Where `include_bytes!` finds it.
    pub(crate) source: String,
    /// Of the content.
    pub(crate) digest: u128,
}

/// Reads the folder at `path` for the device `device`. Every mistake found is in the error.
pub(crate) fn read(device: &str, path: &Path, limits: Limits) -> Result<Folder, Vec<Diagnostic>> {
    let root = match fs::canonicalize(path) {
        Ok(root) if root.is_dir() => root,
        Ok(_) => return Err(vec![Diagnostic::NotAFolder { device: device.into(), path: path.into() }]),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(vec![Diagnostic::MissingFolder { device: device.into(), folder: path.into() }]);
        }
        Err(error) => return Err(vec![unreadable(device, path, &error)]),
    };
    let mut walk = Walk { device, root: &root, limits, files: Vec::new(), size: 0, full: false, mistakes: Vec::new() };
    walk.folder(path, "", 0);
    let Walk { mut files, size, mut mistakes, .. } = walk;
    if files.is_empty() && mistakes.is_empty() {
        mistakes.push(Diagnostic::EmptyFolder { device: device.into(), folder: path.into() });
    }
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(Folder { files, size })
}

fn unreadable(device: &str, path: &Path, error: &std::io::Error) -> Diagnostic {
    Diagnostic::Unreadable { device: device.into(), path: path.into(), reason: error.to_string() }
}

struct Walk<'a> {
    device: &'a str,
    /// The folder without symbolic links: nothing outside is embedded.
    root: &'a Path,
    limits: Limits,
    files: Vec<File>,
    size: u64,
    /// A limit was hit: the rest is not read.
    full: bool,
    mistakes: Vec<Diagnostic>,
}

impl Walk<'_> {
    fn folder(&mut self, path: &Path, prefix: &str, depth: usize) {
        if depth > self.limits.depth {
            let limit = self.limits.depth;
            self.mistakes.push(Diagnostic::TooDeep { device: self.device.into(), path: path.into(), limit });
            // A loop of links would be found again along each of its paths.
            self.full = true;
            return;
        }
        let entries = match fs::read_dir(path) {
            Ok(entries) => entries,
            Err(error) => return self.mistakes.push(unreadable(self.device, path, &error)),
        };
        for entry in entries {
            if self.full {
                return;
            }
            match entry {
                Ok(entry) => self.entry(&entry.path(), prefix, depth),
                Err(error) => self.mistakes.push(unreadable(self.device, path, &error)),
            }
        }
    }

    fn entry(&mut self, path: &Path, prefix: &str, depth: usize) {
        let device = self.device.to_owned();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            return self.mistakes.push(Diagnostic::NotUtf8 { device, path: path.into() });
        };
        let below = format!("{prefix}{name}");
        let real = match fs::canonicalize(path) {
            Ok(real) => real,
            Err(error) => return self.mistakes.push(unreadable(self.device, path, &error)),
        };
        if !real.starts_with(self.root) {
            return self.mistakes.push(Diagnostic::LinkEscapes { device, path: path.into() });
        }
        match fs::metadata(&real) {
            Ok(metadata) if metadata.is_dir() => self.folder(path, &format!("{below}/"), depth + 1),
            Ok(metadata) if metadata.is_file() => self.file(path, below),
            Ok(_) => self.mistakes.push(Diagnostic::SpecialFile { device, path: path.into() }),
            Err(error) => self.mistakes.push(unreadable(self.device, path, &error)),
        }
    }

    fn file(&mut self, path: &Path, below: String) {
        let device = self.device.to_owned();
        if self.files.len() == self.limits.files {
            self.full = true;
            return self.mistakes.push(Diagnostic::TooManyFiles { device, limit: self.limits.files });
        }
        let Some(source) = path.to_str() else {
            return self.mistakes.push(Diagnostic::NotUtf8 { device, path: path.into() });
        };
        let budget = self.limits.mib * 1024 * 1024 - self.size;
        match digest_of(path, budget) {
            Ok(Some((digest, size))) => {
                self.size += size;
                self.files.push(File { path: below, source: source.to_owned(), digest });
            }
            Ok(None) => {
                self.full = true;
                self.mistakes.push(Diagnostic::TooLarge { device, limit_mib: self.limits.mib });
            }
            Err(error) => self.mistakes.push(unreadable(self.device, path, &error)),
        }
    }
}

/// The digest and size of a file, or `None` when it has more than `budget` bytes.
fn digest_of(path: &Path, budget: u64) -> std::io::Result<Option<(u128, u64)>> {
    let mut reader = fs::File::open(PathBuf::from(path))?;
    let mut digest = Digest::new();
    let mut size = 0;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = reader.read(&mut buffer)?;
        if count == 0 {
            return Ok(Some((digest.value(), size)));
        }
        size += count as u64;
        if size > budget {
            return Ok(None);
        }
        digest.update(&buffer[..count]);
    }
}
