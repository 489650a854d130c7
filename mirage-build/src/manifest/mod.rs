//! What a finished image says about itself, for launch files and for the lab's runner.
//!
//! The manifest is the descriptor of an ELF note with the owner `Mirage` and the type 1. Its encoding is little endian:
//!
//! ```text
//! version: u8            1
//! records until the end: tag: u8, length: u32, payload
//!     1 name             text
//!     2 version          text
//!     3 memory, MiB      u32
//!     4 network          fields: name, key prefix
//!     5 key              fields: name, kind, presence (bit 0: required, bit 1: a library's), doc, default if there is one
//!     6 disk             fields: name, key prefix
//!     7 console          its name
//!     8 memory that the domain may grow to, MiB     u32, if it has a balloon
//! ```
//!
//! where text is UTF-8 and a field is `length: u32, payload`. Readers skip tags that they do not know and fields behind
//! those that they know, so that a later mirage-build can add both; what changes the meaning gets a new version.

mod elf;
mod wire;

pub use elf::{ReadError, read_elf};
pub use wire::DecodeError;

use crate::key::KeyKind;

/// A unikernel's own description. See the [module](self) for its encoding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The unikernel's name.
    pub name: String,
    /// Its package's version.
    pub version: String,
    /// Memory of its domain, MiB.
    pub memory_mib: u32,
    /// Memory that its domain may grow to, MiB. Then it has a balloon.
    pub memory_max_mib: Option<u32>,
    /// Its networks: the first is vif 0.
    pub networks: Vec<ManifestNetwork>,
    /// Its disks: the first is xvda. [`launch::virtual_disk`](crate::launch::virtual_disk) gives their names.
    pub blocks: Vec<ManifestBlock>,
    /// The names of its consoles besides the first one: channels on Xen.
    pub consoles: Vec<String>,
    /// Its boot keys, the application's first.
    pub keys: Vec<ManifestKey>,
}

/// A network of a [`Manifest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestNetwork {
    /// Its name in build.rs.
    pub name: String,
    /// What the names of its keys begin with: nothing when it is the only network. `{key_prefix}ipv4` is the key for its
    /// address, `{key_prefix}ipv4-gateway` that for its router.
    pub key_prefix: String,
}

/// A disk of a [`Manifest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestBlock {
    /// Its name in build.rs.
    pub name: String,
    /// What the name of its key begins with: nothing when it is the only disk. `{key_prefix}disk` is the key for the file
    /// that is the disk of a Unix process.
    pub key_prefix: String,
}

/// A boot key of a [`Manifest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestKey {
    /// Its name, without the dashes in front.
    pub name: String,
    /// What values it takes; `None` for a kind that a later mirage-build brought.
    pub kind: Option<KeyKind>,
    /// The value when none is given.
    pub default: Option<String>,
    /// Whether the boot stops without it.
    pub required: bool,
    /// One sentence about it.
    pub doc: String,
    /// Whether it is read by the runtime, not by the application.
    pub library: bool,
}

impl Manifest {
    /// The note's descriptor.
    pub fn encode(&self) -> Vec<u8> {
        wire::encode(self)
    }

    /// Reads a note's descriptor.
    ///
    /// # Errors
    ///
    /// [`DecodeError`], when the bytes are no manifest or one of a later version.
    pub fn decode(bytes: &[u8]) -> Result<Manifest, DecodeError> {
        wire::decode(bytes)
    }

    /// The key of this name.
    pub fn key(&self, name: &str) -> Option<&ManifestKey> {
        self.keys.iter().find(|key| key.name == name)
    }

    /// The keys that mark a port which the application serves.
    pub fn ports(&self) -> impl Iterator<Item = &ManifestKey> {
        self.keys.iter().filter(|key| key.kind == Some(KeyKind::Port))
    }
}
