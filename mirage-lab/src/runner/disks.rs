//! The disks of a run: files of the host, whose content goes into the lab and comes back at the end.

use super::RunError;
use crate::domain::{Access, Domain};
use crate::lab::Lab;
use mirage_build::launch::virtual_disk;
use mirage_build::manifest::{Manifest, ManifestBlock};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// MiB that the disks of one run may have together: they are copied into dom0's memory.
const MOST_MIB: u64 = 2048;
/// Bytes that are compared and written in one go.
const CHUNK: usize = 64 * 1024;

/// A file or block device that is a disk of the guest. It is locked until this is dropped, as by a Unix process.
#[derive(Debug)]
pub(super) struct Disk {
    /// What the guest's kernel calls it, such as `xvda`.
    pub(super) device: String,
    pub(super) path: PathBuf,
    pub(super) access: Access,
    file: File,
    size: u64,
}

/// Opens the disks that `manifest` declares, at the paths that `value` gives for their keys.
pub(super) fn open<'a>(manifest: &Manifest, value: impl Fn(&str) -> Option<&'a str>) -> Result<Vec<Disk>, RunError> {
    let mut disks = Vec::new();
    for (index, block) in manifest.blocks.iter().enumerate() {
        let path = value(&key(block)).map_or_else(|| format!("{}.img", block.name), str::to_owned);
        let disk = Disk::open(virtual_disk(index), path.into());
        disks.push(disk.map_err(|reason| RunError(format!("disk {}: {reason}", block.name)))?);
    }
    let mib = mib(&disks);
    if mib > MOST_MIB {
        return Err(RunError(format!(
            "the disks have {mib} MiB together, and the lab takes at most {MOST_MIB}: it copies them into memory. Name smaller \
             ones, or run the program as a Unix process"
        )));
    }
    Ok(disks)
}

/// The key that names the disk's file, without its dashes.
pub(super) fn key(block: &ManifestBlock) -> String {
    format!("{}disk", block.key_prefix)
}

/// MiB that the disks have together.
pub(super) fn mib(disks: &[Disk]) -> u64 {
    disks.iter().map(|disk| disk.size).fold(0_u64, u64::saturating_add).div_ceil(1 << 20)
}

impl Disk {
    fn open(device: String, path: PathBuf) -> Result<Disk, String> {
        let shown = path.display();
        let file = match OpenOptions::new().read(true).write(true).open(&path) {
            Err(error) if matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem) => {
                File::open(&path).map(|file| (file, Access::ReadOnly))
            }
            file => file.map(|file| (file, Access::ReadWrite)),
        };
        let (mut file, access) = file.map_err(|error| match error.kind() {
            ErrorKind::NotFound => format!("there is no {shown}: make it with `truncate -s 64M {shown}`"),
            _ => format!("{shown}: {error}"),
        })?;
        let locked = match access {
            Access::ReadOnly => file.try_lock_shared(),
            Access::ReadWrite => file.try_lock(),
        };
        // Some file systems have no locks, and work without.
        if let Err(TryLockError::WouldBlock) = locked {
            return Err(format!("another process uses {shown}: end it, or take another disk"));
        }
        // Of a block device, too.
        let size = file.seek(SeekFrom::End(0)).map_err(|error| format!("{shown}: {error}"))?;
        if size < 4096 {
            return Err(format!(
                "{shown} has {size} bytes, and a disk at least 4096: make it larger with `truncate -s 64M {shown}`"
            ));
        }
        Ok(Disk { device, path, access, file, size })
    }

    /// Writes what the guest has changed back to the file.
    pub(super) fn bring_back(&mut self, lab: &Lab, domain: &Domain) -> Result<(), RunError> {
        if self.access == Access::ReadOnly {
            return Ok(());
        }
        let failed = |path: &Path, error: &dyn std::fmt::Display| {
            RunError(format!("{}: what the guest wrote is lost: {error}", path.display()))
        };
        let copy = lab.scratch(&self.device);
        domain.read_disk(&self.device, &copy).map_err(|error| failed(&self.path, &error))?;
        let written =
            File::open(&copy).and_then(|copy| update(copy, &mut self.file)).and_then(|()| self.file.sync_all());
        // It goes with the lab, if not now.
        let _ = std::fs::remove_file(copy);
        written.map_err(|error| failed(&self.path, &error))
    }
}

