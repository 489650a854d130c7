//! Why a file can't be a disk, and what to do about it.

use std::fmt;

use rustix::io::Errno;

use crate::platform::host_error;

/// A file can't be used as a disk.
#[derive(Debug)]
#[non_exhaustive]
pub enum DiskError {
    /// There is nothing at this path.
    Missing(String),
    /// It is neither a file nor a block device.
    NotADisk(String),
    /// This process may not read it.
    Denied(String),
    /// It has less than 4096 bytes, which is the least that is read or written.
    Small {
        /// The path.
        path: String,
        /// Its size in bytes.
        bytes: u64,
    },
    /// The sectors of a block device are larger than 4096 bytes.
    Sectors {
        /// The path.
        path: String,
        /// Bytes of a sector.
        size: u32,
    },
    /// Another process uses it.
    Busy(String),
    /// No thread for its requests.
    Thread(std::io::Error),
    /// Another error of the system.
    Host {
        /// The path.
        path: String,
        /// What was tried.
        action: &'static str,
        /// The system's error.
        error: std::io::Error,
    },
}

impl DiskError {
    pub(super) fn host(path: &str, action: &'static str, errno: Errno) -> DiskError {
        DiskError::Host { path: path.into(), action, error: host_error(errno) }
    }
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DiskError::Missing(path) => write!(f, "there is no {path}: make it with `truncate -s 64M {path}`"),
            DiskError::NotADisk(path) => {
                write!(f, "{path} is neither a file nor a block device")
            }
            DiskError::Denied(path) => {
                write!(f, "this process may not read {path}: change its permissions, or run as its owner")
            }
            DiskError::Small { path, bytes } => write!(
                f,
                "{path} has {bytes} bytes, and a disk at least 4096: make it larger with `truncate -s 64M {path}`"
            ),
            DiskError::Sectors { path, size } => {
                write!(f, "{path} has sectors of {size} bytes, and at most 4096 are supported")
            }
            DiskError::Busy(path) => {
                write!(f, "another process uses {path}: end it (`fuser {path}` shows which), or take another disk")
            }
            DiskError::Thread(error) => write!(f, "no thread for the disk: {error}; see `ulimit -u`"),
            DiskError::Host { path, action, error } => write!(f, "{path}: {action}: {error}"),
        }
    }
}

impl std::error::Error for DiskError {}
