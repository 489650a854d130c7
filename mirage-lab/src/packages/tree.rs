//! Packages unpacked into a folder, not installed.

use super::{PackageSet, fetch};
use crate::cache::{Cache, CacheLock};
use crate::error::SetupError;
use crate::process::{output, tethered};
use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

const PROGRAM_FOLDERS: [&str; 4] = ["usr/bin", "bin", "usr/sbin", "sbin"];
const LIBRARY_FOLDERS: [&str; 2] = ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"];
const LOADER: &str = "ld-linux-x86-64.so.2";

/// A folder that holds what packages hold, as a root folder would.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    root: PathBuf,
}

impl Tree {
    /// A tree that is there.
    pub(crate) fn at(root: PathBuf) -> Self {
        Self { root }
    }

    /// Unpacks a set into a folder.
    pub(crate) fn unpack(cache: &Cache, lock: &CacheLock, set: &PackageSet, root: &Path) -> Result<Self, SetupError> {
        let archives = fetch(cache, lock, set)?;
        fs::create_dir_all(root).map_err(SetupError::file(root))?;
        for archive in &archives {
            output(tethered("dpkg-deb").arg("-x").arg(archive).arg(root), || {
                format!("unpacking {}", archive.display())
            })?;
        }
        Ok(Self::at(root.to_path_buf()))
    }

    /// The root folder.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Where a path of the packages leads: symbolic links are followed as if the tree were the root folder.
    pub(crate) fn resolve(&self, path: impl AsRef<Path>) -> Option<PathBuf> {
        // A chain this long is a loop.
        let mut links = 0;
        let mut pending: Vec<OsString> = names_reversed(path.as_ref());
        let mut found = PathBuf::new();
        while let Some(name) = pending.pop() {
            if name == ".." {
                found.pop();
                continue;
            }
            let step = self.root.join(&found).join(&name);
            let kind = fs::symlink_metadata(&step).ok()?;
            if !kind.is_symlink() {
                found.push(name);
                continue;
            }
            links += 1;
            if links > 40 {
                return None;
            }
            let target = fs::read_link(&step).ok()?;
            if target.is_absolute() {
                found = PathBuf::new();
            }
            pending.extend(names_reversed(&target));
        }
        Some(self.root.join(found))
    }

    /// The file of a program.
    pub(crate) fn program(&self, name: &str) -> Option<PathBuf> {
        PROGRAM_FOLDERS
            .iter()
            .find_map(|folder| self.resolve(Path::new(folder).join(name)))
            .filter(|file| file.is_file())
    }

    /// The file of a shared library.
    pub(crate) fn library(&self, name: &str) -> Option<PathBuf> {
        LIBRARY_FOLDERS
            .iter()
            .find_map(|folder| self.resolve(Path::new(folder).join(name)))
            .filter(|file| file.is_file())
    }

    /// The file or folder whose name has this start and this end and which has this inside (nothing, if it is a file).
    pub(crate) fn only(&self, folder: &str, start: &str, end: &str, inside: &str) -> Result<PathBuf, SetupError> {
        let missing = || SetupError::Missing { what: format!("/{folder}/{start}*{end}/{inside}") };
        let path = self.resolve(folder).ok_or_else(missing)?;
        let fits = |name: &str| name.starts_with(start) && name.ends_with(end);
        let mut found: Vec<PathBuf> = fs::read_dir(&path)
            .map_err(SetupError::file(&path))?
            .flatten()
            .filter(|entry| {
                entry.file_name().to_str().is_some_and(fits)
                    && (inside.is_empty() || entry.path().join(inside).exists())
            })
            .map(|entry| entry.path())
            .collect();
        // apt names one; of several the last is the newest as names go.
        found.sort();
        found.pop().ok_or_else(missing)
    }

    /// A command that runs a program of the tree on this host, with the tree's own loader and libraries.
    pub(crate) fn command(&self, program: &str) -> Result<Command, SetupError> {
        let missing = |what: &str| SetupError::Missing { what: what.to_owned() };
        let loader = self.library(LOADER).ok_or_else(|| missing(LOADER))?;
        let file = self.program(program).ok_or_else(|| missing(program))?;
        let mut command = tethered(loader);
        command.arg("--library-path").arg(self.library_path()).arg(file);
        Ok(command)
    }

    /// The library folders, as the loader takes them.
    pub(crate) fn library_path(&self) -> OsString {
        let mut folders = HashSet::new();
        let mut path = OsString::new();
        for folder in LIBRARY_FOLDERS.iter().filter_map(|folder| self.resolve(folder)) {
            if folders.insert(folder.clone()) {
                if !path.is_empty() {
                    path.push(":");
                }
                path.push(folder);
            }
        }
        path
    }
}

/// The names in a path, the last one first.
fn names_reversed(path: &Path) -> Vec<OsString> {
    let keep = |component: Component<'_>| match component {
        Component::Normal(_) | Component::ParentDir => Some(component.as_os_str().to_owned()),
        _ => None,
    };
    path.components().rev().filter_map(keep).collect()
}

#[cfg(test)]
mod tests {
    use super::Tree;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_stay_in_the_tree() -> std::io::Result<()> {
        let root = std::env::temp_dir().join(format!("mirage-lab-tree-{}", std::process::id()));
        fs::create_dir_all(root.join("usr/bin"))?;
        fs::create_dir_all(root.join("etc"))?;
        fs::write(root.join("usr/bin/mawk"), "")?;
        symlink("usr/bin", root.join("bin"))?;
        symlink("/usr/bin/mawk", root.join("etc/awk"))?;
        symlink("../../../etc/awk", root.join("usr/bin/awk"))?;
        symlink("loop", root.join("usr/bin/loop"))?;
        let tree = Tree::at(root.clone());
        let mawk = Some(root.join("usr/bin/mawk"));
        assert_eq!(tree.resolve("bin/awk"), mawk);
        assert_eq!(tree.program("awk"), mawk);
        assert_eq!(tree.resolve("/etc/awk"), mawk);
        assert_eq!(tree.resolve("usr/bin/loop"), None);
        assert_eq!(tree.resolve("usr/bin/gawk"), None);
        fs::remove_dir_all(root)
    }
}
