//! Archives that Linux unpacks into its first root folder: cpio in the "newc" form.
//!
//! Written here because no root is needed to name a device node in an archive, and a unix tool would need one.

use std::collections::BTreeMap;
use std::io::{self, Write};

/// A root folder to be.
#[derive(Debug, Default)]
pub(crate) struct Archive {
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug)]
enum Entry {
    Folder,
    File { mode: u32, content: Vec<u8> },
    Link(String),
    Device { mode: u32, major: u32, minor: u32 },
}

const FOLDER: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const LINK: u32 = 0o120_000;
const CHARACTER: u32 = 0o020_000;

impl Archive {
    /// Adds a folder and those it is in.
    pub(crate) fn folder(&mut self, path: &str) {
        self.parents(path);
        self.entries.entry(path.to_owned()).or_insert(Entry::Folder);
    }

    /// Adds a file with its permissions.
    pub(crate) fn file(&mut self, path: &str, mode: u32, content: impl Into<Vec<u8>>) {
        self.parents(path);
        self.entries.insert(path.to_owned(), Entry::File { mode, content: content.into() });
    }

    /// Adds a symbolic link.
    pub(crate) fn link(&mut self, path: &str, target: &str) {
        self.parents(path);
        self.entries.insert(path.to_owned(), Entry::Link(target.to_owned()));
    }

    /// Adds a character device.
    pub(crate) fn device(&mut self, path: &str, mode: u32, major: u32, minor: u32) {
        self.parents(path);
        self.entries.insert(path.to_owned(), Entry::Device { mode, major, minor });
    }

    /// Whether something is at this path.
    pub(crate) fn has(&self, path: &str) -> bool {
        self.entries.contains_key(path)
    }

    fn parents(&mut self, path: &str) {
        for (end, _) in path.match_indices('/') {
            if let Some(parent) = path.get(..end) {
                self.entries.entry(parent.to_owned()).or_insert(Entry::Folder);
            }
        }
    }

    /// Writes the archive.
    pub(crate) fn write(&self, to: &mut impl Write) -> io::Result<()> {
        for (index, (path, entry)) in self.entries.iter().enumerate() {
            let number = index as u32 + 1;
            match entry {
                Entry::Folder => member(to, number, path, FOLDER | 0o755, b"", (0, 0))?,
                Entry::File { mode, content } => member(to, number, path, REGULAR | mode, content, (0, 0))?,
                Entry::Link(target) => member(to, number, path, LINK | 0o777, target.as_bytes(), (0, 0))?,
                Entry::Device { mode, major, minor } => {
                    member(to, number, path, CHARACTER | mode, b"", (*major, *minor))?;
                }
            }
        }
        member(to, 0, "TRAILER!!!", 0, b"", (0, 0))
    }
}

fn member(
    to: &mut impl Write,
    number: u32,
    path: &str,
    mode: u32,
    content: &[u8],
    device: (u32, u32),
) -> io::Result<()> {
    let too_long = |_| io::Error::new(io::ErrorKind::InvalidInput, format!("{path} is too long for an archive"));
    let length = u32::try_from(content.len()).map_err(too_long)?;
    let name_length = u32::try_from(path.len() + 1).map_err(too_long)?;
    // In this order: inode, mode, user, group, links, time, length, device (2), its own device (2), length of the name, check sum.
    let fields = [number, mode, 0, 0, 1, 0, length, 0, 0, device.0, device.1, name_length, 0];
    let mut head = String::from("070701");
    for field in fields {
        head.push_str(&format!("{field:08X}"));
    }
    head.push_str(path);
    head.push('\0');
    to.write_all(head.as_bytes())?;
    pad(to, head.len())?;
    to.write_all(content)?;
    pad(to, content.len())
}

fn pad(to: &mut impl Write, length: usize) -> io::Result<()> {
    let missing = length.next_multiple_of(4) - length;
    to.write_all([0; 3].get(..missing).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::Archive;

    /// Reads an archive back: (path, mode, content) of each member.
    fn read(mut bytes: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
        let mut members = Vec::new();
        while let Some((head, rest)) = bytes.split_at_checked(110) {
            let head = std::str::from_utf8(head).expect("a head is text");
            let field = |index: usize| {
                u32::from_str_radix(&head[6 + index * 8..14 + index * 8], 16).expect("a field is hexadecimal")
            };
            assert!(head.starts_with("070701"));
            let (length, name_length) = (field(6) as usize, field(11) as usize);
            let name = String::from_utf8(rest[..name_length - 1].to_vec()).expect("a name is text");
            let start = (110 + name_length).next_multiple_of(4);
            let content = bytes[start..start + length].to_vec();
            bytes = &bytes[(start + length).next_multiple_of(4)..];
            members.push((name, field(1), content));
        }
        members
    }

    #[test]
    fn an_archive_reads_back() {
        let mut archive = Archive::default();
        archive.file("usr/bin/x", 0o755, *b"12345");
        archive.link("bin", "usr/bin");
        archive.folder("proc");
        archive.device("dev/console", 0o600, 5, 1);
        let mut bytes = Vec::new();
        archive.write(&mut bytes).expect("a vector takes all");
        let members = read(&bytes);
        let expected: [(&str, u32, &[u8]); 8] = [
            ("bin", 0o120_777, b"usr/bin"),
            ("dev", 0o040_755, b""),
            ("dev/console", 0o020_600, b""),
            ("proc", 0o040_755, b""),
            ("usr", 0o040_755, b""),
            ("usr/bin", 0o040_755, b""),
            ("usr/bin/x", 0o100_755, b"12345"),
            ("TRAILER!!!", 0, b""),
        ];
        let expected: Vec<_> =
            expected.iter().map(|(name, mode, content)| (name.to_string(), *mode, content.to_vec())).collect();
        assert_eq!(members, expected);
        assert_eq!(bytes.len() % 4, 0);
    }
}
