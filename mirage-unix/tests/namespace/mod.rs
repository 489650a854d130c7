//! Tests that make interfaces: an outer test runs its program again inside `unshare`, where the inner tests, ignored otherwise,
//! may do that. Where it is not permitted the outer test says so and passes; as root under `CI=true` it fails.

use std::process::Command;

/// Runs these inner tests of this program, each in a network namespace of its own.
pub fn run(names: &[&str]) {
    let program = std::env::current_exe().expect("a program knows its path");
    for name in names {
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--net", "--"]).arg(&program);
        match command.args(["--exact", name, "--ignored", "--nocapture"]).output() {
            Ok(output) if output.status.success() => {
                let text = String::from_utf8_lossy(&output.stdout);
                assert!(text.contains("1 passed"), "the inner test did not run: {text}");
            }
            Ok(output) => {
                let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
                match text.lines().find(|line| line.starts_with("unshare: ") || line.starts_with("NOT PERMITTED")) {
                    Some(reason) => return skip(reason),
                    None => panic!("{name}: {text}"),
                }
            }
            Err(error) => return skip(&format!("unshare: {error}")),
        }
    }
}

/// Where namespaces can be made, a test that makes none has failed.
fn skip(reason: &str) {
    let root = Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n");
    let ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
    assert!(!(root && ci), "no test of the tap device: {reason}");
    eprintln!("SKIPPED: no test of the tap device, which needs a network namespace, /dev/net/tun and ip: {reason}");
}

/// Runs `ip`; what it can't do ends the inner test with a reason to skip.
pub fn ip(words: &str) {
    let output = Command::new("ip").args(words.split(' ')).output();
    let done = output.as_ref().is_ok_and(|output| output.status.success());
    if !done {
        println!("NOT PERMITTED: ip {words}: {output:?}");
        std::process::exit(1);
    }
}
