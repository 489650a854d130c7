//! Builds the programs that are measured: each with the features that it is measured with, and as a release.

use std::path::PathBuf;
use std::sync::OnceLock;

/// Our stack in memory, with our own TCP machine or smoltcp's.
pub fn stack(own: bool) -> PathBuf {
    let name = if own { "own-tcp" } else { "smoltcp-tcp" };
    let features: &[&str] = if own { &[] } else { &["--features", "smoltcp-tcp"] };
    release("mirage-bench-stack", name, features)
}

/// Our stack in memory with IPv6, which images have only if they ask for it.
pub fn stack_with_ipv6() -> PathBuf {
    release("mirage-bench-stack", "own-tcp-ipv6", &["--features", "ipv6"])
}

/// A plain smoltcp interface.
pub fn smoltcp() -> PathBuf {
    // Images have it small; as what we are compared with it is to be fast.
    release("mirage-bench-smoltcp", "fast-smoltcp", &["--config", "profile.release.package.smoltcp.opt-level=3"])
}

/// The example static-site with a page of 1 KiB.
pub fn site() -> PathBuf {
    release("mirage-bench-site", "unix", &[])
}

/// The server that moves bytes.
pub fn bulk() -> PathBuf {
    release("bulk", "unix", &[])
}

/// A program of the workspace `benches/peers`; all of them are built with the first one.
pub fn peer(name: &str) -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let folder = BUILT.get_or_init(|| {
        let folder = mirage_tests::target().join("peers");
        let folder_word = folder.to_string_lossy().into_owned();
        let manifest = "benches/peers/Cargo.toml";
        mirage_tests::build(&["--release", "--locked", "--manifest-path", manifest, "--target-dir", &folder_word]);
        folder.join("release")
    });
    folder.join(name)
}

/// Builds a package into a folder of the target's own, so that no other build of it takes its place.
fn release(package: &str, name: &str, words: &[&str]) -> PathBuf {
    let folder = mirage_tests::target().join(name);
    let folder_word = folder.to_string_lossy().into_owned();
    mirage_tests::build(&[&["--release", "-p", package, "--target-dir", &folder_word], words].concat());
    folder.join("release").join(package)
}
