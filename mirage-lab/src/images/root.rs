//! A root folder put together from packages: programs with the libraries they need.

use super::cpio::Archive;
use super::elf;
use crate::error::SetupError;
use crate::packages::Tree;
use std::fs;
use std::path::Path;

const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";
const LOADER: &str = "ld-linux-x86-64.so.2";

/// A root folder in the making.
pub(crate) struct Root<'a> {
    tree: &'a Tree,
    /// What it holds.
    pub(crate) archive: Archive,
}

impl<'a> Root<'a> {
    /// The folders that every root has, busybox and the loader.
    pub(crate) fn new(tree: &'a Tree) -> Result<Self, SetupError> {
        let mut archive = Archive::default();
        for folder in ["usr/bin", "usr/sbin", LIBRARIES, "usr/lib64", "proc", "sys", "run", "tmp", "etc"] {
            archive.folder(folder);
        }
        for name in ["bin", "sbin", "lib", "lib64"] {
            archive.link(name, &format!("usr/{name}"));
        }
        // The kernel opens its console before devtmpfs is there.
        archive.device("dev/console", 0o600, 5, 1);
        archive.device("dev/null", 0o666, 1, 3);
        let mut root = Self { tree, archive };
        let loader = root.find(LOADER, tree.library(LOADER))?;
        root.archive.file(&format!("usr/lib64/{LOADER}"), 0o755, loader);
        root.program("busybox")?;
        Ok(root)
    }

    /// Nothing: files to be added to a root folder that is there.
    pub(crate) fn empty(tree: &'a Tree) -> Self {
        Self { tree, archive: Archive::default() }
    }

    /// A program of the packages, by its name.
    pub(crate) fn program(&mut self, name: &str) -> Result<(), SetupError> {
        let content = self.find(name, self.tree.program(name))?;
        self.program_from(&format!("usr/bin/{name}"), content)
    }

    /// A program that is no package's.
    pub(crate) fn program_from(&mut self, path: &str, content: Vec<u8>) -> Result<(), SetupError> {
        self.needs(&content)?;
        self.archive.file(path, 0o755, content);
        Ok(())
    }

    /// A file of the packages, by its path.
    pub(crate) fn file(&mut self, path: &str) -> Result<(), SetupError> {
        let content = self.find(path, self.tree.resolve(path))?;
        self.program_from(path, content)
    }

    /// A folder of the packages with all that is in it.
    pub(crate) fn folder(&mut self, path: &str) -> Result<(), SetupError> {
        let source = self.tree.resolve(path).ok_or_else(|| SetupError::Missing { what: path.to_owned() })?;
        self.archive.folder(path);
        for entry in fs::read_dir(&source).map_err(SetupError::file(&source))?.flatten() {
            let inner = format!("{path}/{}", entry.file_name().to_string_lossy());
            let kind = entry.file_type().map_err(SetupError::file(entry.path()))?;
            if kind.is_dir() {
                self.folder(&inner)?;
            } else if self.tree.resolve(&inner).is_some_and(|file| file.is_file()) {
                self.file(&inner)?;
            }
        }
        Ok(())
    }

    /// A shared library and those it needs.
    pub(crate) fn library(&mut self, name: &str) -> Result<(), SetupError> {
        let path = format!("{LIBRARIES}/{name}");
        if name == LOADER || self.archive.has(&path) {
            return Ok(());
        }
        let content = self.find(name, self.tree.library(name))?;
        let needed = elf::needed(&content);
        self.archive.file(&path, 0o755, content);
        needed.iter().try_for_each(|name| self.library(name))
    }

    /// Kernel modules, and their order in `lib/mods/NAME.order`.
    pub(crate) fn modules(&mut self, name: &str, modules: Vec<(String, Vec<u8>)>) {
        let mut order = String::new();
        for (module, content) in modules {
            order.push_str(&module);
            order.push('\n');
            self.archive.file(&format!("usr/lib/mods/{module}.ko"), 0o644, content);
        }
        self.archive.file(&format!("usr/lib/mods/{name}.order"), 0o644, order);
    }

    fn needs(&mut self, content: &[u8]) -> Result<(), SetupError> {
        elf::needed(content).iter().try_for_each(|name| self.library(name))
    }

    fn find(&self, name: &str, path: Option<impl AsRef<Path>>) -> Result<Vec<u8>, SetupError> {
        let path = path.ok_or_else(|| SetupError::Missing { what: name.to_owned() })?;
        fs::read(&path).map_err(SetupError::file(path.as_ref()))
    }
}
