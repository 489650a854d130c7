//! What the benchmark programs share: figures, tables, medians, and the reference guest.

#![forbid(unsafe_code)]

pub mod figures;

use std::path::Path;

/// The reference guest: a minimal PVH guest in C that prints one line and powers off.
pub fn reference_guest() -> &'static Path {
    Path::new(env!("REFERENCE_GUEST"))
}
