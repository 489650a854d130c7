//! The folder where packages and images are kept, and the folders of running labs.

use crate::error::SetupError;
use std::env;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

/// The cache folder.
#[derive(Clone, Debug)]
pub(crate) struct Cache {
    root: PathBuf,
}

/// Holds other runs off from building the same things; the kernel lets go of it when we end.
pub(crate) struct CacheLock(#[allow(dead_code, reason = "held for its lock")] File);

impl Cache {
    /// `MIRAGE_LAB_CACHE`, or `mirage-lab` in the user's cache folder.
    pub(crate) fn open() -> Result<Self, SetupError> {
        let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let root = set("MIRAGE_LAB_CACHE")
            .or_else(|| set("XDG_CACHE_HOME").map(|folder| folder.join("mirage-lab")))
            .or_else(|| set("HOME").map(|home| home.join(".cache/mirage-lab")))
            .ok_or(SetupError::NoCacheFolder)?;
        let root = std::path::absolute(&root).map_err(SetupError::file(&root))?;
        let readable =
            root.to_str().is_some_and(|path| !path.contains(|c: char| c.is_control() || "\";:{}\\".contains(c)));
        if !readable {
            return Err(SetupError::CacheFolderName(root));
        }
        fs::create_dir_all(&root).map_err(SetupError::file(&root))?;
        Ok(Self { root })
    }

    /// A path in the cache.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Waits until no other run is building.
    pub(crate) fn lock(&self) -> Result<CacheLock, SetupError> {
        let held = lock(&self.path("lock"))?;
        // What others began and did not end.
        for entry in fs::read_dir(&self.root).map_err(SetupError::file(&self.root))?.flatten() {
            let unfinished = entry.file_name().to_str().is_some_and(|name| name.ends_with(".building"));
            if unfinished {
                remove(&entry.path())?;
            }
        }
        Ok(CacheLock(held))
    }

    /// Builds a folder aside and puts it in its place when it is whole. The lock says that nobody else does.
    pub(crate) fn publish<E: From<SetupError>>(
        &self,
        _lock: &CacheLock,
        name: &str,
        build: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<PathBuf, E> {
        let place = self.path(name);
        if place.exists() {
            return Ok(place);
        }
        let aside = self.path(&format!("{name}.building"));
        fs::create_dir(&aside).map_err(SetupError::file(&aside))?;
        build(&aside)?;
        fs::rename(&aside, &place).map_err(SetupError::file(&place))?;
        Ok(place)
    }

    /// A folder of its own for one running lab; those of labs that are gone are removed.
    pub(crate) fn run_folder(&self) -> Result<RunFolder, SetupError> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let runs = self.path("run");
        fs::create_dir_all(&runs).map_err(SetupError::file(&runs))?;
        let _lock = lock(&runs.join("lock"))?;
        sweep(&runs)?;
        let path = runs.join(format!("{}-{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
        // Whoever can reach the sockets in it is in control of QEMU.
        DirBuilder::new().mode(0o700).create(&path).map_err(SetupError::file(&path))?;
        let lock = lock(&path.join("lock"))?;
        Ok(RunFolder { path, _lock: lock })
    }
}

/// The folder of a running lab, removed at its end.
pub(crate) struct RunFolder {
    path: PathBuf,
    _lock: File,
}

impl RunFolder {
    /// Its path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for RunFolder {
    fn drop(&mut self) {
        // What can't be removed now is swept by the next lab.
        let _ = fs::remove_dir_all(&self.path);
    }
}

fn lock(path: &Path) -> Result<File, SetupError> {
    let file = OpenOptions::new().create(true).append(true).open(path).map_err(SetupError::file(path))?;
    file.lock().map_err(SetupError::file(path))?;
    Ok(file)
}

/// Removes the folders of labs that were killed: nobody holds their locks.
fn sweep(runs: &Path) -> Result<(), SetupError> {
    for entry in fs::read_dir(runs).map_err(SetupError::file(runs))?.flatten() {
        let path = entry.path();
        if !path.is_dir() {
            continue;
        }
        let held = File::open(path.join("lock")).is_ok_and(|file| file.try_lock().is_err());
        if !held {
            remove(&path)?;
        }
    }
    Ok(())
}

/// Removes a folder if it is there.
pub(crate) fn remove(path: &Path) -> Result<(), SetupError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(SetupError::file(path)(error)),
        _ => Ok(()),
    }
}

/// A name for what was made of these parts (FNV-1a, 64 bits: it tells versions apart, it protects from nobody).
pub(crate) fn key<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut mix = |byte: u8| hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    for part in parts {
        part.iter().copied().for_each(&mut mix);
        (part.len() as u64).to_le_bytes().into_iter().for_each(&mut mix);
    }
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::key;

    #[test]
    fn a_key_tells_the_borders_of_its_parts() {
        let parts = |parts: &[&str]| key(parts.iter().map(|part| part.as_bytes()));
        assert_eq!(parts(&["ab", "c"]), parts(&["ab", "c"]));
        assert_ne!(parts(&["ab", "c"]), parts(&["a", "bc"]));
        assert_ne!(parts(&["ab"]), parts(&["ab", ""]));
    }
}
