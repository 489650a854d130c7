//! Reads a folder that is to be embedded. What lies in it is input like any other: bounded and checked.

use std::fs;
use std::io::Read;
use std::path::Path;

use crate::diagnostic::{Diagnostic, FolderMistake};
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
    let mistake = |mistake| vec![Diagnostic::Folder { device: device.into(), path: path.into(), mistake }];
    let root = match fs::canonicalize(path) {
        Ok(root) if root.is_dir() => root,
        Ok(_) => return Err(mistake(FolderMistake::NotAFolder)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(mistake(FolderMistake::Missing)),
        Err(error) => return Err(mistake(FolderMistake::Unreadable(error.to_string()))),
    };
    let mut walk = Walk { device, root: &root, limits, files: Vec::new(), size: 0, full: false, mistakes: Vec::new() };
    walk.folder(path, "", 0);
    let Walk { mut files, size, mut mistakes, .. } = walk;
    if files.is_empty() && mistakes.is_empty() {
        mistakes = mistake(FolderMistake::Empty);
    }
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(Folder { files, size })
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
    fn mistake(&mut self, path: &Path, mistake: FolderMistake) {
        self.mistakes.push(Diagnostic::Folder { device: self.device.into(), path: path.into(), mistake });
    }

    fn unreadable(&mut self, path: &Path, error: &std::io::Error) {
        self.mistake(path, FolderMistake::Unreadable(error.to_string()));
    }

    fn folder(&mut self, path: &Path, prefix: &str, depth: usize) {
        if depth > self.limits.depth {
            // A loop of links would be found again along each of its paths.
            self.full = true;
            return self.mistake(path, FolderMistake::TooDeep(self.limits.depth));
        }
        let entries = match fs::read_dir(path) {
            Ok(entries) => entries,
            Err(error) => return self.unreadable(path, &error),
        };
        for entry in entries {
            if self.full {
                return;
            }
            match entry {
                Ok(entry) => self.entry(&entry.path(), prefix, depth),
                Err(error) => self.unreadable(path, &error),
            }
        }
    }

    fn entry(&mut self, path: &Path, prefix: &str, depth: usize) {
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            return self.mistake(path, FolderMistake::NotUtf8);
        };
        let below = format!("{prefix}{name}");
        let real = match fs::canonicalize(path) {
            Ok(real) => real,
            Err(error) => return self.unreadable(path, &error),
        };
        if !real.starts_with(self.root) {
            return self.mistake(path, FolderMistake::LinkEscapes);
        }
        match fs::metadata(&real) {
            Ok(metadata) if metadata.is_dir() => self.folder(path, &format!("{below}/"), depth + 1),
            Ok(metadata) if metadata.is_file() => self.file(path, below),
            Ok(_) => self.mistake(path, FolderMistake::SpecialFile),
            Err(error) => self.unreadable(path, &error),
        }
    }

    fn file(&mut self, path: &Path, below: String) {
        if self.files.len() == self.limits.files {
            self.full = true;
            return self.mistake(path, FolderMistake::TooManyFiles(self.limits.files));
        }
        let Some(source) = path.to_str() else { return self.mistake(path, FolderMistake::NotUtf8) };
        let budget = self.limits.mib * 1024 * 1024 - self.size;
        match digest_of(path, budget) {
            Ok(Some((digest, size))) => {
                self.size += size;
                self.files.push(File { path: below, source: source.to_owned(), digest });
            }
            Ok(None) => {
                self.full = true;
                self.mistake(path, FolderMistake::TooLarge(self.limits.mib));
            }
            Err(error) => self.unreadable(path, &error),
        }
    }
}

/// The digest and size of a file, or `None` when it has more than `budget` bytes.
fn digest_of(path: &Path, budget: u64) -> std::io::Result<Option<(u128, u64)>> {
    let mut reader = fs::File::open(path)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn mistakes(limits: Limits) -> Vec<String> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/site/htdocs");
        let shown = format!("{}/", path.display());
        let mistakes = read("htdocs", &path, limits).expect_err("the limits are too small");
        mistakes.iter().map(|mistake| mistake.to_string().replace(&shown, "")).collect()
    }

    #[test]
    fn each_limit_ends_the_reading_with_one_message() {
        let [files] = &mistakes(Limits { files: 1, ..Limits::DEFAULT })[..] else { panic!("one message") };
        let names = ["index.html", "style.css", "img/a \"quoted\" name.txt"];
        let text = |name| {
            format!(
                "the folder of the device `htdocs` has more than 1 files, `{name}` is one too many: embed fewer, this \
                 is meant for content that fits into memory"
            )
        };
        assert!(names.iter().any(|name| *files == text(name)), "{files}");
        let [size] = &mistakes(Limits { mib: 0, ..Limits::DEFAULT })[..] else { panic!("one message") };
        assert!(size.starts_with("the folder of the device `htdocs` has more than 0 MiB, `"), "{size}");
        assert_eq!(
            mistakes(Limits { depth: 0, ..Limits::DEFAULT }),
            ["`img` of the device `htdocs` is more than 0 folders deep: flatten the folder, or remove the symbolic \
              link that leads back to one of its parents"]
        );
    }

    #[test]
    fn files_are_sorted_by_their_whole_path() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/site/htdocs");
        let folder = read("htdocs", &path, Limits::DEFAULT).expect("nothing is wrong");
        let paths: Vec<&str> = folder.files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(paths, ["img/a \"quoted\" name.txt", "index.html", "style.css"]);
        assert!(folder.size > 0 && folder.size < 1024, "{}", folder.size);
    }
}
