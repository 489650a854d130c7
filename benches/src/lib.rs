//! What the benchmark programs share: figures, tables, medians, and the reference guest.

#![forbid(unsafe_code)]

pub mod figures;
pub mod nonsense;

use std::path::PathBuf;

/// The reference guest: a minimal PVH guest in C that prints one line and powers off. `MIRAGE_REFERENCE_GUEST` names another.
pub fn reference_guest() -> PathBuf {
    std::env::var_os("MIRAGE_REFERENCE_GUEST").map_or_else(|| env!("REFERENCE_GUEST").into(), PathBuf::from)
}

/// The words after `cargo bench … --`, without what cargo itself adds.
pub fn words() -> Vec<String> {
    std::env::args().skip(1).filter(|word| word != "--bench").collect()
}