/// Makes `target` as `source`, from its start on, and writes only what differs: holes stay holes.
fn update(source: impl Read, target: &mut (impl Read + Write + Seek)) -> io::Result<()> {
    let (mut new, mut old) = (Vec::with_capacity(CHUNK), Vec::with_capacity(CHUNK));
    let mut source = source;
    let mut position = 0;
    loop {
        new.clear();
        old.clear();
        source.by_ref().take(CHUNK as u64).read_to_end(&mut new)?;
        if new.is_empty() {
            return Ok(());
        }
        target.seek(SeekFrom::Start(position))?;
        Read::by_ref(target).take(new.len() as u64).read_to_end(&mut old)?;
        if new != old {
            target.seek(SeekFrom::Start(position))?;
            target.write_all(&new)?;
        }
        position += new.len() as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::{CHUNK, key, mib, open, update};
    use crate::domain::Access;
    use mirage_build::manifest::{Manifest, ManifestBlock};
    use std::io::Cursor;

    fn manifest(blocks: &[(&str, &str)]) -> Manifest {
        let block = |(name, key_prefix): &(&str, &str)| ManifestBlock {
            name: (*name).into(),
            key_prefix: (*key_prefix).into(),
        };
        Manifest {
            name: "test".into(),
            version: "1".into(),
            memory_mib: 16,
            memory_max_mib: None,
            networks: Vec::new(),
            blocks: blocks.iter().map(block).collect(),
            consoles: Vec::new(),
            keys: Vec::new(),
        }
    }

    #[test]
    fn only_what_differs_is_written() {
        let source: Vec<u8> = (0..3 * CHUNK + 100).map(|index| (index / CHUNK) as u8 + 1).collect();
        let mut target = Cursor::new(source.clone());
        target.get_mut()[2 * CHUNK] = 9;
        update(&source[..], &mut target).expect("memory does not fail");
        assert!(*target.get_ref() == source);
        struct ReadOnly<'a>(Cursor<&'a [u8]>);
        impl std::io::Read for ReadOnly<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
                self.0.read(buffer)
            }
        }
        impl std::io::Seek for ReadOnly<'_> {
            fn seek(&mut self, to: std::io::SeekFrom) -> std::io::Result<u64> {
                self.0.seek(to)
            }
        }
        impl std::io::Write for ReadOnly<'_> {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(std::io::ErrorKind::PermissionDenied.into())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        update(&source[..], &mut ReadOnly(Cursor::new(&source))).expect("nothing differs");
        let mut other = source.clone();
        other[CHUNK] = 0;
        assert!(update(&other[..], &mut ReadOnly(Cursor::new(&source))).is_err());
    }

    #[test]
    fn disks_are_opened_and_what_is_wrong_is_said() {
        let folder = std::env::temp_dir().join(format!("mirage-lab-disks-{}", std::process::id()));
        std::fs::create_dir(&folder).expect("the temporary folder can be written");
        let path = |name: &str| folder.join(name).to_string_lossy().into_owned();
        let (data, log) = (path("data"), path("log"));
        let two = manifest(&[("data", "data-"), ("log", "log-")]);
        let value = |key: &str| match key {
            "data-disk" => Some(data.as_str()),
            "log-disk" => Some(log.as_str()),
            other => panic!("there is no key {other}"),
        };
        let error = open(&two, value).expect_err("neither is there").to_string();
        assert_eq!(error, format!("disk data: there is no {data}: make it with `truncate -s 64M {data}`"));
        std::fs::write(&data, vec![1; 1 << 20]).expect("the folder is ours");
        std::fs::write(&log, [1; 100]).expect("the folder is ours");
        let error = open(&two, value).expect_err("the second is small").to_string();
        assert!(error.starts_with("disk log: ") && error.contains("has 100 bytes"), "{error}");
        std::fs::write(&log, [1; 4096]).expect("the folder is ours");
        let disks = open(&two, value).expect("both are there");
        let found: Vec<_> = disks.iter().map(|disk| (disk.device.as_str(), disk.access)).collect();
        assert_eq!(found, [("xvda", Access::ReadWrite), ("xvdb", Access::ReadWrite)]);
        assert_eq!(mib(&disks), 2);
        let error = open(&two, value).expect_err("they are in use").to_string();
        assert!(error.contains("another process uses"), "{error}");
        drop(disks);
        std::fs::File::options().write(true).open(&log).and_then(|file| file.set_len(3 << 30)).expect("it grows");
        let error = open(&two, value).expect_err("it is large").to_string();
        assert!(error.contains("have 3073 MiB together, and the lab takes at most 2048"), "{error}");
        std::fs::remove_dir_all(folder).expect("it is there");
    }

    #[test]
    fn one_disk_needs_no_name() {
        assert_eq!(key(&manifest(&[("data", "")]).blocks[0]), "disk");
        let error = open(&manifest(&[("absent", "")]), |_| None).expect_err("it is not there").to_string();
        assert!(error.contains("`truncate -s 64M absent.img`"), "{error}");
    }
}
