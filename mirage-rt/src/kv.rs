//! The store that build.rs embeds in the program: [`Embedded`].

use alloc::borrow::Cow;
use alloc::vec::Vec;

use crate::types::kv::{EntryKind, KvError, KvRead};

/// One file of an embedded folder.
#[derive(Debug)]
pub struct File {
    /// Path below the folder, segments separated by `/`.
    pub name: &'static str,
    /// The content.
    pub content: &'static [u8],
    /// A digest of the content, in hexadecimal digits: equal for equal contents, fit for an HTTP entity tag.
    pub digest: &'static str,
}

/// A folder that was embedded when the program was built. Cloning copies a reference.
#[derive(Clone, Copy, Debug)]
pub struct Embedded {
    files: &'static [File],
}

impl Embedded {
    /// A store of `files`, which build.rs has put in the order of their names' bytes.
    pub const fn new(files: &'static [File]) -> Self {
        Embedded { files }
    }

    /// The file `name`, without waiting: it is in memory.
    pub fn file(&self, name: &str) -> Option<&'static File> {
        let index = self.files.binary_search_by(|file| file.name.as_bytes().cmp(name.as_bytes())).ok()?;
        self.files.get(index)
    }

    /// All files, in order.
    pub fn files(&self) -> &'static [File] {
        self.files
    }
}

impl KvRead for Embedded {
    async fn get(&self, name: &str) -> Result<Cow<'static, [u8]>, KvError> {
        self.file(name).map(|file| Cow::Borrowed(file.content)).ok_or(KvError::NotFound)
    }

    async fn list(&self, name: &str) -> Result<Vec<(Cow<'static, str>, EntryKind)>, KvError> {
        let mut entries: Vec<(Cow<'static, str>, EntryKind)> = Vec::new();
        for file in self.files {
            let Some(below) = below(file.name, name) else { continue };
            let (entry, kind) = match below.split_once('/') {
                Some((folder, _)) => (folder, EntryKind::Folder),
                None => (below, EntryKind::Value),
            };
            if !entries.iter().any(|(known, _)| known == entry) {
                entries.push((Cow::Borrowed(entry), kind));
            }
        }
        if entries.is_empty() && !name.is_empty() {
            return Err(KvError::NotFound);
        }
        entries.sort();
        Ok(entries)
    }
}

/// What follows `folder/` in `name`.
fn below<'a>(name: &'a str, folder: &str) -> Option<&'a str> {
    if folder.is_empty() {
        return Some(name);
    }
    name.strip_prefix(folder)?.strip_prefix('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn file(name: &'static str) -> File {
        File { name, content: name.as_bytes(), digest: "0" }
    }

    static FILES: [File; 4] = [file("a.txt"), file("b-c"), file("b/d/e"), file("b/f")];

    fn ready<F: core::future::Future>(future: F) -> F::Output {
        let mut future = core::pin::pin!(future);
        let mut context = core::task::Context::from_waker(core::task::Waker::noop());
        match future.as_mut().poll(&mut context) {
            core::task::Poll::Ready(output) => output,
            core::task::Poll::Pending => panic!("an embedded store never waits"),
        }
    }

    #[test]
    fn values_are_found_and_folders_are_not_values() {
        let store = Embedded::new(&FILES);
        assert_eq!(ready(store.get("b/d/e")).as_deref(), Ok("b/d/e".as_bytes()));
        for absent in ["b", "b/", "b/d", "", "a.txt/", "z", "/a.txt", "b/../a.txt"] {
            assert_eq!(ready(store.get(absent)), Err(KvError::NotFound), "{absent}");
        }
    }

    #[test]
    fn folders_list_their_entries_in_order() {
        let store = Embedded::new(&FILES);
        let names = |folder| {
            ready(store.list(folder)).map(|entries| entries.into_iter().map(|(name, _)| name).collect::<Vec<_>>())
        };
        assert_eq!(names(""), Ok(["a.txt", "b", "b-c"].map(Cow::Borrowed).to_vec()));
        assert_eq!(names("b"), Ok(["d", "f"].map(Cow::Borrowed).to_vec()));
        assert_eq!(names("a.txt"), Err(KvError::NotFound));
        assert_eq!(names("none"), Err(KvError::NotFound));
    }
}
