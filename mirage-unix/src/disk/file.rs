//! The system calls for a disk.

use mirage_rt::page::{PAGE_SIZE, PageBytes};
use mirage_rt::types::block::{BlockInfo, Discard, WriteCache};
use rustix::fd::OwnedFd;
use rustix::fs::{
    FallocateFlags, FileType, FlockOperation, Mode, OFlags, SeekFrom, fallocate, fdatasync, flock, fstat,
    ioctl_blkpbszget, ioctl_blksszget, open as open_file, seek,
};
use rustix::io::{Errno, IoSlice, IoSliceMut, preadv, pwritev};

use super::error::DiskError;

/// What a read at or behind the end of a file is reported as; the system has no error for it.
pub(super) const END: Errno = Errno::NXIO;

/// Bytes of a sector of a file.
const SECTOR: u32 = 512;

/// Pages in one system call (IOV_MAX is 1024).
const PARTS: usize = 256;

pub(super) struct File {
    descriptor: OwnedFd,
}

/// Opens and locks the disk at `path`.
pub(super) fn open(path: &str) -> Result<(File, BlockInfo), DiskError> {
    // Non-blocking, because a pipe would wait for its other end; it makes no difference to disks.
    let flags = OFlags::CLOEXEC | OFlags::NONBLOCK;
    let writable = open_file(path, flags | OFlags::RDWR, Mode::empty());
    let (opened, read_only) = match writable {
        Err(Errno::ACCESS | Errno::ROFS | Errno::PERM) => {
            (open_file(path, flags | OFlags::RDONLY, Mode::empty()), true)
        }
        opened => (opened, false),
    };
    let descriptor = opened.map_err(|errno| match errno {
        Errno::NOENT | Errno::NOTDIR => DiskError::Missing(path.into()),
        Errno::ISDIR | Errno::NXIO | Errno::NODEV => DiskError::NotADisk(path.into()),
        Errno::ACCESS | Errno::PERM => DiskError::Denied(path.into()),
        errno => DiskError::host(path, "opening it", errno),
    })?;
    let host = |action| move |errno| DiskError::host(path, action, errno);
    let status = fstat(&descriptor).map_err(host("looking at it"))?;
    let device = match FileType::from_raw_mode(status.st_mode) {
        FileType::RegularFile => false,
        FileType::BlockDevice => true,
        _ => return Err(DiskError::NotADisk(path.into())),
    };
    lock(path, &descriptor, read_only)?;
    let file = File { descriptor };
    let bytes = file.size().map_err(host("looking at its size"))?;
    if bytes < PAGE_SIZE as u64 {
        return Err(DiskError::Small { path: path.into(), bytes });
    }
    let (sector_size, physical) = match device {
        true => (
            ioctl_blksszget(&file.descriptor).map_err(host("asking for its sectors"))?,
            ioctl_blkpbszget(&file.descriptor).map_err(host("asking for its sectors"))?,
        ),
        false => (SECTOR, PAGE_SIZE as u32),
    };
    if sector_size == 0 || sector_size as usize > PAGE_SIZE {
        return Err(DiskError::Sectors { path: path.into(), size: sector_size });
    }
    let mut info = BlockInfo::new(sector_size, bytes / u64::from(sector_size), read_only);
    info.physical_sector_size = physical.max(sector_size);
    info.cache = WriteCache::Flushed;
    let block = u32::try_from(status.st_blksize).unwrap_or(0);
    info.discard = Some(Discard::new(if device { 1 } else { block / sector_size }, 0));
    Ok((file, info))
}

fn lock(path: &str, descriptor: &OwnedFd, read_only: bool) -> Result<(), DiskError> {
    let operation = match read_only {
        true => FlockOperation::NonBlockingLockShared,
        false => FlockOperation::NonBlockingLockExclusive,
    };
    match flock(descriptor, operation) {
        Err(Errno::WOULDBLOCK) => Err(DiskError::Busy(path.into())),
        // Some network file systems have no locks, and work without.
        Ok(()) | Err(Errno::NOSYS | Errno::OPNOTSUPP | Errno::NOLCK | Errno::INVAL) => Ok(()),
        Err(errno) => Err(DiskError::host(path, "locking it", errno)),
    }
}

