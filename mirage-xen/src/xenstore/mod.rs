//! xenstore: the small shared tree through which domains, their devices and the tools find each other.
//!
//! [`wire`] has the messages, [`client`] the asynchronous client. Paths and semantics: `docs/misc/xenstore.txt` of Xen.

pub mod client;
pub mod wire;

pub use client::{Broken, Request, Transaction, Watch, WatchEvent, Xenstore, XenstoreError};
pub use wire::{Access, Code, Permission};
