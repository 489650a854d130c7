//! The only file that reads the process's environment, writes files or prints.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::{env, fs, process};

use crate::config::Config;
use crate::diagnostic::Diagnostic;
use crate::link;
use crate::plan::{Environment, Plan, PlannedFile, plan};

/// What [`Config::emit`] does.
pub(crate) fn emit(config: &Config) {
    // The linker of an image calls this same program to have its errors explained.
    let words: Vec<String> = env::args().skip(1).collect();
    if let [kind, subject] = words.as_slice()
        && let Some(advice) = link::advice(kind, subject)
    {
        eprintln!("{advice}");
        return;
    }
    let done = environment().map_err(|mistake| vec![mistake]).and_then(|environment| {
        let plan = plan(config, &environment)?;
        carry_out(&plan).map_err(|mistake| vec![mistake])
    });
    if let Err(mistakes) = done {
        for mistake in mistakes {
            // A file's name may hold anything; a line break would end cargo's line.
            println!("cargo::error={}", mistake.to_string().replace(char::is_control, " "));
        }
        process::exit(1);
    }
}

fn variable(name: &'static str) -> Result<String, Diagnostic> {
    env::var(name).map_err(|_| Diagnostic::NotRunByCargo(name))
}

fn is_set(name: &str) -> bool {
    env::var_os(name).is_some()
}

fn environment() -> Result<Environment, Diagnostic> {
    let path = |name| env::var_os(name).map(PathBuf::from).ok_or(Diagnostic::NotRunByCargo(name));
    let package_dir = path("CARGO_MANIFEST_DIR")?;
    let manifest = package_dir.join("Cargo.toml");
    let cargo_toml = fs::read_to_string(&manifest).map_err(|error| Diagnostic::Unreadable {
        device: "Cargo.toml".into(),
        path: manifest,
        reason: error.to_string(),
    })?;
    let flags = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    Ok(Environment {
        package_name: variable("CARGO_PKG_NAME")?,
        package_version: variable("CARGO_PKG_VERSION")?,
        package_dir,
        cargo_toml,
        out_dir: path("OUT_DIR")?,
        target: variable("TARGET")?,
        feature_xen: is_set("CARGO_FEATURE_XEN"),
        feature_unix: is_set("CARGO_FEATURE_UNIX"),
        mirage_target: is_set("CARGO_CFG_MIRAGE_TARGET"),
        wrapper: env::var("CARGO_CFG_MIRAGE_WRAPPER").ok(),
        linker: env::var("RUSTC_LINKER").ok(),
        rustflags: flags.split('\u{1f}').filter(|flag| !flag.is_empty()).map(str::to_owned).collect(),
        compilers: ["RUSTC", "RUSTC_WRAPPER"].into_iter().filter_map(env::var_os).map(PathBuf::from).collect(),
        program: env::current_exe().ok(),
    })
}

fn carry_out(plan: &Plan) -> Result<(), Diagnostic> {
    for file in &plan.files {
        match write(file) {
            Err(error) if !file.optional => {
                return Err(Diagnostic::Write { path: file.path.clone(), reason: error.to_string() });
            }
            _ => {}
        }
    }
    for directive in &plan.directives {
        println!("{directive}");
    }
    Ok(())
}

/// Writes a file whole or not at all, and leaves one alone that is right already: its time stamp means something to cargo.
fn write(file: &PlannedFile) -> std::io::Result<()> {
    if fs::read(&file.path).is_ok_and(|old| old == file.content) {
        return Ok(());
    }
    if let Some(dir) = file.path.parent() {
        fs::create_dir_all(dir)?;
    }
    let temporary = temporary_beside(&file.path);
    fs::write(&temporary, &file.content)?;
    fs::rename(&temporary, &file.path).inspect_err(|_| {
        let _ = fs::remove_file(&temporary);
    })
}

/// A name that no other build script uses at the same time.
fn temporary_beside(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}.tmp", process::id()));
    path.with_file_name(name)
}
