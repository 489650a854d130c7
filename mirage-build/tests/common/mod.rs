//! What the tests of the plan share.

// Each test program uses a part of it.
#![allow(dead_code)]

use std::path::{Path, PathBuf};
use std::{env, fs};

use mirage_build::{Config, Diagnostic, Environment, Key, Plan, Port, plan};

/// A package in tests/fixtures.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// An empty folder of this test's own.
pub fn scratch(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    if path.exists() {
        fs::remove_dir_all(&path).expect("the last run's folder can be removed");
    }
    fs::create_dir_all(&path).expect("the target folder can be written");
    path
}

/// What cargo says when it builds a Unix process of a package at `package_dir`.
pub fn unix(package_dir: &Path) -> Environment {
    Environment {
        package_name: "site".into(),
        package_version: "1.2.3".into(),
        package_dir: package_dir.into(),
        cargo_toml: "mirage-rt mirage-unix mirage-xen-image".into(),
        out_dir: "/t/debug/build/site-0123456789abcdef/out".into(),
        target: "x86_64-unknown-linux-gnu".into(),
        program: Some("/t/debug/build/site-fedcba9876543210/build-script-build".into()),
        ..Environment::default()
    }
}

/// The same for an image under the target's own name.
pub fn xen(package_dir: &Path) -> Environment {
    Environment {
        target: "x86_64-unknown-xen".into(),
        mirage_target: true,
        wrapper: Some("1".into()),
        linker: Some("rust-lld".into()),
        out_dir: "/t/x86_64-unknown-xen/debug/build/site-0123456789abcdef/out".into(),
        compilers: vec!["/p/.cargo/mirage/rustc".into(), "/usr/bin/sccache".into()],
        ..unix(package_dir)
    }
}

/// The same for an image by feature.
pub fn feature(package_dir: &Path) -> Environment {
    Environment { feature_xen: true, ..unix(package_dir) }
}

/// A declaration with one of everything.
pub fn site() -> Config {
    Config::new()
        .network("service")
        .kv_ro("htdocs", "htdocs")
        .key(Key::<Port>::new("port").default(8080).doc("TCP port to serve"))
        .key(Key::<bool>::new("quiet").doc("Say \"nothing\" at all"))
        .key(Key::<String>::new("server-name").doc("Name to answer with"))
        .key(Key::<i8>::new("offset").default(-1))
        .key(Key::<std::net::Ipv4Addr>::new("peer").optional().doc("Ask this server first"))
        .key(Key::<mirage_build::Cidr>::new("allow").default("10.0.0.0/8"))
        .key(Key::<std::time::Duration>::new("patience").default("5s"))
        .memory_mib(16)
        .xen()
        .unix()
}

/// The messages of a plan that fails.
pub fn mistakes(config: Config, environment: &Environment) -> Vec<Diagnostic> {
    match plan(&config, environment) {
        Ok(_) => panic!("the plan has no mistakes"),
        Err(mistakes) => mistakes,
    }
}

/// Everything in a plan as one text, with the fixtures' folder written as `@FIXTURES@`.
pub fn render(plan: &Plan) -> String {
    let mut text = String::new();
    for directive in &plan.directives {
        text.push_str(&format!("{directive}\n"));
    }
    for file in &plan.files {
        let optional = if file.optional { " (optional)" } else { "" };
        let content = String::from_utf8_lossy(&file.content);
        text.push_str(&format!("\n==== {}{optional}\n{content}", file.path.display()));
    }
    let fixtures = fixture("");
    text.replace(fixtures.to_str().expect("the repository's path is UTF-8").trim_end_matches('/'), "@FIXTURES@")
}

/// Compares `actual` with the file tests/goldens/`name`.
pub fn compare(name: &str, actual: &str) {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens").join(name);
    let expected = fs::read_to_string(&golden).unwrap_or_default();
    if expected != actual {
        let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::write(&kept, actual).expect("the target folder can be written");
        let (golden, kept) = (golden.display(), kept.display());
        panic!("{golden} differs: see `diff {golden} {kept}`, and if the change is meant, `cp {kept} {golden}`");
    }
}
