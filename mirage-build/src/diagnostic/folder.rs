//! Mistakes in folders that are to be embedded.

use std::fmt;
use std::path::Path;

/// What is wrong with a folder, or with what lies in it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FolderMistake {
    /// It is not there.
    Missing,
    /// It is something else.
    NotAFolder,
    /// It has no file in it.
    Empty,
    /// It can not be read, for this reason.
    Unreadable(String),
    /// Its name is not UTF-8.
    NotUtf8,
    /// It is a symbolic link out of the folder.
    LinkEscapes,
    /// It is neither a file nor a folder.
    SpecialFile,
    /// It is nested deeper than this many folders, as in a loop of links.
    TooDeep(usize),
    /// There are more files than this.
    TooManyFiles(usize),
    /// There is more content than this, MiB.
    TooLarge(u64),
}

impl FolderMistake {
    pub(super) fn write(&self, f: &mut fmt::Formatter<'_>, device: &str, path: &Path) -> fmt::Result {
        let path = path.display();
        match self {
            FolderMistake::Missing => write!(
                f,
                "the folder `{path}` of the device `{device}` is missing: create it, or correct the path in \
                 `.kv_ro(..)` in build.rs (it is relative to the package)"
            ),
            FolderMistake::NotAFolder => {
                write!(f, "`{path}` of the device `{device}` is not a folder: `.kv_ro(..)` in build.rs takes a folder")
            }
            FolderMistake::Empty => write!(
                f,
                "the folder `{path}` of the device `{device}` has no file in it: add one, or remove `.kv_ro(..)` from \
                 build.rs"
            ),
            FolderMistake::Unreadable(reason) => write!(
                f,
                "`{path}` of the device `{device}` can not be read ({reason}): change its permissions, or take it out \
                 of the folder"
            ),
            FolderMistake::NotUtf8 => {
                write!(f, "the name `{path}` in the folder of the device `{device}` is not UTF-8: rename it")
            }
            FolderMistake::LinkEscapes => write!(
                f,
                "the symbolic link `{path}` of the device `{device}` leads out of its folder: replace it by what it \
                 points to, or remove it"
            ),
            FolderMistake::SpecialFile => {
                write!(f, "`{path}` of the device `{device}` is neither a file nor a folder: remove it from the folder")
            }
            FolderMistake::TooDeep(limit) => write!(
                f,
                "`{path}` of the device `{device}` is more than {limit} folders deep: flatten the folder, or remove \
                 the symbolic link that leads back to one of its parents"
            ),
            FolderMistake::TooManyFiles(limit) => write!(
                f,
                "the folder of the device `{device}` has more than {limit} files, `{path}` is one too many: embed \
                 fewer, this is meant for content that fits into memory"
            ),
            FolderMistake::TooLarge(limit) => write!(
                f,
                "the folder of the device `{device}` has more than {limit} MiB, `{path}` is too much: embed less, this \
                 is meant for content that fits into memory"
            ),
        }
    }
}
