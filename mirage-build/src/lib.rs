//! What an application's build script calls to become a unikernel.
//!
//! ```no_run
//! use mirage_build::{Config, Key, Port};
//!
//! // build.rs
//! fn main() {
//!     Config::new()
//!         .network("service")
//!         .kv_ro("htdocs", "htdocs")
//!         .key(Key::<Port>::new("port").default(8080).doc("TCP port to serve"))
//!         .memory_mib(16)
//!         .xen()
//!         .unix()
//!         .emit();
//! }
//! ```
//!
//! [`Config::emit`] checks the declaration, writes the typed glue (`struct Devices`, `struct Keys`) that
//! `mirage_rt::unikernel!()` includes, and, when a bootable image is built, gives cargo the linker script, the link
//! arguments and the launch files. The same declaration serves every target; `src/main.rs` has no `cfg` for it.
//!
//! **Which target.** An image is built when cargo's target is `x86_64-unknown-xen`, or when the package's feature `xen`
//! is on without its feature `unix`. Everything else is a Unix process.
//!
//! **What Cargo.toml needs** (templates/hello has all of it): mirage-rt under `[dependencies]`; mirage-unix under
//! `[target.'cfg(not(mirage_target))'.dependencies]`; mirage-xen-image under `[target.'cfg(mirage_target)'.dependencies]` and,
//! optional, under `[dependencies]` with `xen = ["dep:mirage-xen-image"]` and `unix = []` under `[features]`; this crate
//! under `[build-dependencies]`; `panic = "abort"` in the profiles. The target's name needs the folder `.cargo` of the
//! template, too; the feature does not.
//!
//! **An embedded folder** is taken whole, hidden files too, up to 65,536 files, 1 GiB and 32 folders deep. Symbolic links are
//! followed as long as they stay inside.
//!
//! **Errors** come all at once, one `cargo::error=` line each, and say what to change.
//!
//! # Layers
//!
//! [`plan`] is a pure function from a declaration and an [`Environment`] to a [`Plan`]: files to write, directives to
//! print. It reads the folders that [`Config::kv_ro`] names and nothing else. Only [`Config::emit`] reads the process's
//! environment, writes files and prints. [`manifest`] and [`launch`] are for tools that hold a finished image.

#![forbid(unsafe_code)]

mod cargo;
mod check;
mod config;
mod diagnostic;
mod digest;
mod folder;
mod glue;
mod key;
pub mod launch;
mod link;
pub mod manifest;
mod model;
mod network;
mod plan;
mod windows;

pub use config::Config;
pub use diagnostic::{Diagnostic, FolderMistake, KeyMistake, ProjectMistake};
pub use key::{Cidr, DefaultFor, Key, KeyKind, KeyType, Port};
pub use network::Network;
pub use plan::{Environment, Plan, PlannedFile, plan};
