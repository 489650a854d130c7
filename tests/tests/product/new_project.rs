//! A new project: the template, copied as the README says.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use mirage_tests::{XEN, cargo, root, target};

/// The README's commands that make a new project, from the repository's root.
fn new_project() -> Vec<String> {
    let readme = fs::read_to_string(root().join("README.md")).expect("the README");
    let is_one = |line: &&str| line.starts_with("cp -r templates/hello ") || line.starts_with("sed -i ");
    let commands: Vec<String> =
        readme.lines().filter_map(|line| line.strip_prefix("    ")).filter(is_one).map(str::to_owned).collect();
    assert_eq!(commands.len(), 2, "{commands:?}");
    commands
}

/// A folder that is removed with what is in it.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let path = env::temp_dir().join(format!("mirage-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("the temporary folder can be written");
        Scratch(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Files below `folder`: relative path, content, and whether it may be executed.
fn files(folder: &Path) -> BTreeMap<PathBuf, (Vec<u8>, bool)> {
    use std::os::unix::fs::PermissionsExt;
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).expect("a folder of the repository") {
            let path = entry.expect("an entry of it").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let executable = path.metadata().expect("a file").permissions().mode() & 0o111 != 0;
                let below = path.strip_prefix(folder).expect("it is below").to_path_buf();
                found.insert(below, (fs::read(&path).expect("a readable file"), executable));
            }
        }
    }
    found
}

#[test]
fn the_templates_cargo_folder_is_the_repositorys() {
    let [ours, its] = [".cargo", "templates/hello/.cargo"].map(|folder| files(&root().join(folder)));
    assert_eq!(ours.keys().collect::<Vec<_>>(), its.keys().collect::<Vec<_>>());
    for (path, content) in ours {
        assert!(its.get(&path) == Some(&content), "templates/hello/.cargo/{0} differs from .cargo/{0}", path.display());
    }
}

#[test]
fn the_generated_manifest_is_the_plain_one() {
    let read =
        |name: &str| fs::read_to_string(root().join("templates/hello").join(name)).expect("a file of the template");
    let generated = read("Cargo.toml.liquid").replace("{{project-name}}", "my-app").replace("{{mirage}}", "../..");
    assert_eq!(generated, read("Cargo.toml"));
    // Nothing else in the template is anything to cargo-generate.
    for (path, (content, _)) in files(&root().join("templates/hello")) {
        let text = String::from_utf8(content).expect("the template is text");
        let liquid = path.extension().is_some_and(|extension| extension == "liquid");
        assert!(liquid || !(text.contains("{{") || text.contains("{%")), "{} would be rewritten", path.display());
    }
}

/// Runs `cargo` in the new project and returns what it printed, both streams.
fn cargo_in(project: &Path, arguments: &[&str]) -> (String, bool) {
    let mut command = cargo(arguments);
    command.current_dir(project).env("CARGO_TARGET_DIR", target().join("template"));
    // Nobody builds it a second time after a change, or looks at it with a debugger.
    command.env("CARGO_INCREMENTAL", "0").env("CARGO_PROFILE_DEV_DEBUG", "0");
    let output = command.output().expect("cargo starts");
    let printed = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    (printed, output.status.success())
}

#[test]
fn a_copy_builds_runs_and_tests_every_way() {
    let scratch = Scratch::new("template");
    let project = scratch.0.join("my-app");
    for command in new_project() {
        let command = command.replace("../my-app", project.to_str().expect("a path of this test is text"));
        let status = Command::new("sh").args(["-c", &command]).current_dir(root()).status().expect("a shell");
        assert!(status.success(), "{command}");
    }
    // The versions that the repository was tested with, which are here already.
    fs::copy(root().join("Cargo.lock"), project.join("Cargo.lock")).expect("a lock file");

    for (arguments, part) in [
        (&["run", "--", "--greeting", "Moin"][..], "\nMoin\n"),
        (&["test"], "test result: ok. 1 passed"),
        (&["build", "--features", "xen"], "Finished"),
        (&["build", "--target", XEN], "Finished"),
    ] {
        let (printed, success) = cargo_in(&project, arguments);
        assert!(success, "cargo {arguments:?} failed:\n{printed}");
        assert!(!printed.contains("warning"), "cargo {arguments:?} warns:\n{printed}");
        assert!(format!("\n{printed}").contains(part), "cargo {arguments:?} does not print {part:?}:\n{printed}");
    }
    let (printed, success) = cargo_in(&project, &["run", "--", "--greting", "Moin"]);
    assert!(!success && printed.contains("unknown key --greting, did you mean --greeting?"), "{printed}");
    mistakes_end_the_build(&project);
}

/// Every mistake in build.rs is a line of cargo's own.
fn mistakes_end_the_build(project: &Path) {
    let path = project.join("build.rs");
    let right = fs::read_to_string(&path).expect("the template's build.rs");
    let wrong = right.replace(".memory_mib(4)", ".memory_mib(1).kv_ro(\"htdocs\", \"absent\")");
    fs::write(&path, wrong).expect("the copy can be changed");
    let (printed, success) = cargo_in(project, &["build"]);
    fs::write(&path, right).expect("the copy can be changed");
    assert!(!success, "{printed}");
    for part in [
        "error: my-app@0.1.0: the folder `",
        "/my-app/absent` of the device `htdocs` is missing: ",
        "error: my-app@0.1.0: 1 MiB of memory",
    ] {
        assert!(printed.contains(part), "no {part:?} in:\n{printed}");
    }
}
