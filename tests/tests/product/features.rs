//! Cargo unifies features: what the host's side turns on must not reach the crates of an image.

use std::collections::BTreeMap;

use mirage_tests::run;

/// The packages below `package` with the features that are on, for the host's triple.
fn packages(package: &str, features: &[&str]) -> BTreeMap<String, String> {
    let tree = ["tree", "--quiet", "-e", "normal", "--prefix", "none", "-f", "{p}|{f}", "-p", package];
    let output = run(&[&tree[..], features].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).expect("cargo prints UTF-8");
    let pairs = lines.lines().filter_map(|line| line.trim_end_matches(" (*)").split_once('|'));
    pairs.map(|(package, features)| (package.into(), features.trim_end_matches(" (*)").into())).collect()
}

#[test]
fn the_host_side_turns_on_no_feature_of_a_crate_in_the_image() {
    let alone = packages("mirage-xen-image", &[]);
    assert!(alone.keys().any(|package| package.starts_with("smoltcp ")), "the image has a network stack: {alone:?}");
    for example in ["block", "echo-server", "hello", "static-site"] {
        let together = packages(example, &["--features", "xen"]);
        assert!(together.keys().any(|package| package.starts_with("mirage-unix ")), "mirage-unix is in the graph");
        for (package, features) in &alone {
            // Proc macros run on the host and have features of their own.
            if package.contains("(proc-macro)") {
                continue;
            }
            assert_eq!(together.get(package), Some(features), "features of {package} in an image of {example}");
        }
    }
}

#[test]
fn nothing_in_an_image_asks_for_std() {
    for (package, features) in packages("mirage-xen-image", &[]) {
        let std = features.split(',').any(|feature| feature == "std");
        assert!(!std || package.contains("(proc-macro)"), "{package} has the feature std");
    }
}
