//! Programs of Debian's packages that run on this host, unpacked and not installed: for benchmarks that start their peers.

use std::process::Command;

use crate::cache::{Cache, key};
use crate::error::SetupError;
use crate::packages::{PEERS, Tree};

/// What benchmarks compare with, and what they set interfaces up with: nginx and ethtool.
#[derive(Clone, Debug)]
pub struct Programs {
    tree: Tree,
}

impl Programs {
    /// The programs, from the cache or from Debian.
    ///
    /// # Errors
    ///
    /// [`SetupError`] when they can't be fetched or unpacked.
    pub fn fetch() -> Result<Programs, SetupError> {
        let cache = Cache::open()?;
        let name = format!("peers-{}", key(PEERS.wanted.iter().chain(PEERS.prefixes).map(|part| part.as_bytes())));
        if !cache.path(&name).exists() {
            let lock = cache.lock()?;
            cache.publish(&lock, &name, |folder| Tree::unpack(&cache, &lock, &PEERS, folder).map(drop))?;
        }
        Ok(Programs { tree: Tree::at(cache.path(&name)) })
    }

    /// A command that runs `program` with the libraries of its own packages. It is killed when the calling thread ends.
    ///
    /// # Errors
    ///
    /// [`SetupError::Missing`] when the packages have no such program.
    pub fn command(&self, program: &str) -> Result<Command, SetupError> {
        self.tree.command(program)
    }
}
