//! Kernel modules and what they need.

use super::unpack;
use crate::error::SetupError;
use crate::packages::Tree;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The modules of a kernel. Debian packs no `modules.dep`, so that each module is asked what it needs.
pub(crate) struct Modules<'a> {
    tree: &'a Tree,
    files: HashMap<String, PathBuf>,
}

impl<'a> Modules<'a> {
    /// Finds the modules of the one kernel in the tree.
    pub(crate) fn find(tree: &'a Tree) -> Result<Self, SetupError> {
        let mut files = HashMap::new();
        for folder in ["lib/modules", "usr/lib/modules"] {
            if let Some(path) = tree.resolve(folder) {
                collect(&path, &mut files)?;
            }
        }
        Ok(Self { tree, files })
    }

    /// These modules and all they need, unpacked, each after what it needs. One that the kernel has built in, or does not
    /// have, is left out.
    pub(crate) fn ordered(&self, names: &[&str]) -> Result<Vec<(String, Vec<u8>)>, SetupError> {
        let mut ordered = Vec::new();
        for name in names {
            self.visit(&plain(name), &mut ordered, &mut Vec::new())?;
        }
        Ok(ordered)
    }

    fn visit(
        &self,
        name: &str,
        ordered: &mut Vec<(String, Vec<u8>)>,
        path: &mut Vec<String>,
    ) -> Result<(), SetupError> {
        let seen = ordered.iter().any(|(other, _)| other == name) || path.iter().any(|other| other == name);
        let Some(file) = self.files.get(name).filter(|_| !seen) else {
            return Ok(());
        };
        let content = unpack::read(self.tree, file)?;
        path.push(name.to_owned());
        for needed in needs(&content) {
            self.visit(&needed, ordered, path)?;
        }
        path.pop();
        ordered.push((name.to_owned(), content));
        Ok(())
    }
}

fn collect(folder: &Path, files: &mut HashMap<String, PathBuf>) -> Result<(), SetupError> {
    for entry in fs::read_dir(folder).map_err(SetupError::file(folder))?.flatten() {
        let path = entry.path();
        let kind = entry.file_type().map_err(SetupError::file(&path))?;
        if kind.is_dir() {
            collect(&path, files)?;
        } else if let Some((name, "" | ".xz" | ".zst" | ".gz")) =
            entry.file_name().to_str().and_then(|name| name.split_once(".ko"))
        {
            files.insert(plain(name), path);
        }
    }
    Ok(())
}

/// A module's file may have `-` where its name has `_`.
fn plain(name: &str) -> String {
    name.replace('-', "_")
}

/// The names after `depends=` in a module's information.
fn needs(module: &[u8]) -> Vec<String> {
    const FIELD: &[u8] = b"\0depends=";
    let Some(at) = module.windows(FIELD.len()).position(|window| window == FIELD) else {
        return Vec::new();
    };
    let value = module.get(at + FIELD.len()..).unwrap_or_default();
    let value = value.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(value).split(',').filter(|name| !name.is_empty()).map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::Modules;
    use crate::packages::Tree;
    use std::fs;

    #[test]
    fn a_module_comes_after_what_it_needs() -> Result<(), Box<dyn std::error::Error>> {
        let root = std::env::temp_dir().join(format!("mirage-lab-modules-{}", std::process::id()));
        let folder = root.join("lib/modules/6.1/kernel/net");
        fs::create_dir_all(&folder)?;
        for (name, needs) in [("9p", "9pnet,fs-cache"), ("9pnet", ""), ("fs-cache", "9pnet"), ("alone", "not_there")] {
            fs::write(folder.join(format!("{name}.ko")), format!("\x7fELF\0name={name}\0depends={needs}\0more"))?;
        }
        let tree = Tree::at(root.clone());
        let ordered = Modules::find(&tree)?.ordered(&["9p", "alone", "missing", "fs_cache"])?;
        let names: Vec<&str> = ordered.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["9pnet", "fs_cache", "9p", "alone"]);
        fs::remove_dir_all(root)?;
        Ok(())
    }
}
