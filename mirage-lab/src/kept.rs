//! A machine that has booted, kept in the cache: later labs go on from it, which takes one second where a boot takes ten.
//!
//! QEMU writes the state of its devices to one file. The memory is another one, which labs map privately: each reads of it what
//! it needs, shares that with the others, and keeps its own changes to itself. A machine's clocks run as fast as the host's, so
//! a kept one is good until the host boots again.

use crate::cache::{Cache, key, remove};
use crate::error::{SetupError, StartError};
use crate::images::Images;
use crate::lab::{Lab, LabOptions};
use crate::qemu::{Beginning, DEVICES, MEMORY, Qemu};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Why there is no kept machine, in its folder.
const REASON: &str = "reason";
/// Bytes of memory that are looked at together, and left out of the file if all of them are zero.
const CHUNK: usize = 4096;
const ZEROS: [u8; CHUNK] = [0; CHUNK];

/// A machine that was kept.
pub(crate) struct Kept {
    folder: PathBuf,
}

impl Kept {
    /// The kept machine for these images, made if there is none yet. `None`: this host's QEMU or disk can't keep one.
    ///
    /// # Errors
    ///
    /// If the machine that was to be kept does not come up.
    pub(crate) fn get(cache: &Cache, images: &Images) -> Result<Option<Self>, StartError> {
        let identity = Qemu::identity(cache, images, &LabOptions::default())?;
        let of_this_boot = format!("booted-{}-", host_boot());
        let name =
            format!("{of_this_boot}{}", key([images.folder().as_os_str().as_encoded_bytes(), identity.as_bytes()]));
        let folder = cache.path(&name);
        if !folder.exists() {
            let lock = cache.lock()?;
            cache.publish(&lock, &name, |aside| {
                remove_older(&cache.path(""), &of_this_boot)?;
                make(cache, images, aside)
            })?;
        }
        Ok(folder.join(DEVICES).exists().then_some(Self { folder }))
    }

    /// Where it is.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Does without it from now on.
    pub(crate) fn give_up(&self, why: &StartError) {
        // If even that fails, the next lab tries again.
        let _ = write_reason(&self.folder, why);
    }
}

/// Boots a machine and keeps it in `folder`, or says there why it can't be kept; it is gone then.
fn make(cache: &Cache, images: &Images, folder: &Path) -> Result<(), StartError> {
    let lab = Lab::boot(cache, images, &LabOptions::default(), Beginning::BootToKeep)?;
    let kept = lab.monitor(|monitor| monitor.keep(DEVICES));
    let kept = kept
        .and_then(|()| copy_used(&lab.folder().join(MEMORY), &folder.join(MEMORY)))
        // Last: with it, the kept machine is whole.
        .and_then(|()| fs::copy(lab.folder().join(DEVICES), folder.join(DEVICES)).map(drop));
    match kept {
        Ok(()) => Ok(()),
        Err(error) => Ok(write_reason(folder, &error)?),
    }
}

/// Copies a file and leaves holes where it has zeros.
fn copy_used(from: &Path, to: &Path) -> io::Result<()> {
    let (mut source, copy) = (File::open(from)?, File::create(to)?);
    copy.set_len(source.metadata()?.len())?;
    let mut block = vec![0; 256 * CHUNK];
    let mut offset = 0;
    loop {
        let length = source.read(&mut block)?;
        if length == 0 {
            return Ok(());
        }
        for (place, chunk) in (offset..).step_by(CHUNK).zip(block[..length].chunks(CHUNK)) {
            // Compared as a whole, which is quick in a debug build too.
            if chunk != &ZEROS[..chunk.len()] {
                copy.write_all_at(chunk, place)?;
            }
        }
        offset += length as u64;
    }
}

/// Says in `folder` why there is no machine in it, and removes what there is of one.
fn write_reason(folder: &Path, why: &dyn std::error::Error) -> Result<(), SetupError> {
    for part in [DEVICES, MEMORY] {
        let _ = fs::remove_file(folder.join(part));
    }
    let path = folder.join(REASON);
    fs::write(&path, format!("{why}\n")).map_err(SetupError::file(&path))
}

/// Removes the machines that were kept before the host booted. Labs that still run have their files open.
fn remove_older(cache: &Path, of_this_boot: &str) -> Result<(), SetupError> {
    for entry in fs::read_dir(cache).map_err(SetupError::file(cache))?.flatten() {
        let older = entry
            .file_name()
            .to_str()
            .is_some_and(|name| name.starts_with("booted-") && !name.starts_with(of_this_boot));
        if older {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

/// What tells one boot of the host from another.
fn host_boot() -> String {
    let id = fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    key([id.as_slice()])
}

#[cfg(test)]
mod tests {
    use super::copy_used;
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn zeros_are_holes_in_the_copy() -> std::io::Result<()> {
        let folder = std::env::temp_dir().join(format!("mirage-lab-kept-{}", std::process::id()));
        fs::create_dir(&folder)?;
        let mut content = vec![0; 3 << 20];
        content[(1 << 20) + 5] = 7;
        content.extend([1, 2, 3]);
        fs::write(folder.join("from"), &content)?;
        copy_used(&folder.join("from"), &folder.join("to"))?;
        let (copied, blocks) = (fs::read(folder.join("to"))?, fs::metadata(folder.join("to"))?.blocks());
        fs::remove_dir_all(&folder)?;
        assert!(copied == content);
        // Of 512 bytes; a file system may take some at once.
        assert!(blocks < 1024, "{blocks}");
        Ok(())
    }
}
