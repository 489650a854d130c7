//! A machine that has booted, kept in the cache: later labs go on from it, which takes one second where a boot takes ten.
//!
//! QEMU writes the state of its devices to one file. The memory is another one, which labs map privately: each reads of it what
//! it needs, shares that with the others, and keeps its own changes to itself. A machine's clocks run as fast as the host's, so
//! a kept one is good until the host boots again.

use crate::cache::{Cache, key, remove};
use crate::error::{SetupError, StartError};
use crate::images::Images;
use crate::lab::{Lab, LabOptions};
use crate::process::{output, tethered};
use crate::qemu::{Beginning, DEVICES, MEMORY, Qemu};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Why there is no kept machine, in its folder.
const REASON: &str = "reason";

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
        let name = format!("{of_this_boot}{}", key([identity.as_bytes()]));
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

/// Copies a file and leaves holes where it has holes or zeros: most of the memory was never used.
fn copy_used(from: &Path, to: &Path) -> io::Result<()> {
    let mut command = tethered("cp");
    let copied = output(command.arg("--sparse=always").arg(from).arg(to), || "copying a machine's memory".into());
    copied.map(drop).map_err(|error| io::Error::other(error.to_string()))
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
