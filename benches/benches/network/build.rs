//! Builds the programs that are measured: each with the features that it is measured with, and as a release.

use std::path::PathBuf;

/// Our stack in memory, with our own TCP machine or smoltcp's.
pub fn stack(own: bool) -> PathBuf {
    let name = if own { "own-tcp" } else { "smoltcp-tcp" };
    let features: &[&str] = if own { &[] } else { &["--features", "smoltcp-tcp"] };
    release("mirage-bench-stack", name, features)
}

/// A plain smoltcp interface.
pub fn smoltcp() -> PathBuf {
    // Images have it small; as what we are compared with it is to be fast.
    release("mirage-bench-smoltcp", "fast-smoltcp", &["--config", "profile.release.package.smoltcp.opt-level=3"])
}

/// Builds a package into a folder of the target's own, so that no other build of it takes its place.
fn release(package: &str, name: &str, words: &[&str]) -> PathBuf {
    let folder = mirage_tests::target().join(name);
    let folder_word = folder.to_string_lossy().into_owned();
    mirage_tests::build(&[&["--release", "-p", package, "--target-dir", &folder_word], words].concat());
    folder.join("release").join(package)
}
