//! The scripts in `.cargo`, with a program in place of cargo and the compilers that prints what it is called with.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use mirage_tests::root;

const XEN: &str = "x86_64-unknown-xen";
const LINUX: &str = "x86_64-unknown-linux-gnu";

/// What the scripts add for an image.
const IMAGE: [&str; 6] =
    ["-Crelocation-model=static", "-Cno-redzone=yes", "--cfg", "mirage_target", "--cfg", "mirage_wrapper=\"1\""];
const KNOWN: [&str; 2] = ["--check-cfg", "cfg(mirage_target)"];

/// What tests/programs/print printed, called by `script` of `.cargo` in place of the compilers and of cargo.
fn words(script: &str, arguments: &[&str]) -> Vec<String> {
    let path = format!("{}:{}", programs().display(), env::var("PATH").expect("there is a PATH"));
    let mut command = Command::new(root().join(".cargo").join(script));
    command.args(arguments).env("PATH", path).env("CARGO", programs().join("cargo")).env("CARGO_BUILD_TARGET", XEN);
    let output = command.output().expect("the script starts");
    assert_eq!(output.status.code(), Some(7), "the exit status is the program's: {output:?}");
    let text = String::from_utf8(output.stdout).expect("words are text");
    let words = text.strip_prefix('<').and_then(|text| text.strip_suffix(">\n")).expect("words are printed");
    words.split(">\n<").map(str::to_owned).collect()
}

fn programs() -> PathBuf {
    root().join("tests/programs")
}

fn joined<'a>(parts: &[&[&'a str]]) -> Vec<&'a str> {
    parts.concat()
}

#[test]
fn commands_for_other_targets_pass_unchanged() {
    let rustc = programs().join("rustc");
    let rustc = rustc.to_str().expect("a path of this test is text");
    let path = "target/x86_64-unknown-xen/debug";
    for arguments in [
        &["-vV"][..],
        &["--target", LINUX, "-o", path],
        &["--crate-name", "a b", "", "*", "$HOME", "two\nlines", "--cfg", XEN],
    ] {
        let expected = joined(&[&["rustc"], arguments, &["target x86_64-unknown-xen"]]);
        assert_eq!(words("mirage-rustc", &joined(&[&[rustc], arguments])), expected);
        assert_eq!(words("mirage/rustc", arguments), expected);
        let expected = joined(&[&["rustdoc"], arguments, &["target x86_64-unknown-xen"]]);
        assert_eq!(words("mirage-rustdoc", arguments), expected);
    }
}

#[test]
fn the_name_becomes_the_precompiled_target_and_an_images_flags() {
    let separate = format!("--target={LINUX}");
    let name = format!("--target={XEN}");
    let end = ["target x86_64-unknown-xen"];
    for (arguments, rewritten) in [
        (vec!["--test-x", "--target", XEN, "a b"], vec!["--test-x", "--target", LINUX, "a b"]),
        (vec![&name, "-o", "out dir/x86_64-unknown-xen"], vec![&separate, "-o", "out dir/x86_64-unknown-xen"]),
        (vec!["--cfg", XEN, "--target", XEN, "", "$(x)"], vec!["--cfg", XEN, "--target", LINUX, "", "$(x)"]),
    ] {
        let expected = joined(&[&["rustc"], &rewritten, &["-Cpanic=abort"], &IMAGE, &KNOWN, &end]);
        assert_eq!(words("mirage/rustc", &arguments), expected);
        let expected = joined(&[&["rustdoc"], &rewritten, &IMAGE[2..], &KNOWN, &end]);
        assert_eq!(words("mirage-rustdoc", &arguments), expected);
    }
}

#[test]
fn a_test_harness_may_unwind() {
    let expected = joined(&[&["rustc", "--test", "--target", LINUX], &IMAGE, &KNOWN, &["target x86_64-unknown-xen"]]);
    assert_eq!(words("mirage/rustc", &["--test", "--target", XEN]), expected);
}

#[test]
fn clippy_in_front_of_the_compiler_is_a_compiler() {
    // Cargo's command is then: wrapper, clippy-driver, compiler, arguments.
    let clippy = programs().join("rustc");
    let got = words("mirage-rustc", &[clippy.to_str().expect("text"), "/x/rustc", "--target", XEN]);
    assert_eq!(got[..4], ["rustc", "/x/rustc", "--target", LINUX]);
}

#[test]
fn the_runner_builds_the_lab_for_this_machine() {
    let got = words("mirage-run", &["/t/hello", "--greeting", "two words", ""]);
    let [cargo, run, quiet, option, manifest, rest @ ..] = &got[..] else { panic!("{got:?}") };
    assert_eq!([cargo, run, quiet, option], ["cargo", "run", "--quiet", "--manifest-path"]);
    let manifest = Path::new(manifest).canonicalize().expect("the lab is there");
    assert!(manifest.ends_with("mirage-lab/Cargo.toml"), "{}", manifest.display());
    assert_eq!(rest, ["--", "/t/hello", "--greeting", "two words", "", "target unset"]);
}

#[test]
fn variables_with_any_name_reach_the_compiler() {
    // Cargo sets CARGO_BIN_EXE_NAME, where NAME may have a dash, and env!() reads it in the compiler.
    let output = Command::new(root().join(".cargo/mirage-rustc"))
        .args(["env"])
        .env("CARGO_BIN_EXE_my-app", "its path")
        .output()
        .expect("the script starts");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(printed.lines().any(|line| line == "CARGO_BIN_EXE_my-app=its path"), "{printed}");
}