impl File {
    /// Bytes, now.
    pub(super) fn size(&self) -> Result<u64, Errno> {
        // Of a block device, too, whose status has no size. Nothing else uses the descriptor's place.
        seek(&self.descriptor, SeekFrom::End(0))
    }

    /// Fills `pages` from byte `offset` on.
    pub(super) fn read(&self, offset: u64, pages: &mut [&'static mut PageBytes]) -> Result<(), Errno> {
        transfer(offset, pages.len(), |offset, page, within, parts| {
            let pages = pages[page..page + parts].iter_mut().enumerate();
            let mut parts: Vec<_> = pages
                .map(|(index, page)| IoSliceMut::new(&mut page.0[if index == 0 { within } else { 0 }..]))
                .collect();
            preadv(&self.descriptor, &mut parts, offset)
        })
    }

    /// Writes `pages` from byte `offset` on.
    pub(super) fn write(&self, offset: u64, pages: &[&'static mut PageBytes], durable: bool) -> Result<(), Errno> {
        transfer(offset, pages.len(), |offset, page, within, parts| {
            let pages = pages[page..page + parts].iter().enumerate();
            let parts: Vec<_> =
                pages.map(|(index, page)| IoSlice::new(&page.0[if index == 0 { within } else { 0 }..])).collect();
            pwritev(&self.descriptor, &parts, offset)
        })?;
        if durable { self.flush() } else { Ok(()) }
    }

    pub(super) fn flush(&self) -> Result<(), Errno> {
        retry(|| fdatasync(&self.descriptor))
    }

    /// Makes a hole that reads as zeros.
    pub(super) fn discard(&self, offset: u64, length: u64) -> Result<(), Errno> {
        let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        retry(|| fallocate(&self.descriptor, hole, offset, length))
    }
}

/// Calls `operation(offset, first page, bytes of it that are done, number of pages)`, which gives how many bytes it moved, until
/// `count` pages are moved.
fn transfer(
    offset: u64,
    count: usize,
    mut operation: impl FnMut(u64, usize, usize, usize) -> Result<usize, Errno>,
) -> Result<(), Errno> {
    let bytes = count * PAGE_SIZE;
    let mut done = 0;
    while done < bytes {
        let page = done / PAGE_SIZE;
        let parts = (count - page).min(PARTS);
        match retry(|| operation(offset + done as u64, page, done % PAGE_SIZE, parts))? {
            0 => return Err(END),
            moved => done += moved,
        }
    }
    Ok(())
}

fn retry<T>(mut operation: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    loop {
        match operation() {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transfer_goes_on_where_a_short_one_ended() {
        let mut calls = Vec::new();
        let mut moved = [100, 4096, 2 * 4096 - 100].into_iter();
        let result = transfer(512, 3, |offset, page, within, parts| {
            calls.push((offset, page, within, parts));
            Ok(moved.next().unwrap_or(0))
        });
        // The last call finds 4096 bytes too few.
        assert_eq!(result, Ok(()));
        assert_eq!(calls, [(512, 0, 0, 3), (612, 0, 100, 3), (4708, 1, 100, 2)]);
        assert_eq!(transfer(0, 1, |_, _, _, _| Ok(0)), Err(END));
        assert_eq!(transfer(0, 0, |_, _, _, _| Err(Errno::IO)), Ok(()));
        let mut interrupted = [Err(Errno::INTR), Ok(4096)].into_iter();
        assert_eq!(transfer(0, 1, |_, _, _, _| interrupted.next().unwrap_or(Err(Errno::IO))), Ok(()));
    }
}
