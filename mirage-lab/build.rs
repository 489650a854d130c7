//! Compiles the program that the lab runs in dom0: static, so that it does not depend on dom0's C library, and taken into
//! the library as bytes, so that nothing has to be installed.

use std::env;
use std::path::PathBuf;
use std::process::Command;

const AGENT: &str = "src/agent/main.rs";

fn main() {
    println!("cargo::rerun-if-changed=src/agent");
    let variable = |name: &str| env::var(name).unwrap_or_default();
    let agent = PathBuf::from(variable("OUT_DIR")).join("agent");
    if variable("HOST") != "x86_64-unknown-linux-gnu" {
        // The lab says at its start that it can't run here.
        if let Err(error) = std::fs::write(&agent, b"") {
            println!("cargo::error=mirage-lab: {}: {error}", agent.display());
        }
        return;
    }
    let compiled = Command::new(variable("RUSTC"))
        .args(["--edition=2024", "--crate-type=bin", "--crate-name=mirage_lab_agent"])
        .args(["-Copt-level=s", "-Cpanic=abort", "-Cstrip=symbols", "-Ctarget-feature=+crt-static"])
        .args(["-Clink-arg=-static", "-Crelocation-model=static"])
        .arg("-o")
        .arg(&agent)
        .arg(AGENT)
        .output();
    match compiled {
        Ok(output) if output.status.success() => {}
        Ok(output) => println!(
            "cargo::error=mirage-lab: its program for dom0 can't be compiled; is the C library's static form (libc6-dev) installed? {}",
            String::from_utf8_lossy(&output.stderr).replace('\n', " | ")
        ),
        Err(error) => println!("cargo::error=mirage-lab: rustc can't be started: {error}"),
    }
}
