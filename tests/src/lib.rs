//! What the tests of the whole product share: running cargo as a newcomer would, and finding what it built.
//!
//! The programs are built by cargo itself, so that a test never sees an older program than the sources, and in the target folder
//! of the tests, which has much of what they are made of: cargo lets go of it before it starts a test.

#![forbid(unsafe_code)]

pub mod images;
pub mod soak;

use mirage_lab::Lab;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex, Once, OnceLock, PoisonError};
use std::thread;

/// The name of the target that images are built for.
pub const XEN: &str = "x86_64-unknown-xen";

/// The repository's root.
pub fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// The folder that these tests were built into, and build into.
pub fn target() -> PathBuf {
    // The running test stands in TARGET/debug/deps.
    let program = std::env::current_exe().expect("a test knows its own path");
    program.ancestors().nth(3).expect("cargo puts tests three folders below its target folder").to_path_buf()
}

/// `cargo` in the repository's root with `arguments`, as a newcomer's shell would start it.
pub fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(root()).env("CARGO_TARGET_DIR", target());
    // What the outer cargo tells its tests is not what a shell would have.
    for (name, _) in std::env::vars_os() {
        let Some(text) = name.to_str() else { continue };
        let of_the_test = text.starts_with("CARGO_PKG") || text.starts_with("CARGO_MANIFEST") || text == "CARGO";
        if of_the_test || text == "RUSTC_WRAPPER" || text == "RUSTC" {
            command.env_remove(text);
        }
    }
    command
}

/// Runs `cargo` with `arguments` and returns what it printed.
///
/// # Panics
///
/// When cargo can't be started.
pub fn run(arguments: &[&str]) -> Output {
    cargo(arguments).output().expect("cargo starts")
}

/// Runs `cargo build` with `arguments`.
///
/// # Panics
///
/// When the build fails or prints a warning, with what it printed.
pub fn build(arguments: &[&str]) {
    let output = run(&[&["build"], arguments].concat());
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo build {arguments:?} failed:\n{errors}");
    assert!(!errors.contains("warning"), "cargo build {arguments:?} warns:\n{errors}");
}

/// The examples that tests have images of. They ask for the same features of what they share, so one build of all makes the same
/// images as a build of each; a package of which that is not true does not belong here.
const EXAMPLES: &[&str] = &["hello", "static-site", "echo-server", "block"];
/// The guests that only tests have images of.
const GUESTS: &[&str] = &[
    "conformance",
    "consoles",
    "disk",
    "families",
    "faults",
    "first-console",
    "frames",
    "grants",
    "leased",
    "life",
    "machine",
    "plugged",
    "router",
    "store",
];
/// Those of which there are images by feature, too.
const BY_FEATURE: &[&str] = EXAMPLES.split_at(2).0;

/// Builds the release image of `package` under the target's own name and returns its path. A process builds it once. One that
/// runs all tests begins to build all images with the first: beside each other, because one alone leaves processors idle.
pub fn image(package: &str) -> PathBuf {
    by_target(package, EXAMPLES, "release")
}

/// Builds the image of a guest of these tests in the profile `guest`, which takes a third of the time that a release takes, and
/// returns its path; when, as [`image`].
pub fn guest(package: &str) -> PathBuf {
    by_target(package, GUESTS, "guest")
}

fn by_target(package: &str, all: &[&str], profile: &str) -> PathBuf {
    begin_all();
    let images = if runs_all_tests() && all.contains(&package) { all } else { &[package] };
    build_by_target(images, profile);
    target().join(XEN).join(profile).join(package)
}

fn build_by_target(images: &[&str], profile: &str) {
    let packages = images.iter().flat_map(|image| ["-p", image]);
    once(&["--profile", profile, "--target", XEN].into_iter().chain(packages).collect::<Vec<_>>());
}

/// Builds the release image of `package` by its feature, on the host's triple, and returns its path; when, as [`image`].
pub fn image_by_feature(package: &str) -> PathBuf {
    begin_all();
    let alone = [package];
    build_by_feature(if runs_all_tests() && BY_FEATURE.contains(&package) { BY_FEATURE } else { &alone });
    target().join("release").join(package)
}

fn build_by_feature(images: &[&str]) {
    let features: Vec<String> = images.iter().map(|image| format!("{image}/xen")).collect();
    let features = features.join(",");
    let packages = images.iter().flat_map(|image| ["-p", image]);
    once(&["--release", "--features", &features].into_iter().chain(packages).collect::<Vec<_>>());
}

/// A shared machine for one of the first tests: images are built while it is fetched and boots. `None`, as
/// [`Lab::shared_or_skip`] has it.
///
/// # Panics
///
/// As that does.
pub fn first_machine() -> Option<&'static Lab> {
    begin_all();
    Lab::shared_or_skip()
}

/// Begins to build all images if all tests are to run. A test that needs some waits for them, and has the error if there is one.
fn begin_all() {
    static BEGUN: Once = Once::new();
    if runs_all_tests() {
        BEGUN.call_once(|| {
            thread::spawn(|| build_by_target(GUESTS, "guest"));
            thread::spawn(|| {
                build_by_target(EXAMPLES, "release");
                build_by_feature(BY_FEATURE);
            });
        });
    }
}

/// Whether this is a program of tests that was not asked for some of them.
fn runs_all_tests() -> bool {
    let name = std::env::current_exe().ok().and_then(|path| Some(path.file_stem()?.to_string_lossy().into_owned()));
    name.is_some_and(|name| name.starts_with("product-")) && std::env::args().skip(1).all(|word| word.starts_with('-'))
}

/// Runs `cargo build` with `arguments` unless this process has done so.
fn once(arguments: &[&str]) {
    static BUILT: Mutex<BTreeMap<String, Arc<OnceLock<()>>>> = Mutex::new(BTreeMap::new());
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    let done = Arc::clone(built.entry(arguments.join(" ")).or_default());
    // Tests whose image is there do not wait for the one that is being built.
    drop(built);
    done.get_or_init(|| build(arguments));
}
