//! Compiles the program that the lab runs in dom0: static, so that it does not depend on dom0's C library, and taken into
//! the library as bytes, so that nothing has to be installed.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const AGENT: &str = "src/agent/main.rs";

fn main() {
    println!("cargo::rerun-if-changed=src/agent");
    let variable = |name: &str| env::var(name).unwrap_or_default();
    let agent = PathBuf::from(variable("OUT_DIR")).join("agent");
    let host = variable("HOST");
    let fits = host.starts_with("x86_64-") && host.contains("-linux-");
    let compiled = if fits { compile(&variable("RUSTC"), &agent) } else { Ok(()) };
    if let Err(why) = &compiled {
        println!("cargo::warning=the lab will not start: its program for dom0 can't be compiled: {why}");
    }
    if compiled.is_err() || !fits {
        // The lab says at its start that it can't run here; all else of the workspace can.
        if let Err(error) = fs::write(&agent, b"") {
            println!("cargo::error={}: {error}", agent.display());
        }
    }
}

fn compile(rustc: &str, agent: &Path) -> Result<(), String> {
    let output = Command::new(rustc)
        .args(["--edition=2024", "--crate-type=bin", "--crate-name=mirage_lab_agent"])
        .args(["-Copt-level=s", "-Cpanic=abort", "-Cstrip=symbols", "-Ctarget-feature=+crt-static"])
        .args(["-Crelocation-model=static", "-o"])
        .arg(agent)
        .arg(AGENT)
        .output();
    match output {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).replace('\n', " | ")),
        Err(error) => Err(error.to_string()),
    }
}
